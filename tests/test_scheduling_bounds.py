"""Graham's bounds, of which no schedule of the simulator may ever be found outside: 10,000 random instances.

On c equal slots and without arrivals a list schedule ends by (2 - 1/c) OPT, and by longest processing time first by
(4/3 - 1/(3c)) OPT (Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from queueing import SINGLE, run_cluster
from worlds import MINUTE, work_of

from scheduler.job_record import Job
from scheduler.policies.order import Fifo

INSTANCES = 10_000


@dataclass(frozen=True)
class LongestFirst:
    """Longest processing time first."""

    def key(self, job: Job) -> float:
        return -job.ticket.estimate_ms


def optimum(times: list[int], slots: int) -> int:
    """The least makespan of all schedules: every way to share the jobs out, equal loads counted once."""
    loads = {(0,) * slots}
    for time in sorted(times, reverse=True):
        loads = {
            tuple(sorted((*load[:slot], load[slot] + time, *load[slot + 1 :])))
            for load in loads
            for slot in range(slots)
            if slot == 0 or load[slot] != load[slot - 1]
        }
    return min(load[-1] for load in loads)


def makespan(times: list[int], slots: int, order: object) -> int:
    work = work_of(SINGLE, [0] * len(times), [time * MINUTE for time in times])
    return max(run_cluster(work, slots, order=order).jobs.end_ms) // MINUTE


@pytest.mark.parametrize("part", range(4))
def test_no_schedule_of_the_simulator_lies_outside_grahams_bounds(part: int) -> None:
    rng, tight = np.random.default_rng(part), 0
    for _ in range(INSTANCES // 4):
        slots = int(rng.integers(1, 4))
        times = rng.integers(1, 12, int(rng.integers(1, 9))).tolist()
        best = optimum(times, slots)
        listed, longest = makespan(times, slots, Fifo()), makespan(times, slots, LongestFirst())
        assert best <= listed <= (2 - Fraction(1, slots)) * best, (times, slots)
        assert best <= longest <= (Fraction(4, 3) - Fraction(1, 3 * slots)) * best, (times, slots)
        assert best >= max(max(times), -(-sum(times) // slots))
        tight += listed > best
    assert tight > INSTANCES // 40  # the order does matter in these instances


@pytest.mark.parametrize("slots", [2, 3, 4, 7])
def test_both_bounds_are_reached(slots: int) -> None:
    """c (c - 1) jobs of 1 and one of c; and two each of c + 1 ... 2c - 1 with three of c."""
    small = [1] * (slots * (slots - 1)) + [slots]
    assert Fraction(makespan(small, slots, Fifo()), slots) == 2 - Fraction(1, slots)
    graham = [*(time for each in range(2 * slots - 1, slots, -1) for time in (each, each)), *[slots] * 3]
    assert Fraction(makespan(graham, slots, LongestFirst()), 3 * slots) == Fraction(4, 3) - Fraction(1, 3 * slots)
