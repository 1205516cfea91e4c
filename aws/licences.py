"""Licences of jobs: taken before a claim, given back after each kind of end.

`checkout` on a job's item says what may be held for which attempt. It is written before the hook is asked and removed
after the hook has heard the release, so that whatever breaks off in between is found: by the next claim of the job, by
its timer, or by the reaper. A job that was refused leaves its class until its timer (`parked` says where it waited): it
is in nobody's way, and nothing is launched for it. The record of the job does not change by any of this.
"""

from __future__ import annotations

from typing import Any

from aws.checkout import Held
from aws.classes import GANGS, class_of, work_left_ms
from aws.control import Control
from aws.store import Item, JobRow, Write

HELD, PARKED, TIMER = "checkout", "parked", "checkout"
GRANTED, REFUSED, SILENT = "granted", "refused", "silent"
_PLACE = ("queue_class", "sort")
_CLOCK = ("timer", "lease", "lease_until_ms")


def take(control: Control, row: JobRow, worker: str) -> tuple[str, JobRow]:
    """Ask for the licences of a waiting job's next attempt; the answer, and the row as it is then. GRANTED: it may be
    claimed. REFUSED: not now. SILENT: not now, and the hook does not answer."""
    licences = dict(row.record.ticket.spec.licences)
    held = Held(row.record.ticket.id, row.record.epoch + 1, worker, licences)
    left = held_of(row)
    if left != held:
        if left is not None and _is_asked_for(control, row, left):
            return REFUSED, row  # by another worker, at this moment
        if left is not None and not _give_back(control, left):
            _park(control, row, 0.0)
            return SILENT, row
        intended = _intend(control, row, held)
        if intended is None:
            return REFUSED, row
        row = intended
    return _ask(control, row, held), row


def _ask(control: Control, row: JobRow, held: Held) -> str:
    answer = None if control.checkout is None else control.checkout.ask(held)
    if answer is not None and answer.granted:
        return GRANTED
    if answer is not None or _give_back(control, held):  # without an answer they may be ours
        _forget(control, held)
    _park(control, row, 0.0 if answer is None else answer.retry_after_s)
    return SILENT if answer is None else REFUSED


def _is_asked_for(control: Control, row: JobRow, left: Held) -> bool:
    asked_ms = int(row.item[HELD]["asked_ms"])
    recently = control.now_ms() - asked_ms < control.policy.settings.lease_ms
    return left.epoch == row.record.epoch + 1 and recently


def held_of(row: JobRow) -> Held | None:
    """What may be held for the job."""
    found = row.item.get(HELD)
    if found is None:
        return None
    return Held(row.record.ticket.id, int(found["epoch"]), str(found["worker"]), found["licences"])


def _intend(control: Control, row: JobRow, held: Held) -> JobRow | None:
    """Note what is about to be asked for, and that somebody shall look if nothing comes of it; the row then, or None
    when somebody else was faster."""
    now = control.now_ms()
    sets: Item = {HELD: {"epoch": held.epoch, "worker": held.worker, "licences": held.licences, "asked_ms": now}}
    if row.item.get("timer", TIMER) == TIMER:
        sets |= {"timer": TIMER, "lease": "1", "lease_until_ms": now + control.policy.settings.lease_ms}
    if not control.store.write(_update(control, row, sets, bump=1)):
        return None
    return JobRow(row.record, row.version + 1, {**row.item, **sets})


def _update(control: Control, row: JobRow, sets: Item, removes: tuple[str, ...] = (), bump: int = 0) -> Write:
    version = {"version": row.version + bump} if bump else {}
    return Write(
        control.store.tables.jobs,
        {"job_id": row.record.ticket.id},
        sets={**sets, **version},
        removes=removes,
        condition="#v = :v",
        names={"#v": "version"},
        values={"v": row.version},
    )


def lost_claim(control: Control, job_id: str, epoch: int, worker: str) -> None:
    """The licences were granted and the job was not ours any more: give them back, unless an earlier try of the same
    claim has succeeded."""
    row = control.store.job(job_id)
    held = None if row is None else held_of(row)
    if row is None or held is None or (held.epoch, held.worker) != (epoch, worker):
        return
    if row.record.phase != "leased" or row.record.epoch != epoch:
        give_back(control, row)


# the end ------------------------------------------------------------------------------------------------------------
def give_back(control: Control, row: JobRow) -> bool:
    """Whether nothing is held for the job any more; to be asked again if not."""
    held = held_of(row)
    if held is None:
        return True
    if not _give_back(control, held):
        return False
    _forget(control, held)
    return True


def _give_back(control: Control, held: Held) -> bool:
    return control.checkout is not None and control.checkout.give_back(held)


def _forget(control: Control, held: Held) -> None:
    """Remove the note of this attempt, and of no later one."""
    forgotten = Write(
        control.store.tables.jobs,
        {"job_id": held.job},
        removes=[HELD],
        condition="#c.#e = :e",
        names={"#c": HELD, "#e": "epoch"},
        values={"e": held.epoch},
    )
    control.store.write(forgotten)


def remind(control: Control, row: JobRow) -> None:
    """The hook has not heard that an attempt is over, and the job waits again: somebody shall say so."""
    due_ms = control.now_ms() + control.policy.settings.tick_ms
    reminded = Write(
        control.store.tables.jobs,
        {"job_id": row.record.ticket.id},
        sets={"timer": TIMER, "lease": "1", "lease_until_ms": due_ms},
        condition="#p = :p AND attribute_not_exists(#t)",
        names={"#p": "phase", "#t": "timer"},
        values={"p": "queued"},
    )
    control.store.write(reminded)


# waiting ------------------------------------------------------------------------------------------------------------
def _park(control: Control, row: JobRow, after_s: float) -> None:
    """Take a waiting job out of its class until its timer; by default until the fleet looks again."""
    after_ms = round(after_s * 1000) or control.policy.settings.tick_ms
    names = _PLACE if row.item.get("timer") == TIMER else (*_PLACE, *_CLOCK)
    kept = {name: row.item[name] for name in names if name in row.item}
    sets: Item = {PARKED: kept, "timer": TIMER, "lease": "1", "lease_until_ms": control.now_ms() + after_ms}
    if control.store.write(_update(control, row, sets, _PLACE, bump=1), _counted(control, row, -1)):
        control.timers.set(row.record.ticket.id, after_ms)


def unpark(control: Control, row: JobRow) -> bool:
    """Put a job back where it waited; False when its row has changed meanwhile."""
    kept: dict[str, Any] = row.item[PARKED]
    removes = (PARKED, *(name for name in _CLOCK if name not in kept))
    return control.store.write(_update(control, row, dict(kept), removes, bump=1), _counted(control, row, 1))


def look_again(control: Control, row: JobRow) -> bool:
    """The timer of a job has come that was refused, or of a question that came to nothing. Whether it waits in its
    class now."""
    if not give_back(control, row):
        later = {"lease_until_ms": control.now_ms() + control.policy.settings.tick_ms}
        control.store.write(_update(control, row, later))
        return False
    if PARKED in row.item:
        return unpark(control, row)
    return control.store.write(_update(control, row, {}, _CLOCK))


def _counted(control: Control, row: JobRow, sign: int) -> Write:
    """What waits in the class, without this job or with it."""
    gang = row.record.ticket.spec.gang
    work_ms = sign * gang * work_left_ms(row.record)
    gangs = {f"{GANGS}{gang}": sign} if gang > 1 else {}
    return control.store.counted(f"class#{class_of(row.record)}", queued=sign * gang, queued_work_ms=work_ms, **gangs)
