"""What is told of a policy, read from where it is defined: its docstrings say what it does and where it comes from, its
`needs` whether it can be deployed. There is no second list.

The first sentence of the class says what it does. The first paragraph of its docstring, or of its module's, names the
source: in parentheses, with the title in quotes, or after a colon; what has a year in it, or is a guide, a library or a
reference, is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from scheduler.observation import NOT_HAD, SOURCES
from scheduler.policies.order.easy import CENTRAL_ONLY
from scheduler.policy import NOTHING_NEEDED

_CITED = re.compile(r"\b(?:19|20)\d\d\b|Guide|Library|[Rr]eference|Blog|arXiv")
_AFTER_COLON = re.compile(r": (.+?\b(?:19|20)\d\d\b[^.(]*)")
_TITLE = re.compile(r'"[^"]+" $')
_NOT_YET = "which the functions on AWS do not yet"


def summary_of(kind: type) -> str:
    """The first sentence of a class's docstring."""
    return _flat(kind.__doc__ or "").split(". ")[0].rstrip(".")


def source_told(kind: type) -> str:
    """The paper or page that a policy comes from, as its docstrings cite it; empty if they cite none."""
    module = sys.modules[kind.__module__].__doc__ or ""
    first = (_citation(_flat((text or "").strip().split("\n\n")[0])) for text in (kind.__doc__, module))
    return next((each for each in first if each), "")


def _flat(text: str) -> str:
    return " ".join(text.split())


def _citation(text: str) -> str:
    """In parentheses or after a colon."""
    for start, inner in _parentheses(text):
        if _CITED.search(inner):
            title = _TITLE.search(text[:start])
            return f"{title.group().strip()}, {inner}" if title else inner
    after = _AFTER_COLON.search(text)
    return after.group(1).rstrip(" ,") if after else ""


def _parentheses(text: str) -> Iterator[tuple[int, str]]:
    """(where it begins, what is in it) of each outermost pair of parentheses."""
    depth, start = 0, 0
    for place, character in enumerate(text):
        if character == "(":
            start, depth = (place if depth == 0 else start), depth + 1
        elif character == ")" and depth:
            depth -= 1
            if depth == 0:
                yield start, text[start + 1 : place]


def hindrance(part: object) -> str:
    """Why the part of a policy cannot be deployed on AWS; empty if it can."""
    return "; ".join(_hindrances(part))


def _hindrances(part: object) -> Iterator[str]:
    for need in sorted(getattr(part, "needs", NOTHING_NEEDED)):
        if need not in SOURCES or SOURCES[need].aws is None:
            yield f"needs {need}, {_why(need)}"
    if getattr(part, "moves", False):
        yield f"moves jobs while they run, {_NOT_YET}"
    if getattr(part, "sees_jobs", False):
        yield f"needs the jobs with a deadline, {_NOT_YET} list for `scale`"


def _why(need: str) -> str:
    if need in SOURCES:
        return "which no AWS call gives"
    if need in CENTRAL_ONLY:
        return "which only architecture central has"
    return NOT_HAD.get(need, "which no program gives")
