"""Seals a process: from then on, whatever asks for the time, for chance or for the outside fails.

For a process that a policy is rehearsed in and that ends after it. It finds what the source does not show, such as a
clock in another module that the policy calls.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "gmtime", "localtime")
_CHANCE = (
    *["random", "randint", "randrange", "choice", "choices", "shuffle", "sample", "uniform", "gauss", "expovariate"],
)
_OUTSIDE = ("open", "os.", "socket.", "subprocess.", "shutil.", "sqlite3.", "tempfile.", "urllib.", "ctypes.")
_REFUSED: Sequence[tuple[ModuleType, Sequence[str], str]] = (
    (time, _CLOCKS, "a clock"),
    (dt, ("datetime", "date"), "a clock"),
    (random, _CHANCE, "chance"),
    (os, ("urandom", "getrandom"), "chance"),
    (secrets, ("token_bytes", "token_hex", "randbelow", "choice"), "chance"),
    (uuid, ("uuid1", "uuid4"), "chance"),
)


class Impure(Exception):
    """A policy has asked for what it may not have."""


def seal() -> None:
    """For good: there is no way back in this process."""
    for module, names, what in _REFUSED:
        for name in names:
            setattr(module, name, _refusal(f"{module.__name__}.{name}", what))
    sys.addaudithook(_hear)


def _refusal(name: str, what: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise Impure(f"{name}: {what}")

    return refuse


def _hear(event: str, given: tuple[Any, ...]) -> None:
    """Modules may still be read: an import within a function is none of the outside."""
    if not event.startswith(_OUTSIDE) or event in ("os.listdir", "os.scandir"):
        return
    if event == "open" and str(given[0]).endswith((".py", ".pyc", ".so")):
        return
    raise Impure(f"{event}{f' {given[0]!r}' if given else ''}: input or output")
