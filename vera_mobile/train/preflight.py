"""What a run needs of the machine, checked before its first step."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vera_mobile.errors import FileError, OutOfMemory
from vera_mobile.train.parallel import ALONE, Group


@dataclass(frozen=True)
class Needs:
    """What a run takes: bytes of weights, gradients and optimizer per process, without
    activations; bytes of its state file."""

    memory_bytes: int
    state_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.memory_bytes / 2**30:.2f} GiB for weights, gradients and optimizer without "
            f"activations, {self.state_bytes / 2**30:.2f} GiB per saved state"
        )


def needs(module: nn.Module, processes: int = 1) -> Needs:
    """What training `module` in float32 with AdamW takes: 16 bytes for a weight that learns
    (itself, gradient, two moments), shared by the processes, and 4 for one that does not."""
    learned = sum(p.numel() for p in module.parameters() if p.requires_grad)
    held = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    memory = (held + 12 * learned) // processes
    return Needs(memory, held + 8 * learned)


def check_room(needed: Needs, out: Path, group: Group = ALONE) -> None:
    """FileError when the disk of `out` cannot hold two states (the old and the new one),
    OutOfMemory when the machine's memory is less than what weights and optimizer take."""
    place = out
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < 2 * needed.state_bytes:
        raise FileError(
            f"{out}: {free / 2**30:.2f} GiB are free and two states of this run take "
            f"{2 * needed.state_bytes / 2**30:.2f} GiB; choose another --out"
        )
    if group.device.type == "cuda":
        memory = torch.cuda.mem_get_info(group.device)[1]
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory < needed.memory_bytes:
        raise OutOfMemory(
            f"training takes {needed} and there are {memory / 2**30:.2f} GiB; use more processes, "
            "lora_rank, vision_frozen or a smaller model"
        )
