"""What an operator was given, by parameter name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vera_mobile.errors import BundleError

if TYPE_CHECKING:
    from vera_mobile.export.mil.package import TensorType


class Arguments:
    """Typed access to an operator's parameters; a missing or wrong one is a BundleError.

    outputs: the declared types of its results.
    """

    def __init__(
        self,
        place: str,
        values: dict[str, list[Tensor | str]],
        outputs: Sequence[TensorType] = (),
    ) -> None:
        self.place = place
        self.outputs = outputs
        self._values = values

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def __getitem__(self, name: str) -> Tensor:
        """The tensor that parameter `name` was given."""
        found = self.many(name)
        if len(found) != 1:
            raise self.wrong(f"'{name}' has {len(found)} values in place of one")
        return found[0]

    def get(self, name: str) -> Tensor | None:
        """As [name], or None where it was not given."""
        found = self._values.get(name)
        return self[name] if found else None

    def many(self, name: str) -> list[Tensor]:
        """All tensors that a parameter was given."""
        found = self._values.get(name)
        if not found:
            raise self.wrong(f"'{name}' is missing")
        tensors = [one for one in found if isinstance(one, Tensor)]
        if len(tensors) != len(found):
            raise self.wrong(f"'{name}' is text")
        return tensors

    def value(self, name: str) -> Tensor | str:
        """The one value of a parameter, a tensor or text."""
        found = self._values.get(name, [])
        if len(found) != 1:
            raise self.wrong(f"'{name}' has {len(found)} values in place of one")
        return found[0]

    def tensors(self) -> list[Tensor]:
        """Every tensor that is not empty."""
        every = (one for values in self._values.values() for one in values)
        return [one for one in every if isinstance(one, Tensor) and one.numel()]

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """A list of whole numbers, also from a scalar."""
        if name not in self and default is not None:
            return list(default)
        return [int(value) for value in self[name].reshape(-1).tolist()]

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        (value,) = self.ints(name, None if default is None else (default,))
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number."""
        if name not in self and default is not None:
            return default
        return float(self[name].reshape(-1)[0])

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or False."""
        if name not in self and default is not None:
            return default
        return bool(self[name].reshape(-1)[0])

    def flags(self, name: str, count: int) -> list[bool]:
        """True or False per dimension; all False where it was not given."""
        found = self.get(name)
        return [False] * count if found is None else [bool(v) for v in found.tolist()]

    def text(self, name: str, default: str | None = None) -> str:
        """A word."""
        found = self._values.get(name)
        if not found and default is not None:
            return default
        if not found or not isinstance(found[0], str):
            raise self.wrong(f"'{name}' is no text")
        return found[0]

    def dtype(self, position: int = 0) -> torch.dtype:
        """What the result at `position` is computed with."""
        kind = self.outputs[position].kind
        return torch.float32 if kind is None else kind.compute

    def wrong(self, what: str) -> BundleError:
        """The error that says so, with the operator's place."""
        return BundleError(f"{self.place}: {what}; export the package again.")
