"""A small grammar of charts. A chart is described once, in these words, and drawn by plotly and by matplotlib.

Everything is plain numbers and text: positions on an axis are floats in the unit that the axis title names. Text may
come from a user; each drawer escapes it in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Dash = Literal["solid", "dash", "dot"]
Symbol = Literal["circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star"]
Cell = str | int | float | bool | None


class Label(str):
    """A policy's label inside a sentence or a table: shown with its colour."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its title with the unit, its ends, and how a value is written when it is pointed at."""

    title: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()  # (position, text); empty: chosen by the drawer
    money: bool = False  # numbers are US dollars
    decimals: int = 1  # of a value that is pointed at
    unit: str = ""  # after a value that is pointed at
    downwards: bool = False  # the low end is at the top


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; `steps`: each value holds until the next one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str
    dash: Dash = "solid"
    width: float = 2.0
    steps: bool = False
    listed: bool = True  # in the legend, and answers when pointed at


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two lines."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    color: str


@dataclass(frozen=True, slots=True)
class Stack:
    """Areas on top of each other, the first at the bottom; each value holds until the next one."""

    x: Sequence[float]
    layers: Sequence[tuple[str, str, Sequence[float]]]  # (name, colour, values)


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars from `start`, `length` long (negative: to the left), at `position` on the other axis."""

    name: str
    position: Sequence[float]
    start: Sequence[float]
    length: Sequence[float]
    color: str
    says: Sequence[str]  # when pointed at
    thickness: float = 0.7
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Columns:
    """Upright bars of a histogram between `edges` (one more than `heights`)."""

    name: str
    edges: Sequence[float]
    heights: Sequence[float]
    color: str
    says: Sequence[str]
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Points:
    """Markers, with intervals where they are known (absolute ends)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str
    says: Sequence[str]
    symbol: Symbol = "circle"
    size: float = 8.0
    faint: bool = False
    x_interval: tuple[Sequence[float], Sequence[float]] | None = None
    y_interval: tuple[Sequence[float], Sequence[float]] | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """A straight line across the panel at a value of one axis."""

    axis: Literal["x", "y"]
    at: float
    text: str
    color: str
    dash: Dash = "dash"


@dataclass(frozen=True, slots=True)
class Region:
    """A tinted strip across the panel, between two values of one axis."""

    axis: Literal["x", "y"]
    low: float
    high: float
    color: str
    opacity: float = 0.12


@dataclass(frozen=True, slots=True)
class Note:
    """Text at a point; `anchor` says which side of the text touches the point."""

    x: float
    y: float
    text: str
    anchor: Literal["left", "right", "center"] = "left"
    color: str | None = None
    shift: tuple[float, float] = (0.0, 0.0)  # in pixels, right and up


@dataclass(frozen=True, slots=True)
class Heat:
    """A grid of coloured cells; `values[row][column]`, edges one longer than the cells."""

    x_edges: Sequence[float]
    y_edges: Sequence[float]
    values: Sequence[Sequence[float]]
    title: str
    high: float
    decimals: int = 2


Mark = Line | Band | Stack | Bars | Columns | Points | Rule | Region | Note | Heat


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes with its marks; `height` in pixels on a desktop."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""
    height: int = 320
    legend: bool = True
    right: int = 16  # pixels kept free at the right, for notes that stand there


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; a column's name carries its unit."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """What a reader sees as one figure: panels, how to read them, the same numbers as a table.

    A chart without panels has nothing to draw; `absent` then says why, in a sentence.
    """

    key: str  # letters, digits, hyphens: names the anchor, the picture and the CSV file
    title: str
    reading: str
    alt: str
    panels: tuple[Panel, ...] = ()
    across: int = 1  # panels beside each other on a wide page
    legend: tuple[tuple[str, str], ...] = ()  # (name, colour) of what all panels share
    table: Table | None = None
    absent: str = ""
