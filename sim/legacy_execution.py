"""What the driver of `legacy-2019` knows of one execution of the state machine, and of the attempt that it watches."""

from __future__ import annotations

from scheduler.legacy import Execution
from scheduler.legacy_counts import EXECUTION_END, SEGMENTS, Counts, total
from sim.instances import LiveInstance, LiveWorker
from sim.legacy_group import Group
from sim.legacy_queue import Message

EVENTS = {name: counts.history_events for name, counts in SEGMENTS.items()}


class LiveAttempt:
    """A job's commands on an instance. They go on whether or not anybody looks."""

    __slots__ = (
        "accepted",
        "accounted",
        "cause",
        "lost",
        "number",
        "ordinal",
        "overhead_ms",
        "shared",
        "staging_ms",
        "start_ms",
        "total_ms",
        "until_ms",
        "work_ms",
        "worker",
    )

    def __init__(self, worker: LiveWorker, number: int, ordinal: int, start_ms: int) -> None:
        self.worker, self.number, self.ordinal, self.start_ms = worker, number, ordinal, start_ms
        self.overhead_ms = self.work_ms = self.staging_ms = self.total_ms = 0
        self.cause = ""  # how it ends if it reaches its end
        self.until_ms = 0  # until when its instance's time was its own, once nobody looks
        self.shared = False  # a second copy of the same commands: its time is the first one's
        self.accepted = False  # called successful by its execution
        self.accounted = False
        self.lost = False  # EC2 took the instance

    @property
    def end_ms(self) -> int:
        """When its commands end by themselves."""
        return self.start_ms + self.total_ms


class LiveExecution:
    """One execution: the machine's record, the worker that it serves, and what it has used so far."""

    __slots__ = (
        "attempt",
        "begin_ms",
        "check_fails",
        "copies",
        "cycle",
        "delay_ms",
        "error_poll",
        "finds",
        "gone",
        "group",
        "history",
        "jobs",
        "known_ms",
        "message",
        "number",
        "polls",
        "run",
        "segments",
        "state",
        "tail",
        "worker",
    )

    def __init__(self, worker: LiveWorker, group: Group, begin_ms: int) -> None:
        self.worker, self.group, self.begin_ms = worker, group, begin_ms
        self.state = Execution(worker.state.badge)
        self.message: Message | None = None
        self.number = -1  # of the job that it holds
        self.attempt: LiveAttempt | None = None  # that it watches
        self.copies: list[LiveAttempt] = []  # that run on its instance, and that it does not watch
        self.gone = False  # the instance
        self.run = 0  # what is scheduled for another run of polls is void
        self.finds = ""  # what the last poll of this run will find
        self.cycle = 0
        self.delay_ms = 0  # of the next step, by tries that failed
        self.tail = ""  # the segment in which the queue is counted next
        self.known_ms = 0  # after the start: when Systems Manager knows how the command has ended
        self.error_poll = 0  # the poll whose check fails inside; 0: none
        self.check_fails = False  # the first check fails as a whole
        self.segments: dict[str, int] = {}
        self.history = self.jobs = self.polls = 0

    @property
    def instance(self) -> LiveInstance:
        return self.worker.instance

    @property
    def is_over(self) -> bool:
        """Whether the execution has ended, one way or the other."""
        return self.state.phase in ("finished", "dead")

    def count(self, segment: str, times: int = 1) -> None:
        """The execution goes through a segment."""
        self.segments[segment] = self.segments.get(segment, 0) + times
        self.history += EVENTS[segment] * times

    def account(self) -> Counts:
        """What the execution has used. One that died has an ExecutionFailed event besides."""
        used = total(self.segments)
        return used.plus(Counts(history_events=EXECUTION_END)) if self.state.phase == "dead" else used
