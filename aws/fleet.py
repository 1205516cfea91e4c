"""The Fleet function: at each tick it finds what nobody would otherwise, looks, decides and launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aws import jobs, launches, measures, operate, seats, workers
from aws.classes import gangs_of, index_of_class, singles_of, spec_of
from aws.control import OWN, Control, PoolSpec
from aws.store import FLEET, SWITCH, Item, WorkerRow, Write, packed, unpacked
from scheduler import fleet as fleet_role
from scheduler.commands import BudgetReached, Launch, Move, Route, StopWorker, command_id
from scheduler.events import (
    LEASE_LOST,
    AttemptEnded,
    LaunchFailed,
    LaunchSucceeded,
    Lost,
    MoveOrdered,
    Routed,
    StopOrdered,
    Tick,
)
from scheduler.fleet import Fleet
from scheduler.observation import ClassCount, Observation, PoolCount
from scheduler.policy import is_steady


def tick(control: Control) -> None:
    """Do what a tick that broke off has left, reap, then decide, if anything waits or the policy moves jobs.

    What fails for one job or worker keeps nobody else waiting: the first such error is raised at the end.
    """
    faults: list[Exception] = []
    _try(faults, perform_outbox, control)
    is_free = not faults  # else more would be ordered each time, and performed together
    live, rows = reap(control, faults)
    _look(control, live, rows, decides=is_free)
    if faults:
        raise faults[0]


def _try(faults: list[Exception], act: Callable[..., object], *given: Any) -> None:
    try:
        act(*given)
    except Exception as error:  # noqa: BLE001 whatever it is, the tick goes on and raises it in the end
        faults.append(error)


def _look(control: Control, live: Mapping[str, str], rows: dict[str, WorkerRow], *, decides: bool) -> None:
    """At what was counted, and at what waits."""
    _audit(control)
    counters = control.store.counters()
    _free_strays(control, counters, live, rows)
    _stop_launches(control, counters)
    for pool, (count, why) in launches.settle(control, counters, live, rows).items():
        hears(control, LaunchFailed(control.now_ms(), pool, count, why))
    switch = counters.get(SWITCH, {})
    if switch.get("drains"):
        operate.let_go(control, int(switch["since_ms"]))
    if switch.get("drains") or not control.launches or not decides:
        return
    waits = any(int(item.get("queued", 0)) > 0 for key, item in counters.items() if key.startswith("class#"))
    if waits or is_steady(control.policy) or control.budget_usd:
        hears(control, Tick(control.now_ms(), observe(control, counters)))


def _audit(control: Control) -> None:
    """Look for jobs of which nothing will be heard, as often as `audit_ms` says: in the tick after each multiple, and
    each time in another part of the table."""
    now, every_ms = control.now_ms(), control.audit_ms
    if not every_ms or now // every_ms == (now - control.policy.settings.tick_ms) // every_ms:
        return
    part = now // every_ms % measures.PARTS
    found = measures.lost(control.store, now, control.policy.settings.lease_ms, part, measures.PARTS)
    control.measures.put(now, {measures.LOST: len(found)}, jobs=found[: measures.SHOWN])


def is_given_up(control: Control, item: Mapping[str, Any]) -> bool:
    """Whether a pool's item says that its workers never get ready."""
    return 0 < control.launch_stop_after <= int(item.get("never_ready", 0))


def _stop_launches(control: Control, counters: dict[str, Item]) -> None:
    """Say why nothing is launched in a pool whose workers never get ready: each launch would cost and bring nothing."""
    for pool in control.pools:
        key = f"pool#{pool}"
        item = counters.get(key, {})
        if is_given_up(control, item) and "launch_stopped" not in item:
            why = f"{item['never_ready']} instances in a row did not register within the boot timeout"
            control.store.write(Write(control.store.tables.fleet, {"key": key}, sets={"launch_stopped": why}))


def reap(control: Control, faults: list[Exception]) -> tuple[Mapping[str, str], dict[str, WorkerRow]]:
    """Leases and timers that are due; and workers whose instance is gone without a word. One that runs a job shows
    that by its lease, any other by what it has not done for as long as a lease. Returns the instances that are there,
    and the workers that are not gone."""
    live, rows = control.target.live(), {}
    for job_id in control.store.due(control.now_ms()):
        _try(faults, _expire, control, job_id, live)
    for row in control.store.unfinished():
        rows[row.name] = row
        _try(faults, _see, control, row, live)
    for job_id in dict.fromkeys(row.gang for row in rows.values() if row.gang):
        _try(faults, _expire_seat, control, job_id, live, rows)
    return live, rows


def _expire(control: Control, job_id: str, live: Mapping[str, str]) -> None:
    expired = jobs.expire(control, job_id)
    if expired is not None:
        _lease_over(control, *expired, live)


def _expire_seat(control: Control, job_id: str, live: Mapping[str, str], rows: dict[str, WorkerRow]) -> None:
    expired = jobs.expire_seat(control, job_id)
    if expired is not None:
        _lease_over(control, *expired, live)
        rows.update((each.name, each) for each in filter(None, map(control.store.worker, expired[0])))


