"""What the source of a policy says that a policy may not: read, before anything of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

# what would give a decision a clock, chance, the outside, or a memory that is not in what it is given
IMPURE = frozenset(
    {
        *["asyncio", "concurrent", "contextvars", "ctypes", "datetime", "io", "logging", "multiprocessing", "os"],
        *["pathlib", "pickle", "platform", "queue", "random", "secrets", "select", "shutil", "signal", "socket"],
        *["sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid", "warnings"],
        *["aws", "boto3", "importlib", "numpy.random", "requests"],
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input", "eval", "exec", "compile", "__import__", "globals", "id", "hash"})
# what leads from a decision to the world that asks for it, where the future lies
PEEKING = frozenset({"gc", "inspect", "sim", "spotbed", "traceback"})
PEEKING_NAMES = frozenset(
    {
        *["__builtins__", "__closure__", "__code__", "__globals__", "__subclasses__", "__traceback__", "_getframe"],
        *["cr_frame", "f_back", "f_builtins", "f_globals", "f_locals", "gi_frame", "tb_frame"],
    }
)


class Finding(NamedTuple):
    """What stands in a source, and whether it would be a look at the future."""

    line: int
    what: str
    peeks: bool


def findings(source: bytes) -> list[Finding]:
    """All of them, by line; none for what is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    return sorted(each for node in ast.walk(tree) for each in _of(node))


def _of(node: ast.AST) -> Iterator[Finding]:
    if isinstance(node, ast.Import):
        yield from (each for name in node.names for each in _imported(node.lineno, name.name))
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        names = [module, *(f"{module}.{each.name}" for each in node.names)]
        yield from [each for name in names for each in _imported(node.lineno, name)][:1]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
        yield Finding(node.lineno, f"calls {node.func.id}", False)
    elif isinstance(node, ast.Attribute):
        if ast.unparse(node) in ("np.random", "numpy.random"):
            yield Finding(node.lineno, f"uses {ast.unparse(node)}", False)
        elif node.attr in PEEKING_NAMES:
            yield Finding(node.lineno, f"uses {node.attr}", True)
    elif isinstance(node, ast.Constant) and node.value in PEEKING_NAMES:
        yield Finding(node.lineno, f"names {node.value}", True)


def _imported(line: int, module: str) -> Iterator[Finding]:
    first = module.split(".")[0]
    if first in PEEKING or module in IMPURE or first in IMPURE:
        yield Finding(line, f"imports {module}", first in PEEKING)
