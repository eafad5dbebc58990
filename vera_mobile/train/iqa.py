"""Published picture metrics through pyiqa, an optional package, and never over the network.

pyiqa loads weights when a metric is made: from the folder `pyiqa` in PyTorch's hub folder (by the
file name of their address), CLIP from `~/.cache/clip` or `clip` in the hub folder, Q-Align from the
Hugging Face cache (q-future/one-align). Where a file is missing it would download it; here that is
an error that says which file.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vera_mobile.errors import ModelError

PACKAGE = "pyiqa"
_NETWORK_EVENTS = ("urllib.Request", "socket.getaddrinfo", "socket.connect")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_guard = threading.local()
_installed: list[str] = []


class _NetworkRefused(BaseException):
    """Past every `except Exception` of the code that tried; ends in `without_network`."""


def load_metric(name: str) -> Any:
    """pyiqa's metric of that name on the CPU, called with pictures (B, 3, H, W) in [0, 1].

    Raises ModelError when pyiqa is not installed, or its weights are not on this machine (the
    message says which file and where to put it).
    """
    try:
        with without_network(name):  # imports too: they read whether to stay offline
            return importlib.import_module(PACKAGE).create_metric(name, device="cpu")
    except ModelError:
        raise
    except ImportError as e:
        raise ModelError(
            f"{name} needs the package {PACKAGE}, which cannot be imported ({e}): install it with "
            f"`pip install {PACKAGE}`."
        ) from e
    except Exception as e:
        raise ModelError(f"{name}: {PACKAGE} cannot load it ({e}). {_where()}") from e


@contextmanager
def without_network(name: str) -> Iterator[None]:
    """Turns any attempt of this thread to reach the network into a ModelError.

    Works by Python's audit events, whatever library tries; Hugging Face libraries are told to stay
    offline. Other threads are not affected.
    """
    if not _installed:
        sys.addaudithook(_refuse)
        _installed.append(PACKAGE)
    before = {key: os.environ.get(key) for key in _OFFLINE}
    os.environ.update(_OFFLINE)
    _guard.active = True
    try:
        yield
    except _NetworkRefused as e:
        raise ModelError(f"{name}: its weights are not on this machine: {e}. {_where()}") from e
    finally:
        _guard.active = False
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in _NETWORK_EVENTS and getattr(_guard, "active", False):
        wanted = args[1] if event == "socket.connect" else args[0]
        raise _NetworkRefused(f"it asks for {wanted}")


def _where() -> str:
    import torch

    hub = torch.hub.get_dir()
    return (
        f"Nothing is downloaded here: put the file, under the last part of its address, into "
        f"{hub}/pyiqa (CLIP: ~/.cache/clip or {hub}/clip; Q-Align: the Hugging Face cache)."
    )