def _lease_over(control: Control, holders: list[str], ended: AttemptEnded, live: Mapping[str, str]) -> None:
    """Those that held a lease which has expired let go of it. The wrappers of a gang's members say so themselves, where
    they are."""
    for holder in holders:
        if holder and (len(holders) == 1 or holder not in live):
            _let_go(control, holder, ended, live)


def _see(control: Control, row: WorkerRow, live: Mapping[str, str]) -> None:
    silent_ms = control.now_ms() - row.changed_ms
    is_away = row.name not in live and row.record.badge.purchase != OWN  # no group has those
    if is_away and not row.record.job and silent_ms >= control.policy.settings.lease_ms:
        workers.deliver(control, row.name, f"reaped/{row.name}", packed(Lost(control.now_ms())))
    elif row.outbox or row.inbox or (row.timer is not None and row.timer[1] <= control.now_ms()):
        _nudge(control, row, is_silent=silent_ms >= control.policy.settings.lease_ms)


def _let_go(control: Control, holder: str, ended: AttemptEnded, live: Mapping[str, str]) -> None:
    """A worker that runs what nobody answers for lets go of it, and takes the next; or its instance is gone."""
    if holder in live:
        workers.deliver(control, holder, f"reaped/{ended.job}/{ended.epoch}", packed(ended))
    else:
        workers.deliver(control, holder, f"reaped/{holder}", packed(Lost(control.now_ms())))


def _free_strays(
    control: Control, counters: Mapping[str, Item], live: Mapping[str, str], rows: Mapping[str, WorkerRow]
) -> None:
    """Workers that run what is no longer theirs: whoever ended the attempt broke off before they heard of it. They are
    looked for when more workers have a job than jobs have a worker."""
    running = [row for row in rows.values() if row.record.job]
    if len(running) <= sum(int(item.get("busy", 0)) for key, item in counters.items() if key.startswith("class#")):
        return
    for row in running:
        job, epoch = row.record.job, row.record.epoch
        found = control.store.job(job)
        if found is not None and row.gang and row.name in live and seats.is_stopping(control, found, epoch):
            continue  # it will say so itself
        if found is None or (found.record.phase, found.record.epoch) != ("leased", epoch):
            _let_go(control, row.name, AttemptEnded(control.now_ms(), job, epoch, LEASE_LOST, 0, -1), live)


def _nudge(control: Control, row: WorkerRow, *, is_silent: bool) -> None:
    """Something is left to do, and the execution may be asleep: let it look again."""
    if row.token:
        control.executions.answer(row.token)
    if row.ended or is_silent:  # its execution has ended, or has failed: nobody else steps it
        workers.run(control, row.name)


def hears(control: Control, event: Any) -> None:
    """Step the fleet's record by compare-and-set, with its orders in the same write, and perform them."""
    store = control.store
    item = _read(control)
    before: Fleet = unpacked(item["state"])
    after, commands = fleet_role.step(before, event, control.policy)
    version = int(item["version"]) + 1
    if after != before or commands:
        outbox = [
            {"id": command_id(after.queue, version, place), "command": packed(each)}
            for place, each in enumerate(commands)
        ]
        changed = Write(
            store.tables.fleet,
            {"key": FLEET},
            sets={"state": packed(after), "version": version},
            appends={"outbox": outbox},
            condition="#v = :v",
            names={"#v": "version"},
            values={"v": version - 1},
        )
        if not store.write(changed):
            return  # another tick was faster: its orders hold
    if commands or not isinstance(event, Tick):
        control.journal.step("fleet", after.queue, event, commands)
    if commands:
        perform_outbox(control)


def _read(control: Control) -> Item:
    """The fleet's item, made when there is none."""
    store = control.store
    item = store.read(store.tables.fleet, {"key": FLEET})
    if item is None:
        first: Item = {"key": FLEET, "state": packed(Fleet()), "version": 0, "outbox": []}
        store.put_new(store.tables.fleet, first, "key")
        return store.read(store.tables.fleet, {"key": FLEET}) or first
    return item


def perform_outbox(control: Control) -> None:
    """Perform what was ordered and is not done; each order leaves the outbox when it is."""
    while outbox := _read(control)["outbox"]:
        order = outbox[0]
        perform(control, order["id"], unpacked(order["command"]))
        control.store.write(
            Write(
                control.store.tables.fleet,
                {"key": FLEET},
                first_of="outbox",
                condition="#o[0].#id = :id",
                names={"#o": "outbox", "#id": "id"},
                values={"id": order["id"]},
            )
        )


def perform(control: Control, identity: str, command: Any) -> None:
    match command:
        case Launch():
            launch(control, identity, command)
        case Route():
            jobs.hears(control, command.job, Routed(control.now_ms(), command.purchase))
        case Move():
            workers.deliver(control, command.worker, identity, packed(MoveOrdered(control.now_ms())))
        case StopWorker():
            workers.deliver(control, command.worker, identity, packed(StopOrdered(control.now_ms(), command.reason)))
        case BudgetReached():
            control.messages.ended("", "budget", f"{command.budget_usd:.2f} USD are spent: no more launches")
        case _:
            raise NotImplementedError(command)


