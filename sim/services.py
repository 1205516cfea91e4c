"""The services of a world: latencies, faults and limits.

A latency is a pure function of (operation, command id, seed): each operation has a table of drawn values, and the
command's job and epoch choose the row. The components of an operation are the calls that it makes one after the other.
"""

from __future__ import annotations

import numpy as np

from sim.distributions import quantile
from sim.inputs import ServiceInputs
from sim.streams import Streams

TABLE_BITS = 12
MASK = (1 << TABLE_BITS) - 1
SPREAD_JOB, SPREAD_EPOCH = 2_654_435_761, 40_503  # odd constants of multiplicative hashing (Knuth, TAOCP 3, 6.4)


def row(entity: int, index: int) -> int:
    """Which row of a latency table a command takes."""
    return ((entity * SPREAD_JOB + index * SPREAD_EPOCH) >> 4) & MASK


class Latencies:
    """operation -> table of 4,096 latencies in ms."""

    def __init__(self, inputs: ServiceInputs, streams: Streams) -> None:
        self._inputs = inputs
        self._streams = streams

    def table(self, operation: str) -> list[int]:
        """The table of one operation; all zeros for one that the services data does not name."""
        total = np.zeros(MASK + 1)
        for number, dist in enumerate(self._inputs.latency.get(operation, ())):
            uniforms = self._streams.per_entity(f"latency/{operation}/{number}", 0, MASK + 1)
            total += np.asarray(quantile(dist, uniforms))
        rounded: list[int] = np.rint(total * 1000).astype(np.int64).tolist()
        return rounded


class Faults:
    """Faults by name, each a draw of its own substream; one that has no probability costs nothing."""

    def __init__(self, inputs: ServiceInputs, streams: Streams) -> None:
        self._probability = {name: value for name, value in inputs.probability.items() if value > 0}
        self._streams = streams
        self._next: dict[str, int] = {}
        self._block: dict[str, list[float]] = {}
        self.seen: dict[str, int] = {}

    def active(self, name: str) -> bool:
        """Whether the fault can occur at all."""
        return name in self._probability

    def occurs(self, name: str) -> bool:
        """Whether the next possible occurrence of the fault is one."""
        probability = self._probability.get(name)
        if probability is None:
            return False
        number = self._next.get(name, 0)
        self._next[name] = number + 1
        if number & MASK == 0:
            self._block[name] = self._streams.per_entity(f"fault/{name}", number, MASK + 1).tolist()
        if self._block[name][number & MASK] >= probability:
            return False
        self.seen[name] = self.seen.get(name, 0) + 1
        return True


class TokenBucket:
    """A quota of AWS: `capacity` tokens, `refill_per_s`."""

    def __init__(self, capacity: float, refill_per_s: float) -> None:
        self.capacity, self.refill_per_ms = capacity, refill_per_s / 1000
        self._tokens, self._at_ms = capacity, 0

    def _refill(self, now_ms: int) -> None:
        self._tokens = min(self.capacity, self._tokens + (now_ms - self._at_ms) * self.refill_per_ms)
        self._at_ms = now_ms

    def take_up_to(self, now_ms: int, count: int) -> int:
        """Take as many whole tokens as there are, at most `count`."""
        self._refill(now_ms)
        granted = min(count, int(self._tokens))
        self._tokens -= granted
        return granted

    def delay_ms(self, now_ms: int, count: int) -> int:
        """Take `count` tokens, in debt if need be; how long the caller has to wait for them."""
        self._refill(now_ms)
        self._tokens -= count
        return 0 if self._tokens >= 0 else int(-self._tokens / self.refill_per_ms)


def bucket(inputs: ServiceInputs, name: str) -> TokenBucket | None:
    """The bucket of quota `name` ("NAME.bucket" and "NAME.refill"), or None when it does not bite."""
    capacity = inputs.limit.get(f"{name}.bucket")
    return None if capacity is None else TokenBucket(capacity, inputs.limit[f"{name}.refill"])
