"""What many tests share: the bundled nano as a bundle, exported once, and retouchers on it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from vera_mobile import __version__
from vera_mobile.assets import checkpoint_folder
from vera_mobile.bundle import sha256_of
from vera_mobile.cli import main
from vera_mobile.image import Photo
from vera_mobile.retoucher import Retoucher

ROOT = Path(__file__).parents[1]
RECIPE = "android-int4"
TOOLS = ("torch", "executorch", "torchao")
SOURCES = (
    "export/*.py",
    "kernels/ops/decoder/*",
    "kernels/ops/vision/*",
    "vera_mobile/model/*.py",
    "vera_mobile/quant/*.py",
    "kernels/ops/bake/*",
    "vera_mobile/native/*.py",
    "vera_mobile/bundle.py",
    "vera_mobile/runtime.py",
)
DAY_S = 86_400


def _key() -> str:
    """Changes with everything that the bundle is made of."""
    digest = hashlib.sha256(f"{RECIPE} {__version__}".encode())
    for tool in TOOLS:
        digest.update(f"{tool} {version(tool)}".encode())
    files = [p for p in checkpoint_folder("nano").iterdir() if p.is_file()]
    files += [file for pattern in SOURCES for file in ROOT.glob(pattern)]
    for file in sorted(files):
        digest.update(f"{file.relative_to(ROOT)} {sha256_of(file)}".encode())
    return digest.hexdigest()[:16]


def _export(folder: Path) -> None:
    from vera_mobile.export.commands import sample_pixels
    from vera_mobile.export.pipeline import export_bundle
    from vera_mobile.export.recipes import recipe
    from vera_mobile.model.load import load_checkpoint

    source = checkpoint_folder("nano")
    model = load_checkpoint(source)
    export_bundle(
        model,
        source / "tokenizer.json",
        recipe(RECIPE),
        folder,
        calibration=sample_pixels(model.config, None),
        overwrite=True,
    )


@pytest.fixture(scope="session")
def nano_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the bundled nano as android-int4; read it, or copy it to change it.

    Takes about a minute on one core, then comes from pytest's cache until a source changes.
    """
    cache = getattr(request.config, "cache", None)
    base = cache.mkdir("vera-bundles") if cache else tmp_path_factory.mktemp("vera-bundles")
    folder = base / f"nano-{_key()}"
    with (base / "lock").open("w") as lock:  # several processes of one run want it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "bundle.json").is_file():
            _export(folder)
    for other in base.glob("nano-*"):
        if other != folder and time.time() - other.stat().st_mtime > DAY_S:
            shutil.rmtree(other, ignore_errors=True)
    return folder


@pytest.fixture
def bundle_copy(nano_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(nano_bundle, tmp_path / "copy.bundle"))


@pytest.fixture(scope="session")
def retoucher(nano_bundle: Path) -> Retoucher:
    """The bundle through ExecuTorch, used once: its first load in a process prints to sys.stderr,
    where a test may look for messages."""
    made = Retoucher.load(nano_bundle)
    made.plan(Photo.from_array(np.zeros((8, 8, 3), np.uint8)))
    return made


@pytest.fixture(scope="session")
def torch_retoucher() -> Retoucher:
    """The checkpoint through PyTorch in float32."""
    return Retoucher.load(checkpoint_folder("nano"))


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """(200, 300, 3) uint8 sRGB: a photo of a cup."""
    from skimage import data

    return np.ascontiguousarray(data.coffee()[::2, ::2])


@pytest.fixture(scope="session")
def photo(picture: np.ndarray) -> Photo:
    """The cup as a Photo."""
    return Photo.from_array(picture, format="JPEG")


@dataclass(frozen=True)
class Outcome:
    """What a run of `vera` gave."""

    code: int
    out: str
    err: str


Vera = Callable[..., Outcome]


@pytest.fixture
def vera(capsys: pytest.CaptureFixture[str]) -> Vera:
    """Runs `vera ARGUMENTS` in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as e:
            code = int(e.code or 0)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, temporary ones included."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
