"""What must hold once a world has ended: no job lost, the bill, the caps, the work; and which troubles were met."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from watch import FINAL, Watch, demand

from sim.inputs import runtime_factor
from spotbed import metering
from spotbed.metering import Tally

TOLERANCE = 1e-9
_STATUS = {"done": metering.DONE, "failed": metering.GAVE_UP, "cancelled": metering.CANCELLED}


def reckon(watch: Watch, tally: Tally) -> None:
    """All rules of the end; raises AssertionError with the name of the first that is broken."""
    every_job_is_accounted_for(watch, tally)
    everything_ends(watch, tally)
    the_bill_adds_up(watch, tally)
    caps_held(watch)
    work_is_conserved(watch)
    count_troubles(watch, tally)


def every_job_is_accounted_for(watch: Watch, tally: Tally) -> None:
    """I1, I2: what the tally says of each job is what its entries say."""
    for (name, job), told in zip(watch.jobs.items(), tally.jobs.status, strict=True):
        expected = _STATUS.get(job.phase, metering.UNFINISHED)
        demand("I1", told == expected, name, "is", job.phase, "and told as", metering.STATUS_NAMES[told])
    demand("I2", tally.duplicate_completions == 0, tally.duplicate_completions, "duplicate completions")
    demand("I1", all(min(sample[1:]) >= 0 for sample in tally.samples), "a counter is negative")


def everything_ends(watch: Watch, tally: Tally) -> None:
    """L1: what is unfinished has a reason. L2: once the work is over, no instance stays for longer than T."""
    unfinished = [name for name, job in watch.jobs.items() if job.phase not in FINAL]
    demand("L1", watch.closed or not unfinished, len(unfinished), "jobs never end:", unfinished[:5])
    over_ms = max(tally.jobs.end_ms, default=0)
    late = [each for each in watch.instances if each.ended_ms > over_ms + patience_ms(watch)]
    demand("L2", bool(unfinished) or not late, "instances outlive the work:", late)
    left = [each for each in watch.instances if each.reason == "end-of-run"]
    demand("L2", bool(unfinished) or not left, "instances that nobody stopped:", left)
    demand("I5", tally.orphan_workers == 0, tally.orphan_workers, "orphans")


def patience_ms(watch: Watch) -> int:
    """T: how long a worker may live without work. An attempt that lost its lease may run to its end, which nobody can
    tell it; the longest attempt stands for that."""
    settings = watch.policy.settings
    longest = max((each.end_ms - each.start_ms for each in watch.attempts), default=0)
    latencies = 10 * 60_000
    return (
        settings.boot_timeout_ms
        + settings.keep_alive_ms
        + settings.lease_ms
        + 2 * settings.tick_ms
        + longest
        + latencies
    )


def the_bill_adds_up(watch: Watch, tally: Tally) -> None:
    """I5: by cause as by instance, nothing negative, no instance without an end."""
    slots = watch.inputs.slots_per_instance
    for use in tally.pools:
        demand("I5", sum(use.ms) == use.instance_ms * slots, use)
        demand("I5", abs(sum(use.usd) - use.instance_usd) <= TOLERANCE * max(1.0, use.instance_usd), use)
        demand("I5", min(use.ms) >= 0 and min(use.usd) >= -TOLERANCE, "negative:", use)
    demand("I5", sum(use.instances for use in tally.pools) == len(watch.instances), "instances without an end")
    demand("I5", all(min(each.ms) >= 0 and each.minimum_ms >= 0 for each in watch.instances), "negative times")
    for each in watch.attempts:
        parts = each.useful_ms, each.lost_ms, each.checkpoint_ms, each.failed_ms
        demand("I5", min(parts) >= 0, "negative part:", each)
        demand("I5", sum(parts) == each.end_ms - each.start_ms, "parts do not add up:", each)


def caps_held(watch: Watch) -> None:
    """I6: size of pools, vCPU quotas, slots and licences."""
    inputs = watch.inputs
    lives = [(each.pool, each.launched_ms, each.ended_ms) for each in watch.instances]
    for pool in inputs.pools:
        most = most_at_once((start, end, 1) for name, start, end in lives if name == pool.id)
        demand("I6", most <= pool.max, pool.id, "has at most", pool.max, "instances, not", most)
    for purchase in ("spot", "on-demand"):
        quota = inputs.services.limit.get(f"ec2.vcpus.{purchase}")
        sizes = {pool.id: pool.vcpus for pool in inputs.pools if pool.purchase == purchase}
        used = most_at_once((start, end, sizes[name]) for name, start, end in lives if name in sizes)
        demand("I6", quota is None or used <= quota, purchase, "quota", quota, "used", used)
    by_worker: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for each in watch.attempts:
        by_worker[each.worker].append((each.start_ms, each.end_ms, 1))
    for name, spans in by_worker.items():
        demand("I6", most_at_once(spans) <= 1, "slot", name, "ran two attempts at once")
    _licences_held(watch)


def _licences_held(watch: Watch) -> None:
    """A gang's members share the licences of their job."""
    work = watch.inputs.work
    held: dict[tuple[int, int], tuple[int, int]] = {}
    for each in watch.attempts:
        start_ms, end_ms = held.get((each.number, each.attempt), (each.start_ms, each.end_ms))
        held[each.number, each.attempt] = min(start_ms, each.start_ms), max(end_ms, each.end_ms)
    for licence, most in watch.inputs.licences.items():
        needs = [klass.licences.get(licence, 0) for klass in work.classes]
        used = most_at_once((start, end, needs[work.klass[number]]) for (number, _), (start, end) in held.items())
        demand("I6", used <= most, "licence", licence, "allows", most, "not", used)


