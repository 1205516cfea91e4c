"""Stands between the core and a part of a policy that is not ours: what that raises, or answers wrongly, is told as its
mistake, with file and line, before it becomes a riddle inside the core.

It hands on what it is asked and what is answered, unchanged; only `room` of a view cannot be written through it.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import FrozenInstanceError
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scheduler import record
from scheduler.central_record import QueueView, Waiting
from scheduler.job_record import Job
from scheduler.policy import CHECKPOINT, RELEASE, RUN_ON, FleetView
from spotbed.errors import Problem, SpotbedError
from spotbed.scenario.problems import render, shown
from spotbed.sources import line_of, source_file

_PURCHASES = ("any", "spot", "on-demand")
_ANSWERS = (RUN_ON, CHECKPOINT, RELEASE)
_TARGETS = ("stay", "spot", "on-demand", "wait", "pause")
_KEPT = "nothing of this run"
_NOT_YOURS = "What a policy is given is not its to change."
_HOW = "mend the policy, and give the same command again"


class PolicyFailure(SpotbedError):
    """A user's policy failed while it was asked. Says where, what is kept, and how to go on. Exit code 1."""

    def __init__(self, problem: Problem, kept: str = _KEPT, how_to_go_on: str = _HOW) -> None:
        self.problem = problem
        self._parts = (problem, kept, how_to_go_on)
        super().__init__(f"{render(problem)}\nKept: {kept}.\nTo go on: {how_to_go_on}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """So that one raised in another process arrives whole."""
        return type(self), self._parts

    def with_kept(self, kept: str, how_to_go_on: str) -> PolicyFailure:
        """The same failure, by who knows more."""
        return PolicyFailure(self.problem, kept, how_to_go_on)


# what methods must answer, in words, where they do not; `seen` is the view that they were given, if any ---------------
Expected = Callable[[Any, Any], str | None]


def _number(answer: Any, seen: Any) -> str | None:
    good = isinstance(answer, Real) and answer is not True and answer is not False and math.isfinite(answer)
    return None if good else "a finite number"


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, Integral) and value is not True and value is not False and int(value) >= least


def _count(answer: Any, seen: Any) -> str | None:
    return None if _is_count(answer) else "a whole number of at least 0"


def _delay(answer: Any, seen: Any) -> str | None:
    return None if answer is None or _is_count(answer) else "milliseconds, a whole number of at least 0, or None"


def _period(answer: Any, seen: Any) -> str | None:
    return None if _is_count(answer, -1) else "milliseconds, a whole number of at least 0"


def _routing(answer: Any, seen: Any) -> str | None:
    good = isinstance(answer, tuple) and len(answer) == 2 and answer[0] in _PURCHASES and _is_count(answer[1])
    return None if good else f"Routing(purchase, reconsider_ms), with one of {', '.join(_PURCHASES)}"


def _launches(answer: Any, seen: Any) -> str | None:
    good = isinstance(answer, Sequence) and all(
        isinstance(pair, Sequence) and len(pair) == 2 and pair[0] in seen.room and _is_count(pair[1]) for pair in answer
    )
    return None if good else f"a list of (pool, how many), with pools of {', '.join(seen.room)}"


def _ranked(answer: Any, seen: Any) -> str | None:
    good = isinstance(answer, Sequence) and len(answer) > 0 and all(isinstance(job, Job) for job in answer)
    return None if good else "the jobs that it was given, in another order"


def _starts(answer: Any, seen: Any) -> str | None:
    good = isinstance(answer, Sequence) and all(isinstance(job, Waiting) for job in answer)
    good = good and sum(job.slots for job in answer) <= seen.free
    return None if good else f"a list of waiting jobs that need at most {seen.free} slots together"


def _one_of(words: Sequence[str]) -> Expected:
    return lambda answer, seen: None if answer in words else f"one of {', '.join(words)}"


_EXPECTED: Mapping[str, Expected] = {
    "key": _number,
    "select": _starts,
    "rank": _ranked,
    "route": _routing,
    "choose": _launches,
    "desired": _count,
    "delay_ms": _delay,
    "checkpoint_every_ms": _period,
    "on_notice": _one_of(_ANSWERS),
    "on_rebalance": _one_of(_ANSWERS),
    "target": _one_of(_TARGETS),
}


class Guarded:
    """A part of a policy, asked through the checks above. All else that the part has is handed on. What it is given is
    frozen from then on, in this process."""

    def __init__(self, part: object, file: str | None, *, watched: bool = False) -> None:
        self.__wrapped__ = part
        self._file = file
        self._watched = watched
        record.guard()
        for name, expected in _EXPECTED.items():
            method = getattr(part, name, None)
            if callable(method):
                setattr(self, name, self._asking(name, method, expected))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def _asking(self, name: str, method: Callable[..., Any], expected: Expected) -> Callable[..., Any]:
        """`method`, with what it answers looked at."""

        def ask(*given: Any) -> Any:
            seen = next((each for each in given if isinstance(each, FleetView | QueueView)), None)
            given = tuple(_read_only(each) if isinstance(each, FleetView) else each for each in given)
            before = [repr(each) for each in given] if self._watched else []
            try:
                answer = method(*given)
            except (Exception, SystemExit) as error:
                raise self._raised(name, error) from error
            for each, was in zip(given, before, strict=False):
                if repr(each) != was:
                    raise self._changed(name, method, each)
            wanted = expected(answer, seen)
            if wanted is not None:
                raise self._answered(name, method, answer, wanted)
            return answer

        return ask

    def _raised(self, name: str, error: BaseException) -> PolicyFailure:
        """At the innermost line that is the user's."""
        kind = type(self.__wrapped__).__name__
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, self._source)]
        line = frames[-1].lineno if frames else line_of(type(self.__wrapped__))
        said = str(error)
        message = f"{kind}.{name} raised {type(error).__name__}{f': {said}' if said else ''}."
        hint = _NOT_YOURS if isinstance(error, FrozenInstanceError) or "'mappingproxy'" in said else None
        return PolicyFailure(Problem(message, self._file, line, hint=hint))

    def _changed(self, name: str, method: Callable[..., Any], thing: object) -> PolicyFailure:
        message = f"{type(self.__wrapped__).__name__}.{name} changed the {type(thing).__name__} that it was given."
        return PolicyFailure(Problem(message, self._file, line_of(method), hint=_NOT_YOURS))

    def _answered(self, name: str, method: Callable[..., Any], answer: Any, wanted: str) -> PolicyFailure:
        kind = type(self.__wrapped__).__name__
        message = f"{kind}.{name} answered {_shortened(answer)}; it must answer {wanted}."
        return PolicyFailure(Problem(message, self._file, line_of(method), value=answer if _plain(answer) else None))

    @property
    def _source(self) -> str | None:
        return source_file(type(self.__wrapped__))


def guarded(part: object, file: str | None, *, watched: bool = False) -> Any:
    """`part` itself if it is ours, else guarded; `file` is how its user names the file it stands in."""
    return part if type(part).__module__.startswith("scheduler.") else Guarded(part, file, watched=watched)


def _read_only(view: FleetView) -> FleetView:
    return view._replace(room=MappingProxyType(view.room)) if isinstance(view.room, dict) else view


def _shortened(answer: Any) -> str:
    text = shown(repr(answer))
    return text[1:-1]


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _same(file: str, other: str | None) -> bool:
    return other is not None and Path(file) == Path(other)
