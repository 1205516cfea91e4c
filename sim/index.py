"""The index of waiting jobs: what the table's index on (class, sort key) is on AWS.

A queue class is shape x purchase option x licences x size of the gang. Within a class jobs are in the order of their
keys, then of their submission. Keys mostly come in order, so a class is a deque with a heap beside it for those that do
not: taking a job from a million costs as much as from ten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush

from scheduler.job_record import Job, JobSpec
from scheduler.observation import ClassCount

ANY, NONE = "any", "none"
PURCHASES = (ANY, "spot", "on-demand", NONE)  # where a job may wait


def shape_name(spec: JobSpec) -> str:
    """The name of a shape: vCPUs x memory x GPUs."""
    return f"{spec.vcpus:g}x{spec.memory_gib:g}GiB" + (f"x{spec.gpus}gpu" if spec.gpus else "")


class Demand:
    """What waits and runs of one shape under one purchase option, counted in workers: the fleet's view of a class."""

    __slots__ = ("booting", "busy", "idle", "key", "purchase", "queues", "shape", "spec")

    def __init__(self, shape: str, purchase: str, spec: JobSpec) -> None:
        self.shape, self.purchase, self.spec = shape, purchase, spec
        self.key = f"{shape}|{purchase}|*"
        self.queues: list[QueueClass] = []
        self.busy = self.booting = self.idle = 0

    @property
    def queued(self) -> int:
        """Workers for which work waits."""
        return sum(queue.seats * len(queue) for queue in self.queues)

    def count(self, oldest_ms: int) -> ClassCount:
        """The counters as the fleet sees them."""
        spec = self.spec
        return ClassCount(
            self.key,
            self.shape,
            self.purchase,
            "*",
            spec.vcpus,
            spec.memory_gib,
            spec.gpus,
            self.queued,
            sum(queue.seats * queue.work_ms for queue in self.queues),
            oldest_ms,
            self.busy,
            self.booting,
            self.idle,
        )


class QueueClass:
    """The waiting jobs of one class, as (key, job index). An entry is void when its job no longer waits here: a job
    that was routed elsewhere or cancelled leaves its old entry behind, and is counted in `voids`."""

    __slots__ = ("demand", "heap", "licences", "run", "seats", "size", "voids", "work_ms")

    def __init__(self, demand: Demand, licences: tuple[tuple[str, int], ...], seats: int = 1) -> None:
        self.demand = demand
        self.licences = licences
        self.seats = seats  # workers that each job needs
        self.run: deque[tuple[float, int]] = deque()
        self.heap: list[tuple[float, int]] = []
        self.voids = 0
        self.work_ms = 0  # estimated work that waits, of one worker for each job
        self.size = int(demand.spec.vcpus * 1000 + demand.spec.memory_gib + demand.spec.gpus * 1_000_000)

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self.run) + len(self.heap) - self.voids

    def push(self, key: float, job: int, work_ms: int) -> None:
        """A job waits here, with so much work left; a negative number stands for nobody knows."""
        run, entry = self.run, (key, job)
        if run and entry < run[-1]:
            heappush(self.heap, entry)
        else:
            run.append(entry)
        if work_ms > 0:
            self.work_ms += work_ms

    def pop(self, records: Mapping[int, Job]) -> tuple[int, Job]:
        """Take the first job, which waits: `first` has said so. Returns its index and its record."""
        run, heap = self.run, self.heap
        number = run.popleft()[1] if not heap or (run and run[0] < heap[0]) else heappop(heap)[1]
        record = records[number]
        left_ms = record.ticket.estimate_ms - record.progress_ms
        if left_ms > 0:
            self.work_ms -= left_ms
        return number, record

    def take(self, most: int, records: Mapping[int, Job]) -> list[tuple[float, int]]:
        """Take out the entries of the first jobs that wait, in order; `put_back` follows."""
        taken = list[tuple[float, int]]()
        while len(taken) < most and self.first(records) is not None:
            run, heap = self.run, self.heap
            taken.append(run.popleft() if not heap or (run and run[0] < heap[0]) else heappop(heap))
        return sorted(taken)

    def put_back(self, entries: list[tuple[float, int]]) -> None:
        """What was taken, before all else. When the first of them is not the lowest, it is popped next."""
        self.run.extendleft(reversed(entries))

    def leave(self, work_ms: int) -> None:
        """A job leaves before its turn, with so much work left; its entry is skipped when it comes up."""
        self.voids += 1
        self.work_ms -= work_ms

    def first(self, records: Mapping[int, Job]) -> tuple[float, int] | None:
        """The entry of the first job that waits; void ones before it are dropped."""
        if self.voids:
            self._drop_voids(records)
        return self._head()

    def _head(self) -> tuple[float, int] | None:
        run, heap = self.run, self.heap
        if heap:
            return heap[0] if not run or heap[0] < run[0] else run[0]
        return run[0] if run else None

    def _drop_voids(self, records: Mapping[int, Job]) -> None:
        purchase, head = self.demand.purchase, self._head()
        while head is not None:
            record = records.get(head[1])
            if record is not None and record.phase == "queued" and record.purchase == purchase:
                return
            if self.run and self.run[0] == head:
                self.run.popleft()
            else:
                heappop(self.heap)
            self.voids -= 1
            head = self._head()


class JobIndex:
    """All queue classes over the records of the jobs that have not ended."""

    def __init__(self, records: Mapping[int, Job], *, gangs: bool = False) -> None:
        self.records = records
        self.gangs = gangs  # whether a job of a gang takes as many workers as the gang has
        self.demands: dict[tuple[str, str], Demand] = {}
        self.classes: dict[tuple[str, str, tuple[tuple[str, int], ...], int], QueueClass] = {}
        self._found: dict[tuple[int, str], QueueClass] = {}  # by the identity of the spec: hashing one is slow
        self.version = 0  # grows with each new class, so that holders of lists of classes renew them

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return sum(map(len, self.classes.values()))

    def class_of(self, spec: JobSpec, purchase: str) -> QueueClass:
        """The class of a spec that lives as long as the index."""
        found = self._found.get((id(spec), purchase))
        return found if found is not None else self._find(spec, purchase)

    def _find(self, spec: JobSpec, purchase: str) -> QueueClass:
        seats = spec.gang if self.gangs else 1
        key = (shape_name(spec), purchase, spec.licences, seats)
        found = self.classes.get(key)
        if found is None:
            demand = self.demand(spec, purchase)
            found = self.classes[key] = QueueClass(demand, spec.licences, seats)
            demand.queues.append(found)
            self.version += 1
        self._found[id(spec), purchase] = found
        return found

    def demand(self, spec: JobSpec, purchase: str) -> Demand:
        shape = shape_name(spec)
        found = self.demands.get((shape, purchase))
        if found is None:
            found = self.demands[shape, purchase] = Demand(shape, purchase, spec)
        return found

    def oldest_ms(self, demand: Demand, submit_ms: Callable[[int], int]) -> int:
        """Submission of the first job in queue order of this demand; -1 when none waits."""
        heads = [queue.first(self.records) for queue in demand.queues]
        times = [submit_ms(head[1]) for head in heads if head is not None]
        return min(times, default=-1)


def work_left_ms(job: Job) -> int:
    """Estimated work that the job still needs; 0 without an estimate."""
    left_ms = job.ticket.estimate_ms - job.progress_ms
    return max(0, left_ms)
