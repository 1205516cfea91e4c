"""The order of the queue: static keys, and backfill with the whole queue in view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_examples import job, policy_of, ticket
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing import column, eternal_starts, plain_work, run_cluster
from worlds import HOUR, MINUTE, S, work_of

from scheduler.central_record import QueueView, Running, Waiting, in_order
from scheduler.ordered import Ordered
from scheduler.policies.order import EarliestDeadlineFirst, Fifo, PriorityWithAgeing, ShortestJobFirst
from scheduler.policies.order.easy import CENTRAL_ONLY, Easy, reservation
from scheduler.policy import needs_of
from sim.inputs import JobClass


# static keys --------------------------------------------------------------------------------------------------------
def keyed(order: object, **fields: object) -> float:
    return float(order.key(job("queued", of=ticket(**fields))))  # type: ignore[attr-defined, arg-type]


def test_fifo_goes_by_submission() -> None:
    assert keyed(Fifo(), submit_ms=3) < keyed(Fifo(), submit_ms=4, priority=9, deadline_ms=5, estimate_ms=1)


def test_the_shortest_job_is_the_one_with_the_least_work_left() -> None:
    order = ShortestJobFirst()
    assert keyed(order, estimate_ms=5) < keyed(order, estimate_ms=6)
    saved = job("queued", of=ticket(estimate_ms=9), progress_ms=8)
    assert order.key(saved) < keyed(order, estimate_ms=5)


def test_a_job_without_an_estimate_is_the_longest() -> None:
    assert keyed(ShortestJobFirst()) > keyed(ShortestJobFirst(), estimate_ms=10**15)


def test_the_earliest_deadline_is_first_and_no_deadline_last() -> None:
    order = EarliestDeadlineFirst()
    assert keyed(order, deadline_ms=8, submit_ms=5) < keyed(order, deadline_ms=9, submit_ms=1)
    assert keyed(order, deadline_ms=10**15) < keyed(order, submit_ms=1) <= keyed(order, submit_ms=2)


@given(
    first=st.integers(0, 10 * HOUR), later=st.integers(0, 10 * HOUR), high=st.integers(-5, 5), low=st.integers(-5, 5),
    points=st.sampled_from([0.5, 1.0, 4.0]),
)  # fmt: skip
def test_ageing_lets_a_job_be_passed_by_those_that_come_soon_after(
    first: int, later: int, high: int, low: int, points: float
) -> None:
    """A job of higher priority passes those that came less than (difference of priority) / ageing before it."""
    order = PriorityWithAgeing(points_per_hour=points)
    passes = keyed(order, submit_ms=first + later, priority=high) < keyed(order, submit_ms=first, priority=low)
    assert passes == (later < (high - low) / points * HOUR)


@pytest.mark.parametrize(
    ("order", "expected"),
    [(Fifo(), "abcd"), (ShortestJobFirst(), "dbca"), (PriorityWithAgeing(), "cabd"), (EarliestDeadlineFirst(), "badc")],
)
def test_workers_take_jobs_in_the_order_of_their_keys(order: object, expected: str) -> None:
    """Four jobs wait while another runs."""
    classes = (
        JobClass("first"), JobClass("a", deadline_ms=2 * HOUR), JobClass("b", deadline_ms=HOUR),
        JobClass("c", priority=3), JobClass("d", deadline_ms=3 * HOUR),
    )  # fmt: skip
    runtimes = [10 * MINUTE, 40 * S, 20 * S, 30 * S, 10 * S]
    work = work_of(classes, [0, 1 * S, 2 * S, 3 * S, 4 * S], runtimes, klass=[0, 1, 2, 3, 4])
    for architecture in ("decoupled", "central"):
        starts = eternal_starts(architecture, work, 1, order=order)
        assert "".join("abcd"[index] for index in np.argsort(starts[1:])) == expected


# backfill by hand ---------------------------------------------------------------------------------------------------
def waiting(name: str, slots: int, estimate_s: int, submit_s: int = 0) -> Waiting:
    number = ord(name)
    return Waiting((submit_s * S, number), name, slots, estimate_s * S if estimate_s >= 0 else -1, submit_s * S)


def running(name: str, slots: int, end_s: int) -> Running:
    return Running((end_s * S, ord(name)), name, slots, (("cluster", slots),))


def ordered(entries: list[Waiting] | list[Running]) -> Ordered:
    found = Ordered()
    for entry in entries:
        found = found.add(entry)
    return found


def view(free: int, runs: list[Running], queue: list[Waiting], *, new: tuple[Waiting, ...] | None = None) -> QueueView:
    """At second 100; the first of the queue is picked."""
    return QueueView(100 * S, free, ordered(runs), queue[0], ordered(queue[1:]), new)


def names(starts: object) -> str:
    return "".join(start.job for start in starts)  # type: ignore[attr-defined]


RUNS = [running("x", 4, 150), running("y", 6, 300)]


def test_the_reservation_is_when_enough_slots_are_free_by_the_estimates() -> None:
    ends = [(150 * S, 4), (300 * S, 6), (300 * S, 1)]
    assert reservation(waiting("h", 8, 60), 2, ends) == (300 * S, 5)
    assert reservation(waiting("h", 6, 60), 2, ends) == (150 * S, 0)


def test_without_backfill_nothing_passes_the_first_job() -> None:
    queue = [waiting("h", 6, 60), waiting("a", 1, 1)]
    assert names(in_order(view(5, RUNS, queue))) == ""
    assert names(in_order(view(7, RUNS, queue))) == "ha"


def test_a_job_jumps_if_it_ends_by_the_shadow_time() -> None:
    """The first needs 6: 2 are free now, 4 more at 150. Nothing is left over then."""
    queue = [waiting("h", 6, 60), waiting("a", 2, 51), waiting("b", 2, 50)]
    assert names(Easy().select(view(2, RUNS, queue))) == "b"


def test_a_job_jumps_if_it_takes_only_what_is_left_over() -> None:
    """The first needs 5 of the 7 that are free at 150: two may run for ever."""
    queue = [waiting("h", 5, 60), waiting("a", 1, 900), waiting("b", 2, 900), waiting("c", 1, -1), waiting("d", 1, 5)]
    assert names(Easy().select(view(3, RUNS, queue))) == "acd"


def test_what_starts_first_is_part_of_the_reservation() -> None:
    """The first starts on the spot and ends at 120: that is when the second gets its slots."""
    queue = [waiting("f", 2, 20), waiting("h", 4, 60), waiting("i", 1, 30), waiting("j", 1, 20)]
    assert names(Easy().select(view(4, [running("x", 2, 900)], queue))) == "fj"


def test_candidates_are_tried_as_they_came_or_the_shortest_first() -> None:
    queue = [waiting("h", 6, 60), waiting("a", 2, 40), waiting("b", 2, 10), waiting("c", 1, 5)]
    assert names(Easy().select(view(2, RUNS, queue))) == "a"
    assert names(Easy(candidates="sjbf").select(view(2, RUNS, queue))) == "c"
    assert names(Easy(candidates="sjbf").select(view(3, RUNS, queue))) == "cb"


def test_the_strict_kind_ends_before_the_shadow_time_and_counts_no_slots() -> None:
    queue = [waiting("h", 5, 60), waiting("a", 1, 50), waiting("b", 1, 900), waiting("c", 1, 49)]
    assert names(Easy(strict=True).select(view(3, RUNS, queue))) == "c"


def test_only_new_jobs_are_tried_when_nothing_else_has_changed() -> None:
    queue = [waiting("h", 6, 60), waiting("a", 2, 50), waiting("b", 2, 50)]
    assert names(Easy().select(view(2, RUNS, queue, new=(queue[2],)))) == "b"


def test_a_queue_by_another_order_is_scanned_as_it_was_submitted() -> None:
    """As RLScheduler does: the first is the shortest, and who may jump is asked by submission."""
    queue = [waiting("h", 6, 1, 9), waiting("b", 2, 30, 7), waiting("a", 2, 40, 3)]
    assert names(Easy(base=ShortestJobFirst()).select(view(2, RUNS, queue))) == "a"


def test_backfill_cannot_be_had_without_the_whole_queue() -> None:
    assert needs_of(policy_of(order=Easy())) >= CENTRAL_ONLY
    assert not needs_of(policy_of()) & CENTRAL_ONLY


# backfill at length -------------------------------------------------------------------------------------------------
SLOTS = 10


@st.composite
def cluster_loads(draw: st.DrawFn) -> tuple[list[int], list[int], list[int], list[int]]:
    """(submissions, runtimes, estimates, slots) in whole seconds, with many ties; estimates are upper bounds."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count = draw(st.integers(2, 40))
    submit = np.sort(rng.integers(0, 12 * count, count))
    runtime = rng.integers(0, 60, count)
    over = rng.choice(draw(st.sampled_from([[0], [0, 0, 30]])), count)
    slots = np.where(rng.random(count) < 0.2, SLOTS, rng.integers(1, 6, count))
    return submit.tolist(), runtime.tolist(), (runtime + over).tolist(), slots.tolist()


