"""Arrays on moto's tables: one message is n jobs, made a few at a time and once, waited for and cancelled as one."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from aws_world import World
from test_aws_ends import claims, ends, made, phases, received, row_of, sent

from aws import arrays, functions, jobs, joins, measures
from aws.rebuild import rebuild
from aws.translate import task_id

__all__ = ["made"]  # a fixture
SWEEP: dict[str, Any] = {"id": "sweep", "commands": ["x"], "array": 3, "retries": 0}
MERGE: dict[str, Any] = {"id": "merge", "commands": ["y"], "after": ["sweep"]}
S = 1_000


class Timers:
    """Keeps what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def set(self, job_id: str, after_ms: int) -> None:
        self.asked.append((job_id, after_ms))


def tasks(count: int, array: str = "sweep") -> list[str]:
    return [task_id(array, index) for index in range(count)]


def record(made: World, name: str) -> dict[str, Any]:
    item = joins.array(made.control, name)
    assert item is not None
    return item


def submissions(made: World) -> Counter[str]:
    """How often each job heard that it was submitted."""
    entries = made.journal.entries
    return Counter(entry.subject for entry in entries if entry.what == "event" and entry.kind == "Submitted")


# one message is n jobs ------------------------------------------------------------------------------------------------
def test_an_array_is_so_many_jobs_each_of_which_knows_its_place(made: World) -> None:
    sent(made, {**SWEEP, "deadline": "1h", "output_prefix": "results/", "env": {"X": "1", "SPOTBED_ARRAY_INDEX": "9"}})
    assert phases(made, *tasks(3)) == ["queued"] * 3
    assert made.control.store.job("sweep") is None
    for index, name in enumerate(tasks(3)):
        row = row_of(made, name)
        assert row.body["env"] == {"X": "1", "SPOTBED_ARRAY_INDEX": str(index), "SPOTBED_ARRAY_SIZE": "3"}
        assert row.body["output_prefix"] == f"results/{index}/"
        assert (row.record.ticket.id, row.record.ticket.deadline_ms) == (name, 3_600 * S)
    assert made.control.store.counters()["class#1x0GiB|spot|*"]["queued"] == 3


def test_an_array_of_one_is_a_job_like_any_other(made: World) -> None:
    sent(made, {**SWEEP, "array": 1})
    assert phases(made, "sweep") == ["queued"]
    assert "env" not in row_of(made, "sweep").body


def test_its_jobs_wait_in_the_order_of_their_indexes(made: World) -> None:
    sent(made, {**SWEEP, "array": 12})
    assert made.control.store.candidates("1x0GiB|spot|*", 20) == tasks(12)


def test_the_same_message_twice_is_the_same_jobs(made: World) -> None:
    for _ in range(2):
        sent(made, SWEEP, SWEEP)
    sent(made, {**SWEEP, "array": 5})  # an id that is known
    sent(made, {**SWEEP, "array": 1, "id": "job"}, {**SWEEP, "id": "job"})
    assert submissions(made) == Counter([*tasks(3), "job"])
    assert made.control.store.counters()["class#1x0GiB|spot|*"]["queued"] == 4


def test_a_job_under_the_id_of_an_array_is_known_too(made: World) -> None:
    sent(made, SWEEP, {"id": "sweep", "commands": ["y"]})
    assert made.control.store.job("sweep") is None
    assert record(made, "sweep")["tasks"] == 3


# a few at a time ------------------------------------------------------------------------------------------------------
def test_many_jobs_are_made_by_several_calls(made: World) -> None:
    timers = Timers()
    made.control = replace(made.control, timers=timers)
    count = 2 * arrays.AT_ONCE + 3
    sent(made, {**SWEEP, "array": count})
    assert [made.control.store.job(name) is not None for name in tasks(count)].count(True) == arrays.AT_ONCE
    while timers.asked:
        assert timers.asked.pop() == ("sweep", 0)
        sent(made, {"timer": "sweep"})
    assert phases(made, *tasks(count)) == ["queued"] * count
    assert record(made, "sweep")["made"] == count
    sent(made, {"timer": "sweep"})  # it comes once more
    assert submissions(made) == Counter(tasks(count))


