"""What is wrong with the lines of a file of jobs: all counted, the first five named, left out only when asked."""

from __future__ import annotations

from pathlib import Path

from spotbed.errors import InputError, Problem

_SHOWN = 5
_LONGEST_VALUE = 60


class Complaints:
    """Collects the malformed jobs of one file; `what` names the lines in the summary, as in "lines are no SWF jobs"."""

    def __init__(self, path: Path, what: str, hint: str = "Go on without them with --lenient.") -> None:
        self.path = path
        self.what = what
        self.hint = hint
        self._problems: list[Problem] = []
        self._lines: set[tuple[int | None, int]] = set()

    def __len__(self) -> int:
        return len(self._lines)

    def add(
        self,
        line: int | None,
        message: str,
        *,
        job: int = 0,
        column: str | None = None,
        value: object = None,
        hint: str | None = None,
    ) -> None:
        """One thing wrong at `line`, or with the `job`-th of a file without lines of its own (both from 1)."""
        self._lines.add((line, job))
        if len(self._problems) < _SHOWN:
            if isinstance(value, str):
                value = value[:_LONGEST_VALUE]
            where = ".".join([f"job {job}"] * (line is None) + ([column] if column else []))
            self._problems.append(Problem(message, str(self.path), line, path=where or None, value=value, hint=hint))

    def settle(self, of: int, *, lenient: bool) -> list[str]:
        """Raise InputError if something is wrong with the `of` lines; when lenient, a note instead."""
        if not self._lines:
            return []
        summary = f"{len(self._lines)} of {of} {self.what}"
        if lenient:
            return [f"{summary}: left out"]
        total = Problem(f"{summary}.", file=str(self.path), hint=self.hint)
        raise InputError([*self._problems, total])
