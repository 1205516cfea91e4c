"""The central scheduler: one machine on a head node that sees the whole queue. It stands for Slurm, LSF and their like.

    up <-> down

What waits lies in queue classes, each in the order of the order policy's keys; what runs lies on sites: a pool,
where each worker is a slot, or a fixed cluster. Every change arms a pass at the end of the same moment, in which
jobs are dispatched, at most as many as the head node can. A job of many slots is not passed for ever: on a fixed
cluster the next job in order is *picked* as soon as there is one, and stays first whatever comes after it; and a
class whose job is first of all *holds* its sites against other classes until it fits. An order policy with `select`
sees the whole queue of a class, and may let others of it jump (backfill).

A head node that is down hears nothing: whoever drives it keeps the events until it has recovered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypeAlias

from scheduler.central_record import (
    UNKNOWN_MS,
    Backlog,
    Central,
    CentralCommand,
    Dispatch,
    DispatchReady,
    HeadFailed,
    HeadRecovered,
    JobEnded,
    JobQueued,
    JobWithdrawn,
    QueueClass,
    QueueView,
    Reserve,
    Running,
    Select,
    Site,
    SlotsChanged,
    Waiting,
    in_order,
)
from scheduler.commands import SetTimer
from scheduler.ordered import Ordered
from scheduler.policy import Policy
from scheduler.table import Machine, Row, stay

DISPATCH = "dispatch"  # name of the timer
_MS = 1_000  # in microseconds
_MOST_FRESH = 64

Result: TypeAlias = tuple[Central, tuple[CentralCommand, ...]]
_PASS_NOW: tuple[CentralCommand, ...] = (SetTimer(DISPATCH, 0),)


def _armed(central: Central, stirred: bool) -> Result:
    """Ask for a pass at the end of this moment, unless one is due already."""
    if central.armed and central.stirred >= stirred:
        return central, ()
    return _central(central, armed=True, stirred=central.stirred or stirred), () if central.armed else _PASS_NOW


def _central(
    central: Central,
    *,
    phase: str | None = None,
    ready_us: int | None = None,
    armed: bool | None = None,
    stirred: bool | None = None,
    sites: tuple[Site, ...] | None = None,
    backlogs: tuple[Backlog, ...] | None = None,
    running: Ordered | None = None,
    licences: tuple[tuple[str, int], ...] | None = None,
    ran_ms: Mapping[str, tuple[int, ...]] | None = None,
) -> Central:
    """The state with some fields replaced: `dataclasses.replace` takes four times as long."""
    return Central(
        central.phase if phase is None else phase,
        central.gap_us,
        central.picks,
        central.ready_us if ready_us is None else ready_us,
        central.armed if armed is None else armed,
        central.stirred if stirred is None else stirred,
        central.sites if sites is None else sites,
        central.backlogs if backlogs is None else backlogs,
        central.running if running is None else running,
        central.licences if licences is None else licences,
        central.ran_ms if ran_ms is None else ran_ms,
    )


def _with_backlog(central: Central, changed: Backlog) -> tuple[Backlog, ...]:
    """The backlogs with one of them replaced, or added. The largest come first."""
    badge = changed.badge.id
    if any(backlog.badge.id == badge for backlog in central.backlogs):
        return tuple(changed if backlog.badge.id == badge else backlog for backlog in central.backlogs)
    return tuple(sorted((*central.backlogs, changed), key=lambda backlog: -backlog.badge.size))


def _backlog(central: Central, badge: QueueClass) -> Backlog:
    return next((backlog for backlog in central.backlogs if backlog.badge.id == badge.id), None) or Backlog(badge)


def _with_slots(sites: tuple[Site, ...], places: tuple[tuple[str, int], ...], taken: int) -> tuple[Site, ...]:
    """The sites when slots in these places have been taken (1) or given back (-1)."""
    change = dict(places)
    return tuple(
        Site(site.id, site.free - taken * change[site.id], site.busy + taken * change[site.id])
        if site.id in change
        else site
        for site in sites
    )


def _with_licences(central: Central, taken: tuple[tuple[str, int], ...], times: int) -> tuple[tuple[str, int], ...]:
    if not taken:
        return central.licences
    change = dict(taken)
    return tuple((name, free - times * change.get(name, 0)) for name, free in central.licences)


def job_queued(central: Central, event: JobQueued, policy: Policy) -> Result:
    job, before = _predicted(central, event.job, policy), _backlog(central, event.badge)
    many = len(before.fresh) == _MOST_FRESH
    fresh = () if many or before.picked is None else (*before.fresh, job)
    after = Backlog(before.badge, before.waiting.add(job), before.picked, fresh, before.promised)
    return _armed(_central(central, backlogs=_with_backlog(central, after)), stirred=many)


def _predicted(central: Central, job: Waiting, policy: Policy) -> Waiting:
    """The job as the order policy predicts it, if it does."""
    predict = getattr(policy.order, "predict", None)
    if predict is None:
        return job
    estimate_ms = predict((central.ran_ms or {}).get(job.user, ()), job.estimate_ms)
    return Waiting(job.place, job.job, job.slots, estimate_ms, job.submit_ms, job.user, job.estimate_ms)


def job_withdrawn(central: Central, event: JobWithdrawn, policy: Policy) -> Result:
    """Without the picked job, another may be next."""
    before = _backlog(central, event.badge)
    if before.picked is not None and before.picked.place == event.job.place:
        after = Backlog(before.badge, before.waiting, promised=before.promised)
    else:
        after = Backlog(before.badge, before.waiting.remove(event.job), before.picked, (), before.promised)
    return _armed(_central(central, backlogs=_with_backlog(central, after)), stirred=True)


def job_ended(central: Central, event: JobEnded, policy: Policy) -> Result:
    ended = event.running
    left = _central(
        central,
        sites=_with_slots(central.sites, ended.sites, -1),
        running=central.running.remove(ended),
        licences=_with_licences(central, ended.licences, -1),
        ran_ms=_learnt(central, event) if hasattr(policy.order, "predict") else None,
    )
    return _armed(left, stirred=True)


def _learnt(central: Central, event: JobEnded) -> Mapping[str, tuple[int, ...]]:
    """With what this job ran among the last two of its user."""
    known, ended = central.ran_ms or {}, event.running
    return {**known, ended.user: (*known.get(ended.user, ())[-1:], event.at_ms - ended.start_ms)}


def slots_changed(central: Central, event: SlotsChanged, policy: Policy) -> Result:
    sites = {site.id: site for site in central.sites}
    site = sites.get(event.site) or Site(event.site)
    assert site.free + event.by >= 0, f"{event.site}: {event.by} slots of {site.free} free ones"
    sites[event.site] = Site(site.id, site.free + event.by, site.busy)
    return _armed(_central(central, sites=tuple(sites.values())), stirred=True)


def head_failed(central: Central, event: HeadFailed, policy: Policy) -> Result:
    return _central(central, phase="down", armed=False), ()


def head_recovered(central: Central, event: HeadRecovered, policy: Policy) -> Result:
    return _armed(_central(central, phase="up"), stirred=True)


def dispatch_ready(central: Central, event: DispatchReady, policy: Policy) -> Result:
    """The pass: dispatch until nothing more may start, or the head node is busy."""
    select: Select = getattr(policy.order, "select", in_order)
    reserve: Reserve | None = getattr(policy.order, "reserve", None)
    now_ms, refused, held = event.at_ms, set[str](), set[str]()
    commands: list[CentralCommand] = []
    central = _central(central, armed=False)
    while True:
        if central.ready_us >= (now_ms + 1) * _MS:
            if any(backlog.first is not None for backlog in central.backlogs):
                commands.append(SetTimer(DISPATCH, central.ready_us // _MS - now_ms))
                return _central(central, armed=True, stirred=True), tuple(commands)
            break
        offer = _next_offer(central, refused, held)
        if offer is None:
            break
        site, backlog = offer
        central, dispatched, served = _serve(central, site, backlog, held, now_ms, reserve or select)
        commands += dispatched
        if served:
            refused.add(backlog.badge.id)
            if not dispatched and _holds(central, backlog):
                held.update(backlog.badge.sites)
    rested = tuple(_rested(backlog, central.picks) for backlog in central.backlogs)
    return _central(central, stirred=False, backlogs=rested), tuple(commands)


def _rested(backlog: Backlog, picks: bool) -> Backlog:
    """The backlog after a pass. Where the head node picks, the next job is fixed now."""
    if picks and backlog.picked is None and backlog.waiting.size:
        picked = backlog.waiting.first
        return Backlog(backlog.badge, backlog.waiting.remove(picked), picked, (), backlog.promised)
    if not backlog.fresh:
        return backlog
    return Backlog(backlog.badge, backlog.waiting, backlog.picked, (), backlog.promised)


def _next_offer(central: Central, refused: set[str], held: set[str]) -> tuple[Site, Backlog] | None:
    """Each site with a free slot would take the largest class that waits and fits; of these, the one whose first job
    comes first in order. So a large instance is left to large jobs, and a busy head node serves jobs in their order."""
    offers: list[tuple[tuple[float, int], int, Site, Backlog]] = []
    for site in central.sites:
        if site.free > 0 and site.id not in held:
            backlog = _candidate(central, site, refused)
            if backlog is not None and backlog.first is not None:
                offers.append((backlog.first.place, len(offers), site, backlog))
    if not offers:
        return None
    _, _, site, backlog = min(offers)
    return site, backlog


def _candidate(central: Central, site: Site, refused: set[str]) -> Backlog | None:
    found: Backlog | None = None
    for backlog in central.backlogs:
        first, badge = backlog.first, backlog.badge
        if first is None or site.id not in badge.sites or badge.id in refused:
            continue
        if found is not None and (badge.size < found.badge.size or first.place > found.first.place):  # type: ignore[union-attr]
            continue
        if licences_free(central, badge):
            found = backlog
    return found


def _holds(central: Central, backlog: Backlog) -> bool:
    """Whether its first job, which does not fit, is the first of all that could run there, and will fit when enough of
    what runs has ended. As long as there are too few slots at all, waiting would be for nothing."""
    first, badge = backlog.first, backlog.badge
    there = sum(site.free + site.busy for site in central.sites if site.id in badge.sites)
    if first is None or there < first.slots:
        return False
    rivals = (other.first for other in central.backlogs if not set(other.badge.sites).isdisjoint(badge.sites))
    return backlog.picked is not None or all(first.place <= rival.place for rival in rivals if rival is not None)


def licences_free(central: Central, badge: QueueClass) -> bool:
    """Whether there are licences for one more job of the class."""
    if not badge.licences:
        return True
    free = dict(central.licences)
    return all(free.get(name, 0) >= count for name, count in badge.licences)


def _serve(
    central: Central, site: Site, backlog: Backlog, held: set[str], now_ms: int, choose: Select | Reserve
) -> tuple[Central, list[CentralCommand], bool]:
    """Start what the order policy selects of this class, on this site first, or only the first of them where other
    classes or a busy head node may change what comes next. Also tells whether that was all."""
    badge = backlog.badge
    usable = [site, *(each for each in central.sites if _may_use(each, badge, held) and each is not site)]
    one = bool(central.gap_us or badge.licences or len(central.backlogs) > 1)
    chosen, promised = choose(_view(central, backlog, usable, now_ms)), backlog.promised
    if isinstance(chosen, tuple):
        chosen, promised = chosen
    starts = tuple(islice(chosen, 1 if one else None))
    dispatched: list[CentralCommand] = []
    waiting, picked, sites, running = backlog.waiting, backlog.picked, central.sites, central.running
    free = {each.id: each.free for each in usable}
    for job in starts:
        if picked is not None and job.place == picked.place:
            picked = None
        else:
            waiting = waiting.remove(job)
        end_ms = now_ms + job.estimate_ms if job.estimate_ms >= 0 else UNKNOWN_MS
        started = Running((end_ms, job.place[1]), job.job, job.slots, _take(free, job.slots), badge.licences)
        if job.limit_ms >= 0 or job.user:
            started = _remembered(started, job, now_ms)
        sites, running = _with_slots(sites, started.sites, 1), running.add(started)
        dispatched.append(Dispatch(started))
    after = _central(
        central,
        sites=sites,
        running=running,
        backlogs=_with_backlog(central, Backlog(badge, waiting, picked, backlog.fresh, promised)),
        ready_us=_busy_until_us(central, now_ms, len(dispatched)),
        licences=_with_licences(central, badge.licences, len(dispatched)),
        stirred=central.stirred or bool(dispatched),
    )
    return after, dispatched, not (one and starts)


def _remembered(started: Running, job: Waiting, now_ms: int) -> Running:
    """With what a prediction needs of it later."""
    limit_ms = now_ms + job.limit_ms if job.limit_ms >= 0 else UNKNOWN_MS
    place, sites, licences = started.place, started.sites, started.licences
    return Running(place, started.job, started.slots, sites, licences, job.user, now_ms, limit_ms)


def _may_use(site: Site, badge: QueueClass, held: set[str]) -> bool:
    return site.free > 0 and site.id in badge.sites and site.id not in held


def _view(central: Central, backlog: Backlog, usable: list[Site], now_ms: int) -> QueueView:
    served = set(backlog.badge.sites)
    running: Iterable[Running] = central.running
    if not served.issuperset(site.id for site in central.sites):
        running = tuple(each for each in central.running if any(site in served for site, _ in each.sites))
    new = None if central.stirred or backlog.picked is None else backlog.fresh
    free, promised = sum(site.free for site in usable), backlog.promised or {}
    return QueueView(now_ms, free, running, backlog.picked, backlog.waiting, new, promised)


def _take(free: dict[str, int], slots: int) -> tuple[tuple[str, int], ...]:
    """Take slots from the sites in their order; returns how many from which."""
    places = []
    for site, left in free.items():
        taken = min(left, slots)
        if taken > 0:
            places.append((site, taken))
            free[site] = left - taken
            slots -= taken
    assert slots == 0, "the order policy has selected more than fits"
    return tuple(places)


def _busy_until_us(central: Central, now_ms: int, dispatches: int) -> int:
    """When the head node has done these too; it goes on at once where it was busy until within this millisecond."""
    begin_us = max(central.ready_us, now_ms * _MS) if dispatches else central.ready_us
    return begin_us + dispatches * central.gap_us


TABLE: dict[str, dict[type, Row]] = {
    "up": {
        JobQueued: Row(job_queued, ("up",)),
        JobWithdrawn: Row(job_withdrawn, ("up",)),
        JobEnded: Row(job_ended, ("up",)),
        SlotsChanged: Row(slots_changed, ("up",)),
        DispatchReady: Row(dispatch_ready, ("up",), "the pass"),
        HeadFailed: Row(head_failed, ("down",)),
        HeadRecovered: Row(stay, ("up",), "again"),
    },
    "down": {
        HeadRecovered: Row(head_recovered, ("up",), "then it hears what it has missed"),
        HeadFailed: Row(stay, ("down",), "again"),
        DispatchReady: Row(stay, ("down",), "late"),
    },
}

MACHINE: Machine[Central] = Machine("central", "up", TABLE)
step = MACHINE.step
