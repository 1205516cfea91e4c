"""Where classes and functions stand in their files."""

from __future__ import annotations

import inspect
import sys
from typing import Any


def source_file(kind: type) -> str | None:
    """The file that a class was read from."""
    return getattr(sys.modules.get(kind.__module__), "__file__", None)


def line_of(thing: Any) -> int | None:
    """Where a class or a function begins in its file."""
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return None
