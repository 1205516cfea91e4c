"""Licences: nothing starts without them, nothing is lost for them, and each is given back after every kind of end."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import aws_world
import boto3
import pytest
from aws_world import THROTTLED, World
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws
from test_aws_operate import job_phase, launched, phase, ready
from test_conformance import IDEAL, KEEPS, PLAIN, SPOT, world

from aws import functions, jobs, licences, measures, workers
from aws.checkout import Answer, FunctionCheckout, Held
from aws.control import Control
from aws.store import JobRow, packed
from aws.translate import BadMessage, from_message
from scheduler.events import AttemptEnded, Lost, Notice, Woken

HOUR_MS = 3_600_000
TOOL = {"tool": 1}


class Server:
    """A licence server with one seat of `tool`, and the user's function before it."""

    def __init__(self) -> None:
        self.held: set[tuple[str, int]] = set()
        self.calls: list[tuple[str, str, int]] = []
        self.silent: set[str] = set()  # orders that get no answer
        self.deaf: set[str] = set()  # orders that are not heard either
        self.retry_after_s = 0.0

    def _hears(self, do: str, held: Held) -> bool:
        self.calls.append((do, held.job, held.epoch))
        return do not in self.deaf

    def ask(self, held: Held) -> Answer | None:
        if not self._hears("checkout", held):
            return None
        name = (held.job, held.epoch)
        granted = name in self.held or not self.held
        if granted:
            self.held.add(name)
        return None if "checkout" in self.silent else Answer(granted, 0.0 if granted else self.retry_after_s)

    def give_back(self, held: Held) -> bool:
        if not self._hears("release", held):
            return False
        self.held.discard((held.job, held.epoch))
        return "release" not in self.silent


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[World]:
    """An empty world whose jobs need licences."""
    with mock_aws():
        world_ = World(world(PLAIN, [(0, 600_000)], {}, IDEAL), SPOT)
        world_.control = replace(world_.control, checkout=server)
        monkeypatch.setattr(World, "start", lambda *_: True)
        monkeypatch.setattr(World, "checkpoint", lambda *_: None)
        monkeypatch.setattr(World, "set", lambda *_: None)  # the reaper finds what is due
        yield world_


def submitted(made: World, name: str, **more: Any) -> None:
    body = json.dumps({"id": name, "commands": ["true"], "vcpus": 2, "retries": 0, "licences": TOOL, **more})
    functions.intake({"Records": [{"messageId": name, "body": body}]}, None, made.control)


def row_of(made: World, job: str) -> JobRow:
    row = made.control.store.job(job)
    assert row is not None
    return row


def worker_(made: World) -> str:
    """One that has just looked for work."""
    (name,) = launched(made)
    ready(made, name)
    return name


def wakes(made: World, worker: str, event_id: str = "woken") -> None:
    workers.deliver(made.control, worker, f"{event_id}-{made.clock.now_ms}", packed(Woken(made.clock.now_ms)))


def reaps(made: World, after_ms: int) -> None:
    """What is due then is looked at."""
    made.clock.now_ms += after_ms
    for job_id in made.control.store.due(made.clock.now_ms):
        jobs.expire(made.control, job_id)


def queued(made: World) -> int:
    return int(made.control.store.counters()["class#2x0GiB|spot|*"]["queued"])


# before a start -----------------------------------------------------------------------------------------------------
def test_a_job_with_licences_is_asked_for_and_starts(made: World, server: Server) -> None:
    submitted(made, "a")
    worker = worker_(made)
    assert (phase(made, worker), job_phase(made, "a")) == ("running", "leased")
    assert server.calls == [("checkout", "a", 1)]
    assert server.held == {("a", 1)}


def test_a_job_without_licences_asks_nobody(made: World, server: Server) -> None:
    submitted(made, "a", licences={})
    worker_(made)
    assert (job_phase(made, "a"), server.calls) == ("leased", [])
    assert licences.HELD not in row_of(made, "a").item


def test_who_is_refused_waits_and_the_worker_takes_another(made: World, server: Server) -> None:
    server.held.add(("elsewhere", 1))
    submitted(made, "a")
    submitted(made, "b", licences={})
    worker_(made)
    assert (job_phase(made, "a"), job_phase(made, "b")) == ("queued", "leased")
    assert (queued(made), row_of(made, "a").item["attempts"]) == (0, 0)
    assert made.told == []


