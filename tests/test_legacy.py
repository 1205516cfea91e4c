"""The machine of 2019 and the models around it: its table, its queue, its group, and what holds in every world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_worlds import HOPS, Run, assert_unharmed, constant, legacy_policy, run_legacy, run_ours, shortage, world

from scheduler import legacy
from scheduler.commands import Protect, SetDesired
from scheduler.job_record import JobSpec
from scheduler.legacy import Execution, Scaler
from scheduler.table import UnknownTransition
from scheduler.worker import Badge
from sim.index import Demand
from sim.inputs import Interruptions
from sim.legacy import LegacyWorld
from sim.legacy_group import Group
from sim.legacy_queue import Message, MessageQueue
from sim.legacy_settings import LegacySettings
from spotbed import metering
from spotbed.services_preset import ServicesPreset

BADGE = Badge("w1", "spot", "spot")


# the machine --------------------------------------------------------------------------------------------------------
def hear(execution: Execution, *events: Any) -> tuple[Execution, tuple[Any, ...]]:
    commands: tuple[Any, ...] = ()
    for event in events:
        execution, commands = legacy.step(execution, event, None)
    return execution, commands


def with_job(retries: int = 2, re_run: int = 0) -> Execution:
    events = (
        legacy.StatusOk(0),
        legacy.Protected(1),
        legacy.MessageReceived(2, "j", retries, re_run),
        legacy.CommandSent(3),
    )
    return hear(Execution(BADGE), *events)[0]


def test_a_worker_protects_itself_receives_deletes_and_only_then_starts() -> None:
    execution, commands = hear(Execution(BADGE), legacy.StatusOk(0))
    assert (execution.phase, commands) == ("protecting", (Protect(True),))
    execution, commands = hear(execution, legacy.Protected(1))
    assert (execution.phase, commands) == ("getting", (legacy.Receive(0),))
    execution, commands = hear(execution, legacy.MessageReceived(2, "j", 5, 1))
    assert (execution.phase, commands) == ("starting", (legacy.Delete(), legacy.SendCommand("j")))
    execution, commands = hear(execution, legacy.CommandSent(3))
    assert (execution.phase, commands) == ("running", (legacy.WriteStatus("j", "Started", 1), legacy.Poll("j")))


def test_an_empty_queue_is_asked_four_times_in_14_seconds() -> None:
    execution, _ = hear(Execution(BADGE), legacy.StatusOk(0), legacy.Protected(1))
    waits = []
    for _ in range(3):
        execution, commands = hear(execution, legacy.NothingReceived(2))
        waits += [command.after_ms for command in commands]
    assert waits == [2000, 4000, 8000]
    assert hear(execution, legacy.NothingReceived(3))[1] == (legacy.CountQueue(),)


@pytest.mark.parametrize(
    ("retries", "re_run", "queue"),
    [(2, 0, "job-queue"), (2, 1, "job-queue"), (2, 2, "job-queue-failed"), (0, 0, "job-queue-failed")],
)
def test_retries_are_attempts_beyond_the_first(retries: int, re_run: int, queue: str) -> None:
    execution, commands = hear(with_job(retries, re_run), legacy.Polled(4, legacy.FAILURE, 1))
    written, sent, counted = commands
    assert (written.status, sent.queue, counted) == ("Failed", queue, legacy.CountQueue())
    assert sent.re_run == re_run + (queue == "job-queue")
    assert (execution.phase, execution.job) == ("checking", "")


@pytest.mark.parametrize("answer", [legacy.SUCCESS, legacy.ERROR])
def test_an_error_of_the_check_goes_on_as_a_success(answer: str) -> None:
    execution, commands = hear(with_job(), legacy.Polled(4, answer, 7))
    assert (execution.phase, commands) == ("confirming", (legacy.SearchOutput(),))
    _, commands = hear(execution, legacy.OutputSearched(5, found=True))
    assert [command.queue for command in commands if isinstance(command, legacy.Send)] == ["job-queue-finished"]
    _, commands = hear(execution, legacy.OutputSearched(5, found=False))
    assert [command.queue for command in commands if isinstance(command, legacy.Send)] == ["job-queue"]


def test_pending_changes_nothing() -> None:
    running = with_job()
    assert hear(running, legacy.Polled(4, legacy.PENDING, 1)) == (running, ())


def test_the_first_empty_count_ends_the_worker_and_protects_it_again() -> None:
    checking, _ = hear(with_job(), legacy.Polled(4, legacy.FAILURE, 1))
    assert hear(checking, legacy.QueueCounted(5, 1))[1] == (legacy.Receive(0),)
    ending, commands = hear(checking, legacy.QueueCounted(5, 0))
    assert commands == (Protect(True), legacy.Terminate())
    assert hear(ending, legacy.Terminated(6)) == (Execution(BADGE, "finished"), ())
    assert hear(ending, legacy.TerminateFailed(6))[0].phase == "dead"


def test_an_uncatchable_error_orders_nothing() -> None:
    for event in (legacy.CheckFailed(4), legacy.HistoryFull(4)):
        assert hear(with_job(), event) == (Execution(BADGE, "dead"), ())


def test_there_is_no_event_for_an_interruption_and_an_ended_execution_hears_nothing() -> None:
    heard = {kind.__name__ for rows in legacy.TABLE.values() for kind in rows}
    assert not heard & {"Notice", "Rebalance", "Lost"}
    with pytest.raises(UnknownTransition):
        hear(Execution(BADGE, "dead"), legacy.Terminated(0))


def test_rows_name_phases_and_every_phase_is_reached() -> None:
    reached, left = {"booting"}, ["booting"]
    while left:
        for row in legacy.TABLE[left.pop()].values():
            left += [phase for phase in row.to if phase not in reached]
            reached.update(row.to)
    assert reached == set(legacy.TABLE)


@pytest.mark.parametrize(("visible", "desired"), [(0, 0), (7, 7), (900, 500)])
def test_desired_is_the_visible_backlog(visible: int, desired: int) -> None:
    scaler = Scaler("q", 500)
    assert legacy.scale_step(scaler, legacy.QueueCounted(0, visible), None) == (scaler, (SetDesired(desired),))


# the queue ----------------------------------------------------------------------------------------------------------
def queue_of(*numbers: int, staleness_ms: int = 0) -> MessageQueue:
    queue = MessageQueue(staleness_ms)
    for number in numbers:
        queue.send(Message(number, 0), 0)
    return queue


def test_messages_come_in_order_unless_one_is_out_of_it() -> None:
    queue = queue_of(1, 2, 3, 4)
    numbers = [queue.receive(0), queue.receive(0, reordered=True), queue.receive(0), queue.receive(0, reordered=True)]
    assert [message.number for message in numbers if message] == [1, 3, 2, 4]
    assert queue.receive(0) is None
    assert queue.visible == 0


def test_a_hidden_message_comes_back_first_and_a_stale_receipt_deletes_nothing() -> None:
    queue = queue_of(1, 2)
    first = queue.receive(0)
    assert first is not None
    queue.in_flight += 1
    assert queue.reappear(first, 1, 5000)
    assert (queue.visible, queue.in_flight) == (2, 0)
    assert queue.receive(5001) is first
    assert not queue.delete(first, 1, 6000)
    queue.in_flight += 1
    assert not queue.reappear(first, 1, 6000)


def test_a_late_delete_takes_a_message_that_nobody_has_received_again() -> None:
    queue = queue_of(1)
    first = queue.receive(0)
    assert first is not None
    queue.in_flight += 1
    assert queue.reappear(first, 1, 5000)
    assert queue.delete(first, 1, 6000)
    assert (queue.visible, queue.receive(7000)) == (0, None)


def test_counts_are_those_of_a_while_ago() -> None:
    queue = queue_of(staleness_ms=5000)
    queue.send(Message(1, 0), 10_000)
    queue.receive(12_000)
    assert [queue.count(at_ms) for at_ms in (14_999, 15_000, 16_999, 17_000, 90_000)] == [0, 1, 1, 0, 0]


# the group ----------------------------------------------------------------------------------------------------------
class Standing:
    """What the group's termination policy looks at in an instance."""

    def __init__(self, number: int, az: str, launched_ms: int, order_u: float) -> None:
        self.number, self.launched_ms = number, launched_ms
        self.pool = type("pool", (), {"spec": type("spec", (), {"az": az})})
        self.fate = type("fate", (), {"order_u": order_u})


