"""The page in a real browser: nothing is asked of any network, nothing goes wrong, no chart is empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, Page, find_chromium
from report_frames import make_comparison, make_run
from test_report_html import HOSTILE, hostile_comparison

from spotbed.report.document import Document, Grid, Section
from spotbed.report.html import page as page_of
from spotbed.report.html import write_comparison_html, write_run_html
from spotbed.report.marks import Label

# For each chart that is shown: its id and how much was drawn. Marks are what a trace draws; a heat map is a picture.
DRAWN = """[...document.querySelectorAll('.plot')].filter((plot) => plot.offsetParent).map((plot) => {
  const marks = plot.querySelectorAll('.scatterlayer path, .barlayer path, .heatmaplayer image, .errorbars path');
  const seen = [...marks].filter((mark) => {
    const box = mark.getBoundingClientRect();
    return box.width > 0 || box.height > 0;
  });
  const width = plot.querySelector('svg.main-svg')?.getBoundingClientRect().width ?? 0;
  return { id: plot.id, marks: seen.length, width };
})"""
TABS = "document.querySelectorAll('[role=tab]').length"
# pixels between the text of a cell that stands at the right and that of the next one, which stands at the left
GAPS = """[...document.querySelectorAll('.number + :not(.number)')].map((cell) => {
  const side = (of, name) => parseFloat(getComputedStyle(of)[name]);
  return side(cell.previousElementSibling, 'paddingRight') + side(cell, 'paddingLeft');
})"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed")
    with Chromium(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_comparison_html(make_comparison(worlds=8, jobs=60), folder / "comparison.html")
    write_run_html(make_run(jobs=400), folder / "run.html")
    write_comparison_html(hostile_comparison(), folder / "hostile.html")
    return folder


@pytest.fixture
def open_page(browser: Chromium) -> Iterator[Callable[..., Page]]:
    """A function that opens a file in a new tab, which is closed after the test."""
    pages: list[Page] = []

    def opened(path: Path, width: int = 1280, **more: bool) -> Page:
        pages.append(browser.new_page())
        pages[-1].size(width, 900, **more)
        pages[-1].open(path)
        return pages[-1]

    yield opened
    for page in pages:
        page.close()


def check_charts(page: Page, least: int) -> list[dict[str, Any]]:
    drawn: list[dict[str, Any]] = page.evaluate(DRAWN)
    assert len(drawn) >= least
    assert [plot["id"] for plot in drawn if plot["marks"] == 0] == []
    assert [plot["id"] for plot in drawn if plot["width"] < 180] == []
    return drawn


def check_quiet(page: Page, path: Path) -> None:
    assert page.trouble == []
    asked = [address for address in page.requests if not address.startswith("data:")]  # a heat map is a data: picture
    assert asked == [path.resolve().as_uri()]


def test_a_comparison_draws_every_chart_in_every_tab(open_page: Callable[..., Page], folder: Path) -> None:
    path = folder / "comparison.html"
    page = open_page(path)
    seen = set()
    for tab in range(page.evaluate(TABS)):
        page.evaluate(f"document.querySelectorAll('[role=tab]')[{tab}].click()")
        page.wait(
            "[...document.querySelectorAll('.plot')].every((p) => !p.offsetParent || p.querySelector('svg.main-svg'))"
        )
        seen |= {plot["id"] for plot in check_charts(page, 18)}
    assert seen == set(page.evaluate("Object.keys(JSON.parse(document.getElementById('figures').textContent))"))
    check_quiet(page, path)


@pytest.mark.parametrize("width", [1280, 390])
def test_text_beside_a_number_stands_apart_from_it(open_page: Callable[..., Page], tmp_path: Path, width: int) -> None:
    rows = (("15s", 30, Label("on-demand-only")), ("3m", 1200, Label("div+ckpt")))
    grid = Grid("points", ("checkpoint.write", "capacity.pools.s.max", "policy"), rows)
    path = tmp_path / "sweep.html"
    path.write_bytes(page_of(Document("t", "k", "s", [Section("points", "Every point", (grid,))], {})))
    gaps = open_page(path, width).evaluate(GAPS)
    assert len(gaps) == 3
    assert min(gaps) >= 16


def test_tabs_are_chosen_by_the_keyboard(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page(folder / "comparison.html")
    chosen = "document.querySelector('[role=tab][aria-selected=true]').textContent.trim()"
    before = page.evaluate(chosen)
    page.evaluate("document.querySelector('[role=tab][aria-selected=true]').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert page.evaluate(chosen) != before
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    shown = page.evaluate("[...document.querySelectorAll('[role=tabpanel]')].filter((panel) => !panel.hidden).length")
    assert shown == page.evaluate("document.querySelectorAll('[role=tablist]').length")


def test_a_run_draws_every_chart(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page(folder / "run.html")
    check_charts(page, 10)
    check_quiet(page, folder / "run.html")


@pytest.mark.parametrize("name", ["comparison.html", "run.html", "hostile.html"])
def test_it_fits_a_phone(open_page: Callable[..., Page], folder: Path, name: str) -> None:
    page = open_page(folder / name, 390, phone=True)
    assert page.evaluate(OVERFLOW) <= 0
    check_charts(page, 10)
    check_quiet(page, folder / name)


def test_hostile_texts_do_nothing(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page(folder / "hostile.html")
    check_charts(page, 10)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('.plot a, .plot img, .plot b, .plot script').length") == 0
    shown = page.evaluate("document.body.innerText")
    assert all(attack in shown for attack in HOSTILE)
    names = page.evaluate("[...document.querySelectorAll('.plot .ytick text')].map((text) => text.textContent)")
    assert any(name.startswith("<script>window.hacked=1</script>") for name in names)
    check_quiet(page, folder / "hostile.html")


def test_a_script_that_gets_in_is_refused(open_page: Callable[..., Page], folder: Path, tmp_path: Path) -> None:
    text = (folder / "run.html").read_text(encoding="utf-8")
    changed = text.replace("<main>", '<main><script>window.hacked=1</script><img src="https://example.invalid/x.png">')
    (tmp_path / "changed.html").write_text(changed, encoding="utf-8")
    page = open_page(tmp_path / "changed.html")
    assert page.evaluate("window.hacked") is None
    assert all("Content Security Policy" in line for line in page.trouble)
    assert len(page.trouble) == 2


def test_dark_pages_have_light_text(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page(folder / "run.html", dark=True)
    brightness = "(name) => getComputedStyle(document.querySelector(name))[{}].match(/\\d+/g).slice(0, 3).map(Number)"
    paper = page.evaluate(f"({brightness.format(repr('backgroundColor'))})('body')")
    for name in ("h1", ".reading"):
        assert min(page.evaluate(f"({brightness.format(repr('color'))})('{name}')")) > max(paper) + 100
    for name in (".plot .xtick text", ".plot .ytitle"):
        assert min(page.evaluate(f"({brightness.format(repr('fill'))})('{name}')")) > max(paper) + 100


def test_it_prints_charts_no_wider_than_the_paper(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page(folder / "comparison.html")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widths = [plot["width"] for plot in check_charts(page, 18)]
    assert max(widths) <= 680
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait(f"{DRAWN}.some((plot) => plot.width > 1000)")
    check_quiet(page, folder / "comparison.html")


def test_it_becomes_a_pdf(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page(folder / "run.html")
    assert page.pdf().startswith(b"%PDF-")
    check_quiet(page, folder / "run.html")
