"""Where checks put what they find."""

from __future__ import annotations

from dataclasses import dataclass, field

from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import Caution
from spotbed.scenario.yaml_positions import Document, Keys


@dataclass(slots=True)
class Teller:
    """Collects problems with their places in the document."""

    document: Document
    problems: list[Problem] = field(default_factory=list)

    def error(self, message: str, keys: Keys, hint: str | None = None, *, of_key: bool = False) -> None:
        """Something that stops a run, at the value of `keys`, or at the last of the keys itself."""
        self.problems.append(self.document.problem(message, keys, hint=hint or None, of_key=of_key))

    def warning(self, message: str, keys: Keys, hint: str | None = None) -> None:
        """Something odd, at the value of `keys`."""
        self.problems.append(Caution.of(self.document.problem(message, keys, hint=hint or None)))

    def pass_on(self, error: InputError, keys: Keys) -> None:
        """What another module says about the value at `keys`."""
        for problem in error.problems:
            self.error(problem.message, keys, problem.hint)
