"""Several processes for one run: who am I, my share of the weights, whole tensors again.

Started by `torchrun`; weights, gradients and optimizer state are sharded by FSDP2
(torch.distributed.fsdp.fully_shard). Every process draws the same batch from (seed, step) and
learns from its own rows, so the result does not depend on how many there are but for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument


@dataclass(frozen=True)
class Group:
    """The processes of a run: my number, how many there are, the device of this one."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """True in the one process that writes and shows."""
        return self.rank == 0

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.size > 1:
            dist.barrier()

    def total(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """The sums of the values over all processes; all must call it with the same names."""
        joint = torch.stack([v.detach().double() for v in values.values()])
        if self.size > 1:
            dist.all_reduce(joint)
        return dict(zip(values, joint.tolist(), strict=True))


ALONE = Group(0, 1, torch.device("cpu"))


@contextmanager
def group_of(device: str) -> Iterator[Group]:
    """The group that torchrun started, or this process alone.

    device: "cpu" (gloo) or "cuda" (nccl). Raises InvalidArgument for cuda without a GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidArgument(
            "device is 'cuda', and PyTorch finds no GPU here: use --set device=cpu"
        )
    size = int(os.environ.get("WORLD_SIZE", "1"))
    place = torch.device(device)
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if size == 1:
        yield Group(0, 1, place)
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), size, place)
    finally:
        dist.destroy_process_group()


def refuse_many(group: Group, stage: str) -> None:
    """InvalidArgument unless the run has one process."""
    if group.size > 1:
        raise InvalidArgument(
            f"{stage} runs in one process, not in {group.size}: start it without torchrun"
        )


def shard_(root: nn.Module, units: list[nn.Module], group: Group) -> None:
    """Shards the weights of `root` over the group, in place; each unit is gathered only while it
    runs, what belongs to no unit for the whole step. Only calls of `root` itself may use them."""
    if group.size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(group.device.type, (group.size,))
    for unit in units:
        fully_shard(unit, mesh=mesh)
    fully_shard(root, mesh=mesh, reshard_after_forward=False)


def load_sharded_(module: nn.Module, weights: dict[str, Any]) -> None:
    """Puts whole weights into a sharded module, each process its part."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(module, weights, options=StateDictOptions(full_state_dict=True))


def whole(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, gathered from all processes where it is sharded."""
    from torch.distributed.tensor import DTensor

    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous()


def placed_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A copy of a whole tensor, placed and sharded as `like` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(like, DTensor):
        moved = tensor.to(like.device_mesh.device_type)
        return distribute_tensor(moved, like.device_mesh, like.placements)
    return tensor.to(like.device, copy=True)
