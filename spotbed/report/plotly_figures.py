"""Panels as plotly figures: plain dictionaries, drawn in the page by plotly.js. Nothing of plotly's Python is needed.

plotly reads a little HTML in texts (`<b>`, `<a href>`), so every text is escaped here, once more than in the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch
from itertools import pairwise
from typing import Any

from spotbed.report.marks import Axis, Band, Bars, Columns, Heat, Line, Note, Panel, Points, Region, Rule, Stack
from spotbed.report.words import one_line

Figure = dict[str, Any]
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
_INK = "#1c2430"
_LONG_NAME, _SHORT_NAME = 34, 16  # characters of a name beside an axis: on a wide page, on a phone
_CLEAR = "rgba(0,0,0,0)"
_COLORS = [[0, "#f1f4f6"], [0.25, "#b8d3de"], [0.5, "#6fa8bf"], [0.75, "#2f6f8f"], [1, "#123a52"]]
_DASH = {"solid": "solid", "dash": "6px,4px", "dot": "2px,3px"}


def figure(panel: Panel) -> Figure:
    """The `data` and `layout` of one panel; JSON-safe, no NaN."""
    parts: Figure = {"data": [], "shapes": [], "annotations": []}
    for mark in panel.marks:
        add(mark, panel, parts)
    layout = {
        "height": panel.height,
        "margin": {"l": 56, "r": panel.right, "t": 12, "b": 46},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"family": _FONT, "size": 12, "color": _INK},
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": _FONT, "size": 12}, "align": "left", "namelength": -1},
        "showlegend": False,  # the page has its own, which wraps on a phone
        "modebar": {"bgcolor": _CLEAR, "color": "#8A929B", "activecolor": "#55606C"},
        "bargap": 0,
        "barmode": "overlay",
        "xaxis": _axis(panel.x),
        "yaxis": _axis(panel.y),
        "shapes": parts["shapes"],
        "annotations": parts["annotations"],
        "meta": {"short": [escaped(one_line(text, _SHORT_NAME)) for _, text in panel.y.ticks]},  # for a narrow page
    }
    return {"data": parts["data"], "layout": layout}


def escaped(text: str) -> str:
    """Text that plotly shows as it is, on one line."""
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def compact(values: Sequence[float]) -> list[float | None]:
    """Six significant digits, None where there is no finite number: what a screen can show."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in map(float, values)]


def _axis(axis: Axis) -> Figure:
    shown: Figure = {
        "title": {"text": escaped(axis.title), "font": {"size": 12}, "standoff": 8},
        "automargin": True,
        "zeroline": False,
        "gridcolor": "#e3e7eb",
        "linecolor": "#aeb6be",
        "ticks": "",
        "tickformat": "$,~f" if axis.money else "",
        "type": "log" if axis.log else "linear",
    }
    ends = [axis.low, axis.high]
    if None not in ends:
        span = [_place(axis, end) for end in ends if end is not None]
        shown["range"] = span[::-1] if axis.downwards else span
    elif axis.downwards:
        shown["autorange"] = "reversed"
    elif axis.low == 0:
        shown["rangemode"] = "tozero"
    if axis.ticks:
        shown |= {
            "tickvals": compact([at for at, _ in axis.ticks]),
            "ticktext": [escaped(one_line(text, _LONG_NAME)) for _, text in axis.ticks],
        }
    return shown


def _place(axis: Axis, value: float) -> float:
    return math.log10(value) if axis.log else value


def _value(axis: Axis, letter: str) -> str:
    unit = f" {axis.unit}" if axis.unit else ""
    return f"%{{{letter}:{'$' if axis.money else ''},.{axis.decimals}f}}{unit}"


def _template(panel: Panel, name: str) -> str:
    return f"{_value(panel.y, 'y')} at {_value(panel.x, 'x')}<extra>{escaped(name).replace('%{', '%&#123;')}</extra>"


@singledispatch
def add(mark: object, panel: Panel, parts: Figure) -> None:
    """Append the traces, shapes or annotations of one mark to `parts`."""
    raise TypeError(f"no way to draw {type(mark).__name__}, of {panel.title!r}, beside {len(parts)} lists")


def _says(texts: Sequence[str]) -> Figure:
    return {"hoverinfo": "text", "hovertext": [escaped(text) for text in texts]}


@add.register
def _line(mark: Line, panel: Panel, parts: Figure) -> None:
    parts["data"].append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": escaped(mark.name),
            "x": compact(mark.x),
            "y": compact(mark.y),
            "line": {
                "color": mark.color,
                "width": mark.width,
                "dash": _DASH[mark.dash],
                "shape": "hv" if mark.steps else "linear",
            },
            **({"hovertemplate": _template(panel, mark.name)} if mark.listed else {"hoverinfo": "skip"}),
        }
    )


@add.register
def _band(mark: Band, panel: Panel, parts: Figure) -> None:
    del panel
    there, back = list(mark.x), list(mark.x)[::-1]
    parts["data"].append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": escaped(mark.name),
            "x": compact([*there, *back]),
            "y": compact([*mark.high, *list(mark.low)[::-1]]),
            "fill": "toself",
            "fillcolor": _tinted(mark.color, 0.22),
            "line": {"width": 0},
            "hoverinfo": "skip",
        }
    )


