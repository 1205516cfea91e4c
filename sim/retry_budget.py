"""The token bucket that all jobs share, for retry policies that have one: it stands in the policy's own record.

Each application failure asks the policy with what is in the bucket then. Successes are not counted one by one: how many
there were since the last failure follows from how many jobs have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.events import DONE, INFRASTRUCTURE, AttemptEnded
from scheduler.job_record import Job
from spotbed import metering

if TYPE_CHECKING:
    from sim.jobs import JobWorld


class RetryBudget:
    """Keeps the bucket of a world whose retry policy is a bucket."""

    def __init__(self, world: JobWorld, hears: Callable[[int, Job, Any], None]) -> None:
        self._world, self._hears = world, hears
        self._counted = 0  # successes that are in the bucket already
        self._failed = 0  # jobs that ended otherwise

    def hears(self, index: int, record: Job, event: Any) -> None:
        """A job hears an event."""
        is_failure = (
            type(event) is AttemptEnded
            and event.epoch == record.epoch
            and event.cause != DONE
            and event.cause not in INFRASTRUCTURE
        )
        if is_failure:
            self._fill()
        self._hears(index, record, event)
        world = self._world
        if index in world.records:
            if is_failure:
                self._put(world.policy.retry.after_retry(event.cause))  # type: ignore[attr-defined]
        elif world.tally.jobs.status[index] != metering.DONE:
            self._failed += 1

    def _fill(self) -> None:
        done = self._world.ended - self._failed
        if done > self._counted:
            self._put(self._world.policy.retry.after_success(done - self._counted))  # type: ignore[attr-defined]
            self._counted = done

    def _put(self, bucket: Any) -> None:
        self._world.policy = replace(self._world.policy, retry=bucket)