def work_is_conserved(watch: Watch) -> None:
    """I7: the useful time of a job that is done is its work and staging, neither more nor less; no piece was done twice
    and none was left out."""
    inputs, work = watch.inputs, watch.inputs.work
    useful: Counter[int] = Counter()
    for each in watch.attempts:
        useful[each.number] += each.useful_ms
    rate = inputs.services.staging_gib_per_s
    for name, job in watch.jobs.items():
        klass = work.classes[work.klass[job.number]]
        factors = {runtime_factor(klass, pool.instance_type) for pool in inputs.pools}
        if job.phase != "done" or factors != {1.0}:
            continue  # a factor on the runtime rounds each attempt
        staging_ms = sum(round(gib / rate * 1000) for gib in (klass.input_gib, klass.output_gib)) if rate else 0
        expected = (int(work.runtime_ms[job.number]) + staging_ms) * klass.gang
        demand("I7", useful[job.number] == expected, name, "took", useful[job.number], "of work, not", expected)


def most_at_once(spans: Iterable[tuple[int, int, int]]) -> int:
    """The largest sum of weights of (start, end, weight) spans that are open together; ends come before starts."""
    changes = [change for start, end, weight in spans if end > start for change in ((start, weight), (end, -weight))]
    level = most = 0
    for _, change in sorted(changes):
        level += change
        most = max(most, level)
    return most


# what was met ---------------------------------------------------------------------------------------------------------
def count_troubles(watch: Watch, tally: Tally) -> None:
    """Add to `watch.seen` the faults that were injected and the troubles that only show afterwards."""
    seen = watch.seen
    seen.update(tally.faults)
    seen["stale write metered"] += tally.stale_writes
    seen.update({f"limited: {name}": times for name, times in tally.limits.items()})
    members = Counter((each.number, each.attempt) for each in watch.attempts if each.cause == "interrupted")
    seen["gang interrupted"] += sum(count > 1 for count in members.values())
    seen["success though killed"] += sum(each.cause == "string-missing" for each in watch.attempts)
    for job in watch.jobs.values():
        klass = watch.inputs.work.classes[watch.inputs.work.klass[job.number]]
        seen["poison job"] += job.phase == "failed" and klass.fail_probability == 1.0
    for name, kinds in watch.facts.items():
        told = watch.notices[name.partition(".")[0]]
        seen["interrupted without a notice"] += kinds["interruption"] > 0 and not kinds["notice"]
        seen["notice lost"] += kinds["notice"] > 0 and told == 0
        seen["notice twice"] += told > watch.inputs.slots_per_instance * kinds["notice"] > 0
        seen["rebalance alone"] += kinds["rebalance"] > 0 and not kinds["notice"]
    _count_waves(watch)
    _count_spells(watch)


def _count_waves(watch: Watch) -> None:
    """Pools of two instances or more from which EC2 took all at once, and zones that failed under an instance."""
    for pool in watch.inputs.pools:
        here = [each for each in watch.instances if each.pool == pool.id]
        taken = Counter(each.ended_ms for each in here if each.reason == "interrupted")
        for at_ms, count in taken.items():
            alive = sum(each.launched_ms < at_ms <= each.ended_ms for each in here)
            watch.seen["whole pool reclaimed"] += count >= 2 and count == alive
    for outage in watch.inputs.market.outages:
        zone = {pool.id for pool in watch.inputs.pools if pool.az == outage.az}
        hit = [each for each in watch.instances if each.pool in zone and each.ended_ms == outage.from_ms]
        watch.seen["zone outage"] += any(each.reason == "interrupted" for each in hit)


def _count_spells(watch: Watch) -> None:
    """Three launches in a row that found the same pool empty."""
    outcomes: dict[str, list[bool]] = defaultdict(lambda: [True])
    for entry in watch.entries:
        if entry.kind == "LaunchFailed" and entry.body.reason == "capacity":
            outcomes[entry.body.pool].append(False)
        elif entry.kind == "LaunchSucceeded":
            outcomes[entry.body.pool].append(True)
    for results in outcomes.values():
        length = 0
        for before, now in pairwise(results):
            length = 0 if now else 1 if before else length + 1
            watch.seen["spell of failed launches"] += length == 3
