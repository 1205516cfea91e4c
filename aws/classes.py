"""Queue classes: shape x purchase option, and which pools serve them. The same names as in a simulation."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from aws.control import PoolSpec
from scheduler.fleet import class_key
from scheduler.job_record import Job, JobSpec

ANY_TENANT = "*"


def shape_name(spec: JobSpec) -> str:
    """The name of a shape: vCPUs x memory x GPUs."""
    return f"{spec.vcpus:g}x{spec.memory_gib:g}GiB" + (f"x{spec.gpus}gpu" if spec.gpus else "")


def class_of(job: Job) -> str:
    """The class in which the job waits, or whose work it is."""
    return class_key(shape_name(job.ticket.spec), job.purchase, ANY_TENANT)


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
    """The classes that a pool serves and in which something waits, the largest shape first."""
    found = []
    for key, item in counters.items():
        if not key.startswith("class#") or int(str(item.get("queued", 0))) <= 0:
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