@pytest.mark.parametrize("breaks", ["before the record", "after the record", "after the wait", "before the note"])
def test_intake_that_is_cut_off_goes_on_when_the_message_comes_again(
    made: World, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    """The second job of three is the one at which the function dies, with a dependency to register."""
    sent(made, {"id": "first", "commands": ["x"]})
    message = {**SWEEP, "after": ["first"]}
    where = {
        "before the record": (jobs, "submit"),
        "after the record": (jobs, "hears"),
        "after the wait": (jobs, "_await"),
        "before the note": (arrays, "Write"),
    }[breaks]
    original, calls = getattr(*where), []

    def dies(*arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        if len(calls) == (1 if breaks == "before the note" else 2):
            raise ConnectionError("cut off")
        return original(*arguments, **more)

    monkeypatch.setattr(*where, dies)
    with pytest.raises(ConnectionError):
        sent(made, message)
    monkeypatch.undo()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert sent(made, message) == []
    assert phases(made, *tasks(3)) == ["held"] * 3
    ends(made, "first")
    assert phases(made, *tasks(3)) == ["queued"] * 3
    assert record(made, "sweep")["made"] == 3


def test_an_array_of_which_jobs_were_never_made_is_lost_until_they_are(made: World) -> None:
    made.control = replace(made.control, timers=Timers())
    sent(made, {**SWEEP, "array": arrays.AT_ONCE + 1})
    made.clock.now_ms += 3_600 * S
    assert measures.lost(made.control.store, made.clock.now_ms, 60 * S) == ["sweep"]
    rebuild(made.control)
    assert made.control.timers.asked[-1] == ("sweep", 0)  # type: ignore[attr-defined]
    sent(made, {"timer": "sweep"})
    assert measures.lost(made.control.store, made.clock.now_ms, 60 * S) == []


# waited for as one ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("early", [True, False])
def test_who_waits_for_an_array_waits_for_all_of_its_jobs(made: World, early: bool) -> None:
    sent(made, *([MERGE, SWEEP] if early else [SWEEP, MERGE]))
    for name in tasks(3):
        assert phases(made, "merge") == ["held"]
        ends(made, name)
    assert phases(made, "merge") == ["queued"]
    assert record(made, "sweep")["phase"] == "done"
    sent(made, {**MERGE, "id": "later"})
    assert phases(made, "later") == ["queued"]


def test_an_array_waits_for_an_array(made: World) -> None:
    second = {**SWEEP, "id": "second", "array": 2, "after": "sweep"}
    sent(made, second, SWEEP, {**MERGE, "after": ["second"]})
    assert phases(made, *tasks(2, "second"), "merge") == ["held"] * 3
    for name in tasks(3):
        ends(made, name)
    assert phases(made, *tasks(2, "second"), "merge") == ["queued", "queued", "held"]
    for name in tasks(2, "second"):
        ends(made, name)
    assert phases(made, "merge") == ["queued"]


def test_the_first_that_fails_fails_who_waits_and_the_others_go_on(made: World) -> None:
    sent(made, SWEEP, MERGE)
    ends(made, "sweep[1]", "failed")
    assert phases(made, *tasks(3), "merge") == ["queued", "failed", "queued", "failed"]
    told = {each["job_id"]: (each["reason"], each["waited_for"]) for each in received("dead")}
    assert told == {"sweep[1]": ("failed", []), "merge": ("dependency", ["sweep"])}
    ends(made, "sweep[0]")
    ends(made, "sweep[2]")
    assert record(made, "sweep")["phase"] == "failed"
    sent(made, {**MERGE, "id": "later"})
    assert phases(made, "later") == ["failed"]


def test_one_job_of_an_array_may_be_waited_for(made: World) -> None:
    sent(made, {**MERGE, "after": ["sweep[1]"]}, SWEEP)
    ends(made, "sweep[1]")
    assert phases(made, "merge") == ["queued"]


def test_an_array_waits_a_while_for_a_job_that_nobody_knows(made: World) -> None:
    message = {**SWEEP, "after": ["none"]}
    assert sent(made, message) == ["m0"]
    assert joins.array(made.control, "sweep") is None
    assert sent(made, message, received_before=functions.PATIENCE) == []
    assert phases(made, *tasks(3)) == ["failed"] * 3


def test_an_end_that_was_not_told_is_told_when_somebody_looks_again(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(made, {**SWEEP, "array": 2}, MERGE)
    ends(made, "sweep[0]")
    epoch = claims(made, "sweep[1]")
    original = joins.waiting

    def dies(*_: Any) -> Any:
        raise ConnectionError("cut off")

    monkeypatch.setattr(joins, "waiting", dies)
    with pytest.raises(ConnectionError):
        jobs.attempt_ended(made.control, "sweep[1]", epoch, "done", 0, -1)
    monkeypatch.setattr(joins, "waiting", original)
    made.clock.now_ms += 3_600 * S
    for job_id in made.control.store.due(made.clock.now_ms):
        jobs.expire(made.control, job_id)
    assert phases(made, "merge") == ["queued"]


# cancelled ------------------------------------------------------------------------------------------------------------
def test_cancelling_an_array_ends_what_is_open_of_it(made: World) -> None:
    sent(made, SWEEP, MERGE)
    ends(made, "sweep[0]")
    for _ in range(2):
        answer = functions.operate({"do": "cancel", "job": "sweep"}, None, made.control)
        assert answer == {"phase": "cancelled"}
    assert phases(made, *tasks(3), "merge") == ["done", "cancelled", "cancelled", "failed"]


def test_cancelling_one_job_leaves_the_others(made: World) -> None:
    sent(made, SWEEP)
    functions.operate({"do": "cancel", "job": "sweep[1]"}, None, made.control)
    assert phases(made, *tasks(3)) == ["queued", "cancelled", "queued"]


def test_an_array_that_is_done_is_not_cancelled(made: World) -> None:
    sent(made, SWEEP)
    for name in tasks(3):
        ends(made, name)
    assert functions.operate({"do": "cancel", "job": "sweep"}, None, made.control) == {"phase": "done"}
    assert functions.operate({"do": "cancel", "job": "none"}, None, made.control) == {"phase": ""}


def test_no_more_jobs_are_made_of_an_array_that_was_cancelled(made: World) -> None:
    made.control = replace(made.control, timers=Timers())
    count = arrays.AT_ONCE + 1
    sent(made, {**SWEEP, "array": count}, MERGE)
    functions.operate({"do": "cancel", "job": "sweep"}, None, made.control)
    sent(made, {"timer": "sweep"})
    assert phases(made, *tasks(arrays.AT_ONCE)) == ["cancelled"] * arrays.AT_ONCE
    assert made.control.store.job(task_id("sweep", count - 1)) is None
    assert phases(made, "merge") == ["failed"]


# told -----------------------------------------------------------------------------------------------------------------
def test_the_journal_tells_of_an_array_once(made: World) -> None:
    facts: list[tuple[str, str, dict[str, Any]]] = []
    journal = made.control.journal

    class Listens:
        def step(self, *arguments: Any) -> None:
            journal.step(*arguments)

        def fact(self, at_ms: int, kind: str, subject: str, body: dict[str, Any]) -> None:
            facts.append((kind, subject, body))

    made.control = replace(made.control, journal=Listens())
    late = {"deadline": "1h", "late_penalty": "5 USD/h"}
    for _ in range(2):
        sent(made, {**SWEEP, "array": 2, **late})
    assert [(kind, subject) for kind, subject, _ in facts] == [
        ("array", "sweep"), ("job", "sweep[0]"), ("job", "sweep[1]"),
    ]  # fmt: skip
    assert facts[0][2] == {"tasks": 2}
    assert {body["late_penalty_usd_per_hour"] for kind, _, body in facts if kind == "job"} == {5.0}
    assert json.loads(record(made, "sweep")["body"])["late_penalty_usd_per_hour"] == 5.0