def test_a_refused_job_is_in_nobodys_way_and_starts_when_its_time_has_come(made: World, server: Server) -> None:
    server.held.add(("elsewhere", 1))
    server.retry_after_s = 900.0
    submitted(made, "a")
    worker = worker_(made)
    assert phase(made, worker) == "idle"
    wakes(made, worker)
    assert len(server.calls) == 1, "it is not asked again before its time"
    functions.fleet({}, None, made.control)
    assert not [entry for entry in made.journal.entries if entry.kind == "Launch"], "nothing is launched for it"
    server.held.clear()
    reaps(made, 899_000)
    assert queued(made) == 0
    reaps(made, 1_000)
    assert queued(made) == 1
    wakes(made, worker)
    assert job_phase(made, "a") == "leased"
    assert measures.lost(made.control.store, made.clock.now_ms, HOUR_MS) == []


def test_its_time_wakes_an_idle_worker(made: World, server: Server) -> None:
    server.held.add(("elsewhere", 1))
    server.retry_after_s = 10.0
    submitted(made, "a")
    worker = worker_(made)
    server.held.clear()
    reaps(made, 10_000)
    while phase(made, worker) == "idle":
        made.clock.next()
    assert job_phase(made, "a") == "leased"


def test_a_refused_job_can_be_cancelled(made: World, server: Server) -> None:
    server.held.add(("elsewhere", 1))
    submitted(made, "a")
    worker_(made)
    assert functions.operate({"do": "cancel", "job": "a"}, None, made.control) == {"phase": "cancelled"}
    assert queued(made) == 0
    assert "lease" not in row_of(made, "a").item


# every kind of end --------------------------------------------------------------------------------------------------
def ends(made: World, worker: str, how: str) -> None:
    now = made.clock.now_ms
    match how:
        case "cancelled":
            functions.operate({"do": "cancel", "job": "a"}, None, made.control)
        case "lease-lost":
            reaps(made, 10 * HOUR_MS)
        case "instance-lost":
            workers.deliver(made.control, worker, "lost", packed(Lost(now)))
        case "notice":
            workers.deliver(made.control, worker, "notice", packed(Notice(now, 120_000)))
            workers.deliver(made.control, worker, "gone", packed(Lost(now)))
        case _:
            workers.deliver(made.control, worker, "end", packed(AttemptEnded(now, "a", 1, how, 0, -1)))


KINDS = ["done", "failed", "string-missing", "timeout", "checkpointed", "interrupted", "cancelled", "lease-lost",
         "instance-lost", "notice"]  # fmt: skip


def not_held(made: World, server: Server) -> bool:
    return ("a", 1) not in server.held


@pytest.mark.parametrize("how", KINDS)
def test_licences_are_given_back_after_every_kind_of_end(made: World, server: Server, how: str) -> None:
    submitted(made, "a", retries=1)
    worker = worker_(made)
    ends(made, worker, how)
    assert not_held(made, server)
    assert server.calls.count(("release", "a", 1)) == 1
    held = row_of(made, "a").item.get(licences.HELD, {"epoch": 2})
    assert held["epoch"] == 2, "what is held now is for the next attempt"


@pytest.mark.parametrize("how", KINDS)
def test_what_the_hook_has_not_heard_is_said_again_until_it_has(made: World, server: Server, how: str) -> None:
    submitted(made, "a", retries=1)
    worker = worker_(made)
    server.deaf = {"release", "checkout"}
    ends(made, worker, how)
    assert ("a", 1) in server.held
    for _ in range(3):
        reaps(made, HOUR_MS)
    assert ("a", 1) in server.held
    assert job_phase(made, "a") in ("done", "queued", "cancelled"), "and nothing is lost meanwhile"
    server.deaf = set()
    reaps(made, HOUR_MS)
    assert not_held(made, server)
    reaps(made, HOUR_MS)
    row = row_of(made, "a")
    assert row.record.phase != "queued" or "queue_class" in row.item
    if row.record.phase in jobs.FINAL:
        assert not row.item.keys() & {"lease", "lease_until_ms", "untold", licences.HELD}
        assert [phase_ for _, phase_, _ in made.told] == [row.record.phase], "and it is told once"


def test_the_next_attempt_asks_anew(made: World, server: Server) -> None:
    submitted(made, "a")
    worker = worker_(made)
    ends(made, worker, "interrupted")
    assert server.calls == [("checkout", "a", 1), ("release", "a", 1), ("checkout", "a", 2)]
    assert server.held == {("a", 2)}


