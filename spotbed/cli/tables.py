"""A result as a table: for a terminal, as CSV, as Markdown, or as JSON records."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

_WIDE = 100_000  # columns of a console that never wraps
_BETWEEN = 2  # blanks between two columns
_READS_AS_NUMBER = re.compile(r"[-\u2212+$]*[\d.,]+ ?(%|s|min|h|d)?|n/a")


class Tabular(Protocol):
    """What can be printed: a `Table`, or another module's own with the same three parts."""

    @property
    def columns(self) -> Sequence[str]:
        """Names."""

    @property
    def rows(self) -> Sequence[Sequence[Any]]:
        """Plain values: text, numbers, booleans, None."""

    @property
    def notes(self) -> Sequence[str]:
        """Lines below a table that is meant for people."""


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values (text, numbers, booleans, None) under named columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = field(default=())

    @classmethod
    def of_records(cls, records: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Table:
        """The columns are those of the first record."""
        columns = list(records[0]) if records else []
        return cls(columns, [[record.get(column) for column in columns] for record in records], notes)


def to_records(table: Tabular) -> list[dict[str, Any]]:
    """The rows as mappings from column to value, as JSON carries them."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def to_json(document: Any) -> str:
    """JSON with an indent of two; what is not finite is null, since JSON has no NaN."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, default=str)


def to_csv(table: Tabular) -> str:
    """RFC 4180 with a header, lines end in LF."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([[_csv_cell(value) for value in row] for row in table.rows])
    return text.getvalue().rstrip("\n")


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return shown(value)
    return "" if value is None else value


def to_markdown(table: Tabular) -> str:
    """A pipe table; numbers are aligned to the right."""
    right = _numeric(table)
    lines = [
        list(table.columns),
        ["---:" if number else "---" for number in right],
        *[[shown(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in table.rows],
    ]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + _below(table))


def to_text(table: Tabular, *, width: int | None, color: bool) -> str:
    """For people: aligned columns, folded to `width` (between words if there is room for that), or never folded if it
    is None."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shape = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True, header_style="bold")
    cells = [[shown(value) for value in row] for row in table.rows]
    widths = _widths([[column, *own] for column, *own in zip(table.columns, *cells, strict=True)], width)
    for column, number, wide in zip(table.columns, _numeric(table), widths, strict=True):
        shape.add_column(column, justify="right" if number else "left", overflow="fold", width=wide)
    for row in cells:
        shape.add_row(*map(Text, row))
    console = Console(
        width=width or _WIDE,
        no_color=not color,
        force_terminal=color,
        highlight=False,
        file=io.StringIO(),
        record=False,
    )
    with console.capture() as captured:
        console.print(shape)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return "\n".join(lines + _below(table))


def _widths(columns: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """How wide each column is: as its widest text, if all fit into `width`; else the widest columns are folded, first
    between words, and where that is not enough within them."""
    widths = [max(map(len, texts), default=1) for texts in columns]
    longest = [max((len(word) for text in texts for word in text.split()), default=1) for texts in columns]
    for least in (longest, [1] * len(columns)):
        while width is not None and sum(widths) + _BETWEEN * (len(widths) - 1) > width:
            widest = max(range(len(widths)), key=lambda place: widths[place] - least[place])
            if widths[widest] <= least[widest]:
                break
            widths[widest] -= 1
    return widths


def shown(value: Any) -> str:
    """A value as people read it: four significant digits, yes and no, nothing for None, `name value` of a mapping."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_nested(item)}" for name, item in value.items())
    return str(value)


def _nested(value: Any) -> str:
    return f"({shown(value)})" if isinstance(value, Mapping) else shown(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else str(value)
    if abs(value) >= 1000 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _numeric(table: Tabular) -> list[bool]:
    columns = list(zip(*table.rows, strict=True)) if table.rows else [() for _ in table.columns]
    return [bool(values) and all(_is_number(value) for value in values) for values in columns]


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return _READS_AS_NUMBER.fullmatch(value) is not None
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _below(table: Tabular) -> list[str]:
    return ["", *table.notes] if table.notes else []


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
