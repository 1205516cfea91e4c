"""The scheduler of 2019 as it was, faults included: the machine of a worker, and the one that sets the group's size.

    booting -> protecting -> getting -> starting -> running -> confirming -> checking -> terminating -> finished
                                ^          '------------'-----------'------------^ |
                                '--------------------------------------------------'
    any but the first and the last -> dead: an error that nothing catches

One execution of its state machine is one worker for life, and nobody else knows the job that it holds: the message is
deleted before the job starts. The machine is given at the level of its decisions; the states between two of them are
segments of `legacy_counts`. The numbers F1 to F9 are those of docs/legacy-2019.md. There is no event for an
interruption, because the original hears of none (F1).
"""

from __future__ import annotations

from typing import TypeAlias

from scheduler.commands import Protect, SetDesired
from scheduler.legacy_counts import TASKS
from scheduler.record import record
from scheduler.table import Machine, Row
from scheduler.worker import Badge

# answers of CheckJob
PENDING, SUCCESS, FAILURE, ERROR = "pending", "success", "failed", "error"
# queues of a stack
SAME, FINISHED, FAILED_QUEUE = "job-queue", "job-queue-finished", "job-queue-failed"
# cause of the end of an attempt: its execution looks at it no more, though it may go on running
ABANDONED = "abandoned"
_GET_JOB = TASKS["GetJob"][1]


# Facts --------------------------------------------------------------------------------------------------------------
@record
class StatusOk:
    """WaitEC2 has seen both status checks pass."""

    at_ms: int


@record
class BootFailed:
    """WaitEC2 has failed in all of its tries."""

    at_ms: int


@record
class Protected:
    """The group has set the scale-in protection."""

    at_ms: int


@record
class ProtectFailed:
    """ProtectEC2 has failed in all of its tries: the next Choice reads an answer that is not there (F8)."""

    at_ms: int


@record
class MessageReceived:
    """`retries` and `re_run` travel in the message."""

    at_ms: int
    job: str
    retries: int
    re_run: int


@record
class NothingReceived:
    at_ms: int


@record
class CommandSent:
    at_ms: int


@record
class StartRefused:
    """SendCommand has failed in all of its tries; for an instance that is gone, with InvalidInstanceId."""

    at_ms: int


@record
class Polled:
    """The answer of the last of `polls` polls: pending, success, failed, or error (an exception inside CheckJob)."""

    at_ms: int
    answer: str
    polls: int


@record
class CheckFailed:
    """The first CheckJob of a job has failed as a whole: the next Choice reads a status that is not there (F8)."""

    at_ms: int


@record
class OutputSearched:
    """Whether the success string is in the answer of CheckJob."""

    at_ms: int
    found: bool


@record
class QueueCounted:
    """ApproximateNumberOfMessages: the visible ones only."""

    at_ms: int
    visible: int


@record
class Terminated:
    at_ms: int


@record
class TerminateFailed:
    """FinalTerminate has failed with an error that it does not catch."""

    at_ms: int


@record
class HistoryFull:
    """Step Functions has ended the execution at its limit of history events (F2)."""

    at_ms: int


# Orders -------------------------------------------------------------------------------------------------------------
@record
class Receive:
    """Ask the queue for one message, after a wait."""

    after_ms: int


@record
class Delete:
    """Delete the message: from now on only this execution knows of the job (F7)."""


@record
class SendCommand:
    """Run the job's commands on the instance."""

    job: str


@record
class Poll:
    """Wait for the poll interval and ask for the command's status, until it is other than pending."""

    job: str


@record
class SearchOutput:
    """Look for the success string."""


@record
class WriteStatus:
    """Overwrite the job's item in the table."""

    job: str
    status: str
    re_run: int


@record
class Send:
    """Put the job into a queue of the stack: at its tail, without a delay."""

    queue: str
    job: str
    re_run: int


@record
class CountQueue:
    """Ask for the number of visible messages."""


@record
class Terminate:
    """End the instance and take it off the group's desired capacity."""


# The worker ---------------------------------------------------------------------------------------------------------
@record
class Execution:
    """The input that the states hand on. `tries` counts the empty receives of one visit to GetJob."""

    badge: Badge
    phase: str = "booting"
    job: str = ""
    retries: int = 0
    re_run: int = 0
    tries: int = 0


Command: TypeAlias = (
    Protect | Receive | Delete | SendCommand | Poll | SearchOutput | WriteStatus | Send | CountQueue | Terminate
)
Result: TypeAlias = tuple[Execution, tuple[Command, ...]]
_DELETE, _SEARCH, _COUNT, _RECEIVE, _TERMINATE = Delete(), SearchOutput(), CountQueue(), Receive(0), Terminate()


def status_ok(execution: Execution, event: StatusOk, policy: object) -> Result:
    return Execution(execution.badge, "protecting"), (Protect(True),)


def boot_failed(execution: Execution, event: BootFailed, policy: object) -> Result:
    return Execution(execution.badge, "terminating"), (_TERMINATE,)


def protected(execution: Execution, event: Protected, policy: object) -> Result:
    return Execution(execution.badge, "getting"), (_RECEIVE,)


def message_received(execution: Execution, event: MessageReceived, policy: object) -> Result:
    """The message is deleted before the job starts, and a failure to do so is ignored (F7)."""
    starting = Execution(execution.badge, "starting", event.job, event.retries, event.re_run)
    return starting, (_DELETE, SendCommand(event.job))