# the hook is down -----------------------------------------------------------------------------------------------------
def test_while_the_hook_is_down_nothing_starts_and_nothing_is_lost(made: World, server: Server) -> None:
    server.deaf = {"checkout", "release"}
    for name in "abc":
        submitted(made, name)
    worker = worker_(made)
    assert len(server.calls) == 2, "one question, and one release of what may have been granted: no more is waited for"
    assert phase(made, worker) == "idle"
    for _ in range(4):
        reaps(made, made.policy.settings.tick_ms)
        wakes(made, worker)
    assert [job_phase(made, name) for name in "abc"] == ["queued"] * 3
    assert all(row_of(made, name).item["attempts"] == 0 for name in "abc")
    server.deaf = set()
    for _ in range(3):
        reaps(made, made.policy.settings.tick_ms)
        wakes(made, worker)
    assert sorted(job_phase(made, name) for name in "abc") == ["leased", "queued", "queued"]
    assert len(server.held) == 1


def test_a_grant_whose_answer_is_lost_is_given_back(made: World, server: Server) -> None:
    server.silent = {"checkout"}
    submitted(made, "a")
    worker_(made)
    assert server.calls == [("checkout", "a", 1), ("release", "a", 1)]
    assert (job_phase(made, "a"), server.held) == ("queued", set())


def test_a_grant_whose_answer_and_release_are_lost_is_given_back_later(made: World, server: Server) -> None:
    server.silent, server.deaf = {"checkout"}, {"release"}
    submitted(made, "a")
    worker_(made)
    assert server.held == {("a", 1)}
    server.silent, server.deaf = set(), set()
    reaps(made, made.policy.settings.tick_ms)
    assert server.held == set()
    worker_(made)
    assert (job_phase(made, "a"), server.held) == ("leased", {("a", 1)})


