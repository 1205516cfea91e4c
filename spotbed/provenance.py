"""Where a result comes from: versions, seeds, hashes of every input, the state of the code, the command."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spotbed.build import Blueprint

_PACKAGES = ("duckdb", "numpy", "pandas", "pydantic", "scipy", "simpy")


def provenance(
    command: Sequence[str],
    inputs: Mapping[str, Path],
    seeds: Mapping[str, int],
    *,
    price_book_date: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """What `provenance.json` says; `more` is added as it is.

    `command` is the command line without the interpreter. Paths are relative to the current folder where they can be,
    so that the file names neither the user nor the machine. Raises OSError if an input cannot be read.
    """
    return {
        "schema_version": 1,
        "command": [_shown(part) for part in command],
        "seeds": dict(seeds),
        "inputs": {name: {"path": relative(path), "sha256": file_sha256(path)} for name, path in inputs.items()},
        "scheduler_sha256": scheduler_sha256(),
        "price_book_date": price_book_date,
        "versions": versions(),
        "git": git_state(),
        "platform": {"system": platform.system(), "machine": platform.machine()},
        **more,
    }


def of_scenario(made: Blueprint, seeds: Mapping[str, int], **more: Any) -> dict[str, Any]:
    """What `provenance.json` says of a result of this scenario, made by the command that runs now."""
    return provenance(
        ["spotbed", *sys.argv[1:]],
        made.input_files(),
        seeds,
        price_book_date=made.book.date,
        price_book_sha256=made.book.sha256,
        catalogue_sha256=made.catalogue.sha256,
        services_sha256=made.preset.sha256,
        scenario_sha256=made.scenario.sha256,
        **more,
    )


def versions() -> dict[str, str]:
    """The versions of spotbed, of Python, and of what computes the numbers."""
    found = {"spotbed": spotbed_version(), "python": platform.python_version()}
    for name in _PACKAGES:
        found[name] = metadata.version(name)
    return found


@cache
def spotbed_version() -> str:
    """The version of the installed distribution; "0+unknown" for a source tree that is not installed."""
    try:
        return metadata.version("spotbed")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, or, for a folder, of the names and hashes of the files in it."""
    if path.is_dir():
        return tree_sha256(path, "*")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_sha256(folder: Path, pattern: str) -> str:
    """SHA-256 over the relative names and contents of the files below `folder` that match, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(pattern), key=lambda found: found.relative_to(folder).as_posix()):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


@cache
def scheduler_sha256() -> str:
    """The hash of the decision code: what flew here can be recognised where it is deployed."""
    import scheduler

    return tree_sha256(Path(str(scheduler.__file__)).parent, "*.py")


@cache
def git_state() -> dict[str, Any] | None:
    """Commit of spotbed's own source and whether it was changed since; None if it is not in a git repository."""
    here = Path(__file__).resolve().parent
    if not _git(here, "ls-files", "provenance.py"):  # installed below somebody else's repository, or in none
        return None
    commit = _git(here, "rev-parse", "HEAD")
    changed = _git(here, "status", "--porcelain", "--", "../scheduler", "../sim", "../spotbed")
    return {"commit": commit, "dirty": bool(changed)}


def relative(path: Path) -> str:
    """`path` as seen from the current folder, or only its name if it lies elsewhere."""
    resolved = path.resolve()
    if resolved.is_relative_to(Path.cwd()):
        return resolved.relative_to(Path.cwd()).as_posix()
    return f"…/{resolved.name}"


def _shown(part: str) -> str:
    path = Path(part)
    if path == Path(sys.argv[0]):
        return path.name
    return relative(path) if path.is_absolute() else part


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
