"""The course of one attempt on an instance: startup, work with checkpoints between, the end. Pure arithmetic.

overhead | work every_ms | write | work every_ms | write | ... | rest of the work
"""

from __future__ import annotations

KEEPS_ALL = -1  # `every_ms` of an attempt whose progress is kept to the millisecond


def length_ms(overhead_ms: int, work_ms: int, every_ms: int, write_ms: int) -> int:
    """From the start to the end of the work. No checkpoint is written when the work is done."""
    if every_ms <= 0 or work_ms <= every_ms:
        return overhead_ms + work_ms
    return overhead_ms + work_ms + (work_ms - 1) // every_ms * write_ms


def progress_ms(elapsed_ms: int, overhead_ms: int, work_ms: int, every_ms: int, write_ms: int) -> tuple[int, int]:
    """(work done, work that is safe in a checkpoint) after `elapsed_ms`, in instance time."""
    left = elapsed_ms - overhead_ms
    if left <= 0:
        return 0, 0
    if every_ms == KEEPS_ALL:
        done = min(left, work_ms)
        return done, done
    if every_ms == 0:
        return min(left, work_ms), 0
    whole, rest = divmod(left, every_ms + write_ms)
    most = (work_ms - 1) // every_ms
    if whole >= most:
        safe = most * every_ms
        return min(work_ms, safe + left - most * (every_ms + write_ms)), safe
    return whole * every_ms + min(rest, every_ms), whole * every_ms
