"""Orders that rank: when a worker claims, the first jobs of the index are sorted again, and the best of them is next.

A part of the decoupled driver, present only in worlds whose order has `rank`. What tenants use is read off the steps of
the job records, and only for an order that needs it. Gangs are gathered in the order of the static keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scheduler.job_record import Job
from scheduler.observation import TENANT_USE
from scheduler.policy import NOTHING_NEEDED, RankView, TenantUse
from scheduler.table import Handler, Handlers
from sim.index import QueueClass, work_left_ms
from sim.instances import LivePool

if TYPE_CHECKING:
    from sim.decoupled import DecoupledWorld


class Ranked:
    """Puts the best of the first jobs of a class before the others, just before it is claimed."""

    def __init__(self, world: DecoupledWorld) -> None:
        order: Any = world.policy.order
        self.world, self.rank, self.first = world, order.rank, int(order.first)
        self.tenants: Tenants | None = None
        if TENANT_USE in getattr(order, "needs", NOTHING_NEEDED):
            self.tenants = Tenants(order.half_life_ms)
            world._job_handlers = self.tenants.watching(world._job_handlers)  # noqa: SLF001 a part of the driver
        self._candidate = world._choose  # noqa: SLF001
        world.operations["rank"] = 0

    def choose(self, pool: LivePool) -> QueueClass | None:
        """The class that is next for this pool, its best job in front."""
        queue = self._candidate(pool)
        if queue is not None:
            self.put_best_first(queue)
        return queue

    def put_best_first(self, queue: QueueClass, limit: tuple[float, int] | None = None) -> None:
        """Of the first jobs, and of none behind `limit`, the best."""
        world = self.world
        heads = queue.take(self.first, world.records)
        ranked = heads if limit is None else [head for head in heads if head <= limit]
        if len(ranked) > 1:
            now_ms = world.clock.now_ms
            view = RankView(now_ms, self.tenants.view(now_ms)) if self.tenants else RankView(now_ms)
            jobs = [world.records[number] for _, number in ranked]
            best = self.rank(view, jobs)[0]
            heads.insert(0, heads.pop(next(place for place, job in enumerate(jobs) if job is best)))
            world.operations["rank"] += len(jobs)
        queue.put_back(heads)


@dataclass
class _Use:
    """What one tenant uses. `begun_ms` is the sum of the times at which what is in flight began."""

    in_flight: int = 0
    waiting: int = 0
    begun_ms: int = 0
    served_ms: int = 0
    used_ms: float = 0.0  # by what has ended, as of `at_ms`
    at_ms: int = 0


class Tenants:
    """What each tenant uses, read off the steps of the jobs."""

    def __init__(self, half_life_ms: int) -> None:
        self.half_life_ms = half_life_ms  # 0: what was used is never forgotten
        self._uses: dict[str, _Use] = {}
        self._begun_ms: dict[str, int] = {}

    def watching(self, handlers: Handlers) -> Handlers:
        """The handlers of the job role, which tell what they do."""
        return {phase: {kind: self._watched(each) for kind, each in row.items()} for phase, row in handlers.items()}

    def _watched(self, handler: Handler) -> Handler:
        def watched(state: Any, event: Any, policy: Any) -> Any:
            result = handler(state, event, policy)
            if result[0].phase != state.phase:
                self.moved(state, result[0], event.at_ms)
            return result

        return watched

    def view(self, now_ms: int) -> dict[str, TenantUse]:
        """As an order sees it."""
        return {
            tenant: TenantUse(
                use.in_flight, self._faded(use, now_ms) + use.in_flight * now_ms - use.begun_ms, use.served_ms
            )
            for tenant, use in self._uses.items()
        }

    def moved(self, before: Job, after: Job, now_ms: int) -> None:
        """A job has gone from one phase to another."""
        use = self._uses.setdefault(before.ticket.spec.tenant, _Use())
        if before.phase == "queued":
            use.waiting -= 1
        elif before.phase == "leased":
            begun_ms = self._begun_ms.pop(before.ticket.id)
            use.used_ms, use.at_ms = self._faded(use, now_ms) + now_ms - begun_ms, now_ms
            use.in_flight -= 1
            use.begun_ms -= begun_ms
        if after.phase == "queued":
            self._waits(use)
        elif after.phase == "leased":
            self._begun_ms[after.ticket.id] = now_ms
            use.in_flight += 1
            use.begun_ms += now_ms
            use.served_ms += work_left_ms(after)

    def _waits(self, use: _Use) -> None:
        """A tenant for whom nothing was to do has saved up nothing: it begins where the last of the others is."""
        if not use.waiting and not use.in_flight:
            active = [each.served_ms for each in self._uses.values() if each.waiting or each.in_flight]
            use.served_ms = max(use.served_ms, min(active, default=0))
        use.waiting += 1

    def _faded(self, use: _Use, now_ms: int) -> float:
        if not self.half_life_ms or not use.used_ms:
            return use.used_ms
        return float(use.used_ms * 0.5 ** ((now_ms - use.at_ms) / self.half_life_ms))
