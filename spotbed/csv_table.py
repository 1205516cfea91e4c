"""CSV tables with `#` comments: the form of every price and specification file, shipped, refreshed or a user's own."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spotbed.errors import InputError, Problem


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: its file, its 1-based line number, and its cells by column name."""

    file: Path
    line: int
    cells: dict[str, str]

    def problem(self, message: str, column: str | None = None, hint: str | None = None) -> InputError:
        """An error that points at this line."""
        value = self.cells.get(column) if column else None
        return InputError(Problem(message, str(self.file), self.line, path=column, value=value, hint=hint))

    def number(self, column: str, *, positive: bool = False) -> float:
        """The cell as a finite number, at least 0 (above 0 if `positive`); InputError with file and line otherwise."""
        text = self.cells[column]
        try:
            value = float(text)
        except ValueError:
            raise self.problem(f"{text!r} is not a number.", column) from None
        if not math.isfinite(value) or value < 0 or (positive and value == 0):
            raise self.problem(f"{text!r} must be a number {'above' if positive else 'of at least'} 0.", column)
        return value

    def flag(self, column: str) -> bool:
        """The cell as true or false; InputError with file and line otherwise."""
        text = self.cells[column]
        if text not in ("true", "false"):
            raise self.problem(f"{text!r} is neither true nor false.", column)
        return text == "true"


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read all rows of `path`, which must have `columns` (others are kept too).

    Raises InputError that names the file, and the line where there is one.
    """
    numbers, lines = _content(path)
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        missing = [column for column in columns if column not in header]
        if missing:
            line = numbers[0] if numbers else None
            raise InputError(Problem(f"column {missing[0]!r} is missing.", str(path), line, hint=_wanted(columns)))
        return [_row(path, numbers[reader.line_num - 1], header, cells) for cells in reader]
    except csv.Error as error:
        raise InputError(Problem(f"not readable as CSV: {error}", str(path), numbers[reader.line_num - 1])) from error


def _content(path: Path) -> tuple[list[int], list[str]]:
    """The numbers and texts of all lines that are neither blank nor comments."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(Problem("no such file", file=str(path))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot be read as text: {error}", file=str(path))) from error
    kept = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    return [number for number, _ in kept], [line for _, line in kept]


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        message = f"has {len(cells)} cells where the header has {len(header)}."
        raise InputError(Problem(message, str(path), line))
    return Row(path, line, dict(zip(header, cells, strict=True)))


def _wanted(columns: Sequence[str]) -> str:
    return f"The columns are {', '.join(columns)}."
