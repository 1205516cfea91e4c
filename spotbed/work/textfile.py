"""Reading a user's file: plain or gzip, with every way in which that fails told as an InputError."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spotbed.errors import InputError, Problem

MOST_BYTES = 1 << 30  # unpacked: a log of ten million jobs; what is larger is a mistake, or packed to do harm
_GZIP_MAGIC = b"\x1f\x8b"
_LOOKED_AT = 1 << 16  # bytes at the beginning of a file in which text has no zero byte
Stream = IO[bytes] | gzip.GzipFile
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_head(path: Path, count: int) -> bytes:
    """The first bytes of a file, unpacked if they are gzip, whatever they are. Raises InputError."""
    with _opened(path) as stream:
        return stream.read(count)


def read_content(path: Path) -> bytes:
    """A text's bytes, unpacked if they are gzip, whatever the name says. Raises InputError, also for what is no text or
    too large, before it is read whole."""
    with _opened(path) as stream:
        return _content(path, stream)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Stream]:
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            file.seek(0)
            yield gzip.GzipFile(fileobj=file) if packed else file
            return
    except FileNotFoundError:
        problem = Problem("there is no such file.", file=str(path))
    except IsADirectoryError:
        problem = Problem("is a folder; a file is needed.", file=str(path))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        problem = Problem(f"is damaged: {error}.", file=str(path), hint="Get the file again.")
    except OSError as error:
        problem = Problem(f"cannot be read: {error.strerror}.", file=str(path))
    raise InputError(problem)


def _content(path: Path, stream: Stream) -> bytes:
    first = stream.read(_LOOKED_AT)
    place = first.find(0)
    if place >= 0:
        hint = "Save it as UTF-8." if first.startswith(_UTF_16) else "Is this the right file?"
        raise InputError(Problem(f"is no text: its byte {place} is zero.", file=str(path), hint=hint))
    rest = stream.read(MOST_BYTES - len(first))
    if stream.read(1):
        hint = "Is this the right file? Give a part of it, or Parquet."
        raise InputError(Problem(f"holds more than {MOST_BYTES / 2**30:.2g} GiB of text.", file=str(path), hint=hint))
    return first + rest


def read_text(path: Path) -> str:
    """The file's text as UTF-8; bytes that are not (names in old logs) become U+FFFD. Raises InputError."""
    return read_content(path).decode("utf-8-sig", errors="replace")
