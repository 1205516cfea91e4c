"""The jobs of a world as the drivers read them: from arrays, a block at a time, so that a million costs no objects."""

from __future__ import annotations

from collections.abc import Iterator

from scheduler.events import DONE, FAILED, STRING_MISSING
from scheduler.job_record import Job, JobSpec, Ticket
from sim.clock import FOREVER_MS
from sim.inputs import JobClass, WorldInputs
from sim.streams import Streams

_BLOCK = 8_192


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
        self.specs = [spec_of_class(klass) for klass in work.classes]
        self._deadline_ms = [klass.deadline_ms for klass in work.classes]
        rate = inputs.services.staging_gib_per_s
        self.staging_in_ms = [round(klass.input_gib / rate * 1000) if rate else 0 for klass in work.classes]
        self.staging_out_ms = [round(klass.output_gib / rate * 1000) if rate else 0 for klass in work.classes]
        self._runtime: list[int] = work.runtime_ms.tolist()
        self._klass: list[int] = work.klass.tolist()
        self._plain = [not klass.fail_probability and not klass.success_string_missing for klass in work.classes]
        self._next = 0
        self._block: list[tuple[int, int, int]] = []
        self._block_start = 0
        self._numbers: dict[str, int] = {}
        self._waiting_for = {index: len(after) for index, after in work.after.items() if after}
        self._failed: set[int] = set()
        self._dependants: dict[int, list[int]] = {}
        for index, after in work.after.items():
            for earlier in after:
                self._dependants.setdefault(earlier, []).append(index)
        self.last_ms = int(work.submit_ms[-1]) if len(work) else 0
        self.next_ms = int(work.submit_ms[0]) if len(work) else FOREVER_MS

    def take(self, now_ms: int) -> Iterator[tuple[int, Job]]:
        """The jobs submitted up to `now_ms` that were not taken yet, with their first records."""
        while self.next_ms <= now_ms:
            index = self._next
            submit_ms, estimate_ms, slots = self._row(index)
            self._next += 1
            self.next_ms = self._row(index + 1)[0] if self._next < len(self._klass) else FOREVER_MS
            klass = self._klass[index]
            deadline_ms = self._deadline_ms[klass]
            name = self._work.job_id(index)
            self._numbers[name] = index
            ticket = Ticket(
                name,
                self.specs[klass],
                submit_ms,
                estimate_ms,
                -1 if deadline_ms is None else submit_ms + deadline_ms,
                slots,
            )
            yield index, Job(ticket, waiting_for=self._waiting_for.get(index, 0)) if self._waiting_for else Job(ticket)

    def _row(self, index: int) -> tuple[int, int, int]:
        offset = index - self._block_start
        if not 0 <= offset < len(self._block):
            work, stop = self._work, index + _BLOCK
            self._block_start, offset = index, 0
            self._block = list(
                zip(
                    work.submit_ms[index:stop].tolist(),
                    work.estimate_ms[index:stop].tolist(),
                    work.slots[index:stop].tolist(),
                    strict=True,
                )
            )
        return self._block[offset]

    def class_of(self, index: int) -> int:
        return self._klass[index]

    def spec_of(self, index: int) -> JobSpec:
        return self.specs[self._klass[index]]

    def runtime_ms(self, index: int) -> int:
        return self._runtime[index]

    def number_of(self, job: str) -> int:
        """The index of a live job; -1 when it has ended."""
        return self._numbers.get(job, -1)

    def forget(self, job: str) -> None:
        """The job has ended."""
        del self._numbers[job]

    def staging_ms(self, index: int) -> int:
        """Time that input and output of a job take."""
        klass = self._klass[index]
        return self.staging_in_ms[klass] + self.staging_out_ms[klass]

    def outcome(self, index: int, attempt: int) -> tuple[str, int]:
        """(cause, exit code) of an attempt that reaches the end of its work; attempts count from 1."""
        number = self._klass[index]
        if self._plain[number]:
            return DONE, 0
        klass, work = self._classes[number], self._work
        first = attempt == 1
        outcome = work.outcome_u[index] if first else self._streams.one("outcome", index, attempt)
        if outcome < klass.fail_probability:
            return FAILED, klass.exit_code or 1
        string = work.string_u[index] if first else self._streams.one("string", index, attempt)
        return (STRING_MISSING, 0) if string < klass.success_string_missing else (DONE, 0)

    def dependants(self, index: int) -> list[int]:
        """The jobs that wait for this one."""
        return self._dependants.get(index, [])

    def settle(self, index: int, done: bool) -> None:
        """A dependency of a job that is not submitted yet has ended."""
        if done:
            self._waiting_for[index] -= 1
        else:
            self._failed.add(index)
