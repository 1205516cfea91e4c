"""`move`: should a job with a deadline run elsewhere?"""

from scheduler.policies.move.greedy import Greedy
from scheduler.policies.move.next_spot import NextSpotOracle
from scheduler.policies.move.shifted_greedy import ShiftedGreedy
from scheduler.policies.move.stay import Stay
from scheduler.policies.move.terms import (
    LAUNCHES,
    NOW,
    ON_DEMAND,
    PAUSE,
    SPOT,
    STAY,
    WAIT,
    changeover_ms,
    has_deadline,
    must_leave_spot,
    must_run_now,
    slack_ms,
    spot_is_up,
    work_left_ms,
)
from scheduler.policies.move.time_sliced import TimeSliced
from scheduler.policies.move.uniform_progress import UniformProgress
from scheduler.policies.move.uniform_progress_literal import UniformProgressLiteral

__all__ = [
    "LAUNCHES",
    "NOW",
    "ON_DEMAND",
    "PAUSE",
    "SPOT",
    "STAY",
    "WAIT",
    "Greedy",
    "NextSpotOracle",
    "ShiftedGreedy",
    "Stay",
    "TimeSliced",
    "UniformProgress",
    "UniformProgressLiteral",
    "changeover_ms",
    "has_deadline",
    "must_leave_spot",
    "must_run_now",
    "slack_ms",
    "spot_is_up",
    "work_left_ms",
]