def easy_starts(
    load: tuple[list[int], list[int], list[int], list[int]], *, shortest_first: bool = False, strict: bool = False
) -> tuple[list[int], dict[int, int]]:
    """(start of each job, the first reservation that each got): EASY by the second, written down anew for this test."""
    submit, runtime, estimate, slots = load
    starts: dict[int, int] = {}
    promised: dict[int, int] = {}
    queue: list[int] = []
    now = 0
    while len(starts) < len(submit):
        queue += [index for index, at in enumerate(submit) if at == now]
        while True:
            runs = [index for index, start in starts.items() if start + runtime[index] > now]
            free = SLOTS - sum(slots[index] for index in runs)
            if queue and slots[queue[0]] <= free:
                starts[queue.pop(0)] = now
                continue
            jumper = None
            if queue:
                head, room, shadow = queue[0], free, now
                ends = sorted((starts[index] + estimate[index], slots[index]) for index in runs)
                while room < slots[head]:
                    shadow = ends[0][0]
                    while ends and ends[0][0] == shadow:
                        room += ends.pop(0)[1]
                promised.setdefault(head, shadow)
                others = sorted(queue[1:], key=lambda index: (estimate[index], submit[index], index))
                for index in others if shortest_first else queue[1:]:
                    end = now + estimate[index]
                    in_time = end < shadow if strict else end <= shadow
                    if slots[index] <= free and (in_time or (not strict and slots[index] <= room - slots[head])):
                        jumper = index
                        break
            if jumper is None:
                break
            queue.remove(jumper)
            starts[jumper] = now
        now += 1
    return [starts[index] for index in range(len(submit))], promised


@settings(max_examples=80, deadline=None)
@given(load=cluster_loads(), shortest_first=st.booleans(), strict=st.booleans())
def test_a_cluster_runs_easy_as_it_is_written_down(
    load: tuple[list[int], list[int], list[int], list[int]], shortest_first: bool, strict: bool
) -> None:
    submit, runtime, estimate, slots = load
    work = plain_work(np.array(submit) * S, np.array(runtime) * S)
    work = replace(work, slots=np.array(slots, dtype=np.int32), estimate_ms=np.array(estimate) * S)
    order = Easy(candidates="sjbf" if shortest_first else "fcfs", strict=strict)
    starts = column(run_cluster(work, SLOTS, order=order).jobs.first_start_ms) // S
    expected, promised = easy_starts(load, shortest_first=shortest_first, strict=strict)
    assert starts.tolist() == expected
    assert all(starts[index] <= at for index, at in promised.items()), "a reservation was not kept"
