"""The tally of a run from what its journal tells: what the ledger prices and the metrics are taken from.

Each instance's time is split by cause from its attempts, as the simulator splits it while it runs. What a journal
cannot tell (how often a wrapper renewed, how often the fleet looked) is counted from the times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler.events import CHECKPOINTED, DONE, FAILED, INTERRUPTED, LEASE_LOST, RELEASED, STRING_MISSING, TIMEOUT
from scheduler.settings import Settings
from sim.inputs import Billing, Pool, PricePath
from sim.prices import PriceMeter
from spotbed import metering
from spotbed.metering import BOOT, IDLE, MINIMUM, JobColumns, PoolUse, Tally
from spotbed.verify.observed import NEVER, Seen, SeenAttempt, SeenInstance

_APPLICATION = frozenset({FAILED, STRING_MISSING, TIMEOUT})
_FIRST_HOUR_MS = 3_600_000
_HOUR_MS = 3_600_000
Split = tuple[int, int, int, int]


@dataclass(frozen=True)
class Terms:
    """Under which a run is accounted for: its pools with their prices, and by what its times are counted."""

    pools: Sequence[Pool]
    settings: Settings
    billing: Billing
    renewals_per_lease: int
    operations: Mapping[str, int]  # how often the functions did what


def tally_of(seen: Seen, numbers: Mapping[str, int], terms: Terms) -> Tally:
    """The tally of a run whose times begin at the world's start. `numbers`: job -> its index in the world's work."""
    account = _Account(seen, numbers, terms)
    for attempt in seen.attempts:
        account.attempt(attempt)
    for instance in seen.instances.values():
        account.instance(instance)
    return account.close()


class _Account:
    def __init__(self, seen: Seen, numbers: Mapping[str, int], terms: Terms) -> None:
        self._seen, self._numbers, self._terms = seen, numbers, terms
        self._columns = JobColumns(len(numbers))
        self._uses = {pool.id: PoolUse(pool.id) for pool in terms.pools}
        self._meters = {pool.id: PriceMeter(pool.price) for pool in terms.pools}
        self._places = {pool.id: number for number, pool in enumerate(terms.pools)}
        self._purchases = {pool.id: pool for pool in terms.pools}
        self._tally = Tally(self._columns, [self._uses[pool.id] for pool in terms.pools])
        self._by_worker: dict[str, list[tuple[SeenAttempt, Split]]] = {}
        self._bases = _next_bases(seen)
        self._renewal_ms = max(1, terms.settings.lease_ms // terms.renewals_per_lease)

    def attempt(self, attempt: SeenAttempt) -> None:
        """Meter an attempt that was started."""
        number = self._numbers.get(attempt.job, NEVER)
        if not attempt.started:
            return
        split = self._split(attempt)
        self._by_worker.setdefault(attempt.worker, []).append((attempt, split))
        self._count(attempt, split)
        if number == NEVER:
            return
        columns = self._columns
        columns.attempts[number] += 1
        if columns.first_start_ms[number] == NEVER or attempt.start_ms < columns.first_start_ms[number]:
            columns.first_start_ms[number] = attempt.start_ms
        columns.useful_ms[number] += split[0]
        columns.lost_ms[number] += split[1]
        instance = self._seen.instances[attempt.worker]
        noticed = attempt.cause == CHECKPOINTED and instance.notice_ms != NEVER
        columns.interruptions[number] += attempt.cause in (INTERRUPTED, LEASE_LOST) or noticed
        columns.pool[number] = self._places.get(instance.pool, NEVER)

    def _split(self, attempt: SeenAttempt) -> Split:
        """(useful, lost, checkpoint, failed) instance time of an attempt, given how its job ended."""
        useful, lost, checkpoint, failed = attempt.split or self._derived(attempt)
        job = self._seen.jobs.get(attempt.job)
        status = metering.VANISHED if job is None else job.status
        if status == metering.DONE or attempt.cause == DONE:
            return useful, lost, checkpoint, failed
        if status == metering.CANCELLED and attempt.cause == RELEASED:  # this attempt was what was cancelled
            return 0, 0, checkpoint, failed + useful + lost
        if status in (metering.GAVE_UP, metering.CANCELLED):
            return 0, lost, checkpoint, failed + useful
        return 0, lost + useful, checkpoint, failed

    def _derived(self, attempt: SeenAttempt) -> Split:
        took_ms = attempt.end_ms - attempt.start_ms
        if attempt.cause == DONE:
            return took_ms, 0, 0, 0
        kept_ms = min(took_ms, max(0, self._bases.get((attempt.job, attempt.epoch), 0) - attempt.base_ms))
        if attempt.cause in _APPLICATION:
            return kept_ms, 0, 0, took_ms - kept_ms
        if attempt.cause == CHECKPOINTED:
            return kept_ms, 0, took_ms - kept_ms, 0
        return kept_ms, took_ms - kept_ms, 0, 0

    def _count(self, attempt: SeenAttempt, split: Split) -> None:
        tally = self._tally
        tally.count("renewal", (attempt.end_ms - attempt.start_ms) // self._renewal_ms)
        tally.count("restore", int(attempt.base_ms > 0))
        tally.count("checkpoint", int(attempt.cause == CHECKPOINTED and split[0] > 0))
        if attempt.every_ms > 0:
            work_ms = split[0] if attempt.cause == DONE else split[0] + split[1] + 1
            tally.count("checkpoint", max(0, work_ms - 1) // attempt.every_ms)

    # instances --------------------------------------------------------------------------------------------------
    def instance(self, instance: SeenInstance) -> None:
        """Add an instance to its pool's use, by cause and as a whole."""
        use = self._uses.get(instance.pool)
        if use is None or instance.launched_ms == NEVER or instance.ended_ms < instance.launched_ms:
            return
        start, end = instance.launched_ms, instance.ended_ms
        billed_ms = max(end - start, int(self._terms.billing.minimum_s * 1000))
        use.instances += 1
        use.instance_ms += billed_ms
        use.interruptions += instance.reason == "interrupted"
        use.list_usd += billed_ms * self._purchases[instance.pool].on_demand_usd_per_hour / _HOUR_MS
        self._causes(instance, use, free=self._is_free(instance))
        use.ms[MINIMUM] += billed_ms - (end - start)

    def _is_free(self, instance: SeenInstance) -> bool:
        by_ec2 = instance.reason == "interrupted" and instance.taken_ms == instance.ended_ms
        soon = instance.ended_ms - instance.launched_ms < _FIRST_HOUR_MS
        return self._terms.billing.first_hour_free and by_ec2 and soon

    def _causes(self, instance: SeenInstance, use: PoolUse, *, free: bool) -> None:
        meter = self._meters[instance.pool]
        start, end = instance.launched_ms, instance.ended_ms
        billed_end = max(end, start + int(self._terms.billing.minimum_s * 1000))
        total_usd = meter.integral_usd(start, billed_end)
        ready = end if instance.ready_ms == NEVER else min(instance.ready_ms, end)
        ms = [0] * len(metering.INSTANCE_CAUSES)
        usd = [0.0] * len(metering.INSTANCE_CAUSES)
        ms[BOOT], usd[BOOT] = ready - start, meter.integral_usd(start, ready)
        for attempt, split in self._by_worker.get(instance.worker, ()):
            self._add_attempt(meter, attempt, split, ms, usd, free=free)
        ms[IDLE] = end - start - sum(ms)
        usd[MINIMUM] = meter.integral_usd(end, billed_end)
        usd[IDLE] = total_usd - sum(usd)
        for cause, value in enumerate(ms):
            use.ms[cause] += value
            use.usd[cause] += 0.0 if free else usd[cause]
        if free:
            use.free_ms += billed_end - start
            use.refunded_usd += total_usd
            return
        use.instance_usd += total_usd
        if self._terms.billing.by_hour and self._purchases[instance.pool].purchase == "on-demand":
            self._by_hour(meter, start, billed_end)

    def _add_attempt(
        self, meter: PriceMeter, attempt: SeenAttempt, split: Split, ms: list[int], usd: list[float], *, free: bool
    ) -> None:
        took_ms = attempt.end_ms - attempt.start_ms
        cost = meter.integral_usd(attempt.start_ms, attempt.end_ms)
        for cause, value in zip(
            (metering.USEFUL, metering.LOST, metering.CHECKPOINT, metering.FAILED), split, strict=True
        ):
            ms[cause] += value
            usd[cause] += cost * value / took_ms if took_ms else 0.0
        number = self._numbers.get(attempt.job, NEVER)
        if number != NEVER and not free:
            self._columns.usd[number] += cost

    def _by_hour(self, meter: PriceMeter, start_ms: int, end_ms: int) -> None:
        """Commitments hold hour by hour."""
        hours = self._tally.on_demand_usd_by_hour
        for hour in range(start_ms // _HOUR_MS, -(-end_ms // _HOUR_MS)):
            part = (max(start_ms, hour * _HOUR_MS), min(end_ms, (hour + 1) * _HOUR_MS))
            hours[hour] = hours.get(hour, 0.0) + meter.integral_usd(*part)

    # the end ----------------------------------------------------------------------------------------------------
    def close(self) -> Tally:
        seen, tally, columns = self._seen, self._tally, self._columns
        for name, number in self._numbers.items():
            job = seen.jobs[name]
            columns.status[number], columns.end_ms[number] = job.status, job.end_ms
        for pool, count in seen.launch_failures.items():
            if pool in self._uses:
                self._uses[pool].launch_failures += count
        for name, count in {**self._terms.operations, "submit": len(self._numbers)}.items():
            tally.count(name, count)
        tick_ms = self._terms.settings.tick_ms
        ticks = -(-seen.last_ms // tick_ms)  # the simulator looks at its ticks whether all is over
        tally.count("tick", ticks + 1)
        tally.operations = {name: count for name, count in tally.operations.items() if count}
        tally.attempts = sum(columns.attempts)
        tally.duplicate_completions = sum(max(0, job.completions - 1) for job in seen.jobs.values())
        tally.end_ms = ticks * tick_ms
        return tally


def _next_bases(seen: Seen) -> dict[tuple[str, int], int]:
    """What was safe after each attempt: what the job's next one began with, or what the attempt itself said."""
    found = {(each.job, each.epoch): each.progress_ms for each in seen.attempts}
    for attempt in seen.attempts:
        before = (attempt.job, attempt.epoch - 1)
        if before in found:
            found[before] = attempt.base_ms
    return found


def price_path(points: Sequence[tuple[int, float]], otherwise: PricePath) -> PricePath:
    """The price of a pool as the fleet saw it at its ticks; before the first, that of the first."""
    import numpy as np

    if not points:
        return otherwise
    changes = [(0, points[0][1])]
    for at_ms, usd in points:
        if usd != changes[-1][1] and at_ms > changes[-1][0]:
            changes.append((at_ms, usd))
    return PricePath(np.array([at for at, _ in changes], dtype=np.int64), np.array([usd for _, usd in changes]))
