"""How far a command is: a bar on a terminal, one line every now and then elsewhere, nothing with --quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from spotbed.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from spotbed.cli.terminal import Terminal

LINE_EVERY_S = 15.0


@contextlib.contextmanager
def progress(terminal: Terminal, what: str) -> Iterator[Progress]:
    """Something to tell progress to, for as long as the block lasts; it writes to stderr."""
    if terminal.quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _rich(terminal) as bar:
            yield Bar(bar, what)
    else:
        yield Lines(what, sys.stderr.write)


class Bar:
    """A bar that is redrawn in place and leaves nothing behind."""

    def __init__(self, rich: RichProgress, what: str) -> None:
        self._rich = rich
        self._what = what
        self._bar = rich.add_task(what, total=None)

    def update(self, done: int, total: int, note: str = "") -> None:
        """See `spotbed.progress.Progress`."""
        description = f"{self._what}: {note}" if note else self._what
        self._rich.update(self._bar, completed=done, total=total, description=description)


class Lines:
    """One line every 15 s, as a log wants it; short work says nothing."""

    def __init__(self, what: str, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._write = write
        self._clock = clock
        self._began_s = self._last_s = clock()

    def update(self, done: int, total: int, note: str = "") -> None:
        """See `spotbed.progress.Progress`."""
        now_s = self._clock()
        if now_s - self._last_s < LINE_EVERY_S:
            return
        self._last_s = now_s
        self._write(
            f"{self._what}: {done}/{total}{self._times(now_s - self._began_s, done, total)} {note}".rstrip() + "\n"
        )

    def _times(self, spent_s: float, done: int, total: int) -> str:
        if not 0 < done < total:
            return f", {spent_s:.0f} s"
        return f", {spent_s:.0f} s, about {spent_s / done * (total - done):.0f} s left"


def _rich(terminal: Terminal) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    no_color = None if terminal.color else True  # None: as NO_COLOR says
    return RichProgress(*columns, console=Console(stderr=True, no_color=no_color), transient=True)
