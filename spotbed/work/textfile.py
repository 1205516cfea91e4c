"""Reading a user's file: plain or gzip, with every way in which that fails told as an InputError."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from spotbed.errors import InputError, Problem

_GZIP_MAGIC = b"\x1f\x8b"


def read_content(path: Path) -> bytes:
    """The file's bytes, unpacked if they are gzip, whatever the name says. Raises InputError."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except FileNotFoundError:
        problem = Problem("there is no such file.", file=str(path))
    except IsADirectoryError:
        problem = Problem("is a folder; a file is needed.", file=str(path))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        problem = Problem(f"is damaged: {error}.", file=str(path), hint="Get the file again.")
    except OSError as error:
        problem = Problem(f"cannot be read: {error.strerror}.", file=str(path))
    raise InputError(problem)


def read_text(path: Path) -> str:
    """The file's text as UTF-8; bytes that are not (names in old logs) become U+FFFD. Raises InputError."""
    return read_content(path).decode("utf-8-sig", errors="replace")
