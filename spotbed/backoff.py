"""What backoff does under contention: the model of the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).

Clients write one row under optimistic concurrency control. A client reads the version, writes if nobody else has
written meanwhile, and else backs off and reads again, until it has written once. Each hop through the network takes
|N(10, 2)| ms. It shows how many calls a backoff makes and how long the last client takes: delays alone, no scheduler.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import NamedTuple

from scheduler.policies.retry.delays import ceiling, decorrelated_jitter, equal_jitter, full_jitter

HOP_MS, HOP_SD_MS = 10.0, 2.0
BASE_MS, CAP_MS = 5.0, 2_000.0

Delay = Callable[[int, float, float], float]  # (failures so far, the last delay, u) -> delay; all in ms

BACKOFFS: dict[str, Delay] = {
    "none": lambda failures, last_ms, u: 0.0,
    "exponential": lambda failures, last_ms, u: ceiling(BASE_MS, CAP_MS, failures),
    "full": lambda failures, last_ms, u: full_jitter(BASE_MS, CAP_MS, failures, u),
    "equal": lambda failures, last_ms, u: equal_jitter(BASE_MS, CAP_MS, failures, u),
    "decorrelated": lambda failures, last_ms, u: decorrelated_jitter(BASE_MS, CAP_MS, last_ms, u),
}


class Contention(NamedTuple):
    """Means over the repetitions."""

    time_ms: float  # until the last client has written
    calls: float  # writes that were tried


def contention(clients: int, delay: Delay, *, repetitions: int = 100, seed: int = 0) -> Contention:
    """So many clients that begin at once, with one way to back off."""
    rng = random.Random(seed)  # noqa: S311 a simulation
    runs = [_run(clients, delay, rng) for _ in range(repetitions)]
    return Contention(*(sum(values) / repetitions for values in zip(*runs, strict=True)))


def _run(clients: int, delay: Delay, rng: random.Random) -> tuple[float, int]:
    """(when the last client has heard of its success, writes that were tried) of one repetition."""

    def hop_ms() -> float:
        return abs(rng.gauss(HOP_MS, HOP_SD_MS))

    version, calls, end_ms = 0, 0, 0.0
    failures, last_ms = [0] * clients, [BASE_MS] * clients
    # (when, client, the version with which it writes; -1: it reads), as they reach the server
    arriving = [(hop_ms(), client, -1) for client in range(clients)]
    heapq.heapify(arriving)
    while arriving:
        at_ms, client, read = heapq.heappop(arriving)
        answer_ms = at_ms + hop_ms()
        if read < 0:
            heapq.heappush(arriving, (answer_ms + hop_ms(), client, version))
            continue
        calls += 1
        if read == version:
            version += 1
            end_ms = max(end_ms, answer_ms)
            continue
        failures[client] += 1
        last_ms[client] = delay(failures[client], last_ms[client], rng.random())
        heapq.heappush(arriving, (answer_ms + last_ms[client] + hop_ms(), client, -1))
    return end_ms, calls
