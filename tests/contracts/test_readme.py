"""What README.md shows works: its Python runs, its commands parse, its files exist."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from vera_mobile.cli import build_parser
from vera_mobile.image import Photo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Contents of the fenced blocks of one language ("" for none)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [content for name, content in fenced if name == language]


def shell_lines() -> list[str]:
    """Commands of the sh blocks without comments, continued lines joined."""
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    return [shlex.join(words) for line in text.splitlines() if (words := shlex.split(line, True))]


VERA = [line for line in shell_lines() if shlex.split(line)[0] == "vera"]


def tree_paths() -> list[str]:
    """Paths of the tree block, each under the folder that its indent says."""
    paths: list[str] = []
    parents: dict[int, str] = {}
    for line in "\n".join(blocks("")).splitlines():
        match = re.match(r"^( *)([\w./-]+)", line)
        if match:
            indent, name = len(match[1]), match[2]
            above = [parents[i] for i in sorted(parents) if i < indent]
            path = f"{above[-1]}{name}" if above else name
            paths.append(path)
            parents = {i: p for i, p in parents.items() if i < indent}
            if name.endswith("/"):
                parents[indent] = path
    return paths


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_python_blocks_run(
    code: str, tmp_path: Path, photo: Photo, nano_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo.save(tmp_path / "photo.jpg")
    (tmp_path / "vera.bundle").symlink_to(nano_bundle)
    (tmp_path / "block.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("block.py")
    for name in re.findall(r'\.save(?:_cube)?\("([^"]+)"', code):
        assert (tmp_path / name).stat().st_size > 100, name


@pytest.mark.parametrize("line", VERA)
def test_vera_commands_parse(line: str) -> None:
    args = build_parser().parse_args(shlex.split(line)[1:])
    assert callable(args.run)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)\b", "\n".join(re.findall(r"`[^`]+`", README))))
    named |= {shlex.split(line)[1] for line in shell_lines() if line.startswith("make ")}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_the_tree_names_what_is_there() -> None:
    paths = tree_paths()
    assert len(paths) > 5
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing
    assert all((ROOT / path).is_dir() for path in paths if path.endswith("/"))


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    missing = [to for to in links if "://" not in to and not (ROOT / to).exists()]
    assert not missing


def test_no_figure_is_left_open() -> None:
    assert not re.findall(r"@[A-Z_]+@", README)


def test_there_is_something_to_check() -> None:
    assert blocks("python")
    assert {shlex.split(line)[1] for line in VERA} >= {"export", "retouch", "verify"}
