"""The central scheduler: its machine event by event, and the world in which a head node runs the pools."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from core_examples import policy_of as core_policy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from queueing import column, estimate, inputs_of, mg1_wait
from worlds import HOUR, MINUTE, SOURCES, Case, S, cases, constant, policy_of, pool, work_of

from scheduler import central
from scheduler.central import DISPATCH
from scheduler.central_record import (
    Central,
    Dispatch,
    DispatchReady,
    HeadFailed,
    HeadRecovered,
    JobEnded,
    JobQueued,
    JobWithdrawn,
    QueueClass,
    Running,
    SlotsChanged,
    Waiting,
)
from scheduler.commands import SetTimer
from scheduler.ordered import Ordered
from scheduler.policies.move import Stay
from scheduler.policies.order import Fifo, ShortestJobFirst
from scheduler.policies.order.easy import Easy
from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import NoProtection
from scheduler.policies.retry import FullJitter
from scheduler.policies.scale import BacklogAndBusy
from scheduler.settings import Settings
from scheduler.table import UnknownTransition
from sim.inputs import HeadNode, Interruptions, JobClass, MarketInputs, ServiceInputs, WorldInputs
from spotbed.build import blueprint
from spotbed.journal import Journal
from spotbed.metering import DONE, UNFINISHED, Tally
from spotbed.scenario.load import load_scenario
from spotbed.services_preset import ServicesPreset
from spotbed.worlds import run_world, simulate

ANY_WORLD = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
FIFO = core_policy(order=Fifo())
SCENARIO = Path(__file__).parent.parent / "scenarios" / "central-limits.yaml"
CENTRALS = ("central", "central-fails")


# a sorted sequence --------------------------------------------------------------------------------------------------
def entry(place: int) -> Running:
    return Running((float(place), place), str(place), 1, ())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), count=st.sampled_from([5, 600, 3_000]), rising=st.booleans())
def test_a_sorted_sequence_is_what_a_sorted_list_is(seed: int, count: int, rising: bool) -> None:
    rng = np.random.default_rng(seed)
    expected: list[int] = []
    found, before = Ordered(), Ordered()
    for number in range(count):
        if expected and rng.random() < 0.4:
            gone = expected.pop(0 if rng.random() < 0.7 else int(rng.integers(len(expected))))
            found = found.remove(entry(gone))
        else:
            place = number if rising else int(rng.integers(1 << 40))
            insort(expected, place)
            found = found.add(entry(place))
    assert [each.place[1] for each in found] == expected
    assert len(found) == len(expected)
    assert (found.first.place[1] if found.first else None) == (expected[0] if expected else None)
    assert all(found.chunks), "an empty chunk"
    assert max(map(len, found.chunks), default=0) <= 512
    assert not list(before)


def test_what_is_not_in_a_sorted_sequence_cannot_be_removed() -> None:
    for sequence in (Ordered(), Ordered().add(entry(1)).add(entry(5))):
        for place in (0, 3, 9):
            with pytest.raises(KeyError):
                sequence.remove(entry(place))


# the machine --------------------------------------------------------------------------------------------------------
ALL = QueueClass("all", ("cluster",))


def waiting(name: str, slots: int = 1, *, key: float | None = None, estimate_s: int = -1) -> Waiting:
    number = ord(name)
    estimate_ms = estimate_s * S if estimate_s >= 0 else -1
    return Waiting((number if key is None else key, number), name, slots, estimate_ms, 0)


class Play:
    """A machine that hears one event after the other; `ordered` is what it dispatched."""

    def __init__(self, slots: int, policy: Any = FIFO, **fields: Any) -> None:
        self.state, self.policy, self.now_ms = Central(**fields), policy, 0
        self.ordered: list[Dispatch] = []
        self.timers: list[int] = []
        if slots:
            self.hears(SlotsChanged(0, "cluster", slots))

    def hears(self, *events: Any) -> str:
        """Names of the jobs that were dispatched."""
        before = len(self.ordered)
        for event in events:
            self.state, commands = central.step(self.state, event, self.policy)
            self.ordered += [command for command in commands if isinstance(command, Dispatch)]
            self.timers += [command.after_ms for command in commands if isinstance(command, SetTimer)]
        return "".join(each.running.job for each in self.ordered[before:])

    def queue(self, *jobs: Waiting, badge: QueueClass = ALL) -> None:
        self.hears(*(JobQueued(self.now_ms, badge, job) for job in jobs))

    def ready(self, at_ms: int | None = None) -> str:
        self.now_ms = self.now_ms if at_ms is None else at_ms
        return self.hears(DispatchReady(self.now_ms))

    def ends(self, name: str) -> None:
        found = next(each for each in self.ordered if each.running.job == name)
        self.hears(JobEnded(self.now_ms, found.running))


def test_a_change_asks_for_one_pass_at_the_end_of_the_moment() -> None:
    play = Play(2)
    play.queue(waiting("a"), waiting("b"))
    assert play.timers == [0]
    assert play.ready() == "ab"
    assert not play.state.armed
    play.ends("a")
    assert play.timers == [0, 0]


def test_jobs_start_in_order_as_long_as_they_fit() -> None:
    play = Play(4)
    play.queue(waiting("c", 1), waiting("a", 2), waiting("b", 3))
    assert play.ready() == "a"
    play.ends("a")
    assert play.ready() == "bc"


def test_the_next_job_is_picked_where_many_slots_are_asked_for() -> None:
    """On a cluster a shorter job that comes later does not pass it; on pools it does."""
    for picks, expected in ((True, "b"), (False, "c")):
        play = Play(1, core_policy(order=ShortestJobFirst()), picks=picks)
        play.queue(waiting("a", key=1))
        play.ready()
        play.queue(waiting("b", key=9))
        assert play.ready() == ""
        play.queue(waiting("c", key=5))
        play.ends("a")
        assert play.ready() == expected


def test_a_dispatch_keeps_the_head_node_busy() -> None:
    """Three a second, exactly, however many wait; what it did not do while nothing waited is not caught up."""
    play = Play(1_000, gap_us=333_333)
    play.queue(*(waiting(chr(100 + number)) for number in range(100)))
    times = []
    while play.state.armed:
        at_ms = play.now_ms + play.timers[-1]
        times += [at_ms] * len(play.ready(at_ms))
    assert len(times) == 100
    assert [times[number] for number in (0, 1, 2, 3, 99)] == [0, 333, 666, 999, 32_999]
    play.queue(waiting("A"), waiting("B"))
    assert play.ready(90_000) == "A"
    assert play.timers[-1] == 333


def test_a_fast_head_node_starts_several_jobs_in_a_millisecond() -> None:
    play = Play(100, gap_us=400)
    play.queue(*(waiting(chr(100 + number)) for number in range(10)))
    assert [len(play.ready(at_ms)) for at_ms in range(5)] == [3, 2, 3, 2, 0]


def test_licences_are_taken_and_given_back() -> None:
    licensed = QueueClass("solver", ("cluster",), 0, (("solver", 2),))
    play = Play(10, licences=(("solver", 3),))
    play.queue(waiting("a"), waiting("b"), badge=licensed)
    play.queue(waiting("z"))
    assert play.ready() == "az"
    assert play.state.licences == (("solver", 1),)
    play.ends("a")
    assert play.state.licences == (("solver", 3),)
    assert play.ready() == "b"


SMALL, LARGE = QueueClass("small", ("s", "l"), 1), QueueClass("large", ("l",), 2)


def test_a_large_instance_is_left_to_large_jobs_and_a_small_one_to_who_fits() -> None:
    play = Play(0)
    play.hears(SlotsChanged(0, "s", 1), SlotsChanged(0, "l", 1))
    play.queue(waiting("a"), waiting("b"), badge=SMALL)
    play.queue(waiting("z"), badge=LARGE)
    assert play.ready() == "az"
    assert {each.running.job: each.running.sites for each in play.ordered} == {"a": (("s", 1),), "z": (("l", 1),)}
    play.ends("z")
    assert play.ready() == "b"


GANG = QueueClass("gang", ("s", "l"), 1)


def test_a_gang_takes_workers_of_several_pools() -> None:
    play = Play(0)
    play.hears(SlotsChanged(0, "s", 2), SlotsChanged(0, "l", 2))
    play.queue(waiting("g", 3), badge=GANG)
    assert play.ready() == "g"
    assert play.ordered[0].running.sites == (("s", 2), ("l", 1))
    assert [(site.free, site.busy) for site in play.state.sites] == [(0, 2), (1, 1)]
    play.ends("g")
    assert [(site.free, site.busy) for site in play.state.sites] == [(2, 0), (2, 0)]


def test_a_gang_that_is_first_of_all_is_not_starved_by_small_jobs() -> None:
    """It holds the workers that come free, if there are enough of them; small jobs that came before it go first."""
    play = Play(0)
    play.hears(SlotsChanged(0, "s", 2))
    play.queue(waiting("a"), waiting("b"), badge=SMALL)
    assert play.ready() == "ab"
    play.queue(waiting("c"), waiting("z"), badge=SMALL)
    play.queue(waiting("g", 2), badge=GANG)
    play.ends("a")
    assert play.ready() == "c"
    play.ends("b")
    assert play.ready() == ""
    play.ends("c")
    assert play.ready() == "g"


def test_small_jobs_pass_a_gang_for_which_there_are_too_few_workers() -> None:
    play = Play(0)
    play.hears(SlotsChanged(0, "s", 2))
    play.queue(waiting("g", 3), badge=GANG)
    play.queue(waiting("z"), badge=SMALL)
    assert play.ready() == "z"


def test_a_job_that_was_withdrawn_does_not_start() -> None:
    play = Play(1, picks=True)
    play.queue(waiting("a"), waiting("b"), waiting("c"), waiting("d"))
    play.ready()
    play.hears(JobWithdrawn(0, ALL, waiting("c")), JobWithdrawn(0, ALL, waiting("b")))
    play.ends("a")
    assert play.ready() == "d"


def test_workers_that_go_take_their_slots_with_them() -> None:
    play = Play(2)
    play.hears(SlotsChanged(0, "cluster", -1))
    play.queue(waiting("a"), waiting("b"))
    assert play.ready() == "a"
    with pytest.raises(AssertionError, match="free"):
        play.hears(SlotsChanged(0, "cluster", -1))


def test_a_head_node_that_is_down_hears_nothing_and_changes_nothing() -> None:
    play = Play(2)
    play.queue(waiting("a"))
    play.hears(HeadFailed(5))
    before = play.state
    for event in (
        JobQueued(6, ALL, waiting("b")), SlotsChanged(6, "cluster", 1), JobWithdrawn(6, ALL, waiting("a")),
        JobEnded(6, Running((0.0, 1), "a", 1, ())),
    ):  # fmt: skip
        with pytest.raises(UnknownTransition, match="'down'"):
            play.hears(event)
        assert play.state is before
    assert play.hears(DispatchReady(7), HeadFailed(8)) == ""
    assert play.hears(HeadRecovered(9)) == ""
    assert play.ready(9) == "a"
    assert play.hears(HeadRecovered(10)) == ""


def test_the_table_ends_where_it_says() -> None:
    play = Play(1)
    for event in (JobQueued(0, ALL, waiting("a")), DispatchReady(0), HeadFailed(1), HeadRecovered(2), HeadRecovered(3)):
        phase = play.state.phase
        play.hears(event)
        assert play.state.phase in central.TABLE[phase][type(event)].to


def test_states_events_and_commands_are_plain_data() -> None:
    """The journal writes them as JSON."""
    play = Play(1, core_policy(order=Easy()), picks=True, licences=(("solver", 1),))
    play.queue(waiting("a", estimate_s=5), waiting("b", estimate_s=5))
    play.ready()
    body = orjson.loads(orjson.dumps(play.state))
    assert body["backlogs"][0]["picked"]["job"] == "b"
    assert body["running"]["chunks"][0][0]["place"] == [5_000, ord("a")]
    assert hash(play.state) == hash(play.state)


# the world ----------------------------------------------------------------------------------------------------------
def run_central(inputs: WorldInputs, policy: Any = None, journal: Journal | None = None) -> Tally:
    return simulate(inputs, replace(policy or policy_of(), architecture="central"), journal)


def attempts_of(journal: Journal) -> list[Any]:
    return [each.body for each in journal.entries if each.kind == "attempt"]


def many_jobs(count: int, runtime_ms: int, gap_ms: int = 0, **klass: Any) -> Any:
    submit = (np.arange(count) * gap_ms).tolist()
    return work_of((JobClass("job", **klass),), submit, [runtime_ms] * count)


def test_services_that_it_does_not_use_do_not_hold_it_up() -> None:
    """Quotas of Step Functions and Lambda, and old counters: the head node has its own, in memory."""
    names = ("stepfunctions.transition", "stepfunctions.start_execution", "ssm.send_command")
    tight = {f"{name}.{part}": 0.02 for name in names for part in ("bucket", "refill")} | {"lambda.concurrency": 1}
    free = inputs_of(many_jobs(30, MINUTE), (pool(),))
    limited = replace(free, services=ServiceInputs(limit=tight, cycle_lambda_s=5.0, count_staleness_s=90.0))
    ours, theirs = run_central(free), run_central(limited)
    assert list(ours.jobs.end_ms) == list(theirs.jobs.end_ms)
    assert not theirs.limits
    assert simulate(limited, policy_of()).limits["stepfunctions.transition"] >= 30


def test_recommendations_of_ec2_reach_it() -> None:
    """Each Spot instance gets one after a minute, and nothing follows."""
    services = ServiceInputs({"rebalance_alone": (constant(60),)}, {"ec2.rebalance_alone": 1.0})
    inputs = replace(inputs_of(many_jobs(3, 10 * MINUTE), (pool(),)), services=services)
    journal = Journal()
    run_central(inputs, None, journal)
    assert sum(each.kind == "rebalance" for each in journal.entries) == 3


def without_services(case: Case) -> WorldInputs:
    limit = {name: value for name, value in case.inputs.services.limit.items() if name.startswith("ec2.")}
    return replace(case.inputs, services=ServiceInputs(limit=limit))


@pytest.mark.parametrize("source", SOURCES)
@ANY_WORLD
@given(data=st.data())
def test_a_head_node_without_limits_does_what_the_workers_would_do_themselves(source: str, data: st.DataObject) -> None:
    """One pool, one class, no services: the same jobs end at the same times, at the same cost. (When two workers are
    free in one millisecond, either may take either job. So nothing is queued by the end of an attempt here, neither
    what waits for it nor its own next try, and no attempt ends at its time limit, as it would on a tick.)"""
    case = data.draw(cases(source))
    spot = next(each for each in case.inputs.pools if each.purchase == "spot")
    klass = replace(case.inputs.work.classes[0], licences={}, gang=1, timeout_ms=None)
    none = np.zeros(len(case.inputs.work), dtype=np.int32)
    work = replace(case.inputs.work, classes=(klass,), klass=none, after={})
    inputs = replace(without_services(case), work=work, pools=(spot,), slots_per_instance=1)
    policy = replace(case.policy, place=LowestPrice(), move=Stay(), retry=FullJitter())
    ours, theirs = (simulate(inputs, replace(policy, architecture=name)) for name in ("central", "decoupled"))
    assert list(ours.jobs.end_ms) == list(theirs.jobs.end_ms)
    for our, their in zip(ours.pools, theirs.pools, strict=True):
        assert (our.ms, our.instances, our.interruptions) == (their.ms, their.instances, their.interruptions)
        assert our.instance_usd == pytest.approx(their.instance_usd, rel=1e-12)
    assert ours.attempts == theirs.attempts


@pytest.mark.parametrize("source", SOURCES)
@ANY_WORLD
@given(data=st.data())
def test_nothing_is_lost_under_a_head_node(source: str, data: st.DataObject) -> None:
    """Whatever fails, the head node included: every job ends once, and every second of an instance has a cause."""
    case = data.draw(cases(source))
    fails = tuple(
        (data.draw(st.integers(0, 120)) * MINUTE, data.draw(st.integers(1, 40)) * MINUTE)
        for _ in range(data.draw(st.integers(0, 3)))
    )
    head = HeadNode(0.4, data.draw(st.sampled_from([0.0, 0.05, 3.0])), fails)
    journal = Journal()
    inputs = replace(case.inputs, head_node=head, budget_usd=0.0)
    tally = run_central(inputs, replace(case.policy, scale=BacklogAndBusy()), journal)
    finals = Counter(
        each.subject for each in journal.entries if each.kind in ("GiveUp", "ReleaseDependants") and each.role == "job"
    )
    assert UNFINISHED not in tally.jobs.status
    assert set(finals) == {inputs.work.job_id(number) for number in range(len(inputs.work))}
    assert tally.duplicate_completions == tally.orphan_workers == 0
    for use in tally.pools:
        assert sum(use.ms) == use.instance_ms * inputs.slots_per_instance
        assert sum(use.usd) == pytest.approx(use.instance_usd, rel=1e-9)
    assert tally.end_ms - int(inputs.work.submit_ms[0]) == tally.head_node_ms
    for at_ms, for_ms in fails:
        assert not any(at_ms < fact.start_ms < at_ms + for_ms for fact in attempts_of(journal))


def test_the_same_seed_gives_the_same_journal() -> None:
    hashes = set()
    for _ in range(2):
        journal = Journal()
        market = MarketInputs(Interruptions("exponential", mean_ms=20 * MINUTE))
        work = many_jobs(80, 10 * MINUTE, 20 * S, checkpointable=True)
        run_central(
            inputs_of(work, (pool(),), market=market, head_node=HeadNode(0.1, 0.5, ((HOUR, HOUR),))), None, journal
        )
        hashes.add(journal.sha256())
    assert len(hashes) == 1


def test_a_head_node_dispatches_at_its_rate_and_no_faster() -> None:
    """1,000 jobs of 10 s at once: 40 workers would do 4 a second; a head node that starts 2 keeps 20 of them busy."""
    inputs = inputs_of(many_jobs(1_000, 10 * S), (pool(most=40, boot_s=0),), head_node=HeadNode(0.1, 2.0))
    journal = Journal()
    tally = run_central(inputs, journal=journal)
    starts = np.sort([fact.start_ms for fact in attempts_of(journal)])
    assert (np.diff(starts) == 500).all()
    assert tally.end_ms >= 509_500
    decoupled = simulate(inputs, policy_of())
    assert max(decoupled.jobs.end_ms) == 250 * S
    assert max(tally.jobs.end_ms) == 509_500


def test_waits_for_dispatch_are_those_of_MD1() -> None:
    """A dispatch takes the head node 1 s: with workers enough, jobs wait as on a single server of that speed."""
    rho, means, controls = 0.7, [], []
    rng = np.random.default_rng(31)
    for _ in range(12):
        gaps = rng.exponential(1 / rho, 1_500)
        submit = np.r_[np.zeros(40, dtype=np.int64), HOUR + np.rint(np.cumsum(gaps) * S).astype(np.int64)]
        work = work_of((JobClass("job"),), submit.tolist(), [S] * len(submit))
        inputs = inputs_of(work, (pool(most=40, boot_s=0),), head_node=HeadNode(0.1, 1.0), drain_ms=HOUR)
        tally = run_central(inputs, policy_of(Settings(keep_alive_ms=1 << 58)))
        waits = (column(tally.jobs.first_start_ms) - submit)[40 + 100 :] / S
        means.append(waits.mean())
        controls.append((gaps.mean() - 1 / rho,))
    mean, error = estimate(np.array(means), np.array(controls))
    exact = mg1_wait(rho, 1.0)
    assert abs(mean - exact) <= 3 * error, f"{mean} +- {error}, exact {exact}"
    assert error < 0.05 * exact


# failures of the head node ------------------------------------------------------------------------------------------
DOWN = (10 * MINUTE + 30 * S, 30 * MINUTE)  # at, for


def failing_world(**fields: Any) -> WorldInputs:
    """One job a minute, each of 4 minutes; the head node is down from minute 10.5 to 40.5."""
    work = many_jobs(60, 4 * MINUTE, MINUTE, checkpointable=True)
    return inputs_of(work, (pool(most=20, boot_s=0),), head_node=HeadNode(0.4, 0.0, (DOWN,)), **fields)


def test_while_the_head_node_is_down_nothing_starts_and_nothing_is_recorded() -> None:
    journal = Journal()
    tally = run_central(failing_world(), journal=journal)
    begin, until = DOWN[0], sum(DOWN)
    assert set(tally.jobs.status) == {DONE}
    assert not any(begin < fact.start_ms < until for fact in attempts_of(journal))
    assert not any(begin < each.at_ms < until for each in journal.entries if each.role != "world")
    assert not any(begin < end < until for end in tally.jobs.end_ms)
    late = [fact for fact in attempts_of(journal) if begin < fact.end_ms < until]
    assert {fact.cause for fact in late} == {"done"}
    assert {tally.jobs.end_ms[fact.number] for fact in late} == {until}
    assert len(late) == 4


def test_running_attempts_go_on_and_idle_workers_stay_while_the_head_node_is_down() -> None:
    """The four attempts that run end on time; their workers are paid for until the recovery, and then used."""
    tally = run_central(failing_world())
    up = run_central(replace(failing_world(), head_node=HeadNode(0.4)))
    assert tally.pools[0].ms[0] == up.pools[0].ms[0]
    assert tally.pools[0].ms[5] >= up.pools[0].ms[5] + 4 * (DOWN[1] - 4 * MINUTE)


def test_workers_that_are_lost_meanwhile_are_noticed_at_the_recovery() -> None:
    """All instances go at minute 12. Their jobs are queued again at the recovery, and not before."""
    until = sum(DOWN)
    gone = (np.array([0, 12 * MINUTE, 13 * MINUTE], dtype=np.int64), np.array([20, 0, 20], dtype=np.int64))
    losses = Interruptions("trace", capacity={"spot": gone}, burst_ms=0)
    journal = Journal()
    inputs = failing_world(market=MarketInputs(losses, notice_probability=0.0))
    tally = run_central(inputs, policy_of(protect=NoProtection()), journal)
    lost = [fact for fact in attempts_of(journal) if fact.cause == "interrupted"]
    assert {fact.end_ms for fact in lost} == {12 * MINUTE}
    again = [fact for fact in attempts_of(journal) if fact.attempt == 2]
    assert sorted(fact.number for fact in again) == sorted(fact.number for fact in lost)
    assert min(fact.start_ms for fact in again) == -(-until // MINUTE) * MINUTE  # launched at the next tick
    assert tally.pools[0].interruptions >= len(lost) > 0
    assert set(tally.jobs.status) == {DONE}


def test_failures_may_overlap() -> None:
    fails = ((DOWN[0], 20 * MINUTE), (15 * MINUTE, sum(DOWN) - 15 * MINUTE), (20 * MINUTE, MINUTE))
    both = replace(failing_world(), head_node=HeadNode(0.4, 0.0, fails))
    assert list(run_central(both).jobs.end_ms) == list(run_central(failing_world()).jobs.end_ms)


# the bill -----------------------------------------------------------------------------------------------------------
def test_a_head_node_is_paid_for_from_the_first_submission_to_the_end() -> None:
    work = many_jobs(3, MINUTE, MINUTE)
    work = replace(work, submit_ms=work.submit_ms + HOUR)
    tally = run_central(inputs_of(work, (pool(boot_s=0),)), policy_of(Settings(keep_alive_ms=0)))
    assert tally.head_node_ms == tally.end_ms - HOUR
    assert tally.end_ms >= HOUR + 3 * MINUTE


def test_what_is_metered_has_a_row_in_the_services_data() -> None:
    known = ServicesPreset.load().operations["central"]
    tally = run_central(failing_world())
    assert set(tally.operations) <= set(known)
    assert {"submit", "dispatch", "start", "complete", "launch", "stop", "tick"} <= set(tally.operations)
    assert tally.operations["dispatch"] == tally.attempts == 60


def test_there_are_no_faults_of_services_that_are_not_used() -> None:
    faults = {"eventbridge.drop": 1.0, "sqs.duplicate": 1.0, "lambda.twice": 1.0, "lease.false_expiry": 1.0}
    tally = run_central(failing_world(services=ServiceInputs(probability=faults)))
    assert tally.faults == {}
    assert set(tally.jobs.status) == {DONE}


@pytest.mark.parametrize("keep_alive_ms", [0, MINUTE])
def test_a_busy_head_node_keeps_the_workers_that_it_has_jobs_for(keep_alive_ms: int) -> None:
    inputs = inputs_of(many_jobs(200, 10 * S), (pool(most=10, boot_s=60),), head_node=HeadNode(0.1, 0.2))
    tally = run_central(inputs, policy_of(Settings(keep_alive_ms=keep_alive_ms)))
    assert tally.pools[0].instances == 10
    assert max(tally.jobs.end_ms) == MINUTE + 199 * 5 * S + 10 * S


def test_the_timer_has_the_name_that_the_driver_knows() -> None:
    play = Play(1)
    assert central.step(Central(), SlotsChanged(0, "cluster", 1), play.policy)[1] == (SetTimer(DISPATCH, 0),)


# the scenario: figures 3 and 4 of the article as numbers -------------------------------------------------------------
def limits(label: str, *overrides: str) -> dict[str, float]:
    """The metrics of one world of scenarios/central-limits.yaml with 2,000 jobs."""
    made = blueprint(load_scenario(SCENARIO, ["workload.jobs=2000", *overrides]))
    return run_world(made, made.composed[label], 0).result.metrics


def test_throughput_is_capped_by_the_dispatch_rate_and_grows_with_the_workers_without_one() -> None:
    """Jobs a second over the whole run, boot and last jobs included; the head node starts 2 a second."""
    without, central_ones = (
        [2_000 / limits(label, f"capacity.pools.c6i.max={most}")["makespan_s"] for most in (200, 400, 800)]
        for label in ("decoupled", "central")
    )
    assert without[0] == pytest.approx(central_ones[0], rel=0.02)
    assert without[1] > 1.5 * without[0]
    assert without[2] > 1.3 * without[1] > 2.0
    assert central_ones[1] == pytest.approx(central_ones[2], rel=0.01)
    assert max(central_ones) < 2.0


def test_a_failure_of_the_head_node_costs_its_length() -> None:
    up, down = (limits(label, "policies.central-fails.central.fails=[{at: 5m, for: 30m}]") for label in CENTRALS)
    assert down["makespan_s"] - up["makespan_s"] == pytest.approx(1_800, abs=60)  # workers come at the next tick
    assert down["jobs_done"] == up["jobs_done"] == 2_000
    assert down["cost_usd"] > 1.5 * up["cost_usd"]
