"""Reading the folders that a report is made from."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from report_frames import POLICIES, frame, make_comparison, make_run

from spotbed.errors import InputError
from spotbed.report.data import ComparisonData, RunData, empty, is_comparison, load_comparison, load_run
from spotbed.report.html import write_comparison_html, write_run_html

FRAMES = ("jobs", "workers", "attempts", "timeline", "events", "prices", "bill")


def save_run(run: RunData, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for kind in FRAMES:
        getattr(run, kind).to_csv(folder / f"{kind}.csv", index=False)
    (folder / "results.json").write_text(
        json.dumps({"scenario": "s", "policies": [{"label": run.label}]}), encoding="utf-8"
    )
    (folder / "provenance.json").write_text(json.dumps(run.provenance), encoding="utf-8")
    (folder / "notes.json").write_text(json.dumps({"notes": run.notes}), encoding="utf-8")
    return folder


def save_comparison(data: ComparisonData, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for kind in ("worlds", "bill", "queue_depth"):
        getattr(data, kind).to_csv(folder / f"{kind}.csv", index=False)
    names = ("notes", "assumed", "differing", "findings", "coverage", "description")
    for name, content in (
        ("results", data.results),
        ("provenance", data.provenance),
        ("notes", {key: getattr(data, key) for key in names}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    for place, run in enumerate(data.runs.values()):
        save_run(run, folder / "runs" / f"run-{place}")
    return folder


def test_a_comparison_read_back_gives_the_same_page(tmp_path: Path) -> None:
    data = make_comparison(list(POLICIES[:3]), worlds=5, jobs=12)
    for run in data.runs.values():
        run.results = {"scenario": "s", "policies": [{"label": run.label}]}
    folder = save_comparison(data, tmp_path / "comparison")
    write_comparison_html(data, tmp_path / "before.html")
    write_comparison_html(load_comparison(folder), tmp_path / "after.html")
    assert (tmp_path / "before.html").read_bytes() == (tmp_path / "after.html").read_bytes()
    assert is_comparison(folder)
    assert not is_comparison(folder / "runs" / "run-0")


def test_a_run_read_back_gives_the_same_page(tmp_path: Path) -> None:
    run = make_run(jobs=20)
    run.results = {"scenario": "s", "policies": [{"label": run.label}]}
    folder = save_run(run, tmp_path / "run")
    write_run_html(run, tmp_path / "before.html")
    write_run_html(load_run(folder), tmp_path / "after.html")
    assert (tmp_path / "before.html").read_bytes() == (tmp_path / "after.html").read_bytes()


def test_ids_that_look_like_something_else_stay_what_they_are(tmp_path: Path) -> None:
    run = make_run(jobs=6)
    run.jobs["job_id"] = ["NA", "007", "null", "1e5", "", 'a,b\n"c"']
    run.jobs["success"] = ["True", "False", "1", "0", "", "1"]
    loaded = load_run(save_run(run, tmp_path / "run"))
    assert loaded.jobs["job_id"].tolist() == ["NA", "007", "null", "1e5", "", 'a,b\n"c"']
    assert loaded.jobs["success"].tolist()[:4] == [1.0, 0.0, 1.0, 0.0]
    assert loaded.jobs["requested_time"].isna().all()


def test_labels_lead_to_runs_whatever_the_folder_is_called(tmp_path: Path) -> None:
    data = make_comparison([("a b", "decoupled", 1.0), ("a+b", "decoupled", 0.5)], worlds=2, jobs=3)
    assert list(load_comparison(save_comparison(data, tmp_path / "c")).runs) == ["a b", "a+b"]


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    folder = save_run(make_run(jobs=3), tmp_path / "run")
    (folder / "prices.csv").unlink()
    (folder / "bill.csv").write_text("item,cause\nec2.spot,useful\n", encoding="utf-8")
    (folder / "events.csv").write_text("at_s,kind,pool,worker\nsoon,notice,p,w\n", encoding="utf-8")
    (folder / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_run(folder)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 4
    assert any("prices.csv: error: is missing" in line for line in told)
    assert any("bill.csv: error: has no column usage, unit, usd" in line for line in told)
    assert any("events.csv: error: at_s:" in line and "soon" in line for line in told)
    assert any("results.json: error: is not JSON" in line for line in told)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is this a folder that spotbed wrote"):
        load_comparison(tmp_path)


def test_an_empty_frame_has_the_columns_and_types_of_a_full_one() -> None:
    for kind in FRAMES:
        full = getattr(make_run(jobs=3), kind)
        assert set(empty(kind).columns) <= set(full.columns)
        joined = pd.concat([empty(kind), full[list(empty(kind).columns)].iloc[:0]])
        assert joined.empty
    assert frame("events", [(1.0, "notice", "p", "w")])["kind"].tolist() == ["notice"]
