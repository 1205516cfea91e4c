"""The page: complete, small, and deaf to what users write into labels and ids."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_frames import POLICIES, make_comparison, make_results, make_run, make_worlds

from spotbed.report.comparison import comparison_document
from spotbed.report.data import ComparisonData, RunData, empty
from spotbed.report.html import embedded, write_comparison_html, write_run_html
from spotbed.report.markdown import markdown, write_run_markdown
from spotbed.report.static_figures import picture

MEGABYTE = 1_000_000
HOSTILE = (
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    '<img src=x onerror="window.hacked=1">',
    "<a href=\"javascript:window.hacked=1\">'click' & <b>bold</b></a>",
    "\u4f5c\u4e1a \U0001f680 \u202eleft %{x} $x^2$ | `code` **bold** {{ 7*7 }} _under_",
)


class Elements(HTMLParser):
    """What a browser would make of a page: its elements, and the text outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open != "style":
            self.text.append(data)


def parsed(path: Path) -> Elements:
    page = Elements()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def hostile_comparison() -> ComparisonData:
    """Every text that a user controls is an attack."""
    labels = [(text, architecture, scale) for text, (_, architecture, scale) in zip(HOSTILE, POLICIES, strict=True)]
    data = make_comparison(labels, worlds=4, jobs=12)
    attack = HOSTILE[1] + HOSTILE[2]
    for run in data.runs.values():
        run.jobs = run.jobs.assign(tenant=attack, job_id=attack, **{"class": attack})
        run.attempts = run.attempts.assign(
            job_id=attack, cause=run.attempts["cause"].where(run.attempts.index > 2, attack)
        )
        for frame in (run.attempts, run.workers, run.events, run.timeline, run.prices):
            if "pool" in frame:
                frame["pool"] = frame["pool"] + attack
            if "worker" in frame:
                frame["worker"] = frame["worker"] + attack
        run.bill = run.bill.assign(item=run.bill["item"] + attack)
    data.bill = data.bill.assign(item=data.bill["item"] + attack, cause=data.bill["cause"] + attack)
    data.results["scenario"] = data.description = data.coverage = attack
    data.results["gates"][0]["rule"] = attack
    data.notes, data.findings = [attack], [attack]
    data.assumed = [dict.fromkeys(("key", "value", "low", "high", "unit", "why"), attack)]
    data.differing = [{attack: attack, HOSTILE[0]: attack}]
    data.provenance = {"command": [attack], attack: {attack: attack}}
    return data


def policies_of(labels: list[tuple[str, str, float]], worlds: int = 5, **metrics: float) -> ComparisonData:
    data = make_comparison(labels, worlds=worlds, jobs=20)
    data.worlds = make_worlds(labels, worlds).assign(**metrics)
    data.results = make_results(data.worlds, labels, labels[0][0])
    return data


def edit(data: ComparisonData, **frames: Any) -> ComparisonData:
    """Replace frames of every run."""
    data.runs = {label: dataclasses.replace(run, **frames) for label, run in data.runs.items()}
    return data


def without_deadlines() -> ComparisonData:
    data = policies_of(list(POLICIES[:2]), deadline_missed=0)
    for run in data.runs.values():
        run.jobs = run.jobs.assign(deadline=np.nan)
    return data


def with_status(status: str) -> ComparisonData:
    done = {"jobs_done": 0.0, "flow_s": np.nan, "wait_s": np.nan, "bounded_slowdown": np.nan, "makespan_s": np.nan}
    data = policies_of(list(POLICIES[:2]), **done)
    for run in data.runs.values():
        run.jobs = run.jobs.assign(status=status, finish_time=np.nan, turnaround_time=np.nan, waiting_time=np.nan)
    return data


EMPTY_CASES = {
    "no interruptions": lambda: edit(policies_of(list(POLICIES[:2])), events=empty("events")),
    "nothing happened and prices stand": lambda: edit(
        policies_of(list(POLICIES[:1])), events=empty("events"), prices=empty("prices")
    ),
    "one policy": lambda: policies_of([POLICIES[2]]),
    "one world": lambda: policies_of(list(POLICIES), worlds=1),
    "one policy in one world": lambda: policies_of([POLICIES[0]], worlds=1),
    "no deadlines": without_deadlines,
    "all failed": lambda: with_status("failed"),
    "all unfinished": lambda: with_status("unfinished"),
    "no jobs": lambda: edit(
        policies_of(list(POLICIES[:2])), **{kind: empty(kind) for kind in ("jobs", "attempts", "workers")}
    ),
    "no runs kept": lambda: dataclasses.replace(policies_of(list(POLICIES[:3])), runs={}),
    "nothing billed": lambda: dataclasses.replace(
        policies_of(list(POLICIES[:2])), bill=make_comparison(worlds=2, jobs=3).bill.iloc[:0]
    ),
    "empty frames": lambda: edit(
        policies_of(list(POLICIES[:2])),
        **{kind: empty(kind) for kind in ("jobs", "attempts", "workers", "timeline", "events", "prices", "bill")},
    ),
    "no results at all": lambda: ComparisonData(results={}),
    "mean does not converge": lambda: policies_of(list(POLICIES[:2]), cost_usd=float("inf"), makespan_s=float("nan")),
}