def nothing_received(execution: Execution, event: NothingReceived, policy: object) -> Result:
    """An empty answer raises an error, so the state is tried again before the queue is counted."""
    tries = execution.tries + 1
    if tries > _GET_JOB.attempts:
        return Execution(execution.badge, "checking"), (_COUNT,)
    after_ms = 1000 * (_GET_JOB.wait_s(tries) - _GET_JOB.wait_s(tries - 1))
    return Execution(execution.badge, "getting", tries=tries), (Receive(after_ms),)


def command_sent(execution: Execution, event: CommandSent, policy: object) -> Result:
    job, re_run = execution.job, execution.re_run
    running = Execution(execution.badge, "running", job, execution.retries, re_run)
    return running, (WriteStatus(job, "Started", re_run), Poll(job))


def failed(execution: Execution, event: StartRefused | Polled | OutputSearched, policy: object) -> Result:
    """Every cause burns a retry: `retries` + 1 attempts in all, each at the tail of the queue, at once (F3)."""
    job, re_run = execution.job, execution.re_run
    send = Send(FAILED_QUEUE, job, re_run) if execution.retries <= re_run else Send(SAME, job, re_run + 1)
    return Execution(execution.badge, "checking"), (WriteStatus(job, "Failed", re_run), send, _COUNT)


def polled(execution: Execution, event: Polled, policy: object) -> Result:
    """Any exception of the check is answered as ('success', 'null') (F5)."""
    if event.answer == PENDING:
        return execution, ()
    if event.answer == FAILURE:
        return failed(execution, event, policy)
    confirming = Execution(execution.badge, "confirming", execution.job, execution.retries, execution.re_run)
    return confirming, (_SEARCH,)


def output_searched(execution: Execution, event: OutputSearched, policy: object) -> Result:
    if not event.found:
        return failed(execution, event, policy)
    job, re_run = execution.job, execution.re_run
    written = WriteStatus(job, "Successful", re_run)
    return Execution(execution.badge, "checking"), (written, Send(FINISHED, job, re_run), _COUNT)


def queue_counted(execution: Execution, event: QueueCounted, policy: object) -> Result:
    """The worker ends at the first empty queue. It means to clear the protection first, and sets it again: the handler
    takes bool() of the text "False" (F9)."""
    if event.visible > 0:
        return Execution(execution.badge, "getting"), (_RECEIVE,)
    return Execution(execution.badge, "terminating"), (Protect(bool("False")), _TERMINATE)


def terminated(execution: Execution, event: Terminated, policy: object) -> Result:
    return Execution(execution.badge, "finished"), ()


def dies(execution: Execution, event: object, policy: object) -> Result:
    """The execution fails where nothing can catch it. Its job is in no queue any more; its instance stays (F2, F8)."""
    return Execution(execution.badge, "dead"), ()


_LIVE: dict[type, Row] = {HistoryFull: Row(dies, ("dead",), "F2")}

TABLE: dict[str, dict[type, Row]] = {
    "booting": {
        StatusOk: Row(status_ok, ("protecting",)),
        BootFailed: Row(boot_failed, ("terminating",)),
    },
    "protecting": {
        Protected: Row(protected, ("getting",)),
        ProtectFailed: Row(dies, ("dead",), "F8"),
        **_LIVE,
    },
    "getting": {
        MessageReceived: Row(message_received, ("starting",)),
        NothingReceived: Row(nothing_received, ("getting", "checking"), "four tries, 14 s"),
        **_LIVE,
    },
    "starting": {
        CommandSent: Row(command_sent, ("running",)),
        StartRefused: Row(failed, ("checking",), "burns a retry"),
        **_LIVE,
    },
    "running": {
        Polled: Row(polled, ("running", "confirming", "checking"), "an error is a success: F5"),
        CheckFailed: Row(dies, ("dead",), "F8"),
        **_LIVE,
    },
    "confirming": {
        OutputSearched: Row(output_searched, ("checking",)),
        **_LIVE,
    },
    "checking": {
        QueueCounted: Row(queue_counted, ("getting", "terminating"), "visible messages only"),
        **_LIVE,
    },
    "terminating": {
        Terminated: Row(terminated, ("finished",)),
        TerminateFailed: Row(dies, ("dead",), "F8, and F9 keeps it protected"),
        **_LIVE,
    },
    "finished": {},  # an execution that has ended hears nothing
    "dead": {},
}

MACHINE: Machine[Execution] = Machine("legacy-worker", "booting", TABLE)
step = MACHINE.step


# The group's size ---------------------------------------------------------------------------------------------------
@record
class Scaler:
    """The function that sets the desired capacity, once a minute. It remembers nothing."""

    queue: str
    max_instances: int
    phase: str = "open"


def scale(scaler: Scaler, event: QueueCounted, policy: object) -> tuple[Scaler, tuple[SetDesired, ...]]:
    """desired = visible backlog: neither busy nor booting workers count (F6)."""
    return scaler, (SetDesired(min(event.visible, scaler.max_instances)),)


SCALE_TABLE: dict[str, dict[type, Row]] = {"open": {QueueCounted: Row(scale, ("open",), "every minute")}}

SCALER: Machine[Scaler] = Machine("legacy-scaler", "open", SCALE_TABLE)
scale_step = SCALER.step
