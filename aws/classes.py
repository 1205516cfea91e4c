"""Queue classes: shape x purchase option, and which pools serve them. The same names as in a simulation."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from aws.control import PoolSpec
from scheduler.fleet import class_key
from scheduler.job_record import Job, JobSpec

ANY_TENANT = "*"
GANGS = "gangs_"  # with a size: the counter of the gangs of this size that wait


def shape_name(spec: JobSpec) -> str:
    """The name of a shape: vCPUs x memory x GPUs."""
    return f"{spec.vcpus:g}x{spec.memory_gib:g}GiB" + (f"x{spec.gpus}gpu" if spec.gpus else "")


def class_of(job: Job) -> str:
    """The class in which the job waits, or whose work it is."""
    return class_key(shape_name(job.ticket.spec), job.purchase, ANY_TENANT)


def index_of(job: Job) -> str:
    """The partition of the index in which the job waits: gangs apart, by their size."""
    return index_of_class(class_of(job), job.ticket.spec.gang)


def index_of_class(key: str, gang: int) -> str:
    """The partition of the jobs of a class that need so many workers at once."""
    return f"{key}|gang {gang}" if gang > 1 else key


def gangs_of(item: Mapping[str, object]) -> list[int]:
    """The sizes of the gangs that wait, by the counters' item of their class."""
    sizes = (name.removeprefix(GANGS) for name, count in item.items() if name.startswith(GANGS) and int(str(count)) > 0)
    return sorted(map(int, sizes))


def singles_of(item: Mapping[str, object]) -> int:
    """How many jobs wait that need one worker; `queued` counts workers."""
    gangs = sum(size * int(str(item[f"{GANGS}{size}"])) for size in gangs_of(item))
    return int(str(item.get("queued", 0))) - gangs


def size_of(spec: JobSpec) -> tuple[int, float, float]:
    """What the largest shape is largest by."""
    return spec.gpus, spec.vcpus, spec.memory_gib


def serves(pool: PoolSpec, spec: JobSpec, purchase: str) -> bool:
    """Whether a slot of this pool can run a job of this shape that waits under a purchase option."""
    return (
        spec.vcpus <= pool.vcpus
        and spec.memory_gib <= pool.memory_gib
        and spec.gpus <= pool.gpus
        and purchase in ("any", pool.purchase)
    )


def served_by(pool: PoolSpec, counters: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The classes that a pool serves and in which jobs of one worker wait, the largest shape first."""
    found = []
    for key, item in counters.items():
        if not key.startswith("class#") or singles_of(item) <= 0:
            continue
        spec = spec_of(item)
        if serves(pool, spec, str(item["purchase"])):
            found.append((size_of(spec), key.removeprefix("class#")))
    return [key for _, key in sorted(found, reverse=True)]


def spec_of(item: Mapping[str, object]) -> JobSpec:
    """The shape of a class, from its counters' item."""
    return JobSpec(
        str(item.get("shape", "")),
        float(str(item["vcpus"])),
        float(str(item["memory_gib"])),
        int(str(item["gpus"])),
    )


def sort_key(key: float, submit_ms: int, job_id: str) -> str:
    """A text that sorts as (key, submission, id): what the index of a class is ordered by."""
    (bits,) = struct.unpack(">q", struct.pack(">d", key))
    ordered = bits ^ ((1 << 64) - 1) if bits < 0 else bits ^ (1 << 63)
    return f"{ordered & ((1 << 64) - 1):016x}#{submit_ms:015d}#{job_id}"


def work_left_ms(job: Job) -> int:
    """Estimated work that the job still needs; 0 without an estimate."""
    return max(0, job.ticket.estimate_ms - job.progress_ms)


def merged(*changes: Iterable[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    """(item, counter, by how much) summed: item -> counter -> by how much."""
    total: dict[str, dict[str, int]] = {}
    for each in changes:
        for key, name, by in each:
            counters = total.setdefault(key, {})
            counters[name] = counters.get(name, 0) + by
    return {key: counters for key, counters in total.items() if any(counters.values())}
