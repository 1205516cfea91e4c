"""For policies whose checkpoints depend on the age of the instance: whoever claims is asked at the age that it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.events import JobClaimed
from sim.instances import LiveWorker

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld


class AgedWorkers:
    """Puts the age of the instance into the protect policy for the one step that reads it."""

    def __init__(self, world: DecoupledWorld, hears: Callable[[LiveWorker, Any], None]) -> None:
        self._world, self._hears, self._policy = world, hears, world.policy

    def hears(self, worker: LiveWorker, event: Any) -> None:
        """A worker hears an event."""
        if type(event) is not JobClaimed:
            self._hears(worker, event)
            return
        age_ms = max(0, event.at_ms - worker.instance.launched_ms)
        protect = self._policy.protect.at_age(age_ms)  # type: ignore[attr-defined]
        self._world.policy = replace(self._policy, protect=protect)
        self._hears(worker, event)
        self._world.policy = self._policy
