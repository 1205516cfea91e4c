"""The code that is deployed, as one zip: the whole core, the functions with what they import, and the user's policy.

The same inputs give the same bytes on any machine: sorted names, one timestamp, nothing compressed (zlib's output
differs between its versions). What the functions import is followed through their source; a module that Lambda's Python
does not have is refused with the chain that leads to it.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotbed.errors import InputError, Problem

ROOT = Path(__file__).resolve().parent.parent
HANDLERS = ("aws.functions",)
DEPLOYERS = {
    *("aws.plan", "aws.package", "aws.policy_json", "aws.target", "aws.prediction", "aws.evidence"),
    *("aws.refusals", "aws.change_set", "aws.idle", "aws.render", "aws.wrapper"),
    *("aws.account", "aws.buckets", "aws.deployed", "aws.formation", "aws.outside", "aws.quotas", "aws.removal"),
    *("aws.session", "aws.stack"),
}  # what runs on the user's machine, or on an instance
POLICY_FILE, POOLS_FILE, USER_PACKAGE = "policy.json", "pools.json", "user_policies"
_OURS = ("aws", "scheduler", "sim", "spotbed")
_LEFT_OUT = ("aws.local", "sim", "spotbed.cli")
_GIVEN = {"boto3", "botocore"}  # part of Lambda's Python
_NEVER_CALLED = {("spotbed.journal", "orjson")}  # imported only where a journal is hashed, which no function does
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can carry
_MODE = 0o644 << 16
_UNIX = 3


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """One file of the zip, or of what is deployed beside it."""

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Package:
    """The files of the zip in their order, and the zip itself."""

    files: tuple[PackagedFile, ...]
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def build_package(
    policy: Mapping[str, Any],
    pools: Sequence[Mapping[str, Any]],
    sources: Mapping[str, str],
    *,
    root: Path = ROOT,
    handlers: Sequence[str] = HANDLERS,
) -> Package:
    """The zip. `policy` and `pools` are plain JSON values; `sources` the text of the user's modules by path in the zip.

    Raises InputError for a user's module that needs what Lambda does not have, with file and line.
    """
    files = {path: (root / path).read_bytes() for path in function_files(root, handlers)}
    files.update({path: text.encode() for path, text in sources.items()})
    if sources:
        files[f"{USER_PACKAGE}/__init__.py"] = b""
    files[POLICY_FILE], files[POOLS_FILE] = _json(policy), _json(pools)
    ordered = tuple(PackagedFile(path, files[path]) for path in sorted(files))
    return Package(ordered, _zipped(ordered))


def stack_files(root: Path = ROOT) -> tuple[PackagedFile, ...]:
    """What is deployed beside the zip: templates and what renders them, documents, the state machine, and the
    wrapper on the instances."""
    folder = root / "aws"
    paths = [path for kind in ("templates", "documents") for path in (folder / kind).rglob("*") if path.is_file()]
    paths += [*folder.glob("*.asl.json"), *folder.glob("render.py"), *folder.glob("wrapper.py")]
    names = sorted((path.relative_to(root).as_posix(), path) for path in paths if "__pycache__" not in path.parts)
    return tuple(PackagedFile(name, path.read_bytes()) for name, path in names)


def user_module(file_name: str, source: bytes) -> tuple[str, str]:
    """(module, path in the zip) of a user's policy file: named by its content, so that two versions never mix."""
    stem = "".join(letter if letter.isalnum() else "_" for letter in Path(file_name).stem)
    name = f"{stem}_{hashlib.sha256(source).hexdigest()[:8]}"
    return f"{USER_PACKAGE}.{name}", f"{USER_PACKAGE}/{name}.py"


def check_user_source(file: str, source: bytes) -> None:
    """Raise InputError unless a user's policy imports only the core and the standard library."""
    problems = []
    for line, names in _imports(ast.parse(source), deep=True):
        top = names[0].split(".")[0]
        if top != "scheduler" and top not in sys.stdlib_module_names:
            hint = "What is deployed has the standard library and `scheduler` only: carry what you need in this file."
            problems.append(Problem(f"imports {top or 'a module beside it'!r}.", file, line, value=top, hint=hint))
    if problems:
        raise InputError(problems)


# what the functions import
def function_files(root: Path = ROOT, handlers: Sequence[str] = HANDLERS) -> list[str]:
    """The whole core, and every module that the handlers reach, as paths below `root`.

    Raises ValueError if they reach a module that Lambda's Python does not have: that is our mistake.
    """
    found = {path.relative_to(root).as_posix() for path in (root / "scheduler").rglob("*.py")}
    todo: list[tuple[str, ...]] = [(name,) for name in handlers]
    seen: set[str] = set()
    while todo:
        chain = todo.pop()
        name = chain[-1]
        if name in seen:
            continue
        seen.add(name)
        if name in DEPLOYERS or name.startswith(_LEFT_OUT):
            raise ValueError(f"no function may import {name}: {' -> '.join(chain)}")
        for module, deep in (*((parent, False) for parent in _parents(name)), (name, True)):
            file = _file(root, module)
            if file is not None:
                found.add(file.relative_to(root).as_posix())
                todo += [(*chain, each) for each in _reached(root, module, file, chain, deep=deep)]
    return sorted(found)


def _reached(root: Path, module: str, file: Path, chain: Sequence[str], *, deep: bool) -> Iterator[str]:
    """The modules of ours that a module imports."""
    for line, names in _imports(ast.parse(file.read_bytes()), deep=deep):
        top = names[0].split(".")[0]
        if top in _OURS:
            yield from (name for name in names if _file(root, name) is not None)
        elif top not in sys.stdlib_module_names and top not in _GIVEN and (module, top) not in _NEVER_CALLED:
            raise ValueError(f"Lambda has no {top}: {' -> '.join(chain)} imports it at {file.name}:{line}")


def _imports(tree: ast.AST, *, deep: bool) -> Iterator[tuple[int, list[str]]]:
    """(line, what may be modules) of each import; only those outside of functions unless `deep`. What is imported for
    types only is left out. A parent package is only imported, and its functions are called by nobody."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, [each.name]) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "" if node.level else node.module or ""
            yield node.lineno, [module, *(f"{module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from (each for branch in node.orelse for each in _imports(branch, deep=deep))
        elif deep or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(node, deep=deep)


def _parents(name: str) -> list[str]:
    steps = name.split(".")
    return [".".join(steps[:count]) for count in range(1, len(steps))]


def _file(root: Path, name: str) -> Path | None:
    base = root.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


# bytes
def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _zipped(files: Sequence[PackagedFile]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            info = zipfile.ZipInfo(file.path, _TIMESTAMP)
            info.external_attr, info.create_system = _MODE, _UNIX
            archive.writestr(info, file.content)
    return stream.getvalue()
