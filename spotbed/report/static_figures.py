"""The same panels as still pictures, drawn by matplotlib's Agg without pyplot and its global state.

Importing this module takes about a second: only what writes Markdown does.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from functools import singledispatch
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from spotbed.report.marks import Axis, Band, Bars, Chart, Columns, Heat, Line, Note, Panel, Points, Region, Rule, Stack
from spotbed.report.words import MINUS, one_line

_INK = "#1c2430"
_PIXELS_PER_INCH = 96
_LONG_NAME = 34  # characters of a name beside an axis
_SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "cross": "P",
    "x": "x",
    "triangle-up": "^",
    "triangle-down": "v",
    "star": "*",
}
_DASHES = {"solid": "-", "dash": (0, (5, 3)), "dot": (0, (1.5, 2.5))}
_STYLE: Any = {
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#aeb6be",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#e3e7eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#59636c",
    "ytick.color": "#59636c",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.dpi": 110,
}


def picture(chart: Chart) -> bytes:
    """A chart with at least one panel as a PNG on white."""
    across = min(chart.across, len(chart.panels))
    heights = [chart.panels[place].height for place in range(0, len(chart.panels), across)]
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A user's text may hold characters that the bundled font lacks; boxes stand for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        size = (8.6, sum(heights) / _PIXELS_PER_INCH)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.09))
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(heights), across, squeeze=False, height_ratios=heights)
        for place, axes in enumerate(grid.flat):
            if place < len(chart.panels):
                _draw(chart.panels[place], axes)
            else:
                axes.set_axis_off()
        if chart.legend:
            _legend_below(figure, chart.legend)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": "spotbed"})
    return stream.getvalue()


def _draw(panel: Panel, axes: Axes) -> None:
    for mark in panel.marks:
        add(mark, axes)
    if panel.title:
        axes.set_title(_shown(panel.title, 2 * _LONG_NAME))
    _dress(axes, panel.x, "x")
    _dress(axes, panel.y, "y")
    if panel.legend and axes.get_legend_handles_labels()[0]:
        columns = 3 if len(axes.get_legend_handles_labels()[0]) > 4 else 4
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)
        axes.set_title("")


def _legend_below(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    handles = [Patch(color=color, label=_name(name)) for name, color in entries]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))


def _shown(text: str, most: int = _LONG_NAME) -> str:
    """Text on one line that a font can be asked for."""
    return one_line(text, most).encode("utf-8", "replace").decode()


def _dress(axes: Axes, axis: Axis, letter: str) -> None:
    own = axes.xaxis if letter == "x" else axes.yaxis
    limits = axes.set_xlim if letter == "x" else axes.set_ylim
    own.set_label_text(_shown(axis.title, 2 * _LONG_NAME))
    if axis.log:
        (axes.set_xscale if letter == "x" else axes.set_yscale)("log")
    if axis.ticks:
        own.set_ticks([at for at, _ in axis.ticks], labels=[_shown(text) for _, text in axis.ticks])
        own.set_ticks([], minor=True)
    elif axis.money:
        own.set_major_formatter(lambda value, _: f"{MINUS if value < 0 else ''}${abs(value):,.6g}")
    if axis.low is not None or axis.high is not None:
        limits(axis.low, axis.high)  # after the ticks, which widen the axis
    if axis.downwards:
        own.set_inverted(True)


@singledispatch
def add(mark: object, axes: Axes) -> None:
    """Draw one mark."""
    raise TypeError(f"no way to draw {type(mark).__name__} on {axes}")


def _name(text: str, listed: bool = True) -> str:
    """matplotlib hides labels that begin with an underscore from the legend: a user's may not vanish."""
    shown = _shown(text)
    if not listed:
        return "_"
    return f"\u200b{shown}" if shown.startswith("_") else shown


@add.register
def _line(mark: Line, axes: Axes) -> None:
    style = "steps-post" if mark.steps else "default"
    axes.plot(
        mark.x,
        mark.y,
        color=mark.color,
        linewidth=mark.width * 0.8,
        linestyle=_DASHES[mark.dash],
        drawstyle=style,
        label=_name(mark.name, mark.listed),
    )


