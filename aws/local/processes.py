"""Ending processes with all that descends from them."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from aws.wrapper import descendants

_ROUNDS, _PAUSE_S = 500, 0.01


def kill_below(ancestor: int) -> None:
    """Kill everything that descends from a process, until there is nothing."""
    for _ in range(_ROUNDS):
        left = [process for process, state in descendants(ancestor) if state != "Z"]
        if not left:
            return
        for process in left:
            _send(process, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def kill_tree(process: int) -> None:
    """Kill a process and everything below it; it can start nothing meanwhile."""
    _send(process, signal.SIGSTOP)
    kill_below(process)
    _send(process, signal.SIGKILL)


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
