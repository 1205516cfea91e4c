"""The clock of a world: SimPy's Environment, with plain callbacks beside its events in one heap.

A callback costs a fifth of a SimPy process, and the hot path (ends of attempts) needs nothing more. There is one total
order: (time, rank, sequence). Ranks order what happens in the same millisecond: the market first, the tick last.
Time is integer milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import Event

MARKET, ARRIVAL, REPORT, TIMER, TICK = range(5)
_SIMPY_RANK = TIMER
FOREVER_MS = 1 << 62


class Clock(simpy.Environment):
    """`at` schedules a callback; `wait` gives an event for a SimPy process; `run_all` runs to the end of work."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self.heap: list[tuple[int, int, int, Any, Any]] = []
        self.sequence = 0
        self.now_ms = 0
        self._until: Callable[[], bool] = bool

    def at(self, at_ms: int, rank: int, callback: Callable[[Any], None], argument: Any) -> None:
        """Call `callback(argument)` at `at_ms`, which is not in the past."""
        self.sequence += 1
        heappush(self.heap, (at_ms, rank, self.sequence, callback, argument))

    def schedule(self, event: Event, priority: int = 1, delay: float = 0) -> None:
        """SimPy's own hook: its events take part in the same order."""
        self.sequence += 1
        heappush(self.heap, (self.now_ms + int(delay), _SIMPY_RANK, self.sequence, self._fire, event))

    def wait(self, delay_ms: int, rank: int) -> Event:
        """An event that a process yields to sleep, with a rank of its own."""
        event = Event(self)
        event._ok, event._value = True, None  # noqa: SLF001 what SimPy itself does
        self.sequence += 1
        fire = self._fire_tick if rank == TICK else self._fire
        heappush(self.heap, (self.now_ms + delay_ms, rank, self.sequence, fire, event))
        return event

    def stop_at(self, at_ms: int) -> None:
        """End the run after what happens at `at_ms`."""
        self.at(at_ms, TICK, self._stop, None)

    def run_all(self, arrivals: Callable[[int], int], until: Callable[[], bool]) -> None:
        """Run until `until()` is true, asked after each tick-ranked event of SimPy, or until nothing is left.

        `arrivals(now_ms)` takes in every arrival up to now and returns the time of the next; it is asked when that time
        comes before the heap's head (arrivals never enter the heap).
        """
        self._until = until
        heap = self.heap
        heappush(heap, (FOREVER_MS, TICK, 0, self._fire, None))  # the heap is never empty, and this is never reached
        next_arrival_ms = arrivals(-1)
        try:
            while True:
                if heap[0][0] < next_arrival_ms:
                    self.now_ms, _, _, callback, argument = heappop(heap)
                    callback(argument)
                elif next_arrival_ms < FOREVER_MS:
                    self.now_ms = next_arrival_ms
                    next_arrival_ms = arrivals(next_arrival_ms)
                else:
                    return
        except _Over:
            return

    def _stop(self, _: None) -> None:
        raise _Over

    def _fire_tick(self, event: Event) -> None:
        self._fire(event)
        if self._until():
            raise _Over

    def _fire(self, event: Event) -> None:
        self._now = self.now_ms
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        for callback in callbacks:
            callback(event)
        if not event._ok and not event.defused:  # noqa: SLF001 as above
            raise event._value  # noqa: SLF001 as above


class _Over(Exception):
    """The run is over."""
