"""Journals for the tests of `verify`: of a simulated run, written as a deployed one writes them; and spoilt ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from scheduler.codec import encode
from scheduler.events import LaunchSucceeded
from scheduler.job_record import Ticket
from sim.inputs import Work
from sim.submissions import spec_of_class
from spotbed.journal import AttemptFact, InstanceFact, Journal

Lines = list[Any]


def job_facts(work: Work) -> Lines:
    found = []
    for number, submit_ms in enumerate(work.submit_ms.tolist()):
        klass = work.classes[work.klass[number]]
        deadline_ms = -1 if klass.deadline_ms is None else submit_ms + klass.deadline_ms
        ticket = Ticket(
            work.job_id(number), spec_of_class(klass), submit_ms, int(work.estimate_ms[number]), deadline_ms
        )
        after = [work.job_id(each) for each in work.after.get(number, ())]
        found.append([submit_ms, "world", ticket.id, {"fact": "job", "ticket": encode(ticket), "after": after}, []])
    return found


def as_deployed(journal: Journal, work: Work) -> Lines:
    """The lines that a deployed run would have written, of what a simulated one has."""
    instances = {entry.body.worker: entry.body for entry in journal.entries if isinstance(entry.body, InstanceFact)}
    lines, number = job_facts(work), 0
    for entry in journal.entries:
        body = entry.body
        if isinstance(body, AttemptFact):
            lines.append([entry.at_ms, "world", body.job, {"fact": "attempt", **dataclasses.asdict(body)}, []])
        elif isinstance(body, InstanceFact):
            lines.append([entry.at_ms, "world", body.worker, {"fact": "instance", **dataclasses.asdict(body)}, []])
        elif entry.what == "fact":
            lines.append([entry.at_ms, "world", entry.subject, {"fact": entry.kind, **body}, []])
        elif entry.what == "command":
            lines[-1][4].append(encode(body))
        else:
            if isinstance(body, LaunchSucceeded):
                for _ in range(body.count):
                    number += 1
                    fact = {"fact": "worker", "pool": body.pool}
                    launched = instances.get(f"w{number}")
                    at_ms = entry.at_ms if launched is None else launched.requested_ms
                    lines.append([at_ms, "world", f"w{number}", fact, []])
            lines.append([entry.at_ms, entry.role, entry.subject, encode(body), []])
    return json.loads(json.dumps(lines))


def with_times(lines: Lines, change: Callable[[int], int]) -> Lines:
    """Every moment in a journal changed, and no duration."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: moved(name, each) for name, each in value.items()}
        return [changed(each) for each in value] if isinstance(value, list) else value

    def moved(name: str, value: Any) -> Any:
        moment = name in ("at_ms", "start_ms", "end_ms", "submit_ms", "deadline_ms", "requested_ms", "launched_ms",
                          "ready_ms", "ended_ms")  # fmt: skip
        return change(value) if moment and isinstance(value, int) and value >= 0 else changed(value)

    return [[change(at_ms), role, subject, changed(event), changed(commands)]
            for at_ms, role, subject, event, commands in lines]  # fmt: skip


def of_job(line: Any) -> str:
    """The job that a line is about, "" if none."""
    _, role, subject, event, _ = line
    return subject if role == "job" or event.get("fact") in ("job", "attempt") else event.get("job", "")


def stretched(lines: Lines, factor: float = 1.3) -> Lines:
    """A clock that runs fast."""
    first_ms = min(line[0] for line in lines)
    return with_times(lines, lambda at_ms: first_ms + round((at_ms - first_ms) * factor))


def without_jobs(lines: Lines, every: int = 5) -> Lines:
    """What was written of one job in five is lost."""
    jobs = sorted({of_job(line) for line in lines} - {""})
    lost = set(jobs[::every])
    return [line for line in lines if of_job(line) not in lost]


def without_submissions(lines: Lines, every: int = 5) -> Lines:
    """The door's lines of one job in five are lost."""
    jobs = sorted({of_job(line) for line in lines} - {""})
    lost = set(jobs[::every])
    return [line for line in lines if not (line[2] in lost and "ticket" in line[3])]


def completed_twice(lines: Lines) -> Lines:
    """One completion is written twice."""
    number = next(
        number
        for number, (_, role, _, event, commands) in enumerate(lines)
        if role == "job" and any(each["is"] == "ReleaseDependants" and each["done"] for each in commands)
    )
    return [*lines[: number + 1], lines[number], *lines[number + 1 :]]


def hours_inflated(lines: Lines, by_ms: int = 3_600_000) -> Lines:
    """Each instance ends an hour later than it did."""
    found = []
    for at_ms, role, subject, event, commands in lines:
        ends = role == "worker" and (event["is"] == "Lost" or any(each["is"] == "Stop" for each in commands))
        later_ms = by_ms if ends else 0
        if event.get("fact") == "instance":
            event = {**event, "ended_ms": event["ended_ms"] + by_ms}
        elif later_ms:
            event = {**event, "at_ms": event["at_ms"] + later_ms}
        found.append([at_ms + later_ms, role, subject, event, commands])
    return found


def of_journal(journal: Journal) -> Lines:
    """The lines of a journal that the functions wrote."""
    lines: Lines = []
    for entry in journal.entries:
        if entry.what == "fact":
            lines.append([entry.at_ms, "world", entry.subject, {"fact": entry.kind, **entry.body}, []])
        elif entry.what == "command":
            lines[-1][4].append(encode(entry.body))
        else:
            lines.append([entry.at_ms, entry.role, entry.subject, encode(entry.body), []])
    return json.loads(json.dumps(lines))  # type: ignore[no-any-return]