@add.register
def _band(mark: Band, axes: Axes) -> None:
    axes.fill_between(mark.x, mark.low, mark.high, color=mark.color, alpha=0.22, linewidth=0, label=_name(mark.name))


@add.register
def _stack(mark: Stack, axes: Axes) -> None:
    floor = [0.0] * len(mark.x)
    for name, color, values in mark.layers:
        top = [low + value for low, value in zip(floor, values, strict=True)]
        axes.fill_between(mark.x, floor, top, step="post", color=color, alpha=0.85, linewidth=0, label=_name(name))
        floor = top


@add.register
def _bars(mark: Bars, axes: Axes) -> None:
    axes.barh(
        mark.position,
        mark.length,
        left=mark.start,
        height=mark.thickness,
        color=mark.color,
        label=_name(mark.name, mark.listed),
    )
    axes.grid(visible=False, axis="y")


@add.register
def _columns(mark: Columns, axes: Axes) -> None:
    edges = list(mark.edges)
    widths = [(high - low) * 0.94 for low, high in pairwise(edges)]
    axes.bar(edges[:-1], mark.heights, width=widths, align="edge", color=mark.color, label=_name(mark.name))


@add.register
def _points(mark: Points, axes: Axes) -> None:
    axes.plot(
        mark.x,
        mark.y,
        linestyle="none",
        marker=_SYMBOLS[mark.symbol],
        markersize=mark.size * 0.75,
        color=mark.color,
        alpha=0.35 if mark.faint else 1.0,
        markeredgewidth=1.4 if mark.symbol == "x" else 0,
        label=_name(mark.name, mark.listed),
    )
    if mark.x_interval or mark.y_interval:
        axes.errorbar(
            mark.x,
            mark.y,
            xerr=_ends(mark.x, mark.x_interval),
            yerr=_ends(mark.y, mark.y_interval),
            fmt="none",
            ecolor=mark.color,
            elinewidth=1.3,
        )


def _ends(middle: Sequence[float], interval: tuple[Sequence[float], Sequence[float]] | None) -> Any:
    if interval is None:
        return None
    below = [max(value - low, 0.0) for value, low in zip(middle, interval[0], strict=True)]
    above = [max(high - value, 0.0) for value, high in zip(middle, interval[1], strict=True)]
    return [below, above]


@add.register
def _rule(mark: Rule, axes: Axes) -> None:
    style: dict[str, Any] = {"color": mark.color, "linestyle": _DASHES[mark.dash], "linewidth": 1.1}
    if mark.axis == "x":
        axes.axvline(mark.at, **style)
        where, kind, sides = (mark.at, 0.98), axes.get_xaxis_transform(), ("left", "top")
    else:
        axes.axhline(mark.at, **style)
        where, kind, sides = (0.99, mark.at), axes.get_yaxis_transform(), ("right", "bottom")
    axes.text(*where, f" {_shown(mark.text)}", transform=kind, ha=sides[0], va=sides[1], fontsize=8)


@add.register
def _region(mark: Region, axes: Axes) -> None:
    span = axes.axvspan if mark.axis == "x" else axes.axhspan
    span(mark.low, mark.high, color=mark.color, alpha=mark.opacity, linewidth=0, zorder=0)


@add.register
def _note(mark: Note, axes: Axes) -> None:
    axes.annotate(
        _shown(mark.text),
        (mark.x, mark.y),
        xytext=(mark.shift[0] * 0.75, mark.shift[1] * 0.75),
        textcoords="offset points",
        ha=mark.anchor,
        va="center",
        fontsize=8.5,
        color=mark.color or _INK,
        annotation_clip=False,
    )


@add.register
def _heat(mark: Heat, axes: Axes) -> None:
    mesh = axes.pcolormesh(
        mark.x_edges, mark.y_edges, mark.values, cmap="GnBu", vmin=0, vmax=mark.high, shading="flat", rasterized=True
    )
    axes.grid(visible=False)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30)
    bar.set_label(_shown(mark.title), fontsize=8)
    bar.outline.set_visible(False)
