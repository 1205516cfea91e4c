"""When a gang starts, and who passes it meanwhile.

A gang is one job on n workers at once. Nobody holds a seat while the others are missing: workers that have nothing else
to do are idle, and the one that completes the number takes the gang for all of them, in one conditional write of one
epoch. So two gangs cannot wait for each other's workers.

Only the oldest gang that a worker could serve is looked at. As soon as the fleet has enough workers for it, the
workers that come free stay for it: what runs ends at some time, so the gang starts, and no stream of small jobs
starves it. As long as the fleet has too few of them, waiting would be for nothing, and jobs behind the gang pass it.
"""

from __future__ import annotations

START, HOLD, PASS = "start", "hold", "pass"


def turn(seats: int, free: int, alive: int) -> str:
    """What the oldest gang of `seats` workers does, when `free` workers (the one that asks included) have nothing to do
    and `alive` of those that could serve it run or boot: START, HOLD (nothing behind it starts there) or PASS."""
    if free >= seats:
        return START
    return HOLD if alive >= seats else PASS