@pytest.mark.parametrize("case", EMPTY_CASES)
def test_what_is_missing_is_said_in_words(case: str, tmp_path: Path) -> None:
    data = EMPTY_CASES[case]()
    write_comparison_html(data, tmp_path / "index.html")
    page = parsed(tmp_path / "index.html")
    figures = json.loads(page.scripts[0])
    plots = [attributes["id"] for tag, attributes in page.tags if attributes.get("class") == "plot"]
    assert sorted(plots) == sorted(figures)
    assert all(figure["data"] for figure in figures.values())
    charts = sum(tag == "figure" for tag, _ in page.tags)
    absent = sum(attributes.get("class") == "absent" for _, attributes in page.tags)
    assert charts - absent == len({plot.rsplit("-", 1)[0] for plot in plots if plot})
    text = " ".join(page.text)
    assert "nan" not in re.findall(r"[a-z]+", text.lower())
    assert "None" not in text


def test_absent_charts_give_their_reason(tmp_path: Path) -> None:
    reasons = {
        "no interruptions": "No interruption.",
        "nothing happened and prices stand": "Nothing was interrupted, and no launch failed.",
        "one policy": "There is only one policy: nothing to compare it with.",
        "one world": "With a single world there are no differences to spread out.",
        "no deadlines": "No job has a deadline.",
        "all failed": "No job ended well, so there is no wait or flow time to show.",
        "no jobs": "No attempt was ever started in this run.",
        "nothing billed": "No policy has a bill.",
    }
    for case, reason in reasons.items():
        write_comparison_html(EMPTY_CASES[case](), tmp_path / "index.html")
        assert reason in " ".join(parsed(tmp_path / "index.html").text), case


def test_every_empty_run_can_be_written(tmp_path: Path) -> None:
    write_run_html(RunData("nothing"), tmp_path / "report.html")
    write_run_markdown(RunData("nothing"), tmp_path)
    assert "got 0 of 0 jobs done" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Elements:
    path = tmp_path_factory.mktemp("hostile") / "index.html"
    write_comparison_html(hostile_comparison(), path)
    return parsed(path)


def test_users_texts_make_no_element_and_no_attribute(hostile_page: Elements) -> None:
    page = hostile_page
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == [
        "application/json",
        None,
        None,
    ]
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "b1", "object", "svg")]
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all(link is not None and link.startswith("#") for link in links)
    text = " ".join(page.text)
    for attack in HOSTILE:
        assert attack in text  # shown as it was written
    assert "49" not in re.findall(r"\{\{ 7\*7 \}\}|\b49\b", text)[:1]  # no template inside the template


def test_texts_are_escaped_for_plotly_too(hostile_page: Elements) -> None:
    figures = json.loads(hostile_page.scripts[0])
    texts = [text for figure in figures.values() for text in strings(figure)]
    assert any("&lt;script&gt;" in text for text in texts)
    markup = [text for text in texts if "<" in text and "<extra>" not in text]
    assert markup == []
    assert all(text.count("<") == 2 for text in texts if "<extra>" in text)


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in strings(each)]


def test_embedded_json_holds_nothing_that_html_acts_upon() -> None:
    attack = {"</script><!--": "<script> & \u2028 \u00e9 \ud800"}
    text = embedded(attack)
    assert not set("<>&") & set(text)
    assert text.isascii()
    assert json.loads(text) == attack


def test_a_lone_surrogate_does_not_break_the_page(tmp_path: Path) -> None:
    run = make_run("odd \udc80 label", jobs=4)
    write_run_html(run, tmp_path / "report.html")
    write_run_markdown(run, tmp_path)
    assert "odd" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_allows_its_own_two_scripts_and_no_request(tmp_path: Path) -> None:
    write_comparison_html(make_comparison(worlds=3, jobs=10), tmp_path / "index.html")
    page = parsed(tmp_path / "index.html")
    rules = next(
        a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert rules is not None
    assert rules.startswith("default-src 'none'; script-src ")
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]]
    assert re.findall(r"sha256-([^']+)", rules) == hashes
    assert "unsafe-inline" not in rules.split("script-src")[1].split(";")[0]
    addresses = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "srcset", "data")
    ]
    assert addresses == []
    assert not [tag for tag, _ in page.tags if tag in ("link", "base")]


def test_a_comparison_of_five_policies_stays_small(tmp_path: Path) -> None:
    write_comparison_html(make_comparison(worlds=100, jobs=1000), tmp_path / "index.html")
    assert (tmp_path / "index.html").stat().st_size < 7 * MEGABYTE


def test_the_same_data_gives_the_same_page(tmp_path: Path) -> None:
    data = make_comparison(worlds=12, jobs=15)
    for name in ("one", "two"):
        write_comparison_html(data, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_html_needs_neither_matplotlib_nor_plotlys_objects(root: Path) -> None:
    code = (
        "import sys, spotbed.report.html as html; html._plotly();"
        "print([name for name in sys.modules if name.startswith(('matplotlib', 'plotly.graph'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_disk_that_fills_up_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "index.html"
    page.write_text("old", encoding="utf-8")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_comparison_html(make_comparison(worlds=2, jobs=3), page)
    assert page.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_policys_label_carries_its_colour_wherever_it_stands(tmp_path: Path) -> None:
    write_comparison_html(make_comparison(worlds=3, jobs=10), tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    styles = set(re.findall(r'class="policy" style="--c: (#\w{6})"><bdi>hedge</bdi>', text))
    assert len(styles) == 1


def test_hostile_texts_are_harmless_in_markdown() -> None:
    text = markdown(comparison_document(hostile_comparison()))
    text = re.sub(r"^(```+)\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)  # the command, as code
    assert set(re.findall(r"<[^>]*>", text)) <= {"<br>", "<details>", "<summary>", "</summary>", "</details>"}


def test_hostile_texts_can_be_drawn() -> None:
    charts = list(comparison_document(hostile_comparison()).charts())
    for key in ("times", "0-fleet", "0-attempts"):
        assert picture(next(chart for chart in charts if chart.key == key)).startswith(b"\x89PNG")
