"""`policy new`: a policy of about 15 lines to start from."""

from __future__ import annotations

import re
from pathlib import Path

from spotbed.errors import InputError, Problem
from spotbed.files import write_text

_TEMPLATE = '''"""A policy of my own. In a scenario: `{{use: {file}:{name}, with: {{slack: 1.5}}}}`."""

from dataclasses import dataclass

from scheduler.policies.place import PriceCapacityOptimized
from scheduler.policy import Routing


@dataclass(frozen=True)
class {name}(PriceCapacityOptimized):
    """Spot while a job has slack; on-demand once what is left is less than `slack` times its estimated work."""

    slack: float = 1.5

    def route(self, job, now_ms):
        ticket = job.ticket
        if ticket.deadline_ms < 0 or ticket.estimate_ms < 0:
            return Routing("spot")
        work_ms = ticket.estimate_ms - job.progress_ms
        left_ms = round(ticket.deadline_ms - self.slack * work_ms) - now_ms
        return Routing("spot", left_ms) if left_ms > 0 else Routing("on-demand")
'''


def class_name(path: Path) -> str:
    """my_policy.py holds the class MyPolicy."""
    words = re.split(r"[^A-Za-z0-9]+", path.stem)
    name = "".join(word[:1].upper() + word[1:] for word in words if word)
    return name if name[:1].isalpha() else f"Policy{name}"


def scaffold(path: Path) -> None:
    """Write the file; it must not exist."""
    if path.suffix != ".py":
        raise InputError(Problem("a policy is a file of Python.", str(path), hint="Give it a name that ends in .py."))
    if path.exists():
        raise InputError(Problem("exists already.", str(path), hint="Choose another name, or remove it."))
    write_text(path, _TEMPLATE.format(file=path.name, name=class_name(path)))
