"""`policy check`: the contract of a policy, tried on one: is it pure, complete, total, repeatable, blind to the future,
can its parameters be written down, and can it be deployed?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.codec import decode, encode
from scheduler.policies.presets import PARTS, PRESETS
from scheduler.policy import POINTS
from scheduler.settings import Settings
from spotbed.errors import InputError, Problem
from spotbed.guard import PolicyFailure
from spotbed.policies.about import hindrance
from spotbed.policies.battery import answers
from spotbed.policies.catalogue import ON_AWS
from spotbed.policies.compose import Composed, compose, sees_the_queue
from spotbed.policies.load import entry_point_classes, file_of, is_path, load_class, source_of, with_class
from spotbed.policies.parameters import apply_parameters, shown_parameters
from spotbed.policies.purity import Finding, findings
from spotbed.policies.rehearsal import Told, elsewhere, rehearse, written
from spotbed.scenario.models_policies import PolicyEntry

DEPLOYABLE = "deployable"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing stands against the policy; that it cannot be deployed does not."""
        return all(check.passed for check in self.checks if check.name != DEPLOYABLE)


def check(name: str) -> CheckReport:
    """Check a policy by name, `path.py:Class`, or `path.py` with one class that fills a point.

    Raises InputError where there is none of that name. What its source shows to be impure is not run at all.
    """
    if not name:
        raise InputError(Problem("names no policy.", value=name, hint="Write FILE.py:Class, or a name."))
    looks = _looks(name)
    bad = tuple(each for each in looks if not each.passed)
    if bad:
        return CheckReport(bad)
    try:
        entry = _entry(with_class(name))
        composed = compose(entry, Path())
    except InputError as error:
        if any(problem.file is None for problem in error.problems):
            raise InputError([Problem(each.message, value=name, hint=each.hint) for each in error.problems]) from error
        return CheckReport((Check("complete", False, "; ".join(map(_told, error.problems))),))
    complete = Check("complete", True, "all six points are filled")
    return CheckReport((complete, *_asked(composed, entry, *looks), _deployable(composed)))


def _asked(composed: Composed, entry: PolicyEntry, pure: Check, blind: Check) -> Sequence[Check]:
    """What is found by asking it; no further than the first question that it does not answer."""
    try:
        total = _answers(composed)
        told = [] if all(_is_ours(part) for part in composed.parts.values()) else elsewhere(entry)
        pure = _sealed(told, pure)
        return (pure, total, _repeatable(composed, told), _round_trip(composed), _blind(composed, blind))
    except PolicyFailure as failure:
        return pure, Check("answers", False, _told(failure.problem))


def _told(problem: Problem) -> str:
    where = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
    return " ".join(part for part in (f"{where}:" if where else "", problem.message, problem.hint or "") if part)


def _is_ours(part: object) -> bool:
    return type(part).__module__.startswith("scheduler.")


# what it is ---------------------------------------------------------------------------------------------------------
def _entry(name: str) -> PolicyEntry:
    """The policy of that name: a whole one, or a part of ours at its point, under the architecture that it is for."""
    point = next((point for point in POINTS if name in PARTS[point]), None)
    if name in PRESETS or (point is None and not is_path(name)):
        return PolicyEntry.model_validate({"use": name})
    kind = PARTS[point][name] if point else load_class(name, Path())
    central = {"architecture": "central"} if sees_the_queue(kind) else {}
    use = {"label": "checked", point: name} if point else {"use": name}
    return PolicyEntry.model_validate({**use, **central})


# by reading ---------------------------------------------------------------------------------------------------------
def _looks(name: str) -> tuple[Check, Check]:
    """Whether the source of the user's class is pure, and leads nowhere from which the future is seen."""
    file, source = _source(name)
    found = findings(source)
    return (
        _look("pure", file, [each for each in found if not each.peeks], "no clock, no chance, no input or output"),
        _look(
            "no peeking", file, [each for each in found if each.peeks], "another future changes nothing till it comes"
        ),
    )


def _look(name: str, file: str, found: Sequence[Finding], good: str) -> Check:
    told = "; ".join(f"{file}:{each.line} {each.what}" for each in found)
    return Check(name, not found, f"{told}; so it was not run" if found else good)


