"""Predictions of runtimes from a log: what was known at the submission, and nothing later."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spotbed.errors import InputError
from spotbed.work.prediction import History, boosted, evaluate, last_two, wrong_by
from spotbed.work.swf import SwfLog, read_swf

# Each job: when it was submitted, how long it waited, ran and asked for, and whose it is.
JOBS = [
    (0, 0, 100, 500, 1),
    (10, 0, 50, 500, 1),
    (20, 0, 9, 500, 2),
    (60, 50, 30, 500, 1),  # one of the user's had ended, at 60
    (100, 0, 40, 500, 1),  # those of 50 and of 100: 75; the one of 30 waits until 110
    (150, 0, 10, 20, 1),  # those of 100 and 30, and at most 20
    (160, 0, 10, -1, 3),
]


def log_file(folder: Path, jobs: list[tuple[int, int, int, int, int]]) -> Path:
    lines = [
        f"{number} {submit} {wait} {runtime} 1 -1 -1 1 {request} -1 1 {user} -1 -1 -1 -1 -1 -1"
        for number, (submit, wait, runtime, request, user) in enumerate(jobs, 1)
    ]
    path = folder / "log.swf"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_last_two_are_those_that_had_ended(tmp_path: Path) -> None:
    log = read_swf(log_file(tmp_path, JOBS))
    assert last_two(log).tolist() == [500, 500, 500, 500, 75, 20, -1]
    assert History.of(log).ended.tolist() == [0, 0, 0, 1, 2, 4, 0]


def test_a_log_is_read_with_its_predictions(tmp_path: Path) -> None:
    """Also of a part of it: what came before is known."""
    part = read_swf(log_file(tmp_path, JOBS), first=4, count=2, runtime_estimate="last-two")
    assert part.estimate_s.tolist() == [75, 20]
    assert part.submit_s.tolist() == [0, 50]
    assert part.runtime_s.tolist() == [40, 10]
    assert part.first_submit_s == 100
    whole = read_swf(log_file(tmp_path, JOBS), first=4, count=2)
    assert (whole.first_submit_s, whole.submit_s.tolist()) == (part.first_submit_s, part.submit_s.tolist())


def test_the_errors_of_a_prediction() -> None:
    """Of 0.8: too short by 10 costs 8, too long by 30 costs 6; the third has none."""
    found = wrong_by("x", np.array([90.0, 130.0, -1.0]), np.array([100.0, 100.0, 5.0]), 0.8)
    assert (found.jobs, found.mean_absolute_error_s, found.too_short) == (2, 20, 0.5)
    assert found.pinball_loss_s == pytest.approx(7)


def learnable(count: int = 600) -> SwfLog:
    """Users whose jobs run a third, a half or all of what they ask for, give or take."""
    rng = np.random.default_rng(3)
    user = rng.integers(1, 4, count).astype(np.int32)
    asked = rng.integers(1_000, 20_000, count).astype(np.float64)
    ran = np.floor(asked / user * rng.uniform(0.8, 1.0, count))
    submit = np.arange(count) * 10_000.0
    empty = read_swf_of_one()
    return replace(
        empty, job=np.arange(count), submit_s=submit, runtime_s=ran, estimate_s=asked, user=user,
        slots=np.ones(count, dtype=np.int32), line=np.arange(count), wait_s=np.zeros(count),
    )  # fmt: skip


def read_swf_of_one() -> SwfLog:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_swf(log_file(Path(folder), JOBS[:1]))


def test_trees_do_better_than_the_request_on_jobs_that_they_have_not_seen() -> None:
    pytest.importorskip("sklearn")
    by_method = {each.method: each for each in evaluate(learnable(), 0.5, 0.5)}
    trees, request = by_method["gradient boosting"], by_method["request"]
    assert trees.jobs == request.jobs == 300
    assert trees.mean_absolute_error_s < request.mean_absolute_error_s
    assert request.too_short == 0
    assert 0.3 < trees.too_short < 0.7
    assert {each.method: each.too_short for each in evaluate(learnable(), 0.5, 0.9)}["gradient boosting"] < 0.25


def test_no_prediction_depends_on_what_comes_later() -> None:
    """Other runtimes of the last hundred jobs change no prediction of a job before them, and of the first of them."""
    pytest.importorskip("sklearn")
    log = learnable(400)
    changed = replace(log, runtime_s=np.where(np.arange(400) < 300, log.runtime_s, 1.0))
    for predict in (last_two, lambda each: boosted(each, 200, 0.5)):
        assert predict(log)[:301].tolist() == predict(changed)[:301].tolist()


def test_too_few_jobs_to_learn_from_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(InputError, match=r"0 jobs had ended before those to be predicted: at least 100"):
        read_swf(log_file(tmp_path, JOBS), runtime_estimate="boosted")


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r"spotbed\[predict\]"):
        boosted(learnable(300), 200, 0.5)
