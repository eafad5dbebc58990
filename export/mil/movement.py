"""Operators of ML programs that move values: reshape, slice, gather, scatter, pad and their like.

Semantics: the published MIL reference. A negative place counts from the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from vera_mobile.export.mil.arguments import Arguments
from vera_mobile.export.mil.elementwise import Operator

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}
_COMBINE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _reshape(a: Arguments) -> Tensor:
    x, wanted = a["x"], a.ints("shape")
    # 0 keeps the size of the input's dimension
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(wanted)])


def _transpose(a: Arguments) -> Tensor:
    return a["x"].permute(a.ints("perm"))


def _expand_dims(a: Arguments) -> Tensor:
    x, axes = a["x"], a.ints("axes")
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(a: Arguments) -> Tensor:
    x = a["x"]
    if "axes" not in a:
        return x.squeeze()
    axes = {axis % x.dim() for axis in a.ints("axes")}
    if any(x.shape[axis] != 1 for axis in axes):
        raise a.wrong(f"axes {sorted(axes)} of {tuple(x.shape)} are not all 1")
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


def _concat(a: Arguments) -> Tensor:
    values, axis = a.many("values"), a.integer("axis")
    if a.flag("interleave", False):
        stacked = torch.stack(values, axis % values[0].dim() + 1)
        return stacked.flatten(axis % values[0].dim(), axis % values[0].dim() + 1)
    return torch.cat(values, axis)


def _stack(a: Arguments) -> Tensor:
    return torch.stack(a.many("values"), a.integer("axis"))


def _split(a: Arguments) -> tuple[Tensor, ...]:
    x, axis = a["x"], a.integer("axis")
    if "split_sizes" in a:
        return x.split(a.ints("split_sizes"), axis)
    count = a.integer("num_splits")
    if x.shape[axis] % count:
        raise a.wrong(f"{x.shape[axis]} values in {count} equal parts")
    return x.split(x.shape[axis] // count, axis)


def _places(a: Arguments, shape: torch.Size) -> list[Tensor]:
    """The places that a slice names, per dimension."""
    rank = len(shape)
    begins, ends = a.ints("begin"), a.ints("end")
    steps = a.ints("stride", [1] * rank)
    open_begin, open_end = a.flags("begin_mask", rank), a.flags("end_mask", rank)
    single = a.flags("squeeze_mask", rank)
    found = []
    for axis in range(rank):
        begin = None if open_begin[axis] else begins[axis]
        end = None if open_end[axis] else ends[axis]
        if single[axis]:
            first = (begin or 0) % shape[axis]
            found.append(torch.tensor([first]))
            continue
        found.append(torch.tensor(range(shape[axis])[begin : end : steps[axis]], dtype=torch.long))
    return found


def _slice_by_index(a: Arguments) -> Tensor:
    x = a["x"]
    places = _places(a, x.shape)
    single = a.flags("squeeze_mask", x.dim())
    for axis, chosen in enumerate(places):
        if len(chosen) != x.shape[axis] or not torch.equal(chosen, torch.arange(len(chosen))):
            x = x.index_select(axis, chosen)
    return x.reshape([size for axis, size in enumerate(x.shape) if not single[axis]])


def _slice_by_size(a: Arguments) -> Tensor:
    x = a["x"]
    for axis, (begin, size) in enumerate(zip(a.ints("begin"), a.ints("size"), strict=True)):
        start = begin % x.shape[axis] if begin < 0 else begin
        x = x.narrow(axis, start, x.shape[axis] - start if size == -1 else size)
    return x


def _slice_update(a: Arguments) -> Tensor:
    x, update = a["x"], a["update"]
    places = _places(a, x.shape)
    written = x.clone()
    grid = torch.meshgrid(*places, indexing="ij")
    written[grid] = update.reshape([len(one) for one in places])
    return written


def _from_end(indices: Tensor, size: int, a: Arguments) -> Tensor:
    wide = indices.long()
    wide = torch.where(wide < 0, wide + size, wide)
    if wide.numel() and (int(wide.min()) < 0 or int(wide.max()) >= size):
        raise a.wrong(f"places {int(indices.min())}..{int(indices.max())} of {size}")
    return wide


def _gather(a: Arguments) -> Tensor:
    x, axis, batch = a["x"], a.integer("axis", 0) % a["x"].dim(), a.integer("batch_dims", 0)
    indices = _from_end(a["indices"], x.shape[axis], a)
    lead, tail = x.shape[:batch], x.shape[axis + 1 :]
    if not batch:
        picked = x.index_select(axis, indices.reshape(-1))
        return picked.reshape(*x.shape[:axis], *indices.shape, *tail)
    rows = x.reshape(math.prod(lead), *x.shape[batch:])
    chosen = indices.reshape(math.prod(lead), -1)
    parts = [row.index_select(axis - batch, one) for row, one in zip(rows, chosen, strict=True)]
    shape = (*lead, *x.shape[batch:axis], *indices.shape[batch:], *tail)
    return torch.stack(parts).reshape(shape)


def _gather_along_axis(a: Arguments) -> Tensor:
    x, axis = a["x"], a.integer("axis", 0)
    return torch.gather(x, axis, _from_end(a["indices"], x.shape[axis], a))


def _gather_nd(a: Arguments) -> Tensor:
    x, indices, batch = a["x"], a["indices"], a.integer("batch_dims", 0)
    if batch:
        raise a.wrong("batch_dims of gather_nd is not evaluated")
    parts = [_from_end(one, x.shape[axis], a) for axis, one in enumerate(indices.unbind(-1))]
    return x[tuple(parts)]


def _scatter(a: Arguments) -> Tensor:
    data, updates = a["data"], a["updates"]
    axis = a.integer("axis", 0) % data.dim()
    indices = _from_end(a["indices"], data.shape[axis], a)
    rows = data.movedim(axis, 0).clone()
    flat = updates.movedim(tuple(range(axis, axis + indices.dim())), tuple(range(indices.dim())))
    written = _combined(a, rows, indices.reshape(-1), flat.reshape(-1, *rows.shape[1:]))
    return written.movedim(0, axis)


def _combined(a: Arguments, rows: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    """rows with updates written to the places along axis 0."""
    mode = a.text("mode", "add")
    if mode == "update":
        return rows.index_copy(0, places, updates)
    if mode == "sub":
        return rows.index_add(0, places, -updates)
    if mode == "div":
        return rows.index_reduce(0, places, 1 / updates, "prod")
    if mode == "add":
        return rows.index_add(0, places, updates)
    if mode not in _COMBINE:
        raise a.wrong(f"mode '{mode}' is unknown")
    return rows.index_reduce(0, places, updates, _COMBINE[mode])


def _scatter_along_axis(a: Arguments) -> Tensor:
    data, updates, axis = a["data"], a["updates"], a.integer("axis", 0)
    indices, mode = _from_end(a["indices"], data.shape[axis], a), a.text("mode", "add")
    if mode == "update":
        return data.scatter(axis, indices, updates)
    if mode == "sub":
        return data.scatter_add(axis, indices, -updates)
    if mode not in _COMBINE:
        raise a.wrong(f"mode '{mode}' is not evaluated")
    return data.scatter_reduce(axis, indices, updates, _COMBINE[mode])


def _scatter_nd(a: Arguments) -> Tensor:
    data, indices, updates = a["data"], a["indices"], a["updates"]
    depth = indices.shape[-1]
    flat = torch.zeros(indices.shape[:-1], dtype=torch.long)
    for axis, one in enumerate(indices.unbind(-1)):
        flat = flat * data.shape[axis] + _from_end(one, data.shape[axis], a)
    rows = data.reshape(math.prod(data.shape[:depth]), *data.shape[depth:]).clone()
    values = updates.reshape(flat.numel(), *rows.shape[1:])
    return _combined(a, rows, flat.reshape(-1), values).reshape(data.shape)


def _pad(a: Arguments) -> Tensor:
    x, pads, mode = a["x"], a.ints("pad"), a.text("mode", "constant")
    if mode not in _PAD_MODES:
        raise a.wrong(f"mode '{mode}' is unknown")
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    # for the last axes, as many as there are pairs
    flat = [value for pair in reversed(pairs) for value in pair]
    if mode == "constant":
        return F.pad(x, flat, value=a.number("constant_val", 0.0))
    while len(flat) > 2 and not any(flat[-2:]):
        flat = flat[:-2]
    lead = x.shape[: max(0, x.dim() - len(flat) // 2)]
    inner = x.reshape(1, -1, *x.shape[len(lead) :])
    padded = F.pad(inner, flat, mode=_PAD_MODES[mode])
    return padded.reshape(*lead, *padded.shape[2:])


def _crop(a: Arguments) -> Tensor:
    x = a["x"]
    for axis, name in ((-2, "crop_height"), (-1, "crop_width")):
        begin, end = a.ints(name)
        x = x.narrow(axis, begin, x.shape[axis] - begin - end)
    return x


def _tile(a: Arguments) -> Tensor:
    return a["x"].repeat(a.ints("reps"))


def _reverse(a: Arguments) -> Tensor:
    x = a["x"]
    return x.flip(a.ints("axes", list(range(x.dim()))))


def _shape(a: Arguments) -> Tensor:
    return torch.tensor(a["x"].shape)


def _range(a: Arguments) -> Tensor:
    start, end, step = a["start"].item(), a["end"].item(), a["step"].item()
    return torch.arange(start, end, step, dtype=a.dtype())


def _fill(a: Arguments) -> Tensor:
    return torch.full(a.ints("shape"), a["value"].item(), dtype=a.dtype())


def _fill_like(a: Arguments) -> Tensor:
    return torch.full(a["ref_tensor"].shape, a["value"].item(), dtype=a.dtype())


def _one_hot(a: Arguments) -> Tensor:
    size = a.integer("one_hot_vector_size")
    hot = F.one_hot(_from_end(a["indices"], size, a), size).movedim(-1, a.integer("axis", -1))
    on, off = a.get("on_value"), a.get("off_value")
    one = torch.tensor(1) if on is None else on.reshape(())
    zero = torch.tensor(0) if off is None else off.reshape(())
    return torch.where(hot.bool(), one, zero)


def _band_part(a: Arguments) -> Tensor:
    x, lower, upper = a["x"], a.integer("lower", -1), a.integer("upper", -1)
    x = x if lower < 0 else x.triu(-lower)
    return x if upper < 0 else x.tril(upper)


def _upsample_nearest(a: Arguments) -> Tensor:
    factors = (a.number("scale_factor_height", 1.0), a.number("scale_factor_width", 1.0))
    return F.interpolate(a["x"], scale_factor=factors, mode="nearest")


def _upsample_bilinear(a: Arguments) -> Tensor:
    factors = (a.number("scale_factor_height", 1.0), a.number("scale_factor_width", 1.0))
    corners = a.flag("align_corners", True)
    if not corners and not a.flag("half_pixel_centers", True):
        raise a.wrong("upsampling without half_pixel_centers is not evaluated")
    return F.interpolate(a["x"], scale_factor=factors, mode="bilinear", align_corners=corners)


MOVEMENT: Mapping[str, Operator] = MappingProxyType(
    {
        "reshape": _reshape,
        "transpose": _transpose,
        "expand_dims": _expand_dims,
        "squeeze": _squeeze,
        "concat": _concat,
        "stack": _stack,
        "split": _split,
        "slice_by_index": _slice_by_index,
        "slice_by_size": _slice_by_size,
        "slice_update": _slice_update,
        "gather": _gather,
        "gather_along_axis": _gather_along_axis,
        "gather_nd": _gather_nd,
        "scatter": _scatter,
        "scatter_along_axis": _scatter_along_axis,
        "scatter_nd": _scatter_nd,
        "pad": _pad,
        "crop": _crop,
        "tile": _tile,
        "reverse": _reverse,
        "shape": _shape,
        "range_1d": _range,
        "fill": _fill,
        "fill_like": _fill_like,
        "one_hot": _one_hot,
        "band_part": _band_part,
        "pixel_shuffle": lambda a: F.pixel_shuffle(a["x"], a.integer("upscale_factor")),
        "upsample_nearest_neighbor": _upsample_nearest,
        "upsample_bilinear": _upsample_bilinear,
    }
)
