"""The tokenizer of benchmarks/seeded.py: what it decides is how long a prompt of the bench is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT

from vera_mobile.model.config import vera_0_5b
from vera_mobile.model.tokens import Vocabulary


@pytest.fixture(scope="module")
def seeded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seeded", ROOT / "benchmarks" / "seeded.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_prompt_is_as_long_as_the_public_one(seeded: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    seeded.seeded_tokenizer().save(str(file))
    vocabulary = Vocabulary.load(file)
    assert vocabulary.retouch == (151646, 151647, 151648)  # as the public checkpoint numbers them
    prompt = vocabulary.auto(np.zeros((1, 3, 8, 8)))
    words = len(prompt.before) + len(prompt.after)
    # a word or a mark of the prompt is a token: 68; one token a byte would be 269
    assert 60 <= words <= 80
    assert 310 <= words + vera_0_5b().vision.tokens <= 340
    assert vocabulary.decode(vocabulary.encode("Hélas: 7 blü!")) == "Hélas: 7 blü!"
