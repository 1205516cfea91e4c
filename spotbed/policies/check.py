"""`policy check`: is a policy complete, pure, repeatable, and can it be deployed?"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scheduler.codec import decode, encode
from scheduler.policy import needs_of
from scheduler.settings import Settings
from spotbed.errors import InputError
from spotbed.policies.catalogue import deployable
from spotbed.policies.compose import Composed, compose
from spotbed.policies.rehearsal import rehearse
from spotbed.scenario.models_policies import PolicyEntry

IMPURE = frozenset(
    {
        "time",
        "datetime",
        "random",
        "os",
        "io",
        "socket",
        "logging",
        "subprocess",
        "threading",
        "asyncio",
        "pathlib",
        "uuid",
        "secrets",
        "requests",
        "boto3",
        "numpy.random",
        "sim",
        "spotbed",
        "aws",
    }
)


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
    """Check a policy by name or `path.py:Class`."""
    try:
        composed = compose(PolicyEntry.model_validate({"use": name}), Path())
    except InputError as error:
        return CheckReport((Check("complete", False, str(error)),))
    return CheckReport(
        (
            Check("complete", True, "all six points are filled"),
            *_purity(composed),
            _repeatable(composed),
            _round_trip(composed),
            _deployable(composed),
        )
    )


def _purity(composed: Composed) -> Iterator[Check]:
    """No imports of clocks, randomness or input and output in the source of the user's classes."""
    files = {
        inspect.getsourcefile(type(part))
        for part in composed.parts.values()
        if not type(part).__module__.startswith("scheduler.")
    }
    found = [
        f"{Path(file).name}:{line} {module}"
        for file in sorted(filter(None, files))
        for line, module in _imports(file)
        if module in IMPURE or module.split(".")[0] in IMPURE
    ]
    yield Check("pure", not found, "; ".join(found) if found else "imports no clock, no randomness, no input or output")


def _imports(file: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(Path(file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def _repeatable(composed: Composed) -> Check:
    """The same rehearsal twice gives the same decisions."""
    try:
        first, second = (rehearse(composed.policy(Settings())) for _ in range(2))
    except Exception as error:  # noqa: BLE001 a user's code may raise anything
        return Check("repeatable", False, f"{type(error).__name__}: {error}")
    same = first == second
    return Check("repeatable", same, f"{len(first)} decisions" if same else "two rehearsals decided differently")


def _round_trip(composed: Composed) -> Check:
    """What the policy decides survives the JSON codec."""
    try:
        decisions = rehearse(composed.policy(Settings()))
        lost = [each for each in decisions if decode(encode(each)) != each]
    except Exception as error:  # noqa: BLE001 a user's code may raise anything
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