def launch(control: Control, identity: str, order: Launch) -> None:
    """Ask for instances, make the records of their workers, count them once, and tell the fleet how it went."""
    pool, now, store = control.pools[order.pool], control.now_ms(), control.store
    price = control.target.price_usd_per_hour(pool)  # first: nothing may fail between a launch and its record
    launches.expect(control, identity, order, price)
    launched = control.target.launch(pool, order.count, identity)
    for name in launched.names:
        workers.create(control, name, pool.id, pool.purchase, order.serves)
    granted = launched.granted
    settled = Write(
        store.tables.fleet,
        {"key": f"pool#{pool.id}"},
        sets={
            "last_launch": "ok" if granted == order.count else "failed",
            "last_launch_ms": now,
            "last_launch_id": identity,
        },
        adds=({"booting": granted} if granted else {}) | launches.unexpected(order, launched),
        condition="attribute_not_exists(#i) OR #i <> :id",
        names={"#i": "last_launch_id"},
        values={"id": identity},
    )
    counted = [store.counted(f"class#{order.serves}", booting=granted)] if granted else []
    if not store.write(settled, *counted):
        return  # it was performed before
    if granted:
        hears(control, LaunchSucceeded(now, pool.id, granted))
    if granted < order.count:
        hears(control, LaunchFailed(now, pool.id, order.count - granted, launched.reason or "capacity"))


# what it sees -------------------------------------------------------------------------------------------------------
def observe(control: Control, counters: dict[str, Item]) -> Observation:
    """The fleet's view, from the counters of the table."""
    settings = control.policy.settings
    prices = {pool.id: control.target.price_usd_per_hour(pool) for pool in control.pools.values()}
    return Observation(
        classes=tuple(
            _class(control, key.removeprefix("class#"), item)
            for key, item in counters.items()
            if key.startswith("class#") and "shape" in item
        ),
        pools=tuple(
            _pool(control, pool, counters.get(f"pool#{pool.id}", {}), prices[pool.id])
            for pool in control.pools.values()
        ),
        jobs=(),
        spent_usd=_spent_usd(control, counters, prices) if control.budget_usd else 0.0,
        budget_usd=control.budget_usd,
        changeover_ms=settings.startup_ms + settings.checkpoint_restore_ms,
        reaction_ms=settings.reaction_ms,
    )


def _class(control: Control, key: str, item: Item) -> ClassCount:
    spec = spec_of(item)
    gangs = gangs_of(item)
    parts = [index_of_class(key, size) for size in gangs] + ([key] if singles_of(item) > 0 else [])
    firsts = [int(first.split("#")[1]) for first in map(control.store.first_sort, parts) if first]
    queued, work_ms, busy, booting, idle = (
        int(item.get(name, 0)) for name in ("queued", "queued_work_ms", "busy", "booting", "idle")
    )
    return ClassCount(
        key,
        item["shape"],
        item["purchase"],
        "*",
        spec.vcpus,
        spec.memory_gib,
        spec.gpus,
        queued,
        work_ms,
        min(firsts, default=-1),
        busy,
        booting,
        idle,
        max(gangs, default=1),
    )


def _pool(control: Control, pool: PoolSpec, item: Item, usd_per_hour: float) -> PoolCount:
    states = [int(item.get(name, 0)) for name in ("booting", "busy", "idle")]
    most = min(pool.max, sum(states)) if is_given_up(control, item) else pool.max
    return PoolCount(
        id=pool.id,
        instance_type=pool.instance_type,
        az=pool.az,
        purchase=pool.purchase,
        vcpus=int(pool.vcpus),
        memory_gib=pool.memory_gib,
        gpus=pool.gpus,
        max=most,
        price_usd_per_hour=usd_per_hour,
        on_demand_usd_per_hour=pool.on_demand_usd_per_hour,
        booting=states[0],
        busy=states[1],
        idle=states[2],
        last_launch=str(item.get("last_launch", "")),
        last_launch_ms=int(item.get("last_launch_ms", 0)),
        interruptions=int(item.get("interruptions", 0)),
        last_interruption_ms=int(item.get("last_interruption_ms", -1)),
        worker_ms=int(item.get("worker_ms", 0)),
        available_now=False,  # no call of AWS answers this; a policy that needs it is not deployed
    )


def _spent_usd(control: Control, counters: dict[str, Item], prices: Mapping[str, float]) -> float:
    """What instances have cost: time by pool, those that run included, at the price of now."""
    now, total = control.now_ms(), 0.0
    running: dict[str, int] = {}
    for row in control.store.unfinished():
        running[row.pool] = running.get(row.pool, 0) + now - row.requested_ms
    for pool, usd_per_hour in prices.items():
        time_ms = int(counters.get(f"pool#{pool}", {}).get("worker_ms", 0)) + running.get(pool, 0)
        total += time_ms / 3_600_000 * usd_per_hour
    return total
