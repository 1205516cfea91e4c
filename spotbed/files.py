"""Writing so that nobody ever sees half of it: files and folders appear whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from spotbed.errors import InputError, OutsideError, Problem

MARK = "provenance.json"  # a folder with this file in it was written by us, and may be replaced
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_ELSEWHERE = "Give another place with --out."


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a sibling that is renamed when it is complete; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        part.chmod(_default_mode(0o666))
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, name):
            error.filename = str(path)  # a full disk names no file, and nobody knows the part
        raise


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8, with the same promise as `write_bytes`."""
    write_bytes(path, content.encode())


@contextlib.contextmanager
def new_folder(target: Path, kept: str | None = None) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends well and vanishes when it does not.

    An older `target` of ours is replaced only then. Raises InputError before anything is written if `target` is not
    ours to replace, and OutsideError if the disk fills up; it says that `kept` is kept then.
    """
    check_replaceable(target)
    made = make_parents(target)
    part: Path | None = None
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        part.chmod(_default_mode(0o777))
        yield part
        _swap(part, target)
    except BaseException as error:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        remove_empty(made)
        if is_disk_full(error):
            raise disk_full(target, kept) from error
        raise


def report_folder(*parts: str) -> Path:
    """Where a result goes when nobody says: reports/eda-regression, or reports/eda-regression-div+ckpt-7 for a run."""
    name = "-".join(re.sub(r"[^\w.+-]+", "-", part).strip("-.") for part in parts)
    return Path("reports") / (name or "unnamed")


def check_replaceable(target: Path) -> None:
    """Raise InputError unless `target` is absent, an empty folder, or a folder that spotbed wrote."""
    if not target.exists():
        _check_parent(target)
        return
    if is_ours(target):
        return
    if not target.is_dir():
        raise InputError(Problem("is a file, and a folder is to be written there.", str(target), hint=_ELSEWHERE))
    if any(target.iterdir()):
        hint = "Give another one with --out, or remove it yourself."
        raise InputError(
            Problem(f"is not a folder of spotbed's (no {MARK} in it): not replaced.", str(target), hint=hint)
        )


def check_writable(file: Path, hint: str) -> None:
    """Raise InputError unless a file can be written there, or replaced."""
    if file.is_dir():
        raise InputError(Problem("is a folder, and a file is to be written there.", str(file), hint=hint))
    _check_parent(file, hint)


def _check_parent(target: Path, hint: str = _ELSEWHERE) -> None:
    """Raise InputError unless the nearest folder above `target` that exists can be written to."""
    parent = next(parent for parent in target.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise InputError(Problem(f"{parent.name} is a file, not a folder.", file=str(target), hint=hint))
    if not os.access(parent, os.W_OK):
        raise InputError(Problem(f"{parent} cannot be written to.", file=str(target), hint=hint))


def is_ours(folder: Path) -> bool:
    """Whether spotbed wrote this folder."""
    return (folder / MARK).is_file()


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, of Python's or of a library that writes files itself, says that there is no space left."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return True
    return os.strerror(errno.ENOSPC) in str(error)


def disk_full(target: Path, kept: str | None = None) -> OutsideError:
    """What a user is told when `target` did not fit on the disk; `kept` is what the same command can go on from."""
    older = f"{target} as it was before" if target.is_dir() and is_ours(target) else None
    what = f"The disk is full: {target} could not be written."
    if kept is None:
        how = "make room, or give another place with --out."
        return OutsideError(what, older or "nothing of this run; everything written before it", how)
    how = "make room, and give the same command again: it runs only what is missing."
    return OutsideError(what, f"{kept}; {older}" if older else kept, how)


def _swap(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(old / target.name)
    try:
        part.rename(target)
    except BaseException:
        (old / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def make_parents(target: Path) -> list[Path]:
    """Make the missing parents of `target` and return them, the deepest first."""
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _default_mode(mode: int) -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask
