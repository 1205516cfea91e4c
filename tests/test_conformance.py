"""The same core under two drivers: the simulator's, and functions with tables, inboxes and parked tokens as on AWS.

Both get one world and must write the same journal: every event that a role heard and every command that it gave, with
times and fields, in the same order. And the protocol of Deliver, Step and Park loses no event and performs nothing
twice, however its atomic steps interleave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import Functions, InMemory, WorkerRow, call, wire
from in_memory_ec2 import Clock
from worlds import HOUR, MINUTE, constant, flat, policy_of, pool, work_of

from scheduler.commands import Claim, Command
from scheduler.events import JobClaimed, Lost, NothingToClaim, Notice, Ready, Rebalance, TimerFired, Woken
from scheduler.policies.order import NewestPastAge
from scheduler.policies.place import LowestPrice, OnDemandFallback
from scheduler.policies.protect import NoProtection, OnNotice, Periodic
from scheduler.policies.retry import FullJitter
from scheduler.policies.scale import BacklogAndBusy
from scheduler.policy import Policy, Protect
from scheduler.settings import Settings
from scheduler.worker import Badge, Worker
from sim.decoupled import DecoupledWorld
from sim.inputs import Dist, Interruptions, JobClass, MarketInputs, ServiceInputs, WorldInputs
from sim.services import Faults
from sim.streams import Streams
from spotbed.journal import Entry, Journal

S = 1_000
IDEAL = ServiceInputs()
# Latencies that are drawn for each command from its job and epoch; what EC2 says and wakes take a constant time.
SLOW = ServiceInputs(
    latency={
        "event": (constant(0.148), constant(0.037)),
        "worker_start": (Dist("lognormal", {"median": 0.25, "p95": 0.5}),),
        "wake": (constant(0.051),),
        "start": (Dist("lognormal", {"median": 1.2, "p95": 3.5}), constant(0.2)),
        "report": (Dist("lognormal", {"median": 0.2, "p95": 0.6}),),
        "order": (Dist("lognormal", {"median": 0.5, "p95": 1.5}),),
        "launch": (Dist("lognormal", {"median": 27, "p95": 50}),),
    }
)
slow_or_ideal = pytest.mark.parametrize("services", [IDEAL, SLOW], ids=["ideal", "slow"])
SETTINGS = Settings(checkpoint_write_ms=30 * S, checkpoint_restore_ms=20 * S, startup_ms=7 * S)
PLAIN = JobClass("plain", vcpus=2.0)
KEEPS = JobClass("keeps", vcpus=2.0, checkpointable=True)
SPOT = policy_of(SETTINGS, place=LowestPrice())
CLAIM = JobClaimed(0, "keeps-0", 1, 0, -1, -1, checkpointable=True, mtbf_ms=0)


def world(
    klass: JobClass,
    jobs: list[tuple[int, int]],
    lost: dict[str, list[tuple[int, int]]] | None = None,
    services: ServiceInputs = IDEAL,
    *,
    notice: bool = True,
) -> WorldInputs:
    """Jobs as (submitted, runtime), and the capacity of pools that lose any."""
    traces = {
        name: (np.array([at for at, _ in points], dtype=np.int64), np.array([n for _, n in points], dtype=np.int64))
        for name, points in (lost or {}).items()
    }
    market = MarketInputs(
        Interruptions("trace", capacity=traces, burst_ms=0), notice_probability=1.0 if notice else 0.0
    )
    pools = (pool("spot-a"), pool("spot-b", price=flat(0.09), boot_s=75), pool("od", "on-demand"))
    submitted, runtimes = [at for at, _ in jobs], [runtime for _, runtime in jobs]
    return WorldInputs(1, 0, work_of((klass,), submitted, runtimes), pools, market, services)


def of_roles(journal: Journal) -> list[Entry]:
    """What the roles heard and ordered, without the facts of the world, which no role decides."""
    return [entry for entry in journal.entries if entry.role != "world"]


def simulated(inputs: WorldInputs, policy: Policy) -> list[Entry]:
    journal = Journal()
    DecoupledWorld(inputs, policy, journal).run()
    return [without_statistics(entry) for entry in without_timers_of_the_gone(of_roles(journal))]


def without_timers_of_the_gone(entries: list[Entry]) -> Iterator[Entry]:
    """The simulator lets a worker that is gone hear a timer that it had set; an execution that has ended has none."""
    gone = set()
    for entry in entries:
        if entry.kind == "Lost":
            gone.add(entry.subject)
        if entry.kind != "TimerFired" or entry.subject not in gone:
            yield entry


def without_statistics(entry: Entry) -> Entry:
    """The mean time between a pool's interruptions is a statistic that the stand-in does not keep."""
    return entry._replace(body=replace(entry.body, mtbf_ms=0)) if isinstance(entry.body, JobClaimed) else entry


def agree(inputs: WorldInputs, policy: Policy = SPOT, **modes: Any) -> list[Entry]:
    """Run both, compare, and return what they agree on."""
    entries, performed = simulated(inputs, policy), InMemory(inputs, policy, **modes).run().entries
    for one, other in zip(entries, performed, strict=False):
        assert one == other
    assert len(entries) == len(performed)
    return entries


def kinds(entries: list[Entry], role: str, subject: str) -> list[str]:
    return [entry.kind for entry in entries if (entry.role, entry.subject) == (role, subject)]


# one job, one interruption ------------------------------------------------------------------------------------------
ONE = [(0, 5_000 * S)]
LOSS = {"spot-a": [(0, 9), (2_000_457, 0)]}


@slow_or_ideal
def test_a_job_that_is_checkpointed_on_notice(services: ServiceInputs) -> None:
    entries = agree(world(KEEPS, ONE, LOSS, services))
    assert kinds(entries, "worker", "w1") == [
        "Ready", "Claim", "JobClaimed", "Start", "Notice", "Checkpoint", "AttemptEnded", "Release", "Stop", "Lost",
    ]  # fmt: skip
    assert kinds(entries, "job", "keeps-0") == [
        "Submitted", "Queue", "Claimed", "AttemptEnded", "Queue", "Claimed", "AttemptEnded", "ReleaseDependants",
    ]  # fmt: skip
    claims = [entry.body for entry in entries if entry.kind == "JobClaimed"]
    assert [claim.epoch for claim in claims] == [1, 2]
    assert 1_800 * S < claims[1].progress_ms < 2_000 * S


@slow_or_ideal
def test_a_job_that_is_let_go_on_notice(services: ServiceInputs) -> None:
    entries = agree(world(PLAIN, ONE, LOSS, services))
    assert kinds(entries, "worker", "w1")[4:] == ["Notice", "Release", "Stop", "Lost"]
    assert [entry.body.progress_ms for entry in entries if entry.kind == "JobClaimed"] == [0, 0]


@slow_or_ideal
def test_a_job_that_runs_on_until_its_instance_is_taken(services: ServiceInputs) -> None:
    policy = policy_of(SETTINGS, place=LowestPrice(), protect=NoProtection())
    assert kinds(agree(world(KEEPS, ONE, LOSS, services), policy), "worker", "w1")[4:] == ["Notice", "Lost", "Release"]


@slow_or_ideal
def test_a_job_that_is_interrupted_without_a_notice(services: ServiceInputs) -> None:
    entries = agree(world(KEEPS, ONE, LOSS, services, notice=False))
    assert kinds(entries, "worker", "w1")[4:] == ["Lost", "Release"]
    assert "InterruptionSeen" in kinds(entries, "fleet", "main")


@slow_or_ideal
def test_a_job_that_goes_on_from_its_last_periodic_checkpoint(services: ServiceInputs) -> None:
    policy = policy_of(SETTINGS, place=LowestPrice(), protect=Periodic(every_ms=300 * S))
    entries = agree(world(KEEPS, ONE, LOSS, services, notice=False), policy)
    assert [entry.body.progress_ms for entry in entries if entry.kind == "JobClaimed"] == [0, 1_500 * S]


def replace_services(inputs: WorldInputs, probability: dict[str, float]) -> WorldInputs:
    return replace(inputs, services=ServiceInputs(inputs.services.latency, probability))


def with_a_silent_loss(inputs: WorldInputs, drops: Sequence[bool] = (False, True, False)) -> WorldInputs:
    """The same world with the first seed under which the bus drops these events of EC2: it brings the first agent's
    registration, say, and not the loss."""
    unreliable = replace_services(inputs, probability={"eventbridge.drop": 0.5})
    for seed in range(1_000):
        faults = Faults(unreliable.services, Streams(seed, 0))
        if [faults.occurs("eventbridge.drop") for _ in drops] == list(drops):
            return replace(unreliable, seed=seed)
    raise AssertionError("no such seed")


@slow_or_ideal
@pytest.mark.parametrize("protect", [OnNotice(), Periodic(every_ms=300 * S)])
def test_a_job_whose_loss_nobody_reports_is_found_by_the_reaper(services: ServiceInputs, protect: Protect) -> None:
    policy = policy_of(SETTINGS, place=LowestPrice(), protect=protect)
    entries = agree(with_a_silent_loss(world(KEEPS, ONE, LOSS, services, notice=False)), policy)
    assert kinds(entries, "worker", "w1")[4:] == ["Lost", "Release"]
    assert kinds(entries, "job", "keeps-0")[2:5] == ["Claimed", "LeaseExpired", "Queue"]
    found = next(entry for entry in entries if entry.kind == "LeaseExpired")
    assert LOSS["spot-a"][1][0] < found.at_ms <= LOSS["spot-a"][1][0] + 300 * S + 60 * S
    assert found.body.progress_ms == (1_500 * S if protect.checkpoint_every_ms(CLAIM, SETTINGS) else 0)


@slow_or_ideal
def test_a_loss_before_the_instance_is_ready(services: ServiceInputs) -> None:
    entries = agree(world(PLAIN, ONE, {"spot-a": [(0, 9), (33_033, 0)]}, services))
    assert kinds(entries, "worker", "w1")[0] == "Notice" if services is IDEAL else "Ready"
    assert kinds(entries, "job", "plain-0")[-1] == "ReleaseDependants"


# more than one ------------------------------------------------------------------------------------------------------
@slow_or_ideal
def test_two_jobs_on_two_workers_one_of_which_is_lost(services: ServiceInputs) -> None:
    jobs = [(0, 900 * S), (1_003, 4_000 * S)]
    entries = agree(world(KEEPS, jobs, {"spot-a": [(0, 9), (1_700_457, 0)]}, services))
    assert len({entry.subject for entry in entries if entry.role == "worker"}) > 2


@slow_or_ideal
def test_a_second_job_wakes_the_idle_worker(services: ServiceInputs) -> None:
    entries = agree(world(PLAIN, [(0, 300 * S), (421_654, 200 * S)], {}, services))
    assert kinds(entries, "worker", "w1")[4:12] == [
        "AttemptEnded", "Complete", "Claim", "NothingToClaim", "SetTimer", "Woken", "Claim", "JobClaimed",
    ]  # fmt: skip


@slow_or_ideal
def test_the_best_of_the_first_jobs_is_claimed(services: ServiceInputs) -> None:
    """One worker; when it asks again at about 500 s, 3 and 4 are younger than 300 s, and of the others 2 is newer."""
    order = NewestPastAge(age_ms=300 * S, first=3)
    policy = policy_of(SETTINGS, place=LowestPrice(), scale=BacklogAndBusy(max_workers=1), order=order)
    jobs = [(0, 420 * S), (10_007, 50 * S), (20_011, 50 * S), (300_013, 50 * S), (300_517, 50 * S)]
    entries = agree(world(PLAIN, jobs, {}, services), policy)
    assert [entry.body.job for entry in entries if entry.kind == "Start"] == [
        f"plain-{each}" for each in (0, 3, 4, 2, 1)
    ]


@slow_or_ideal
def test_an_execution_that_rolls_over(services: ServiceInputs) -> None:
    policy = policy_of(Settings(roll_over_at=50), place=LowestPrice(), scale=BacklogAndBusy(max_workers=1))
    jobs = [(number * 1_001, 100 * S) for number in range(5)]
    assert "RollOver" in [entry.kind for entry in agree(world(PLAIN, jobs, {}, services), policy)]


@slow_or_ideal
def test_failures_delays_and_timeouts(services: ServiceInputs) -> None:
    policy = policy_of(SETTINGS, place=LowestPrice(), retry=FullJitter(base_ms=100 * S))
    fails = JobClass("fails", vcpus=2.0, fail_probability=0.6, exit_code=3)  # at its first attempt only, see work_of
    entries = simulated(world(fails, ONE, {}, services), policy)
    assert "Delay" in kinds(entries, "job", "fails-0")
    slow = JobClass("slow", vcpus=2.0, timeout_ms=600 * S, retries=1)
    entries = agree(world(slow, ONE, {}, services), policy)
    assert [entry.body.cause for entry in entries if entry.kind == "Fail"] == ["timeout", "timeout"]
    assert kinds(entries, "job", "slow-0")[-2:] == ["GiveUp", "ReleaseDependants"]


