"""What the state machine of 2019 uses, state by state: transitions, functions, history events, calls. All data.

Source of states, retries and calls: templates and handlers of aws-samples/aws-decoupled-serverless-scheduler (2019).
Source of the events of a state: AWS Step Functions developer guide, execution history (a task is entered, scheduled,
started, succeeded and exited; any other state is entered and exited). A segment is what happens between two decisions
of the machine; the driver meters segments under these names, and the services data gives the same counts a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from scheduler.record import record


@record
class Counts:
    """What a piece of an execution uses. Retries of a task are billed as transitions."""

    transitions: int = 0
    functions: int = 0
    history_events: int = 0
    queue_requests: int = 0
    table_writes: int = 0
    commands: int = 0

    def plus(self, other: Counts, times: int = 1) -> Counts:
        """The sum of these counts and `times` the others."""
        return Counts(
            self.transitions + times * other.transitions,
            self.functions + times * other.functions,
            self.history_events + times * other.history_events,
            self.queue_requests + times * other.queue_requests,
            self.table_writes + times * other.table_writes,
            self.commands + times * other.commands,
        )


class Calls(NamedTuple):
    """The metered calls that one try of a task's function makes."""

    queue_requests: int = 0  # each function asks for the queue's URL first
    table_writes: int = 0
    commands: int = 0


class Retry(NamedTuple):
    """`Retry` of a task: all of its errors, so many more tries, the first after `interval_s`."""

    interval_s: int
    attempts: int
    backoff: int = 2

    def wait_s(self, failures: int) -> int:
        """How long the state waits, in all, after so many failed tries."""
        return sum(self.interval_s * self.backoff**number for number in range(min(failures, self.attempts)))


TASKS: Mapping[str, tuple[Calls, Retry]] = {
    "WaitEC2": (Calls(), Retry(3, 3)),
    "ProtectEC2": (Calls(), Retry(3, 3)),
    "GetJob": (Calls(queue_requests=2), Retry(2, 3)),
    "DeleteJob": (Calls(queue_requests=2), Retry(2, 3)),
    "ExtractJob": (Calls(), Retry(2, 3)),
    "StartJob": (Calls(commands=1), Retry(2, 3)),
    "WriteJobStart": (Calls(table_writes=1), Retry(2, 3)),
    "CheckJob": (Calls(), Retry(3, 3)),
    "ConfirmResult": (Calls(), Retry(3, 3)),
    "WriteJobSuccessful": (Calls(table_writes=1), Retry(2, 3)),
    "WriteJobFailed": (Calls(table_writes=1), Retry(2, 3)),
    "AddSQS": (Calls(queue_requests=2), Retry(3, 3)),
    "SQSOut": (Calls(queue_requests=2), Retry(3, 5)),
    "FailedJob": (Calls(queue_requests=2), Retry(2, 3)),
    "SQSCheck": (Calls(queue_requests=2), Retry(7, 5)),
    "UnProtectEC2": (Calls(), Retry(10, 5)),
    "FinalTerminate": (Calls(), Retry(10, 5)),
}
OTHERS: Mapping[str, str] = {
    "SetProtect": "Pass",
    "StatusStarted": "Pass",
    "StatusFailed": "Pass",
    "StatusSuccessful": "Pass",
    "PassCleanEntry": "Pass",
    "SetUnProtect": "Pass",
    "YesNoProtected": "Choice",
    "YesNoJobRunning": "Choice",
    "YesNoResultFile": "Choice",
    "YesNoRetryFinished": "Choice",
    "YesNoSQSEmpty": "Choice",
    "Wait": "Wait",
    "Finish": "Succeed",
    "SQSFail": "Fail",
}
_TASK_EVENTS, _OTHER_EVENTS, _FAIL_EVENTS = 5, 2, 1
_TRY_EVENTS = 3  # scheduled, started, failed
EXECUTION_END = 1  # ExecutionSucceeded or ExecutionFailed: every execution keeps room for it


def state_counts(name: str, failed_tries: int = 0) -> Counts:
    """What a visit to a state uses, with so many tries that failed before the last one."""
    if name not in TASKS:
        return Counts(1, 0, _FAIL_EVENTS if OTHERS[name] == "Fail" else _OTHER_EVENTS)
    calls, _ = TASKS[name]
    one = Counts(1, 1, _TASK_EVENTS, *calls)
    return one.plus(Counts(1, 1, _TRY_EVENTS, *calls), failed_tries)


def _visits(*states: str) -> Counts:
    total = Counts()
    for state in states:
        total = total.plus(state_counts(state))
    return total


def _never(name: str) -> Counts:
    """A task that fails in all of its tries."""
    return state_counts(name, TASKS[name][1].attempts)


# StartExecution is billed as a transition; the function that calls it hears every `pending` event.
_BEGIN = Counts(transitions=1, functions=1, history_events=1)
_END = Counts(history_events=EXECUTION_END)
_UNMADE = Counts(queue_requests=2)  # AddSQS asks the queue for nothing when no retry is left, FailedJob then does
_CHECK = ("SQSCheck", "YesNoSQSEmpty")
_FAIL = ("StatusFailed", "WriteJobFailed", "AddSQS", "YesNoRetryFinished", *_CHECK)
_CONFIRM = ("ConfirmResult", "YesNoResultFile")

SEGMENTS: Mapping[str, Counts] = {
    "worker_start": _BEGIN.plus(_visits("WaitEC2", "SetProtect", "ProtectEC2", "YesNoProtected")),
    "boot_failed": _BEGIN.plus(_never("WaitEC2")).plus(_visits("FinalTerminate", "Finish")).plus(_END),
    "job_start": _visits("GetJob", "DeleteJob", "ExtractJob", "StartJob", "StatusStarted", "WriteJobStart"),
    "start_refused": _visits("GetJob", "DeleteJob", "ExtractJob").plus(_never("StartJob")),
    "poll": _visits("Wait", "CheckJob", "YesNoJobRunning"),
    "success": _visits(*_CONFIRM, "StatusSuccessful", "WriteJobSuccessful", "SQSOut", *_CHECK),
    "fail_ssm": _visits(*_FAIL),
    "fail_string": _visits(*_CONFIRM, *_FAIL),
    "give_up": _visits("FailedJob").plus(_UNMADE, -1),
    "next_job": _visits("PassCleanEntry"),
    "empty_receive": _never("GetJob"),
    "receive_retry": state_counts("GetJob", 1).plus(state_counts("GetJob"), -1),
    "queue_check": _visits(*_CHECK),
    "task_retry": Counts(1, 1, _TRY_EVENTS),
    "teardown": _visits("SetUnProtect", "UnProtectEC2", "FinalTerminate", "Finish").plus(_END),
}


def total(segments: Mapping[str, int]) -> Counts:
    """What an execution uses that went through each segment so many times."""
    counts = Counts()
    for name, times in segments.items():
        counts = counts.plus(SEGMENTS[name], times)
    return counts