@add.register
def _stack(mark: Stack, panel: Panel, parts: Figure) -> None:
    for name, color, values in mark.layers:
        parts["data"].append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": escaped(name),
                "x": compact(mark.x),
                "y": compact(values),
                "stackgroup": "one",
                "fillcolor": _tinted(color, 0.85),
                "line": {"width": 0.6, "color": color, "shape": "hv"},
                "hovertemplate": _template(panel, name),
            }
        )


@add.register
def _bars(mark: Bars, panel: Panel, parts: Figure) -> None:
    del panel
    parts["data"].append(
        {
            "type": "bar",
            "orientation": "h",
            "name": escaped(mark.name),
            "y": compact(mark.position),
            "base": compact(mark.start),
            "x": compact(mark.length),
            "width": mark.thickness,
            "marker": {"color": mark.color, "line": {"width": 0}},
            **_says(mark.says),
        }
    )


@add.register
def _columns(mark: Columns, panel: Panel, parts: Figure) -> None:
    del panel
    edges = list(mark.edges)
    widths = [high - low for low, high in pairwise(edges)]
    parts["data"].append(
        {
            "type": "bar",
            "name": escaped(mark.name),
            "x": compact([low + width / 2 for low, width in zip(edges, widths, strict=False)]),
            "y": compact(mark.heights),
            "width": compact([width * 0.94 for width in widths]),
            "marker": {"color": mark.color},
            **_says(mark.says),
        }
    )


@add.register
def _points(mark: Points, panel: Panel, parts: Figure) -> None:
    del panel
    trace: Figure = {
        "type": "scatter",
        "mode": "markers",
        "name": escaped(mark.name),
        "x": compact(mark.x),
        "y": compact(mark.y),
        "marker": {
            "color": mark.color,
            "size": mark.size,
            "symbol": mark.symbol,
            "opacity": 0.35 if mark.faint else 1.0,
            "line": {"width": 0},
        },
        **_says(mark.says),
    }
    for letter, middle, interval in (("x", mark.x, mark.x_interval), ("y", mark.y, mark.y_interval)):
        if interval:
            trace[f"error_{letter}"] = _whiskers(middle, *interval, color=mark.color)
    parts["data"].append(trace)


def _whiskers(middle: Sequence[float], low: Sequence[float], high: Sequence[float], *, color: str) -> Figure:
    return {
        "type": "data",
        "symmetric": False,
        "array": compact([end - value for end, value in zip(high, middle, strict=True)]),
        "arrayminus": compact([value - end for end, value in zip(low, middle, strict=True)]),
        "color": color,
        "thickness": 1.6,
        "width": 0,
    }


@add.register
def _rule(mark: Rule, panel: Panel, parts: Figure) -> None:
    upright = mark.axis == "x"
    at = mark.at
    ends = {"x0": at, "x1": at, "y0": 0, "y1": 1} if upright else {"x0": 0, "x1": 1, "y0": at, "y1": at}
    refs = {"xref": "x", "yref": "paper"} if upright else {"xref": "paper", "yref": "y"}
    line = {"color": mark.color, "width": 1.3, "dash": _DASH[mark.dash]}
    parts["shapes"].append({"type": "line", **ends, **refs, "line": line})
    if not mark.text:
        return
    axis = panel.x if upright else panel.y
    where = {"x": _place(axis, at), "y": 1, "yanchor": "top", "xanchor": "left"}
    if not upright:
        where = {"x": 1, "y": _place(axis, at), "yanchor": "bottom", "xanchor": "right"}
    parts["annotations"].append({**where, **refs, "text": escaped(mark.text), "showarrow": False, "font": {"size": 11}})


@add.register
def _region(mark: Region, panel: Panel, parts: Figure) -> None:
    del panel
    along, across = ("x", "y") if mark.axis == "x" else ("y", "x")
    ends = {f"{along}0": mark.low, f"{along}1": mark.high, f"{across}0": 0, f"{across}1": 1}
    refs = {f"{along}ref": along, f"{across}ref": "paper"}
    fill = {"layer": "below", "line": {"width": 0}, "fillcolor": _tinted(mark.color, mark.opacity)}
    parts["shapes"].append({"type": "rect", **ends, **refs, **fill})


@add.register
def _note(mark: Note, panel: Panel, parts: Figure) -> None:
    parts["annotations"].append(
        {
            "x": _place(panel.x, mark.x),
            "y": _place(panel.y, mark.y),
            "xref": "x",
            "yref": "y",
            "text": escaped(one_line(mark.text, _LONG_NAME)),
            "showarrow": False,
            "xanchor": mark.anchor,
            "xshift": mark.shift[0],
            "yshift": mark.shift[1],
            "font": {"size": 12, **({"color": mark.color} if mark.color else {})},
        }
    )


@add.register
def _heat(mark: Heat, panel: Panel, parts: Figure) -> None:
    unit = f" {panel.x.unit}" if panel.x.unit else ""
    parts["data"].append(
        {
            "type": "heatmap",
            "x": compact(mark.x_edges),
            "y": compact(mark.y_edges),
            "z": [compact(row) for row in mark.values],
            "zmin": 0,
            "zmax": mark.high,
            "colorscale": _COLORS,
            "hovertemplate": f"{escaped(mark.title)}: %{{z:.{mark.decimals}f}} at %{{x:.1f}}{unit}<extra></extra>",
            "colorbar": {
                "title": {"text": escaped(mark.title), "side": "right", "font": {"size": 11}},
                "thickness": 10,
                "outlinewidth": 0,
            },
        }
    )


def _tinted(color: str, opacity: float) -> str:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
