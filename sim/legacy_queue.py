"""A queue of Amazon SQS as `legacy-2019` uses it: about first in, first out; at least once; counts a little old."""

from __future__ import annotations

from collections import deque


class Message:
    """The job as it travels: its number in the world's work, and how often it was run again."""

    __slots__ = ("number", "re_run", "receipt", "visible")

    def __init__(self, number: int, re_run: int) -> None:
        self.number, self.re_run = number, re_run
        self.receipt = 0  # grows with each receive: a delete under an older one has no effect
        self.visible = False


class MessageQueue:
    """`visible` is exact, `count` is what SQS answers, `in_flight` what was received and may come back."""

    def __init__(self, staleness_ms: int) -> None:
        self.visible = self.in_flight = 0
        self._line: deque[Message] = deque()
        self._staleness_ms = staleness_ms
        self._counts: deque[tuple[int, int]] = deque([(0, 0)])

    def send(self, message: Message, now_ms: int) -> None:
        """Add a message at the tail."""
        self._line.append(message)
        self._show(message, now_ms)

    def receive(self, now_ms: int, *, reordered: bool = False) -> Message | None:
        """The first visible message; the second when this one is out of order. It is hidden from now on."""
        first = self._next()
        if first is None:
            return None
        second = self._next() if reordered else None
        if second is not None:
            self._line.appendleft(first)
            first = second
        first.receipt += 1
        self._hide(first, now_ms)
        return first

    def reappear(self, message: Message, receipt: int, now_ms: int) -> bool:
        """The visibility timeout of that receive is over: whether the message can be received again."""
        self.in_flight -= 1
        if message.receipt != receipt or message.visible:
            return False
        self._line.appendleft(message)
        self._show(message, now_ms)
        return True

    def delete(self, message: Message, receipt: int, now_ms: int) -> bool:
        """Delete a message that has become visible again: whether the receipt was still good."""
        if message.receipt != receipt or not message.visible:
            return False
        self._hide(message, now_ms)
        return True

    def count(self, now_ms: int) -> int:
        """ApproximateNumberOfMessages."""
        if not self._staleness_ms:
            return self.visible
        counts, then_ms = self._counts, now_ms - self._staleness_ms
        while len(counts) > 1 and counts[1][0] <= then_ms:
            counts.popleft()
        return counts[0][1]

    def _next(self) -> Message | None:
        line = self._line
        while line:
            message = line.popleft()
            if message.visible:
                return message
        return None

    def _show(self, message: Message, now_ms: int) -> None:
        message.visible = True
        self.visible += 1
        self._changed(now_ms)

    def _hide(self, message: Message, now_ms: int) -> None:
        message.visible = False
        self.visible -= 1
        self._changed(now_ms)

    def _changed(self, now_ms: int) -> None:
        if self._staleness_ms:
            self._counts.append((now_ms, self.visible))
