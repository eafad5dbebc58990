"""Scalars and example pictures for TensorBoard, where the config asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vera_mobile.errors import InvalidArgument

GAP = 4  # white pixels between the pictures of a row


class Board:
    """Event files in `folder`; with None nothing is written.

    Raises InvalidArgument when the tensorboard package is missing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.open = folder is not None
        self.writer: Any = None
        if self.open:
            _writer_class()

    def start(self, step: int) -> None:
        """Opens the files; what an earlier process wrote after `step` no longer counts."""
        if self.open:
            self.writer = _writer_class()(str(self.folder), purge_step=step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
            self.writer.flush()

    def pictures(self, step: int, name: str, *columns: Tensor) -> None:
        """Rows of pictures, side by side: (n, H, W, 3) encoded sRGB in [0, 1] per column."""
        if self.writer is not None:
            self.writer.add_image(name, sheet(*columns), step, dataformats="HWC")
            self.writer.flush()

    def text(self, step: int, name: str, lines: list[str]) -> None:
        """A list of texts."""
        if self.writer is not None:
            self.writer.add_text(name, "\n\n".join(lines), step)


def sheet(*columns: Tensor) -> np.ndarray:
    """The pictures (n, H, W, 3) of each column as one (H', W', 3) uint8, with white gaps."""
    rows = []
    for pictures in zip(*columns, strict=True):
        cells = [np.pad(p.detach().float().cpu().numpy(), ((GAP, GAP), (GAP, GAP), (0, 0)),
                        constant_values=1.0) for p in pictures]  # fmt: skip
        rows.append(np.concatenate(cells, 1))
    return np.round(np.concatenate(rows, 0).clip(0, 1) * 255).astype(np.uint8)


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as e:
        raise InvalidArgument(
            "tensorboard=true needs the tensorboard package: "
            "pip install 'vera-mobile[train]', or leave it out with --set tensorboard=false"
        ) from e
    return SummaryWriter