def test_a_step_that_breaks_off_after_the_grant_asks_again_and_gets_the_same(
    made: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(made, "a")
    (worker,) = launched(made)
    with monkeypatch.context() as broken:
        broken.setattr(workers, "_claimed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ready(made, worker)
    assert (job_phase(made, "a"), server.held) == ("queued", {("a", 1)})
    workers.run(made.control, worker)
    assert (job_phase(made, "a"), phase(made, worker)) == ("leased", "running")
    assert server.calls == [("checkout", "a", 1)] * 2


def test_a_worker_that_dies_after_the_grant_blocks_nobody_for_longer_than_a_lease(
    made: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(made, "a")
    (worker,) = launched(made)
    with monkeypatch.context() as broken:
        broken.setattr(workers, "_claimed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ready(made, worker)
    other = worker_(made)
    assert (phase(made, other), len(server.calls)) == ("idle", 1), "it is being asked for"
    reaps(made, made.policy.settings.lease_ms)
    assert server.held == set()
    wakes(made, other)
    assert row_of(made, "a").item["holder"] == other


def test_a_claim_that_is_lost_after_the_grant_gives_the_licences_back(
    made: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(made, "a")
    take = licences.take

    def then_cancelled(control: Control, row: JobRow, worker: str) -> tuple[str, JobRow]:
        answer = take(control, row, worker)
        functions.operate({"do": "cancel", "job": "a"}, None, control)
        return answer

    monkeypatch.setattr(licences, "take", then_cancelled)
    worker = worker_(made)
    assert (job_phase(made, "a"), phase(made, worker), server.held) == ("cancelled", "idle", set())


def test_of_two_workers_that_see_the_same_job_one_asks(made: World, server: Server) -> None:
    submitted(made, "a")
    row = row_of(made, "a")
    assert licences.take(made.control, row, "w8")[0] == licences.GRANTED
    assert licences.take(made.control, row, "w9")[0] == licences.REFUSED
    assert licences.take(made.control, row_of(made, "a"), "w9")[0] == licences.REFUSED
    assert server.calls == [("checkout", "a", 1)]


# the function -------------------------------------------------------------------------------------------------------
class Lambda:
    """A client that answers with this."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.sent: list[tuple[str, Any]] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 boto3's names
        self.sent.append((FunctionName, json.loads(Payload)))
        if isinstance(self.answer, Exception):
            raise self.answer
        failed = {"FunctionError": "Unhandled"} if self.answer == "fails" else {}
        return {"Payload": io.BytesIO(json.dumps(self.answer).encode()), **failed}


HELD = Held("a", 3, "i-1", TOOL)


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ({"granted": True}, Answer(True)),
        ({"granted": False, "retry_after_s": 30}, Answer(False, 30.0)),
        ({"granted": False, "retry_after_s": -1}, Answer(False)),
        ({"granted": False, "retry_after_s": 1e9}, Answer(False)),
        ({"granted": False, "retry_after_s": "soon"}, Answer(False)),
        ({"granted": 1}, None),
        ({}, None),
        (None, None),
        ([True], None),
        ("fails", None),
        (ReadTimeoutError(endpoint_url="x"), None),
        (ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke"), None),
    ],
)
def test_what_the_function_answers(answer: Any, means: Answer | None) -> None:
    client = Lambda(answer)
    assert FunctionCheckout(client, "mine").ask(HELD) == means
    order = {"do": "checkout", "job": "a", "epoch": 3, "worker": "i-1", "licences": TOOL}
    assert client.sent == [("mine", order)]


@pytest.mark.parametrize(
    ("answer", "heard"), [(None, True), ({}, True), ("fails", False), (ReadTimeoutError(endpoint_url="x"), False)]
)
def test_whether_the_function_has_heard_a_release(answer: Any, heard: bool) -> None:
    client = Lambda(answer)
    assert FunctionCheckout(client, "mine").give_back(HELD) is heard
    assert client.sent[0][1]["do"] == "release"


# messages -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("given", [7, ["tool"], {"tool": 0}, {"tool": -1}, {"tool": "1"}, {"tool": True}, {"": 1}])
def test_licences_are_names_with_whole_numbers(given: Any) -> None:
    with pytest.raises(BadMessage, match="licences: names, each with a whole number of at least 1"):
        from_message(json.dumps({"id": "a", "commands": ["x"], "licences": given}), 0)


def test_without_a_function_to_ask_a_job_with_licences_is_refused(made: World) -> None:
    made.control = replace(made.control, checkout=None)
    submitted(made, "a")
    assert made.told == [("a", "refused", "licences: this stack has no checkout function (`checkout` of its target)")]
    assert made.control.store.job("a") is None


# faults at the boundary -----------------------------------------------------------------------------------------------
class Faulty:
    """A client of which one call is throttled: not performed, or performed and its answer lost."""

    def __init__(self, number: int, *, performed: bool) -> None:
        self._client: Any = boto3.client("dynamodb", region_name="us-east-1")
        self._number, self._performed = number, performed
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._client, name)

        def call(**given: Any) -> Any:
            self.calls += 1
            if self.calls != self._number:
                return method(**given)
            if self._performed:
                method(**given)
            raise ClientError({"Error": {"Code": THROTTLED, "Message": "slow down"}}, name)

        return method if name == "create_table" else call


INTERRUPTED_ONCE = world(KEEPS, [(0, 900_000)], {"spot-a": [(0, 9), (400_457, 0)]})


def run_of_a_job(monkeypatch: pytest.MonkeyPatch, number: int, *, performed: bool) -> int:
    """A job with licences from its message to its end, one call failing; how many calls there were."""
    server, plain = Server(), aws_world.message_of
    with mock_aws(), monkeypatch.context() as patched:
        patched.setattr(aws_world, "message_of", lambda work, number: {**plain(work, number), "licences": TOOL})
        client = Faulty(number, performed=performed)
        made = World(INTERRUPTED_ONCE, SPOT, client)
        made.control = replace(made.control, checkout=server)
        made.run()
        for _ in range(3):  # what the hook has not heard is said by the reaper
            aws_world.again(functions.fleet, {}, None, made.control)
            made.clock.now_ms += HOUR_MS
        row = made.control.store.job("keeps-0")
    assert row is not None
    assert {(job, phase_) for job, phase_, _ in made.told} == {("keeps-0", "done")}, "the job ends well"
    assert server.held == set(), "and holds nothing"
    assert not row.item.keys() & {licences.HELD, "lease", "untold"}
    return client.calls


@pytest.mark.parametrize("performed", [False, True])
def test_some_calls_fail_once_and_no_licence_stays(monkeypatch: pytest.MonkeyPatch, performed: bool) -> None:
    calls = run_of_a_job(monkeypatch, 0, performed=False)
    for number in range(5 + 9 * performed, calls, 131):
        run_of_a_job(monkeypatch, number, performed=performed)


@pytest.mark.slow
@pytest.mark.parametrize("performed", [False, True])
def test_each_call_fails_once_and_no_licence_stays(monkeypatch: pytest.MonkeyPatch, performed: bool) -> None:
    for number in range(1, run_of_a_job(monkeypatch, 0, performed=False) + 1):
        run_of_a_job(monkeypatch, number, performed=performed)