def group_of(*instances: Standing) -> Group:
    group = Group(Demand("2x4GiB", "any", JobSpec("job")), MessageQueue(0), 500)
    group.members = {instance.number: instance for instance in instances}  # type: ignore[misc]
    return group


def test_the_fullest_zone_loses_first_and_in_it_whoever_is_closest_to_an_hour() -> None:
    group = group_of(
        Standing(1, "a", 0, 0.5), Standing(2, "a", 100_000, 0.1), Standing(3, "a", 0, 0.2), Standing(4, "b", 0, 0.0)
    )
    victims = [instance.number for instance in group.victims(9, 200_000)]
    assert victims == [3, 1, 2, 4]


def test_protected_instances_stay_and_count_for_their_zone() -> None:
    group = group_of(
        Standing(1, "b", 0, 0.5), Standing(2, "b", -1, 0.1), Standing(3, "a", 0, 0.1), Standing(4, "b", 0, 0.1)
    )
    group.protected = {1, 4}
    assert [instance.number for instance in group.victims(4, 1000)] == [2, 3]


# settings -----------------------------------------------------------------------------------------------------------
def test_the_defaults_are_those_of_the_services_data() -> None:
    preset = ServicesPreset.load()
    values = {key: setting.value for key, setting in preset.settings.items()}
    assert LegacySettings.of(values) == replace(LegacySettings(), count_staleness_ms=5000)
    assert LegacySettings.of({}) == LegacySettings()
    assert LegacySettings.of({"legacy.poll": 60.0, "legacy.string_check": 0}).poll_ms == 60_000