@slow_or_ideal
def test_a_job_that_falls_back_to_on_demand(services: ServiceInputs) -> None:
    policy = policy_of(SETTINGS, place=OnDemandFallback(after_wait_ms=5 * MINUTE, after_interruptions=0))
    nowhere = {"spot-a": [(0, 0), (10 * HOUR, 0)], "spot-b": [(0, 0), (10 * HOUR, 0)]}
    entries = agree(world(PLAIN, ONE, nowhere, services), policy)
    assert [entry.body.purchase for entry in entries if entry.kind == "Queue"] == ["spot", "on-demand"]


# events that come twice ---------------------------------------------------------------------------------------------
@slow_or_ideal
def test_copies_under_one_id_change_nothing(services: ServiceInputs) -> None:
    inputs = world(KEEPS, ONE, LOSS, services)
    performed = InMemory(inputs, SPOT, copies=3).run().entries
    heard = [entry for entry in performed if entry.kind != "Submitted"]  # a message has no id: the record is its memory
    assert heard == [entry for entry in simulated(inputs, SPOT) if entry.kind != "Submitted"]
    assert len(performed) == len(heard) + 3


@slow_or_ideal
def test_copies_under_ids_of_their_own_are_heard_and_change_nothing(services: ServiceInputs) -> None:
    inputs = world(KEEPS, ONE, LOSS, services)
    twice = replace_services(inputs, probability={"eventbridge.duplicate": 1.0, "sqs.duplicate": 1.0})
    entries = agree(twice, copies=2, one_id=False)
    once = simulated(inputs, SPOT)
    assert [entry for entry in entries if entry.what == "command"] == [e for e in once if e.what == "command"]
    assert kinds(entries, "worker", "w2").count("Lost") == 2


@slow_or_ideal
def test_commands_that_are_performed_twice_change_nothing(services: ServiceInputs) -> None:
    """Every Step dies once between its commands and the note that they are done."""
    for inputs in (world(KEEPS, ONE, LOSS, services), world(PLAIN, [(0, 300 * S), (421_654, 200 * S)], {}, services)):
        agree(inputs, crashes=True)


# any small world ----------------------------------------------------------------------------------------------------
@st.composite
def small_worlds(draw: st.DrawFn) -> tuple[WorldInputs, Policy]:
    """Up to four jobs and four losses of a pool, at times that fall on no tick, renewal or checkpoint."""
    odd = draw(st.integers(1, 997))
    submitted, runtime = st.integers(0, 1_800), st.integers(60, 2_400)
    drawn = draw(st.lists(st.tuples(submitted, runtime), min_size=1, max_size=4))
    jobs = sorted((at * S + odd, length * S) for at, length in drawn)
    losses = sorted({draw(st.integers(60, 4_000)) * S + odd + 1 for _ in range(draw(st.integers(0, 4)))})
    points = [(0, 9), *((at, 9 * (number % 2)) for number, at in enumerate(losses))]
    if len(losses) % 2:
        points.append((losses[-1] + 600 * S, 9))
    klass = draw(st.sampled_from([PLAIN, KEEPS]))
    protect = draw(st.sampled_from([NoProtection(), OnNotice(), Periodic(every_ms=307 * S)]))
    services = draw(st.sampled_from([IDEAL, SLOW]))
    policy = policy_of(
        Settings(
            checkpoint_write_ms=30 * S,
            checkpoint_restore_ms=20 * S,
            keep_alive_ms=draw(st.sampled_from([0, 60 * S])),
            roll_over_at=draw(st.sampled_from([50, 20_000])),
        ),
        place=draw(st.sampled_from([LowestPrice(), OnDemandFallback(LowestPrice(), 7 * MINUTE, 2)])),
        protect=protect,
    )
    notice = draw(st.booleans()) or not isinstance(protect, NoProtection)
    return world(klass, jobs, {"spot-b": [(0, 0), (HOUR * 90, 0)], "spot-a": points}, services, notice=notice), policy


@settings(max_examples=150, deadline=None, derandomize=True)
@given(small_worlds())
def test_any_small_world(case: tuple[WorldInputs, Policy]) -> None:
    """The same worlds each time: about one in 5,000 has two reports in one millisecond, whose order is nobody's."""
    agree(*case)


# the protocol of Deliver, Step and Park, in any order ---------------------------------------------------------------
BADGE = Badge("w1", "spot-a", "spot")


