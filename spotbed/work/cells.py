"""Tables of text: CSV, pipe-separated, Parquet and JSON records, as named cells with the line they came from."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotbed.errors import InputError, Problem
from spotbed.work.complaints import Complaints
from spotbed.work.textfile import read_text

_LONGEST_CELL = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One job: its line (None in JSON and Parquet), its cells by lower-case column, its number; both count from 1."""

    line: int | None
    cells: Mapping[str, str]
    number: int = 0

    def get(self, *columns: str) -> str:
        """The first of `columns` that is there and not blank, stripped; "" if none is."""
        for column in columns:
            text = self.cells.get(column, "").strip()
            if text:
                return text
        return ""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file; `columns` are lower case, in the file's order."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def require(self, *wanted: str, hint: str = "") -> None:
        """Raise InputError unless one of `wanted`, spellings of one column, is there."""
        if any(column in self.columns for column in wanted):
            return
        near = difflib.get_close_matches(wanted[0], self.columns, n=1)
        guess = f"Did you mean {near[0]!r}?" if near else f"The columns are: {', '.join(self.columns)}."
        message = f"column {wanted[0]!r} is missing."
        raise InputError(Problem(message, file=str(self.path), line=1, hint=f"{guess} {hint}".strip()))


def read_delimited(path: Path, *, lenient: bool = False) -> Table:
    """A CSV file, or one separated by |, ; or tabs. Raises InputError for rows with other cells than the header."""
    lines = read_text(path).splitlines(keepends=True)
    header_line = next((line for line in lines if line.strip()), "")
    if not header_line:
        raise InputError(Problem("is empty.", file=str(path)))
    delimiter = max(",|;\t", key=header_line.count)
    # Names of jobs may hold quotes, and sacct -P does not escape them.
    csv.field_size_limit(_LONGEST_CELL)
    plain = delimiter == "|"
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)
    complaints = Complaints(path, "lines have other cells than the header")
    rows: list[Row] = []
    columns: tuple[str, ...] = ()
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _columns(path, reader.line_num, cells)
            elif len(cells) != len(columns):
                complaints.add(reader.line_num, f"has {len(cells)} cells where the header has {len(columns)}.")
            else:
                rows.append(Row(reader.line_num, dict(zip(columns, cells, strict=True)), reader.line_num - 1))
    except csv.Error as error:
        raise InputError(Problem(f"is no table: {error}.", file=str(path), line=reader.line_num)) from None
    return Table(path, columns, tuple(rows), tuple(complaints.settle(len(rows) + len(complaints), lenient=lenient)))


def _columns(path: Path, line: int, names: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(name.strip().lower() for name in names)
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InputError(Problem(f"the column {twice[0]!r} is there twice.", file=str(path), line=line))
    return columns


def read_parquet(path: Path) -> Table:
    """A Parquet file. Raises InputError."""
    import duckdb

    with duckdb.connect() as connection:
        try:
            result = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [column[0] for column in result.description or ()]
            values = result.fetchall()
        except duckdb.Error as error:
            first_line = str(error).splitlines()[0]
            raise InputError(Problem(f"cannot be read as Parquet: {first_line}", file=str(path))) from None
    columns = _columns(path, 1, names)
    return Table(path, columns, rows_of(dict(zip(columns, each, strict=True)) for each in values))


def rows_of(records: Iterable[Mapping[str, Any]]) -> tuple[Row, ...]:
    """Rows without lines, of mappings with values of any kind."""
    return tuple(
        Row(None, {str(name).lower(): cell_text(value) for name, value in record.items()}, number)
        for number, record in enumerate(records, start=1)
    )


def cell_text(value: Any) -> str:
    """A value as a CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if isoformat else str(value)


def read_json(path: Path) -> list[Any]:
    """All JSON documents of a file, one after the other (one document, or JSON Lines, or answers put end to end)."""
    text = read_text(path)
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    documents: list[Any] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            return documents
        try:
            document, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            problem = Problem(f"is not JSON: {error.msg}.", file=str(path), line=error.lineno, column=error.colno)
            raise InputError(problem) from None
        except (ValueError, RecursionError) as error:
            raise InputError(Problem(f"is not JSON that can be read: {error}.", file=str(path))) from None
        documents.append(document)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
