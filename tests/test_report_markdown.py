"""Markdown: the same report, with pictures and CSV files beside it."""

from __future__ import annotations

import csv
import io
import re
import struct
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from report_frames import POLICIES, make_comparison, make_run

from spotbed.report.comparison import comparison_document
from spotbed.report.data import ComparisonData
from spotbed.report.markdown import comparison_csv, plain, write_comparison_markdown, write_run_markdown

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def data() -> ComparisonData:
    return make_comparison(list(POLICIES[:2]), worlds=6, jobs=40)


@pytest.fixture(scope="module")
def folder(data: ComparisonData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_comparison_markdown(data, folder)
    return folder


def test_every_chart_has_a_picture_that_is_not_blank(data: ComparisonData, folder: Path) -> None:
    for chart in comparison_document(data).charts():
        if chart.panels:
            content = (folder / "figures" / f"{chart.key}.png").read_bytes()
            width, height = struct.unpack(">II", content[16:24])
            assert content.startswith(PNG), chart.key
            assert width > 800, chart.key
            assert len(content) > width * height / 200, chart.key  # a blank page of this size has fewer bytes


def test_every_link_leads_to_a_file(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(((?:figures|tables)/[^)]+)\)", text)
    assert len(links) > 20
    assert all((folder / link).is_file() for link in links)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} - {"report.md"}
    assert files == set(links)


def test_it_is_valid_markdown_with_whole_tables(folder: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse((folder / "report.md").read_text(encoding="utf-8"))
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[:3] == ["eda-regression", "How the policies compare", "Cost against makespan"]
    assert sum(token.type == "table_open" for token in tokens) >= 6
    assert not [token for token in tokens if token.type == "inline" and token.content.startswith("|")]


def test_it_says_what_the_page_says(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "Over 6 simulated worlds, **on-demand**" in text
    assert "> **What the 2019 scheduler would have cost you**" in text
    assert "does not converge" in text
    assert "spotbed compare scenarios/eda-regression.yaml --jobs 2" in text
    assert "### on-demand" in text


def test_tables_of_charts_are_unrounded(data: ComparisonData, folder: Path) -> None:
    table = pd.read_csv(folder / "tables" / "cost-makespan.csv")
    means = [policy["metrics"]["cost_usd"]["mean"] for policy in data.results["policies"]]
    assert table["cost (USD)"].tolist() == means


def test_a_run_is_written_too(tmp_path: Path) -> None:
    write_run_markdown(make_run(jobs=30), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**div+ckpt** got 30 of 30 jobs done" in text
    assert (tmp_path / "figures" / "attempts.png").read_bytes().startswith(PNG)


def test_the_csv_is_the_results() -> None:
    data = make_comparison(list(POLICIES[:2]), worlds=6, jobs=5)
    rows = list(csv.DictReader(io.StringIO(comparison_csv(data))))
    stated = data.results["policies"][1]
    own = next(row for row in rows if row["policy"] == "legacy-2019" and row["metric"] == "cost_usd")
    assert float(own["mean"]) == stated["metrics"]["cost_usd"]["mean"]
    assert float(own["diff_ci95_high"]) == stated["vs_baseline"]["cost_usd"]["diff_ci95"][1]
    assert next(row for row in rows if row["policy"] == "on-demand")["ratio"] == ""
    assert len(rows) == sum(len(policy["metrics"]) for policy in data.results["policies"])


@pytest.mark.parametrize("text", ["a|b", "*x*", "<b>", "[x](y)", "`c`", "a_b_c", "~~x~~", "line\nbreak", "\\", "&lt;"])
def test_plain_text_is_rendered_as_itself(text: str) -> None:
    html = MarkdownIt("commonmark").enable("strikethrough").render(f"start {plain(text)} end")
    assert re.sub(r"</?p>|\n", "", html) == "start " + escaped(" ".join(text.split())) + " end"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