def test_the_latencies_of_the_driver_are_paths_of_the_services_data() -> None:
    named: set[str] = set()

    class Watched(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            named.add(key)
            return super().get(key, default)

    inputs = world([1])
    LegacyWorld(replace(inputs, services=replace(inputs.services, latency=Watched())), legacy_policy())
    assert named - {"event"} == set(ServicesPreset.load().paths["legacy"]) - {"submit"}


# worlds -------------------------------------------------------------------------------------------------------------
def test_what_a_user_fails_to_say_costs_retries_too() -> None:
    run = run_legacy(world([60] * 40, retries=2, fail_probability=0.3, success_string_missing=0.3))
    causes = {fact.cause for fact in run.attempts}
    assert causes == {"done", "failed", "string-missing"}
    assert run.done + run.failed == 40
    assert all(attempts <= 3 for attempts in run.tally.jobs.attempts)
    assert run.tally.operations["give_up"] == run.failed
    unlooked = run_legacy(world([60] * 40, success_string_missing=0.9, legacy={"legacy.string_check": 0}))
    assert (unlooked.done, unlooked.tally.attempts) == (40, 40)


def test_jobs_wait_for_those_before_them_and_go_with_them() -> None:
    run = run_legacy(world([60, 60, 60, 4000, 60, 60], after={1: (0,), 2: (0, 1), 4: (3,), 5: (4, 0)}, retries=0))
    assert [run.tally.jobs.status[job] for job in range(6)] == [metering.DONE] * 3 + [metering.GAVE_UP] * 3
    assert run.end_s(0) < run.end_s(1) < run.end_s(2)
    late = run_legacy(world([4000, 60], submit_s=[0, 20_000], after={1: (0,)}, retries=0))
    assert late.failed == 2


def test_a_pending_event_that_does_not_come_leaves_an_instance_without_work() -> None:
    inputs = world([600] * 10, most=10, faults={"eventbridge.drop": 0.5}, seed=2)
    run = run_legacy(inputs)
    never = [fact for fact in run.instances if fact.attempts == 0]
    assert never
    assert {fact.reason for fact in never} == {"scale-in"}
    assert run.done == 10
    assert_unharmed(run_ours(inputs), 10)


def test_a_world_in_which_nothing_can_be_done_ends() -> None:
    run = run_legacy(world([60] * 3, most=0))
    assert run.jobs(metering.UNFINISHED) == 3
    assert run.tally.end_ms == 0


def test_a_count_that_is_old_delays_the_first_launch_by_a_period() -> None:
    run = run_legacy(world([60] * 3, legacy={"sqs.count_staleness": 5.0}))
    assert run.done == 3
    assert {fact.requested_ms for fact in run.instances} == {60_000}


def test_a_budget_is_not_known() -> None:
    inputs = replace(world([60]), budget_usd=0.01)
    assert any("budget" in note for note in run_legacy(inputs).tally.notes)


def random_world(data: st.DataObject) -> Any:
    """Something of everything, at rates that no account would stand."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    count = data.draw(st.integers(1, 60))
    rare, chance = st.sampled_from([0.0, 0.0, 0.01, 0.05]), st.sampled_from([0.0, 0.0, 0.1, 0.5])
    faults = {
        **{name: data.draw(rare) for name in ("ssm.error", "sqs.reorder", "eventbridge.drop")},
        **{name: data.draw(chance) for name in ("lambda.error", "sqs.duplicate", "sqs.empty_receive")},
        "lambda.error.DeleteJob": data.draw(st.sampled_from([0.0, 0.3])),
        "ssm.agent_never_registers": data.draw(rare),
    }
    market = data.draw(
        st.sampled_from([Interruptions(), Interruptions("exponential", mean_ms=3_600_000), shortage(2000, 4000)])
    )
    return world(
        rng.exponential(data.draw(st.sampled_from([30.0, 900.0, 3000.0])), count),
        submit_s=np.sort(rng.uniform(0, data.draw(st.sampled_from([1.0, 9000.0])), count)),
        most=data.draw(st.integers(1, 30)),
        boot=constant(data.draw(st.integers(0, 500))),
        interruptions=market,
        faults=faults,
        latency=data.draw(st.sampled_from([{}, HOPS])),
        legacy={
            "legacy.poll": data.draw(st.sampled_from([5.0, 60.0])),
            "legacy.string_check": data.draw(st.integers(0, 1)),
            "legacy.lost_agent_detect": data.draw(st.sampled_from([3600.0, 14_400.0])),
            "stepfunctions.history_limit": data.draw(st.sampled_from([200, 1500, 25_000])),
            "sqs.count_staleness": data.draw(st.sampled_from([0.0, 5.0])),
        },
        retries=data.draw(st.integers(0, 4)),
        fail_probability=data.draw(chance),
        input_gib=data.draw(st.sampled_from([0.0, 2.0])),
        output_gib=data.draw(st.sampled_from([0.0, 1.0])),
        drain_s=2 * 86_400,
    )


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_what_holds_in_every_world(data: st.DataObject) -> None:
    inputs = random_world(data)
    run = run_legacy(inputs)
    assert_accounts(run)
    assert_jobs(run, len(inputs.work))
    assert_orphans(run)


def assert_accounts(run: Run) -> None:
    """Instance time and money by cause are those of the instances; an attempt's parts are its time on them."""
    for use in run.tally.pools:
        assert sum(use.ms) == use.instance_ms
        assert sum(use.usd) == pytest.approx(use.instance_usd, rel=1e-9, abs=1e-12)
        assert min(use.ms) >= 0
    for fact in run.attempts:
        parts = fact.useful_ms, fact.lost_ms, fact.checkpoint_ms, fact.failed_ms
        assert sum(parts) == fact.end_ms - fact.start_ms
        assert min(parts) >= 0
    columns = run.tally.jobs
    assert (
        sum(fact.useful_ms for fact in run.attempts)
        == sum(columns.useful_ms)
        == sum(use.ms[0] for use in run.tally.pools)
    )
    assert sum(fact.usd for fact in run.attempts) == pytest.approx(sum(columns.usd), rel=1e-9)
    for fact in run.instances:
        assert sum(fact.ms) == fact.ended_ms - fact.launched_ms


def assert_jobs(run: Run, count: int) -> None:
    """Every job has one end or none, and its useful time is that of one attempt."""
    columns = run.tally.jobs
    assert sum(run.jobs(status) for status in range(5)) == count
    useful = [fact.number for fact in run.attempts if fact.useful_ms]
    assert len(useful) == len(set(useful))
    for number in range(count):
        ended = columns.status[number] in (metering.DONE, metering.GAVE_UP)
        assert (columns.end_ms[number] >= 0) == ended
        if columns.status[number] == metering.DONE:
            assert 0 <= columns.first_start_ms[number] <= columns.end_ms[number] <= run.tally.end_ms
    assert len({(fact.number, fact.attempt) for fact in run.attempts}) == len(run.attempts) == run.tally.attempts


def assert_orphans(run: Run) -> None:
    """Whoever is left protected at the end is an orphan; every instance is billed to its end and not beyond."""
    left = [fact for fact in run.instances if fact.reason == "orphan"]
    assert len(left) <= run.tally.orphan_workers
    dead = [execution for execution in run.executions if execution["end"] == "dead"]
    assert run.tally.orphan_workers <= len(dead)
    assert all(fact.ended_ms <= run.tally.end_ms for fact in run.instances)


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_the_same_world_writes_the_same_journal(data: st.DataObject) -> None:
    inputs = random_world(data)
    assert run_legacy(inputs).journal.sha256() == run_legacy(inputs).journal.sha256()


def test_a_journal_changes_nothing() -> None:
    inputs = world([600] * 30, most=5, faults={"ssm.error": 0.01, "lambda.error": 0.1})
    tally = LegacyWorld(inputs, legacy_policy()).run()
    written = run_legacy(inputs).tally
    assert tally.operations == written.operations
    assert tally.jobs.end_ms == written.jobs.end_ms
