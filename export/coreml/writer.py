"""From a MIL program to an .mlpackage whose bytes depend on nothing but the program."""

from __future__ import annotations

import json
import logging
import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vera_mobile.errors import UnsupportedFormat
from vera_mobile.runtime import quiet_stderr

_MODEL = "com.apple.CoreML/model.mlmodel"
_WEIGHTS = "com.apple.CoreML/weights"
# names of the two items, as stable as their place; coremltools makes random ones
_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, "vera-mobile/mlpackage")
# what the backend needs of a finished program: types that files can hold and names that are allowed
_PASSES = (
    "common::dead_code_elimination",
    "mil_backend::adjust_io_to_supported_types",
    "mil_backend::fuse_activation_silu",
    "mil_backend::sanitize_name_strings",
    "common::dedup_op_and_var_names",
)


def write_package(program: Any, path: Path) -> Path:
    """The program (functions of the iOS 18 operator set) as an .mlpackage folder at `path`.

    The same program gives the same bytes. A package that is there is replaced.
    """
    import coremltools as ct
    from coremltools.converters.mil.backend.mil.load import load
    from coremltools.converters.mil.mil.passes.pass_pipeline import (
        PassPipeline,
        PassPipelineManager,
    )

    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    weights = part / "Data" / _WEIGHTS
    weights.mkdir(parents=True)
    with quiet():
        PassPipelineManager.apply_pipeline(program, PassPipeline(list(_PASSES), "vera"))
        model = load(
            program,
            weights_dir=str(weights),
            specification_version=int(ct.target.iOS18),
            convert_to="mlprogram",
            convert_from="milinternal",
        )
    (part / "Data" / _MODEL).write_bytes(model.SerializeToString(deterministic=True))
    (part / "Manifest.json").write_text(_manifest(), encoding="utf-8")
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)
    return path


def load_coremltools() -> None:
    """Imports coremltools, which takes seconds and warns of versions that are no matter here.

    Raises UnsupportedFormat where it is not installed.
    """
    try:
        with quiet():
            import coremltools  # noqa: F401
    except ImportError as error:
        raise UnsupportedFormat(
            f"Core ML export needs coremltools ({error}): pip install coremltools==9.0."
        ) from error


def fresh_names() -> None:
    """Starts the numbers in operator names anew, so that they tell nothing of earlier programs."""
    from coremltools.converters.mil.mil import Builder

    Builder.name_count.clear()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and progress bars of coremltools: they are for its developers."""
    log = logging.getLogger("coremltools")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quiet_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _manifest() -> str:
    def item(path: str, description: str) -> dict[str, str]:
        name = path.rsplit("/", 1)[1]
        return {
            "author": "com.apple.CoreML",
            "description": description,
            "name": name,
            "path": path,
        }

    model, weights = (str(uuid.uuid5(_NAMES, path)).upper() for path in (_MODEL, _WEIGHTS))
    entries = {
        model: item(_MODEL, "CoreML Model Specification"),
        weights: item(_WEIGHTS, "CoreML Model Weights"),
    }
    facts = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": model,
    }
    return json.dumps(facts, indent=4, sort_keys=True) + "\n"
