"""The errors that a user may see. Anything else that escapes is our own mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: where it stands, what it says, and how to mend it."""

    message: str
    file: str | None = None
    line: int | None = None  # 1-based
    column: int | None = None  # 1-based
    path: str | None = None  # dotted path inside the file, such as pools.1.instance_type
    value: object = None
    hint: str | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = f"{where}: error: " if where else "error: "
        if self.path:
            text += f"{self.path}: "
        text += self.message
        if self.hint:
            text += f" {self.hint}"
        return text


class SpotbedError(Exception):
    """Base of what the command line turns into a message and an exit code."""

    exit_code = 1


class InputError(SpotbedError):
    """Invalid input. Nothing has been written. Exit code 2."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | Problem | str) -> None:
        if isinstance(problems, str):
            problems = [Problem(problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        """So that one raised in another process arrives whole."""
        return type(self), (self.problems,)


class OutsideError(SpotbedError):
    """The world outside failed (disk, network, AWS). Says what happened, what is kept, and how to go on."""

    def __init__(self, what: str, kept: str, how_to_go_on: str, *, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        self._parts = (what, kept, how_to_go_on)
        super().__init__(f"{what}\nKept: {kept}\nTo go on: {how_to_go_on}")

    def with_kept(self, kept: str) -> OutsideError:
        """The same failure, by who knows what is kept."""
        what, _, how_to_go_on = self._parts
        return OutsideError(what, kept, how_to_go_on, exit_code=self.exit_code)

    def __reduce__(self) -> tuple[Any, ...]:
        """So that one raised in another process arrives whole."""
        return _outside_error, (*self._parts, self.exit_code)


def _outside_error(what: str, kept: str, how_to_go_on: str, exit_code: int) -> OutsideError:
    return OutsideError(what, kept, how_to_go_on, exit_code=exit_code)
