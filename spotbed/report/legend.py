"""What the colours of a panel stand for. The page writes it in words beside the chart, where it can wrap."""

from __future__ import annotations

from dataclasses import dataclass

from spotbed.report.marks import Bars, Columns, Line, Mark, Panel, Points, Stack

_GLYPHS = {
    "x": "\u2715",
    "triangle-up": "\u25b2",
    "triangle-down": "\u25bc",
    "diamond": "\u25c6",
    "star": "\u2605",
    "square": "\u25a0",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a legend: `shape` is area, line, dotted or glyph; a glyph is the sign itself."""

    name: str
    color: str
    shape: str
    glyph: str = ""


def entries(panel: Panel) -> list[Entry]:
    """The legend of a panel, in the order of its marks; empty if it needs none."""
    return [entry for mark in panel.marks for entry in _entries(mark)] if panel.legend else []


def _entries(mark: Mark) -> list[Entry]:
    if isinstance(mark, Stack):
        return [Entry(name, color, "area") for name, color, _ in mark.layers][::-1]
    if isinstance(mark, Points):
        return [Entry(mark.name, mark.color, "glyph", _GLYPHS.get(mark.symbol, "\u25cf"))] if mark.listed else []
    if isinstance(mark, Line):
        return [Entry(mark.name, mark.color, "line" if mark.dash == "solid" else "dotted")] if mark.listed else []
    if isinstance(mark, Bars | Columns):
        return [Entry(mark.name, mark.color, "area")] if mark.listed else []
    return []