class Race:
    """One worker whose claims find nothing, and functions that run at the same time, one atomic step after another."""

    def __init__(self, phase: str, heard: list[Any], *, fires: bool, kind: type[Functions] = Functions) -> None:
        self.performed: list[tuple[str, Command]] = []
        self.functions = kind(policy_of(Settings(keep_alive_ms=60 * S)), self._perform, Clock())
        self.row = self.functions.workers["w1"] = WorkerRow(wire(Worker(BADGE, phase)))
        if fires:
            self.row.timer = ("keep-alive", 0)
        self.row.ended = phase == "gone"
        if not self.row.ended:
            call(self.functions.park("w1"))
        token = self.row.token
        self.running: list[Iterator[None]] = [
            self.functions.deliver("w1", f"event-{number}", wire(event)) for number, event in enumerate(heard)
        ]
        if fires:
            self.running.append(self.functions.time_out("w1", token))

    def _perform(self, worker: str, identity: str, command: Command) -> None:
        self.performed.append((identity, command))
        if isinstance(command, Claim):
            self.row.heard.add(identity)
            self.row.inbox.append((identity, wire(NothingToClaim(0))))

    def go(self, choices: list[int]) -> list[int]:
        """Let functions take turns as `choices` says, then in order; returns how many could have gone at each turn."""
        widths = []
        for turn in range(10_000):
            if not self.running:
                return widths
            widths.append(len(self.running))
            chosen = self.running[choices[turn] % len(self.running) if turn < len(choices) else 0]
            if next(chosen, self) is self:
                self.running.remove(chosen)
        raise AssertionError("the functions never end")

    def check(self, heard: list[Any]) -> None:
        journal = [entry.body for entry in self.functions.journal.entries if entry.what == "event"]
        assert all(journal.count(event) == heard.count(event) for event in heard)
        assert (self.row.inbox, self.row.outbox) == ([], [])
        identities = [identity for identity, _ in self.performed]
        assert len(identities) == len(set(identities))
        assert self.functions.is_parked("w1") == bool(self.row.token) != self.row.ended


def schedules(phase: str, heard: list[Any], *, fires: bool, kind: type[Functions] = Functions) -> int:
    """Check every order of atomic steps, by depth-first search over the choices; returns how many there were."""
    choices: list[int] = []
    for count in range(1, 20_000):
        race = Race(phase, heard, fires=fires, kind=kind)
        widths = race.go(choices)
        race.check(heard)
        choices += [0] * (len(widths) - len(choices))
        while choices and choices[-1] + 1 >= widths[len(choices) - 1]:
            choices.pop()
        if not choices:
            return count
        choices[-1] += 1
    raise AssertionError("more orders than expected")


@pytest.mark.parametrize(
    ("phase", "heard", "fires"),
    [
        ("booting", [Ready(0), Notice(0, 120_000)], False),
        ("idle", [Woken(0), Lost(0)], False),
        ("idle", [Woken(0)], True),
        ("idle", [Rebalance(0), Rebalance(1)], False),
    ],
)
def test_no_order_of_their_steps_loses_an_event_or_performs_one_twice(
    phase: str, heard: list[Any], fires: bool
) -> None:
    assert schedules(phase, heard, fires=fires) > 400


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["booting", "idle", "running", "stopping", "gone"]),
    st.lists(st.sampled_from([Ready, Woken, Rebalance, Lost, partial(Notice, lead_ms=0)]), max_size=5),
    st.booleans(),
    st.data(),
)
def test_nor_does_any_order_of_more(phase: str, kinds: list[Any], fires: bool, data: st.DataObject) -> None:
    heard = [kind(number) for number, kind in enumerate(kinds)]
    race = Race(phase, heard, fires=fires and phase != "gone")
    width = max(1, len(race.running))
    race.go(data.draw(st.lists(st.integers(0, width - 1), max_size=60)))
    race.check(heard)


class Careless(Functions):
    """Park without its condition."""

    def park(self, worker: str) -> Iterator[Any]:
        row = self.workers[worker]
        row.token = self._waiting[worker] = f"token-{next(self._ids)}"
        yield
        return True


def test_a_park_that_does_not_look_into_the_inbox_would_lose_an_event() -> None:
    with pytest.raises(AssertionError):
        schedules("booting", [Ready(0), Notice(0, 120_000)], fires=False, kind=Careless)


def test_a_timer_and_an_event_at_once_are_both_heard() -> None:
    race = Race("idle", [Rebalance(0)], fires=True)
    race.go([1, 1, 0, 0, 0])
    bodies = [entry.body for entry in race.functions.journal.entries if entry.what == "event"]
    assert sorted(type(body).__name__ for body in bodies) == ["Rebalance", "TimerFired"]
    assert TimerFired(0, "keep-alive") in bodies
