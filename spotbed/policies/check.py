"""`policy check`: is a policy complete, pure, repeatable, and can it be deployed?"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.codec import decode, encode
from scheduler.policy import needs_of
from scheduler.settings import Settings
from spotbed.errors import InputError, Problem
from spotbed.guard import PolicyFailure
from spotbed.policies.catalogue import deployable
from spotbed.policies.compose import Composed, compose
from spotbed.policies.load import source_of
from spotbed.policies.rehearsal import elsewhere, rehearse, written
from spotbed.scenario.models_policies import PolicyEntry
from spotbed.sources import source_file

# what would give a decision a clock, chance, the outside, or a memory that is not in what it is given
IMPURE = frozenset(
    {
        *["asyncio", "concurrent", "contextvars", "ctypes", "datetime", "io", "logging", "multiprocessing", "os"],
        *["pathlib", "pickle", "platform", "queue", "random", "secrets", "select", "shutil", "signal", "socket"],
        *["sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid", "warnings"],
        *["aws", "boto3", "numpy.random", "requests", "sim", "spotbed"],
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input", "eval", "exec", "compile", "__import__", "globals", "id", "hash"})


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
        return all(check.passed for check in self.checks if check.name != "deployable")


def check(name: str) -> CheckReport:
    """Check a policy by name or `path.py:Class`. Raises InputError where there is none of that name."""
    if not name:
        raise InputError(Problem("names no policy.", value=name, hint="Write FILE.py:Class, or a name."))
    try:
        composed = compose(PolicyEntry.model_validate({"use": name}), Path())
    except InputError as error:
        if any(problem.file is None for problem in error.problems):
            raise InputError([Problem(each.message, value=name, hint=each.hint) for each in error.problems]) from error
        return CheckReport((Check("complete", False, "; ".join(map(_told, error.problems))),))
    checks = [Check("complete", True, "all six points are filled"), _pure(composed), _answers(composed)]
    if checks[-1].passed:
        checks += [_repeatable(composed, name), _round_trip(composed)]
    return CheckReport((*checks, _deployable(composed)))


def _told(problem: Problem) -> str:
    where = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
    return " ".join(part for part in (f"{where}:" if where else "", problem.message, problem.hint or "") if part)


def _pure(composed: Composed) -> Check:
    """No clocks, randomness or input and output in the source of the user's classes."""
    kinds = {source_file(type(part)): type(part) for part in composed.parts.values() if not _is_ours(part)}
    found = [
        f"{Path(file).name}:{line} {what}"
        for file, kind in sorted((file, kind) for file, kind in kinds.items() if file)
        for line, what in sorted(_impurities(source_of(kind)))
    ]
    return Check("pure", not found, "; ".join(found) or "no clock, no randomness, no input or output")


def _is_ours(part: object) -> bool:
    return type(part).__module__.startswith("scheduler.")


def _impurities(source: bytes) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, f"imports {each.name}") for each in node.names if _is_impure(each.name))
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
            yield from ((node.lineno, f"imports {each}") for each in [each for each in names if _is_impure(each)][:1])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield node.lineno, f"calls {node.func.id}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("np.random", "numpy.random"):
            yield node.lineno, f"uses {ast.unparse(node)}"


def _is_impure(module: str) -> bool:
    return module in IMPURE or module.split(".")[0] in IMPURE


def _answers(composed: Composed) -> Check:
    """Asked in a play, it raises nothing, answers what each question allows, and changes nothing that it is given."""
    try:
        rehearse(composed.policy(Settings(), watched=True))
    except PolicyFailure as failure:
        return Check("answers", False, _told(failure.problem))
    return Check("answers", True, "it answers what it is asked, and changes nothing that it is given")


def _repeatable(composed: Composed, use: str) -> Check:
    """The same play gives the same decisions: twice here, and in processes that order their sets otherwise."""
    first, second = (rehearse(composed.policy(Settings())) for _ in range(2))
    if first != second:
        return Check("repeatable", False, f"asked again, it decides otherwise: {_difference(first, second)}")
    foreign = not all(_is_ours(part) for part in composed.parts.values())
    if foreign and set(elsewhere(use)) != {written(first)}:
        detail = "it decides otherwise in another process: does it go through a set, or use hash() or id()?"
        return Check("repeatable", False, detail)
    return Check("repeatable", True, f"{len(first)} decisions")


def _difference(first: Sequence[object], second: Sequence[object]) -> str:
    pairs = zip(first, second, strict=False)
    one, other = next((pair for pair in pairs if pair[0] != pair[1]), (len(first), len(second)))
    return f"{one}, then {other}"


def _round_trip(composed: Composed) -> Check:
    """What the policy decides survives the JSON codec."""
    try:
        decisions = rehearse(composed.policy(Settings()))
        lost = [each for each in decisions if decode(encode(each)) != each]
    except Exception as error:  # noqa: BLE001 a user's class may answer what no codec knows
        return Check("json", False, f"{type(error).__name__}: {error}")
    return Check("json", not lost, "every decision survives the codec" if not lost else f"changed: {lost[0]}")


def _deployable(composed: Composed) -> Check:
    needs = sorted(needs_of(composed.policy(Settings())))
    passed = all(deployable(part) for part in composed.parts.values()) and composed.architecture == "decoupled"
    return Check(
        "deployable",
        passed,
        "yes" if passed else f"needs what no AWS call gives: {', '.join(needs) or composed.architecture}",
    )
