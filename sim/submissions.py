"""The jobs of a world as the drivers read them: from arrays, a block at a time, so that a million costs no objects."""

from __future__ import annotations

from itertools import repeat
from typing import Any

from scheduler.events import DONE, FAILED, STRING_MISSING
from scheduler.job_record import Job, JobSpec, Rare, Ticket
from sim.clock import FOREVER_MS
from sim.inputs import JobClass, WorldInputs
from sim.streams import Streams

_BLOCK = 4_096


def spec_of_class(klass: JobClass) -> JobSpec:
    """What the core sees of a class. Runtime, outcome and staging stay in the simulator."""
    return JobSpec(
        name=klass.name,
        vcpus=klass.vcpus,
        memory_gib=klass.memory_gib,
        gpus=klass.gpus,
        priority=klass.priority,
        tenant=klass.tenant,
        retries=klass.retries,
        checkpointable=klass.checkpointable,
        timeout_ms=-1 if klass.timeout_ms is None else klass.timeout_ms,
        gang=klass.gang,
        licences=tuple(sorted(klass.licences.items())),
    )


class Submissions:
    """Hands out the jobs in order of submission and answers what only the world knows of them."""

    def __init__(self, inputs: WorldInputs) -> None:
        work = self._work = inputs.work
        self._streams = Streams(inputs.seed, inputs.world)
        self._classes = work.classes
        present = work.present()
        self._has_deadlines = any(klass.deadline_ms is not None for klass in present.values())
        self.specs = [spec_of_class(klass) for klass in work.classes]
        rate = inputs.services.staging_gib_per_s
        self.staging_in_ms = [round(klass.input_gib / rate * 1000) if rate else 0 for klass in work.classes]
        self.staging_out_ms = [round(klass.output_gib / rate * 1000) if rate else 0 for klass in work.classes]
        self.runtime_ms: list[int] = work.runtime_ms.tolist()
        self.klass: list[int] = work.klass.tolist()
        told = {self.klass[index] for index in work.outcomes}
        self.plain = [
            number not in present or not (klass.fail_probability or klass.success_string_missing or number in told)
            for number, klass in enumerate(work.classes)
        ]
        self.dependencies = Dependencies(work.after)
        self.last_ms = int(work.submit_ms[-1]) if len(work) else 0
        self.next_ms = int(work.submit_ms[0]) if len(work) else FOREVER_MS
        self._next = 0
        self._jobs: list[Job] = []  # of the block, the next one last
        self._times: list[int] = []  # when the one after each is submitted
        self._load()

    def next_job(self) -> tuple[int, Job]:
        """The next job's index and first record; moves `next_ms` on to the submission after it."""
        index = self._next
        self._next = index + 1
        job = self._jobs.pop()
        self.next_ms = self._times.pop()
        if not self._jobs:
            self._load()
        left = self.dependencies.left
        if left and left.get(index):
            return index, Job(job.ticket, rare=Rare(waiting_for=left[index]))
        return index, job

    @property
    def handed_out(self) -> int:
        """How many jobs have been submitted."""
        return self._next

    def _load(self) -> None:
        """Make the next block's records."""
        work, start = self._work, self._next
        stop = min(start + _BLOCK, len(work))
        part = slice(start, stop)
        submit: list[int] = work.submit_ms[start : stop + 1].tolist()
        self._times = [*submit[1:], FOREVER_MS][: stop - start][::-1]
        tickets = map(
            Ticket,
            self._names(start, stop),
            [self.specs[klass] for klass in self.klass[part]],
            submit,
            work.estimate_ms[part].tolist(),
            self._deadlines(start, stop, submit),
            work.slots[part].tolist(),
        )
        self._jobs = [Job(ticket) for ticket in tickets][::-1]

    def _deadlines(self, start: int, stop: int, submit: list[int]) -> Any:
        if not self._has_deadlines:
            return repeat(-1, stop - start)
        spans = [klass.deadline_ms for klass in self._classes]
        found = (spans[klass] for klass in self.klass[start:stop])
        return [-1 if span is None else at + span for at, span in zip(submit, found, strict=False)]

    def _names(self, start: int, stop: int) -> list[str]:
        if self._work.ids is not None:
            return list(self._work.ids[start:stop])
        names = [klass.name for klass in self._classes]
        return [f"{names[klass]}-{start + offset}" for offset, klass in enumerate(self.klass[start:stop])]

    def spec_of(self, index: int) -> JobSpec:
        return self.specs[self.klass[index]]

    def staging_ms(self, index: int) -> int:
        """Time that input and output of a job take."""
        klass = self.klass[index]
        return self.staging_in_ms[klass] + self.staging_out_ms[klass]

    def staged_gib(self, index: int) -> tuple[float, float]:
        """(input, output) of a job in GiB."""
        klass = self._classes[self.klass[index]]
        return klass.input_gib, klass.output_gib

    def outcome(self, index: int, attempt: int) -> tuple[str, int]:
        """(cause, exit code) of an attempt that reaches the end of its work; attempts count from 1."""
        number = self.klass[index]
        if self.plain[number]:
            return DONE, 0
        klass, work = self._classes[number], self._work
        if index in work.outcomes:
            known = work.outcomes[index]
            return known[min(attempt, len(known)) - 1]
        first = attempt == 1
        outcome = work.outcome_u[index] if first else self._streams.one("outcome", index, attempt)
        if outcome < klass.fail_probability:
            return FAILED, klass.exit_code or 1
        string = work.string_u[index] if first else self._streams.one("string", index, attempt)
        return (STRING_MISSING, 0) if string < klass.success_string_missing else (DONE, 0)


class Dependencies:
    """Which jobs wait for which, also before they are submitted."""

    def __init__(self, after: Any) -> None:
        self.left = {index: len(earlier) for index, earlier in after.items() if earlier}
        self.failed: set[int] = set()
        self._dependants: dict[int, list[int]] = {}
        for index, earlier in after.items():
            for job in earlier:
                self._dependants.setdefault(job, []).append(index)

    def of(self, index: int) -> list[int]:
        """The jobs that wait for this one."""
        return self._dependants.get(index, [])

    def settle(self, index: int, done: bool) -> None:
        """A dependency of a job has ended."""
        if done:
            self.left[index] -= 1
        else:
            self.failed.add(index)
