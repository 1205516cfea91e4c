"""Claims of gangs: the worker that completes the number takes the job for all of its members, in one transaction.

Nobody holds a seat while others are missing. A worker that finds too few others is idle, as if there were nothing to
claim; the last one looks at those that are idle, and writes the new epoch of the job and the answer into the inbox of
each member, on the condition that each is still as it was read. What a gang does is `scheduler.gangs.turn`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws import jobs, licences, seats
from aws.classes import gangs_of, index_of_class, serves, spec_of
from aws.control import Control, PoolSpec
from aws.store import FLEET, SWITCH, Item, JobRow, WorkerRow, packed, unpacked
from scheduler.gangs import HOLD, START, turn

_TRIES = 3  # of a claim that collides with others; then the worker is idle for a while, and looks again


@dataclass(frozen=True)
class Look:
    """What the gangs that wait mean for a claim. `settled`: it is answered. `limit`: the place in the order that no job
    may pass, "" for none. `gathers`: the worker shall stay, for the others may come."""

    settled: bool = False
    limit: str = ""
    gathers: bool = False


@dataclass(frozen=True)
class _Head:
    """The first gang of its size that waits in a class."""

    sort: str
    key: str
    seats: int
    row: JobRow
    item: Item

    def fits(self, pool: PoolSpec) -> bool:
        return serves(pool, spec_of(self.item), str(self.item["purchase"]))


def look(control: Control, row: WorkerRow, identity: str, counters: Mapping[str, Item]) -> Look:
    """Take the oldest gang that this worker completes; or what is to be heeded of those that wait."""
    for _ in range(_TRIES):
        heads = _heads(control, counters)
        waiting = [head for head in heads if head.fits(control.pools[row.pool])]
        if not waiting:
            return Look()
        gathering = _Gathering(control, row, counters, heads)
        found, limit = gathering.turn(waiting)
        if found is None:
            return Look(limit=limit, gathers=any(map(gathering.gathers, waiting)))
        if _take(control, row, identity, found, gathering):
            return Look(settled=True)
        counters = control.store.counters()
    return Look(gathers=True)


def _heads(control: Control, counters: Mapping[str, Item]) -> list[_Head]:
    """The first gang of each class and size, the oldest first."""
    found = []
    for key, item in counters.items():
        for size in gangs_of(item):
            name = key.removeprefix("class#")
            names = control.store.candidates(index_of_class(name, size))
            rows = (each for each in map(control.store.job, names) if each is not None)
            first = next((each for each in rows if jobs.waits(each)), None)
            if first is not None:
                found.append(_Head(str(first.item["sort"]), key, size, first, item))
    return sorted(found, key=lambda head: head.sort)


class _Gathering:
    """Who could go with a worker."""

    def __init__(self, control: Control, row: WorkerRow, counters: Mapping[str, Item], heads: Sequence[_Head]) -> None:
        self._control, self._row, self._heads = control, row, heads
        self.counters = counters
        self._idle = [each for each in control.store.idle() if _is_free(each) and each.name != row.name]

    def turn(self, waiting: Sequence[_Head]) -> tuple[_Head | None, str]:
        """(the gang that starts, the place in the order that nothing may pass)."""
        for number, head in enumerate(waiting):
            answer = turn(head.seats, 1 + len(self.free(head)), self._alive(head))
            if answer == START:
                return head, ""
            if answer == HOLD and number == 0:
                return None, head.sort
        return None, ""

    def pools(self, head: _Head) -> list[PoolSpec]:
        return [pool for pool in self._control.pools.values() if head.fits(pool)]

    def idle(self, pool: PoolSpec) -> list[WorkerRow]:
        """Those of a pool, the one first that has idled longest."""
        return [each for each in self._idle if each.pool == pool.id]

    def free(self, head: _Head) -> list[WorkerRow]:
        """The idle workers that could go with the one that asks: not those for which an older gang waits."""
        found: list[WorkerRow] = []
        for pool in self.pools(head):
            if pool.id == self._row.pool or next(each for each in self._heads if each.fits(pool)) is head:
                found += self.idle(pool)
        return found

    def _alive(self, head: _Head) -> int:
        return sum(
            int(self.counters.get(f"pool#{pool.id}", {}).get(name, 0))
            for pool in self.pools(head)
            for name in ("booting", "busy", "idle")
        )

    def gathers(self, head: _Head) -> bool:
        """Whether it is worth waiting for the others: they live, or can be launched."""
        fleet, switch = self.counters.get(FLEET), self.counters.get(SWITCH, {})
        closed = fleet is not None and unpacked(fleet["state"]).phase == "closed"
        if closed or switch.get("drains") or not self._control.launches:
            return self._alive(head) >= head.seats
        return sum(pool.max for pool in self.pools(head)) >= head.seats


def _is_free(row: WorkerRow) -> bool:
    return row.record.phase == "idle" and not row.inbox


def look_around(control: Control, row: WorkerRow, identity: str) -> None:
    """A worker is idle now for a gang. Those that looked in the same moment have not seen each other: if there are
    enough of them, one looks again; which, all who notice say the same of."""
    counters = control.store.counters()
    heads = _heads(control, counters)
    gathering = _Gathering(control, row, counters, heads)
    found, _ = gathering.turn([head for head in heads if head.fits(control.pools[row.pool])])
    if found is not None:
        jobs.hint(control, min([row, *gathering.free(found)], key=lambda each: each.name), f"{identity}/gather")


# taking one -----------------------------------------------------------------------------------------------------------
def _take(control: Control, row: WorkerRow, identity: str, head: _Head, gathering: _Gathering) -> bool:
    """Whether the claim is settled: the gang is these members', or an earlier try has had its answer."""
    found = head.row
    if found.record.ticket.spec.licences:
        answer, found = licences.take(control, found, row.name)
        if answer != licences.GRANTED:
            return False
    others = gathering.free(head)[: head.seats - 1]
    members = [*others, row]
    price = sum(jobs.price_of(control, member.pool, gathering.counters) for member in members)
    until_ms = control.now_ms() + control.policy.settings.lease_ms
    first = members[0]
    more = seats.taken([each.name for each in members], until_ms)
    claimed = jobs.claim_writes(control, found, first.name, first.pool, price, more)
    if claimed is None:
        return False
    leased, event, writes = claimed
    job_id = leased.ticket.id
    for member in members:
        pool = gathering.counters.get(f"pool#{member.pool}", {})
        answer_id = identity if member is row else f"{job_id}/{leased.epoch}/claimed"
        heard = packed(jobs.answer_of(control, leased, pool))
        writes.append(control.store.joined(member, answer_id, heard, job_id, claims=member is row))
    if control.store.write(*writes):
        jobs.written(control, found, leased, event, ())
        _wake(control, others)
        _wake_others(control, identity, head, others, gathering)
        return True
    if leased.ticket.spec.licences:
        licences.lost_claim(control, job_id, leased.epoch, first.name)
    again = control.store.worker(row.name)
    if again is not None and any(each == identity for each, _ in again.inbox):
        _wake(control, others)  # the try that has answered may have broken off before it did
    return again is None or again.version != row.version or any(each == identity for each, _ in again.inbox)


def _wake(control: Control, members: Sequence[WorkerRow]) -> None:
    """They have heard something: let their executions look."""
    for member in members:
        row = control.store.worker(member.name)
        if row is not None and row.inbox and row.token:
            control.executions.answer(row.token)


def _wake_others(
    control: Control, identity: str, head: _Head, members: Sequence[WorkerRow], gathering: _Gathering
) -> None:
    """Those that were idle for the gang and are not in it may take what waits behind it."""
    names = {member.name for member in members}
    for pool in gathering.pools(head):
        waiting = -head.seats
        for key, item in gathering.counters.items():
            if key.startswith("class#") and "shape" in item and serves(pool, spec_of(item), str(item["purchase"])):
                waiting += int(item.get("queued", 0))
        rest = [each for each in gathering.idle(pool) if each.name not in names]
        for each in rest[: max(0, waiting)]:
            jobs.hint(control, each, f"{identity}/{each.name}")
