"""From an exception to what the user reads and the exit code that scripts rely on."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from spotbed.cli.terminal import Terminal
from spotbed.errors import InputError, Problem, SpotbedError
from spotbed.files import disk_full, is_disk_full

OK = 0
FAILURE = 1
INVALID_INPUT = 2
GATE_FAILED = 3
INTERRUPTED = 130

WHOLE = "every file and folder that was complete; none is half written"


def tell(terminal: Terminal, error: BaseException) -> int:
    """Say on stderr what went wrong, in as many words as that deserves, and return the exit code.

    The text of a KeyboardInterrupt, if it has one, says what is kept.
    """
    if terminal.debug and not isinstance(error, BrokenPipeError):
        terminal.alert("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, InputError):
        terminal.alert(told(error.problems))
        return error.exit_code
    error = _of_aws(error) or error
    if isinstance(error, SpotbedError):
        says = str(error)  # of what lies in a file it begins as `file:line: error: ...`, as problems do
        terminal.alert(says if ": error: " in says.partition("\n")[0] else f"error: {says}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        terminal.alert(f"Interrupted.\n{_kept(str(error) or WHOLE)}")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _close_stdout()
        return FAILURE
    terminal.alert(_outside(error) or _our_fault(error, terminal.debug))
    return FAILURE


def told(problems: Sequence[Problem]) -> str:
    """All problems, each with its place, caret and hint, and how many there are."""
    from spotbed.scenario.problems import render_all

    count = [f"{len(problems)} problems"] if len(problems) > 1 else []
    return "\n".join([render_all(problems), *count])


def _of_aws(error: BaseException) -> SpotbedError | None:
    """What boto3 has raised, in a user's words; its packages are loaded only where they are in use."""
    if not type(error).__module__.startswith(("botocore.", "boto3.")):
        return None
    from aws.outside import told_any

    return told_any(error)


def _outside(error: BaseException) -> str | None:
    if is_disk_full(error):
        place = Path(str(getattr(error, "filename", None) or "the output"))
        return f"error: {disk_full(place)}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"error: {error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"error: out of memory\n{_kept(WHOLE)}"
    return None


def _kept(what: str) -> str:
    return f"Kept: {what}.\nTo go on: give the same command again."


def _our_fault(error: BaseException, debug: bool) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {Path(last[0].filename).name}:{last[0].lineno}" if last else ""
    more = "" if debug else " Give the command again with --debug for the traceback, and report it."
    return f"error: this is our fault, not yours: {type(error).__name__}: {error}{where}.{more}"


def _close_stdout() -> None:
    """Let the interpreter's last flush go nowhere: whoever read our output has had enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
