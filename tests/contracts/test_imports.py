"""The direction of imports, what may print, and that importing does no work."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "vera_mobile"
EXPORT = "vera_mobile.export"

# A unit may import units of earlier lines only, inside functions and for types too.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("files",),
    ("page",),
    ("color", "develop", "native", "assets"),
    ("image",),  # image.py and its parts image_*.py
    ("bundle",),
    ("look",),
    ("model", "quant"),
    ("planner_inputs", "executorch_runtime"),
    ("runtime", "sampling"),
    ("retoucher",),
    ("train", "report"),
    ("bench", "compare", "serve"),
    ("measure",),
    ("cli",),  # it finds the commands by entry points
    ("commands",),
)
LEVEL_OF = {unit: i for i, level in enumerate(LEVELS) for unit in level}
MAY_PRINT = ("vera_mobile/cli.py", "export/worker.py")  # the worker is a process of its own
STREAMS = ("stdout", "stderr")


def python_files(*folders: str) -> list[Path]:
    found = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return [file for file in found if "_lib" not in file.parts]


LIBRARY, EXPORTER = python_files("vera_mobile"), python_files("export")


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of every import anywhere in a file, `from a import b` as a.b."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def unit_of(module: str) -> str | None:
    """The unit of `vera_mobile.unit...`; None for other modules and names of the package itself."""
    parts = module.split(".")
    if parts[0] != PACKAGE or len(parts) < 2:
        return None
    unit = "image" if parts[1].startswith("image") else parts[1]
    return unit if unit in LEVEL_OF else None


def own_unit(file: Path) -> str:
    first = file.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")
    return "image" if first.startswith("image") else first


def test_every_unit_has_a_level() -> None:
    found = {own_unit(file) for file in LIBRARY} - {"__init__"}
    assert found == set(LEVEL_OF)


def test_imports_go_one_way() -> None:
    wrong = []
    for file in LIBRARY:
        own = own_unit(file)
        if own == "__init__":
            continue
        for line, module in imports(file):
            unit = unit_of(module)
            if unit and unit != own and LEVEL_OF[unit] >= LEVEL_OF[own]:
                wrong.append(f"{name_of(file)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_library_imports_neither_the_export_nor_tests() -> None:
    outside = (EXPORT, "tests", "benchmarks", "conftest")
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for file in LIBRARY
        for line, module in imports(file)
        if any(module == name or module.startswith(f"{name}.") for name in outside)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_export_is_imported_by_its_one_name() -> None:
    files = [*LIBRARY, *EXPORTER, *python_files("tests", "benchmarks")]
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for file in files
        for line, module in imports(file)
        if module.split(".")[0] in ("export", "")
    ]
    assert not wrong, "\n".join(wrong)
    assert any(module.startswith(f"{EXPORT}.") for f in EXPORTER for _, module in imports(f))


def spoken(file: Path) -> Iterator[int]:
    """Lines that print, write to a standard stream or end the process."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Raise) and "SystemExit" in ast.unparse(node):
            yield node.lineno
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            streams = [f"sys.{name}.write" for name in STREAMS]
            if called in ("print", "exit", "quit", "sys.exit", "os._exit", *streams):
                yield node.lineno


def test_only_the_command_line_prints_or_exits() -> None:
    wrong = [
        f"{name_of(file)}:{line}"
        for file in (*LIBRARY, *EXPORTER)
        if name_of(file) not in MAY_PRINT
        for line in spoken(file)
    ]
    assert not wrong, "\n".join(wrong)
    assert all(list(spoken(ROOT / name)) for name in MAY_PRINT)


def works_at_import(node: ast.stmt) -> bool:
    """True for a statement of a module that does more than define, import or name a value."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) not in ("TYPE_CHECKING", "__name__ == '__main__'")
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return isinstance(node, (ast.For, ast.While, ast.With, ast.Try, ast.Delete, ast.Assert))


def test_modules_only_define() -> None:
    wrong = [
        f"{name_of(file)}:{node.lineno}"
        for file in (*LIBRARY, *EXPORTER)
        for node in ast.parse(file.read_text()).body
        if works_at_import(node)
    ]
    # the operators that export and calibration share exist once their library is registered
    assert not [place for place in wrong if not place.startswith("export/ops.py")], wrong


@pytest.mark.parametrize(
    "code",
    [
        "import vera_mobile",
        "import vera_mobile.cli; vera_mobile.cli.build_parser()",
        "from vera_mobile.errors import VeraError",
    ],
)
def test_importing_does_not_load_pytorch(code: str) -> None:
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "vera_mobile" in loaded
    heavy = {"torch", "executorch", "torchao", "transformers", "PIL", "tokenizers"}
    assert not loaded & heavy


def test_public_names_are_where_they_are_said_to_be() -> None:
    import vera_mobile

    for name in vera_mobile.__all__:
        assert getattr(vera_mobile, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Retouch'"):
        vera_mobile.Retouch  # noqa: B018 - the access is the test
