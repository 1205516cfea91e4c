"""An example of a user's policy. In a scenario: `{use: ../policies/hedge.py:Hedge, with: {slack_factor: 1.5}}`."""

from dataclasses import dataclass

from scheduler.policies.place import PriceCapacityOptimized
from scheduler.policy import Routing


@dataclass(frozen=True)
class Hedge(PriceCapacityOptimized):
    """Spot while a job has slack; on-demand once what is left is less than `slack_factor` times its estimated work."""

    slack_factor: float = 1.5

    def route(self, job, now_ms):
        ticket = job.ticket
        if ticket.deadline_ms < 0 or ticket.estimate_ms < 0:
            return Routing("spot")
        work_ms = ticket.estimate_ms - job.progress_ms
        left_ms = round(ticket.deadline_ms - self.slack_factor * work_ms) - now_ms
        return Routing("spot", left_ms) if left_ms > 0 else Routing("on-demand")
