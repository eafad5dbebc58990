"""Rules of the repository that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_BYTES = 5 * 2**20
ASSETS = "vera_mobile/assets/"
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
NETWORK_MODULES = {"socket", "ssl", "urllib.request", "http.client", "requests", "httpx", "aiohttp"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "compile"}
# put together here, so that this file does not hold the words that it looks for
OPEN_ENDS = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "Not" + "ImplementedError")))
MACHINE_PATHS = re.compile(r"(?<![\w.~$}/-])/(?:work|home|root|Users|tmp|mnt|media)/(?!me/)\w")


def files() -> list[Path]:
    """Files of the repository: tracked, or new and not ignored."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    found = [ROOT / name for name in done.stdout.split("\0") if name]
    return [file for file in found if file.is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every text file."""
    for file in files():
        raw = file.read_bytes()
        if b"\0" not in raw[:8000]:
            yield file.relative_to(ROOT).as_posix(), raw.decode("utf-8", "replace")


def package_trees() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("vera_mobile", "export"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def matching_lines(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def keywords(call: ast.Call) -> dict[str, str]:
    return {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}


def unsafe(call: ast.Call) -> bool:
    """True for a call that may run what a file or an argument holds."""
    called, given = ast.unparse(call.func), keywords(call)
    if called == "torch.load":
        return given.get("weights_only") != "True"
    if called == "np.load":
        return given.get("allow_pickle") != "False"
    return called in UNSAFE_CALLS or given.get("shell", "False") != "False"


def test_the_rules_see_what_they_forbid() -> None:
    bad = ("torch.load(f)", "np.load(f)", "eval(x)", "run(c, shell=True)", "os.system(c)")
    good = ("torch.load(f, weights_only=True)", "np.load(f, allow_pickle=False)", "m.eval()")
    calls = {text: next(ast.walk(ast.parse(text, mode="eval").body)) for text in bad + good}
    found = {text for text, call in calls.items() if isinstance(call, ast.Call) and unsafe(call)}
    assert found == set(bad)
    assert MACHINE_PATHS.search('open("/' + 'home/someone/x")')
    assert not MACHINE_PATHS.search("/home/me/x stands for any user in tests")
    assert not MACHINE_PATHS.search("https://example.org/home/x and build/tmp/x")


def test_nothing_in_the_package_runs_foreign_code() -> None:
    wrong = [
        f"{name}:{node.lineno}: {ast.unparse(node.func)}"
        for name, tree in package_trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and unsafe(node)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("modules", [UNSAFE_MODULES, NETWORK_MODULES], ids=["pickle", "network"])
def test_the_package_never_imports(modules: set[str]) -> None:
    wrong = []
    for name, tree in package_trees():
        for node in ast.walk(tree):
            imported: list[str] = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [f"{node.module}.{alias.name}" for alias in node.names]
            wrong += [
                f"{name}: {module}"
                for module in imported
                if any(f"{module}.".startswith(f"{one}.") for one in modules)
            ]
    assert not wrong, "\n".join(wrong)


def test_only_assets_are_large() -> None:
    large = [
        f"{name}: {file.stat().st_size / 2**20:.1f} MiB"
        for file in files()
        if file.stat().st_size > MAX_BYTES
        and not (name := file.relative_to(ROOT).as_posix()).startswith(ASSETS)
    ]
    assert not large, "\n".join(large)


def test_nothing_is_left_open() -> None:
    found = matching_lines(OPEN_ENDS)
    assert not found, "\n".join(found)


def test_no_paths_of_a_machine() -> None:
    found = matching_lines(MACHINE_PATHS)
    assert not found, "\n".join(found)
