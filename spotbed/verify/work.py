"""The jobs of a run as the work of a world: what each needed, how long it took, and how its attempts ended."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.events import DONE, FAILED, STRING_MISSING, TIMEOUT
from sim.inputs import JobClass, Work
from spotbed import metering
from spotbed.verify.observed import NEVER, Seen, SeenAttempt, SeenJob

APPLICATION = (FAILED, STRING_MISSING, TIMEOUT)
_DAY_MS = 86_400_000


def work_of_run(seen: Seen, names: Sequence[str]) -> Work:
    """The jobs of these names, in this order."""
    attempts: dict[str, list[SeenAttempt]] = {name: [] for name in names}
    for attempt in seen.attempts:
        if attempt.job in attempts and attempt.started:
            attempts[attempt.job].append(attempt)
    classes: dict[str, tuple[int, JobClass]] = {}
    for name in names:
        found = class_of(seen.jobs[name])
        classes.setdefault(repr(found), (len(classes), found))
    klass = [classes[repr(class_of(seen.jobs[name]))][0] for name in names]
    numbers = {name: number for number, name in enumerate(names)}
    jobs = [seen.jobs[name] for name in names]
    return Work(
        classes=tuple(found for _, found in classes.values()),
        klass=np.array(klass, dtype=np.int32),
        submit_ms=np.array([job.ticket.submit_ms for job in jobs], dtype=np.int64),
        runtime_ms=np.array([runtime_ms(job, attempts[job.ticket.id], seen) for job in jobs], dtype=np.int64),
        estimate_ms=np.array([job.ticket.estimate_ms for job in jobs], dtype=np.int64),
        slots=np.ones(len(jobs), dtype=np.int32),
        outcome_u=np.full(len(jobs), 0.5),
        string_u=np.full(len(jobs), 0.5),
        ids=tuple(names),
        after={numbers[name]: tuple(numbers[each] for each in seen.jobs[name].after if each in numbers)
               for name in names if seen.jobs[name].after},
        outcomes={numbers[name]: told for name in names if (told := outcomes_of(seen.jobs[name], attempts[name]))},
    )  # fmt: skip


def class_of(job: SeenJob) -> JobClass:
    """What the simulator takes of a job's shape. One that was cancelled while it ran fails at that moment."""
    spec, ticket = job.ticket.spec, job.ticket
    return JobClass(
        name="job",
        vcpus=spec.vcpus,
        memory_gib=spec.memory_gib,
        gpus=spec.gpus,
        priority=spec.priority,
        tenant=spec.tenant,
        deadline_ms=None if ticket.deadline_ms == NEVER else ticket.deadline_ms - ticket.submit_ms,
        timeout_ms=None if spec.timeout_ms == NEVER else spec.timeout_ms,
        retries=0 if job.status == metering.CANCELLED else spec.retries,
        checkpointable=spec.checkpointable,
        late_penalty_usd_per_hour=job.late_penalty_usd_per_hour,
    )


def runtime_ms(job: SeenJob, attempts: Sequence[SeenAttempt], seen: Seen) -> int:
    """The work of a job: what its last attempt had from before, and what it did. Of a job that has not ended it is
    longer than all that was seen."""
    if not attempts:
        return max(0, job.ticket.estimate_ms)
    ended = [each for each in attempts if each.cause == DONE] or [
        each for each in attempts if each.cause in APPLICATION
    ]
    if job.status == metering.CANCELLED:
        ended = [attempts[-1]]
    if not ended:
        return max(each.base_ms + each.end_ms - each.start_ms for each in attempts) + _DAY_MS
    last = ended[-1]
    work_ms = last.split[0] if last.split and last.cause == DONE else last.end_ms - last.start_ms
    if last.cause == TIMEOUT:
        return max(last.base_ms + work_ms, job.ticket.spec.timeout_ms) + _DAY_MS
    return max(1, last.base_ms + work_ms)


def outcomes_of(job: SeenJob, attempts: Sequence[SeenAttempt]) -> tuple[tuple[str, int], ...]:
    """How each attempt that reaches the end of its work ends, by epoch; nothing for a job that simply succeeds."""
    if job.status == metering.CANCELLED:
        return ((FAILED, 1),)
    if not any(each.cause in (FAILED, STRING_MISSING) for each in attempts):
        return ()
    known: list[tuple[str, int]] = []
    for attempt in sorted(attempts, key=lambda each: each.epoch):
        ending = (attempt.cause, attempt.exit_code) if attempt.cause in APPLICATION else (DONE, 0)
        known += [ending] * (attempt.epoch - len(known))
    return tuple(known)
