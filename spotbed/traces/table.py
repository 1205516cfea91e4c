"""CSV files of traces, plain or gzip: the columns asked for, with the line each value stands on."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spotbed.errors import InputError, Problem
from spotbed.scenario.problems import suggestion

MOST_PROBLEMS = 5  # of one file that are told one by one


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a CSV file, as text. `lines[i]` is the 1-based line of row i; a column not found is absent."""

    file: str
    lines: list[int]
    columns: Mapping[str, list[str]]


def read_table(
    path: Path, text: str, required: Mapping[str, Sequence[str]], optional: Mapping[str, Sequence[str]] | None = None
) -> Table:
    """Read `text`, the content of `path`. A column is known by its own name or by any of the other names given for it.

    Raises InputError for a missing column, a row of another length and a file without rows.
    """
    reader = csv.reader(text.splitlines())
    try:
        header = [name.strip() for name in next(reader, [])]
        places = _places(str(path), header, required, optional or {})
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise InputError(Problem(f"is no table: {error}.", str(path), reader.line_num)) from None
    wrong = [
        Problem(f"has {len(cells)} cells where the header has {len(header)}.", str(path), line)
        for line, cells in rows
        if len(cells) != len(header)
    ]
    refuse(wrong)
    if not rows:
        raise InputError(Problem("has a header and no rows.", str(path)))
    columns = {name: [cells[place].strip() for _, cells in rows] for name, place in places.items()}
    return Table(str(path), [line for line, _ in rows], columns)


def refuse(problems: Sequence[Problem], of: int | None = None) -> None:
    """Raise InputError if there is any problem: the first few, and how many more there are (of `of`, or of those)."""
    if not problems:
        return
    told, count = list(problems[:MOST_PROBLEMS]), len(problems) if of is None else of
    if count > len(told):
        told.append(Problem(f"and {count - len(told)} more problems like these.", problems[0].file))
    raise InputError(told)


def _places(
    file: str, header: list[str], required: Mapping[str, Sequence[str]], optional: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    places, missing = {}, []
    for name, others in {**required, **optional}.items():
        found = [header.index(known) for known in (name, *others) if known in header]
        if found:
            places[name] = found[0]
        elif name in required:
            hint = suggestion(name, header) or f"The header is: {', '.join(header)[:200]}."
            missing.append(Problem(f"there is no column {name!r}.", file, 1, path=name, hint=hint))
    refuse(missing)
    return places
