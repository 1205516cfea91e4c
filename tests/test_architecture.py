"""The house rules, as tests: who may import whom, how long things may be, and what must not be found anywhere."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import aws
import scheduler
import sim

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("aws", "scheduler", "sim", "spotbed")
TEMPLATES = "templates"  # files that `init` copies to a user: notebooks, not modules
LONGEST_FILE = 700
LONGER = {"aws/wrapper.py": 840}  # an instance gets this one file and nothing else of ours
LONGEST_FUNCTION = 70
# A ratchet: lower these when the code allows it, never raise them. h11, which we look up to, has 6 and 30.
MEDIAN_FUNCTION = 7
P90_FUNCTION = 30
# What would give the decisions a clock, chance, the outside, or a memory that is not in their state.
IMPURE = {
    *[
        "asyncio",
        "concurrent",
        "contextvars",
        "ctypes",
        "datetime",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
    ],
    *["pickle", "platform", "queue", "random", "secrets", "select", "shutil", "signal", "socket", "ssl", "subprocess"],
    *["sys", "tempfile", "threading", "time", "urllib", "uuid", "warnings"],
}
IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "globals", "id", "hash"}
WRITES_CONSTRUCTORS = ("scheduler/record.py", "exec")  # as `dataclasses` does

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> dict[str, ast.Module]:
    """The syntax trees of all our modules, by path relative to the root."""
    paths = sorted(
        path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if TEMPLATES not in path.parts
    )
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions() -> Iterator[tuple[str, Function, int]]:
    """Every function with its place and its number of lines, docstring excluded."""
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{path}:{node.lineno} {node.name}", node, body_lines(node)


def body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every module imported, at any depth of the tree; relative ones start with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scheduler_imports_without_site_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import scheduler"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_packages_are_ours_and_not_their_namesakes() -> None:
    for module in (aws, scheduler, sim):
        assert Path(str(module.__file__)).resolve().is_relative_to(ROOT)


def test_the_scheduler_uses_the_pure_part_of_the_standard_library_only() -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path, tree in sources().items()
        if path.startswith("scheduler/")
        for line, name in imports(tree)
        if not is_pure(name)
    ]
    assert wrong == []


def is_pure(name: str) -> bool:
    top = name.split(".")[0]
    if top in ("", "scheduler"):
        return True
    return top in sys.stdlib_module_names and top not in IMPURE


def test_the_scheduler_calls_nothing_impure() -> None:
    wrong = [
        f"{path}:{node.lineno} calls {node.func.id}"
        for path, tree in sources().items()
        if path.startswith("scheduler/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
        if (path, node.func.id) != WRITES_CONSTRUCTORS
    ]
    assert wrong == []


def test_the_scheduler_has_no_state_of_its_own() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        if path.startswith("scheduler/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Global)
    ]
    assert wrong == []


def test_the_simulator_and_aws_do_not_know_each_other() -> None:
    for path, tree in sources().items():
        tops = {name.split(".")[0] for _, name in imports(tree)}
        assert not (path.startswith("sim/") and "aws" in tops), path
        assert not (path.startswith("aws/") and "sim" in tops), path


def test_nothing_asks_whether_it_is_simulated() -> None:
    wrong = [
        f"{path}:{condition.lineno}"
        for path, tree in sources().items()
        for condition in conditions(tree)
        for node in ast.walk(condition)
        if "simulat" in str(getattr(node, "id", getattr(node, "attr", ""))).lower()
    ]
    assert wrong == []


def conditions(tree: ast.Module) -> Iterator[ast.expr]:
    """What `if`, `elif`, `while`, conditional expressions and comprehensions ask."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs


def test_no_file_is_too_long() -> None:
    lengths = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in sources()}
    assert {path: length for path, length in lengths.items() if length > LONGER.get(str(path), LONGEST_FILE)} == {}


def test_no_function_is_too_long() -> None:
    assert [f"{place} {lines}" for place, _, lines in functions() if lines > LONGEST_FUNCTION] == []


def test_functions_stay_short() -> None:
    lengths = sorted(lines for _, _, lines in functions())
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert lengths[int(len(lengths) * 0.9)] <= P90_FUNCTION


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path, tree in sources().items() if tree.body and ast.get_docstring(tree) is None]
    assert silent == []


def test_no_test_folder_shadows_a_package() -> None:
    assert [name for name in PACKAGES if (ROOT / "tests" / name / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_lint(command: list[str]) -> None:
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run([tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
