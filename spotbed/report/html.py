"""A document as one HTML file that works offline: styles, data, plotly.js and our script are all inside.

Everything a user controls is escaped: in the page by jinja, inside the embedded JSON by `<`, `>` and `&` as \\u003c, …,
in texts that plotly reads as its own small HTML by entities. A content security policy with the hashes of the two
scripts forbids any other script and every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.files import write_bytes
from spotbed.report import marks
from spotbed.report.comparison import comparison_document
from spotbed.report.data import ComparisonData, RunData
from spotbed.report.document import Document, Grid, Strong, Two, table_of
from spotbed.report.legend import entries
from spotbed.report.one_run import run_document
from spotbed.report.plotly_figures import figure
from spotbed.report.words import MINUS, NOT_AVAILABLE, NOTHING, TIMES, number

if TYPE_CHECKING:
    from jinja2 import Environment


def write_comparison_html(data: ComparisonData, path: Path) -> None:
    """Write the report of a comparison to `path`, whole or not at all."""
    write_bytes(path, page(comparison_document(data)))


def write_run_html(data: RunData, path: Path) -> None:
    """Write the report of one run to `path`, whole or not at all."""
    write_bytes(path, page(run_document(data)))


def page(document: Document) -> bytes:
    """The whole HTML file. A lone surrogate in a user's text is written as an escape."""
    from markupsafe import Markup

    plotly, script = _plotly(), _asset("report.js")
    text = (
        _environment()
        .get_template("report.html.j2")
        .render(
            document=document,
            css=Markup(_asset("report.css")),  # noqa: S704 our own file
            figures=Markup(embedded(_figures(document))),  # noqa: S704 escaped by `embedded`
            plotly=Markup(plotly),  # noqa: S704 the package's file
            script=Markup(script),  # noqa: S704 our own file
            security=_security(plotly, script),
        )
    )
    return text.encode("utf-8", "backslashreplace")


def embedded(value: Any) -> str:
    """JSON that may stand inside a script element: ASCII only, and without the characters that HTML acts upon."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plot_id(chart: marks.Chart, place: int) -> str:
    """The id of the element in which a panel is drawn."""
    return f"plot-{chart.key}-{place}"


def _figures(document: Document) -> dict[str, Any]:
    return {
        plot_id(chart, place): figure(panel) for chart in document.charts() for place, panel in enumerate(chart.panels)
    }


def _security(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    rules = ("default-src 'none'", f"script-src {hashes}", "style-src 'unsafe-inline'", "img-src data: blob:")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


@cache
def _plotly() -> str:
    """plotly.js as its Python package carries it."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


@cache
def _asset(name: str) -> str:
    return (files("spotbed.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("spotbed.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "legend": entries,
        "kind": lambda block: type(block).__name__,
        "plot_id": plot_id,
        "written": written,
        "numbers": lambda chart: table_of(chart.table, chart.key, "The numbers"),
        "right_aligned": right_aligned,
    }
    environment.tests |= {
        "label": lambda value: isinstance(value, marks.Label),
        "strong": lambda value: isinstance(value, Strong),
        "two": lambda value: isinstance(value, Two),
    }
    return environment


def written(value: Any) -> str:
    """A cell as text."""
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)


def right_aligned(grid: Grid) -> list[bool]:
    """Which columns hold numbers and stand at the right."""
    return [place > 0 and all(_is_number(row[place]) for row in grid.rows) for place in range(len(grid.columns))]


def _is_number(value: Any) -> bool:
    if isinstance(value, Two):
        return _is_number(value.main)
    if isinstance(value, str):
        return value in ("", NOTHING, NOT_AVAILABLE) or value[:1] in f"+{MINUS}{TIMES}$0123456789"
    return not isinstance(value, bool)
