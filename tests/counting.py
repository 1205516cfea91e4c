"""Counts the worlds that a comparison runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from spotbed import errands
from spotbed.keeping import Kept

Task = tuple[str, int]  # policy, world


@contextlib.contextmanager
def counted() -> Iterator[list[Task]]:
    """The worlds that are run meanwhile in this process."""
    ran: list[Task] = []
    run = errands.run_task

    def note(made: Any, label: str, world: int, *, tables: bool = True) -> Kept:
        ran.append((label, world))
        return run(made, label, world, tables=tables)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errands, "run_task", note)
        yield ran
