"""The services of a world: latencies, faults and limits.

A latency is a pure function of (operation, command id, seed): each operation has a table of drawn values, and the
command's job and epoch choose the row. The components of an operation are the calls that it makes one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from sim.distributions import quantile
from sim.inputs import NEVER_MS, UNLIMITED, ServiceInputs
from sim.streams import Streams

_BELOW_1 = 1.0 - 2.0**-53
_DRAWS = 64  # of a fault, drawn together
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
        for number, (probability, dist) in enumerate(self._inputs.occasional.get(operation, ())):
            uniforms = self._streams.per_entity(f"occasional/{operation}/{number}", 0, MASK + 1)
            total += np.where(uniforms < probability, quantile(dist, np.minimum(uniforms / probability, _BELOW_1)), 0.0)
        rounded: list[int] = np.rint(total * 1000).astype(np.int64).tolist()
        return rounded


class Faults:
    """Faults by name, each with draws of its own substreams; one that has no probability costs nothing."""

    def __init__(self, inputs: ServiceInputs, streams: Streams) -> None:
        self._probability = {name: value for name, value in inputs.probability.items() if value > 0}
        self._streams = streams
        self._draws: dict[str, int] = {}
        self._block: dict[str, list[float]] = {}
        self.seen: dict[str, int] = {}
        self._due = {name: self._gap(name, "fault") for name in self._probability}  # chances before it occurs

    def active(self, name: str) -> bool:
        """Whether the fault can occur at all."""
        return name in self._probability

    def occurs(self, name: str) -> bool:
        """Whether the next possible occurrence of the fault is one."""
        due = self._due.get(name)
        if due is None:
            return False
        if due > 0:
            self._due[name] = due - 1
            return False
        self._due[name] = self._gap(name, "fault")
        self.count(name)
        return True

    def gap(self, name: str) -> int:
        """How many chances pass before the next occurrence; for a fault that is active and whose chances are counted
        elsewhere."""
        return self._gap(name, "fault-gap")

    def _gap(self, name: str, kind: str) -> int:
        """A geometric draw, from 0."""
        probability = min(self._probability[name], _BELOW_1)
        return int(min(math.log1p(-self._draw(f"{kind}/{name}")) / math.log1p(-probability), NEVER_MS))

    def _draw(self, purpose: str) -> float:
        number = self._draws.get(purpose, 0)
        self._draws[purpose] = number + 1
        if number % _DRAWS == 0:
            self._block[purpose] = self._streams.per_entity(purpose, number, _DRAWS).tolist()
        return self._block[purpose][number % _DRAWS]

    def count(self, name: str) -> None:
        """Note an occurrence."""
        self.seen[name] = self.seen.get(name, 0) + 1


class Chances:
    """Several faults with the same chances (each attempt, each message), and one counter for all: each chance adds
    one to `passed`; when that reaches `next`, `found()` says which of them occur. A chance without one costs little.
    """

    def __init__(self, faults: Faults, names: tuple[str, ...]) -> None:
        self._faults = faults
        self._due = {name: faults.gap(name) + 1 for name in names if faults.active(name)}
        self.next = min(self._due.values(), default=NEVER_MS)
        self.passed = 0

    def __bool__(self) -> bool:
        return bool(self._due)

    def found(self) -> list[str]:
        """The faults that occur at this chance."""
        found = [name for name, due in self._due.items() if due <= self.passed]
        for name in found:
            self._due[name] = self.passed + 1 + self._faults.gap(name)
            self._faults.count(name)
        self.next = min(self._due.values())
        return found


class TokenBucket:
    """A quota of AWS: `capacity` tokens, `refill_per_s`."""

    def __init__(self, capacity: float, refill_per_s: float) -> None:
        self.capacity, self.refill_per_ms = capacity, refill_per_s / 1000
        self._tokens, self._at_ms = capacity, 0

    def take_up_to(self, now_ms: int, count: int) -> int:
        """Take as many whole tokens as there are, at most `count`."""
        self._tokens = min(self.capacity, self._tokens + (now_ms - self._at_ms) * self.refill_per_ms)
        self._at_ms = now_ms
        granted = min(count, int(self._tokens))
        self._tokens -= granted
        return granted


class Throttle:
    """A token bucket before which calls wait in line: `wait_ms` tells each how long.

    It is kept as one number, the time at which the bucket will be full again (the generic cell rate algorithm): a call
    that costs c tokens of a bucket of C, refilled with r a second, moves it on by c / r, and waits for what then lies
    beyond C / r. `bitten` counts the calls that had to wait.
    """

    __slots__ = ("bitten", "burst_ms", "full_ms", "gap_ms", "name")

    def __init__(self, name: str, capacity: float, refill_per_s: float, cost: float = 1.0) -> None:
        self.name = name
        self.gap_ms = cost / refill_per_s * 1000
        self.burst_ms = max(self.gap_ms, capacity / refill_per_s * 1000)
        self.full_ms = 0.0
        self.bitten = 0

    def wait_ms(self, now_ms: int) -> int:
        """Take the tokens of one call; how long it has to wait for them."""
        full_ms = self.full_ms
        if full_ms < now_ms:
            full_ms = now_ms
        self.full_ms = full_ms = full_ms + self.gap_ms
        over_ms = full_ms - self.burst_ms - now_ms
        if over_ms <= 0:
            return 0
        self.bitten += 1
        return math.ceil(over_ms)

    def covers(self, other: Throttle, margin: float) -> bool:
        """Whether calls that have passed here never wait there, though they were `margin` times as many."""
        bursts = self.burst_ms / self.gap_ms, other.burst_ms / other.gap_ms
        return self.gap_ms >= margin * other.gap_ms and margin * bursts[0] <= bursts[1]


def narrow(throttles: Iterable[Throttle], margin: float = 1.0) -> tuple[Throttle, ...]:
    """Those of a line of quotas before which calls can wait at all: the others are covered by one of them."""
    kept: list[Throttle] = []
    for each in throttles:
        if not any(other.covers(each, margin) for other in kept):
            kept = [*(other for other in kept if not each.covers(other, margin)), each]
    return tuple(kept)


class Throttles:
    """The quotas of a world before which calls wait."""

    def __init__(self, inputs: ServiceInputs) -> None:
        self._inputs = inputs
        self._all: list[Throttle] = []

    def of(self, name: str, cost: float = 1.0) -> list[Throttle]:
        """The bucket of quota `name` ("NAME.bucket", "NAME.refill") for calls that cost so many tokens, if it bites."""
        capacity = self._inputs.limit.get(f"{name}.bucket")
        if capacity is None or capacity >= UNLIMITED:
            return []
        return self._kept(Throttle(name, capacity, self._inputs.limit[f"{name}.refill"], cost))

    def of_cycles(self) -> list[Throttle]:
        """Those that each event of a worker meets, one after the other: transitions, task tokens, functions at once."""
        inputs, concurrency = self._inputs, self._inputs.limit.get("lambda.concurrency")
        found = self.of("stepfunctions.transition", inputs.cycle_transitions)
        found += self.of("stepfunctions.send_task_success")
        if concurrency is not None and concurrency < UNLIMITED and inputs.cycle_lambda_s > 0:
            found += self._kept(Throttle("lambda.concurrency", concurrency, concurrency / inputs.cycle_lambda_s))
        return found

    def _kept(self, throttle: Throttle) -> list[Throttle]:
        self._all.append(throttle)
        return [throttle]

    def bitten(self) -> dict[str, int]:
        """How many calls had to wait, by quota."""
        counts: dict[str, int] = {}
        for each in self._all:
            if each.bitten:
                counts[each.name] = counts.get(each.name, 0) + each.bitten
        return counts


def bucket(inputs: ServiceInputs, name: str) -> TokenBucket | None:
    """The bucket of quota `name` ("NAME.bucket" and "NAME.refill"), or None when it does not bite."""
    capacity = inputs.limit.get(f"{name}.bucket")
    return None if capacity is None else TokenBucket(capacity, inputs.limit[f"{name}.refill"])
