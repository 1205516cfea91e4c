"""The same document as Markdown: tables in the text, each chart as a picture beside it, its numbers as a CSV file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spotbed.files import write_bytes
from spotbed.report import marks
from spotbed.report.comparison import comparison_document
from spotbed.report.data import ComparisonData, RunData
from spotbed.report.document import (
    Block,
    Box,
    Bullets,
    Code,
    Document,
    Facts,
    Figures,
    Grid,
    Paragraph,
    Strong,
    Tabs,
    Two,
)
from spotbed.report.html import right_aligned, written
from spotbed.report.marks import Label
from spotbed.report.one_run import run_document

PICTURES, TABLES = "figures", "tables"
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~])")


def write_comparison_markdown(data: ComparisonData, folder: Path) -> None:
    """Write report.md, figures/*.png and tables/*.csv into `folder`; report.md comes last."""
    write_document(comparison_document(data), folder)


def write_run_markdown(data: RunData, folder: Path) -> None:
    """The same for one run."""
    write_document(run_document(data), folder)


def write_document(document: Document, folder: Path) -> None:
    """Write report.md, figures/*.png and tables/*.csv of any report."""
    from spotbed.report.static_figures import picture

    for chart in document.charts():
        if chart.panels:
            write_bytes(folder / PICTURES / f"{chart.key}.png", picture(chart))
        if chart.table:
            write_bytes(
                folder / TABLES / f"{chart.key}.csv", table_csv(chart.table).encode("utf-8", "backslashreplace")
            )
    write_bytes(folder / "report.md", markdown(document).encode("utf-8", "backslashreplace"))


def table_csv(table: marks.Table) -> str:
    """A chart's numbers as CSV, unrounded; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in table.rows])
    return text.getvalue()


def markdown(document: Document) -> str:
    """The whole text. Pictures and tables are linked relative to it."""
    lines = [f"# {plain(document.title)}", "", f"{plain(document.kicker)}: {plain(document.subtitle)}", ""]
    for section in document.sections:
        if section.title:
            lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block, "###"), ""]
    return "\n".join(lines).rstrip() + "\n"


def plain(text: str) -> str:
    """Text in which nothing is Markdown or HTML, on one line."""
    line = _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _words(pieces: Sequence[str]) -> str:
    return "".join(_piece(piece) for piece in pieces).strip()


def _piece(piece: str) -> str:
    if isinstance(piece, Label | Strong):
        return f"**{plain(piece)}**"
    left, right = (" " if end.isspace() else "" for end in (piece[:1], piece[1:][-1:]))
    return f"{left}{plain(piece)}{right}"


def _block(block: Block, level: str) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield _words(block.words)
    elif isinstance(block, Bullets):
        yield from (f"- {_words(item)}" for item in block.items)
    elif isinstance(block, Box):
        yield from (f"> **{plain(block.title)}**", ">", *(f"> - {_words(item)}" for item in block.items))
    elif isinstance(block, Figures):
        yield from (
            f"- {plain(name)}: **{plain(value)}** {plain(beside)}".rstrip() for name, value, beside in block.items
        )
    elif isinstance(block, Facts):
        yield from ("| | |", "|---|---|", *(f"| {plain(name)} | {plain(value)} |" for name, value in block.items))
    elif isinstance(block, Code):
        yield from _code(block.text)
    elif isinstance(block, Grid):
        yield from _grid(block)
    elif isinstance(block, Tabs):
        for label, _, inner in block.items:
            yield from (f"{level} {plain(label)}", "")
            for each in inner:
                yield from (*_block(each, f"{level}#"), "")
    else:
        yield from _chart(block, level)


def _code(text: str) -> Iterator[str]:
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    yield from (fence, text, fence)


def _chart(chart: marks.Chart, level: str) -> Iterator[str]:
    yield from (f"{level} {plain(chart.title)}", "")
    if chart.absent:
        yield plain(chart.absent)
        return
    yield from (plain(chart.reading), "", f"![{plain(chart.alt)}]({PICTURES}/{chart.key}.png)")
    if chart.table:
        yield from ("", f"[The numbers]({TABLES}/{chart.key}.csv)")


def _grid(grid: Grid) -> Iterator[str]:
    if grid.folded:
        yield from ("<details><summary>" + plain(grid.folded) + "</summary>", "")
    yield f"| {' | '.join(_words([column]) or ' ' for column in grid.columns)} |"
    yield "|" + "|".join("---:" if right else "---" for right in right_aligned(grid)) + "|"
    for row in grid.rows:
        yield f"| {' | '.join(_cell(value) for value in row)} |"
    if grid.note:
        yield from ("", _words(grid.note))
    if grid.folded:
        yield from ("", "</details>")


def _cell(value: Any) -> str:
    if isinstance(value, Two):
        main = _words([value.main])
        return f"{main}<br>{plain(value.below)}" if value.below else main
    return _words([value]) if isinstance(value, str) else plain(written(value))


def comparison_csv(data: ComparisonData) -> str:
    """The results as one tidy table: a row per policy and metric, with what `compare` reports of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("mean", "ci95_low", "ci95_high", "p50", "p95", "diff_mean", "diff_ci95_low", "diff_ci95_high")
    writer.writerow(("policy", "metric", *names, "ratio", "win_share"))
    for policy in data.results.get("policies") or []:
        for metric, found in policy["metrics"].items():
            stated = (policy.get("vs_baseline") or {}).get(metric) or {}
            own = (found.get("mean"), *_pair(found.get("ci95")), found.get("p50"), found.get("p95"))
            gap = (
                stated.get("diff_mean"),
                *_pair(stated.get("diff_ci95")),
                stated.get("ratio"),
                stated.get("win_share"),
            )
            writer.writerow(["" if cell is None else cell for cell in (policy["label"], metric, *own, *gap)])
    return text.getvalue()


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if value else (None, None)
