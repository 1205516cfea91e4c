"""`scale`: how many workers should serve a class of work?

No policy ends a worker: each ends itself when it has been idle for the keep-alive, and one that boots or runs a job is
left alone. So scale-in is of idle workers only, whatever `desired` says.
"""

from scheduler.policies.scale.backlog_and_busy import BacklogAndBusy
from scheduler.policies.scale.deadline_aware import DeadlineAware
from scheduler.policies.scale.drain_time import DrainTime
from scheduler.policies.scale.hour_of_day import HourOfDay, workers_by_hour
from scheduler.policies.scale.static_stability import StaticStability
from scheduler.policies.scale.step_bands import StepBands
from scheduler.policies.scale.target_backlog import TargetBacklog
from scheduler.policies.scale.visible_backlog import VisibleBacklog

__all__ = [
    "BacklogAndBusy",
    "DeadlineAware",
    "DrainTime",
    "HourOfDay",
    "StaticStability",
    "StepBands",
    "TargetBacklog",
    "VisibleBacklog",
    "workers_by_hour",
]