def _source(name: str) -> tuple[str, bytes]:
    """The name of its file and what is in it; nothing for what is ours, or is not there."""
    if is_path(name):
        path = Path(file_of(name))
        return path.name, path.read_bytes() if path.is_file() else b""
    kind = entry_point_classes().get(name)
    return ("", b"") if kind is None or kind.__module__.startswith("scheduler.") else (kind.__module__, source_of(kind))


# by asking ----------------------------------------------------------------------------------------------------------
def _answers(composed: Composed) -> Check:
    """Asked in a play and at the edges, it answers what each question allows, and changes nothing that it is given."""
    policy = composed.policy(Settings(), watched=True)
    rehearse(policy)
    count = len(answers(policy, composed.parts))
    return Check("answers", True, f"{count} questions at the edges and a play: all are allowed")


def _sealed(told: Sequence[Told], look: Check) -> Check:
    """Whether it decides in processes from which nothing leads to a clock, to chance or outside."""
    failure = next((each.failure for each in told if not each.decisions), "")
    return Check(look.name, False, f"in a process without clock, chance and outside: {failure}") if failure else look


def _repeatable(composed: Composed, told: Sequence[Told]) -> Check:
    """The same play gives the same decisions: twice here, and in processes that order their sets otherwise."""
    first, second = (_decisions(composed) for _ in range(2))
    if first != second:
        return Check("repeatable", False, f"asked again, it decides otherwise: {_difference(first, second)}")
    if any(each.decisions not in ("", written(first)) for each in told):
        detail = "it decides otherwise in another process: does it go through a set, or use hash() or id()?"
        return Check("repeatable", False, detail)
    return Check("repeatable", True, f"{len(first)} decisions, here and in {len(told)} other processes")


def _decisions(composed: Composed) -> list[object]:
    policy = composed.policy(Settings())
    return [*rehearse(policy), *answers(policy, composed.parts)]


def _difference(first: Sequence[object], second: Sequence[object]) -> str:
    pairs = zip(first, second, strict=False)
    one, other = next((pair for pair in pairs if pair[0] != pair[1]), (len(first), len(second)))
    return f"{one}, then {other}"


def _round_trip(composed: Composed) -> Check:
    """Its parameters and its decisions come back from JSON as they were."""
    try:
        lost = [each for part in composed.parts.values() for each in _parameters_lost(part)]
        decisions = rehearse(composed.policy(Settings()))
        lost += [str(each) for each in decisions if decode(encode(each)) != each]
    except PolicyFailure:
        raise
    except Exception as error:  # noqa: BLE001 a user's class may hold or answer what no codec knows
        return Check("json", False, f"{type(error).__name__}: {error}")
    good = "parameters and decisions come back from JSON as they were"
    return Check("json", not lost, good if not lost else f"does not come back as it was: {lost[0]}")


def _parameters_lost(part: object) -> list[str]:
    """The parameters that a scenario cannot say: what is shown of them, read again, makes another policy."""
    shown = {name: value for name, value in shown_parameters(part).items() if not isinstance(value, dict)}
    problems: list[Problem] = []
    again = apply_parameters(part, json.loads(json.dumps(shown)), "with", problems)
    if problems:
        return [f"{type(part).__name__}: {each.path}: {each.message}" for each in problems]
    before = shown_parameters(again)
    return [f"{type(part).__name__}: {name} {value!r}" for name, value in shown.items() if before[name] != value]


def _blind(composed: Composed, look: Check) -> Check:
    """In worlds that differ only in what is to come it decides the same, until that comes."""
    from spotbed.policies.futures import SETTINGS, peeks

    seen = peeks(lambda: composed.policy(SETTINGS))
    return look if not seen else Check(look.name, False, f"it decides by {seen}")


def _deployable(composed: Composed) -> Check:
    against = [hindrance(part) for part in composed.parts.values()]
    if composed.architecture != ON_AWS:
        against.append(f"{composed.architecture!r} is not what runs on AWS")
    told = "; ".join(dict.fromkeys(each for each in against if each))
    return Check(DEPLOYABLE, not told, told or "yes")
