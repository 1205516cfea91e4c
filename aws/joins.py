"""The item of an array in the job table: it is no job, and stands for all of them to those who wait for the array.

It has `tasks`, how many jobs the array has, and no record. Its `waits_on` holds the index of each job that is not done;
the last one that is done makes its phase `done`, the first that ends otherwise makes it `failed`. An array of n that m
jobs wait for costs n + m writes, not n * m.
"""

from __future__ import annotations

from aws.control import Control
from aws.store import Item, Write
from aws.translate import task_of

OPEN = "array"  # the phase until all of its jobs are done, or one has ended otherwise
TASKS = "tasks"


def array(control: Control, name: str) -> Item | None:
    """The item of this array; None when the name is that of no array."""
    item = control.store.read(control.store.tables.jobs, {"job_id": name})
    return item if item is not None and TASKS in item else None


def ended_with(control: Control, job_id: str, *, done: bool) -> str:
    """A job has ended; the array that has ended with it, or before it otherwise than well; "" while none has. Asked
    again, it answers the same."""
    task = task_of(job_id)
    if task is None or array(control, task[0]) is None:
        return ""
    name, index = task
    if done and control.store.strike(control.store.tables.jobs, {"job_id": name}, "waits_on", str(index)):
        return ""
    close(control, name, "done" if done else "failed")
    return name


def close(control: Control, name: str, phase: str) -> bool:
    """An array ends in this phase unless it has ended; whether this ended it."""
    return control.store.write(
        Write(
            control.store.tables.jobs,
            {"job_id": name},
            sets={"phase": phase, "ended_ms": control.now_ms()},
            condition="#p = :open",
            names={"#p": "phase"},
            values={"open": OPEN},
        )
    )


def waiting(control: Control, name: str) -> list[str]:
    """The jobs that wait for an array and were not told of its end."""
    return sorted((array(control, name) or {}).get("dependants", ()))


def told(control: Control, name: str) -> None:
    """They were told. Nobody comes to wait for an array that has ended."""
    control.store.write(Write(control.store.tables.jobs, {"job_id": name}, removes=["dependants"]))
