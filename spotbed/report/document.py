"""A report as a list of sections made of blocks. HTML and Markdown write the same document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from spotbed.report.marks import Chart, Label, Table


class Strong(str):
    """Words to stress inside a sentence."""

    __slots__ = ()


Tone = Literal["", "good", "bad"]
Words = tuple[str | Strong | Label, ...]  # a sentence or a paragraph in pieces


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    words: Words
    lead: bool = False  # the answer of the report


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """Sentences that stand apart."""

    title: str
    items: tuple[Words, ...]
    tone: Literal["warning", "note"] = "note"


@dataclass(frozen=True, slots=True)
class Figures:
    """A few numbers at a glance: (what, number, beside it)."""

    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, for provenance."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Code:
    """A command to copy."""

    text: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table that stands in the text; cells may be `Two`. `key` names its CSV file."""

    key: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: Words = ()
    folded: str = ""  # shown closed, under this summary


@dataclass(frozen=True, slots=True)
class Two:
    """A cell with a number and, smaller below it, how sure it is."""

    main: str
    below: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Tabs:
    """Alternatives of which one is seen at a time: (label, colour, blocks)."""

    key: str
    items: tuple[tuple[str, str, tuple[Block, ...]], ...]
    first: int = 0  # the one that is open at the beginning


Block = Paragraph | Bullets | Box | Figures | Facts | Code | Grid | Tabs | Chart


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands under it."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(slots=True)
class Document:
    """A whole report."""

    title: str
    kicker: str  # above the title: what kind of report
    subtitle: str
    sections: list[Section]
    colors: dict[str, str] = field(default_factory=dict)  # of policies, for `Label`s

    def charts(self) -> Iterator[Chart]:
        """Every chart, also inside tabs, in reading order."""
        for section in self.sections:
            yield from _charts(section.blocks)


def _charts(blocks: tuple[Block, ...]) -> Iterator[Chart]:
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        elif isinstance(block, Tabs):
            for _, _, inner in block.items:
                yield from _charts(inner)


def table_of(table: Table, key: str, folded: str) -> Grid:
    """The numbers under a chart."""
    return Grid(key, table.columns, table.rows, (table.note,) if table.note else (), folded)
