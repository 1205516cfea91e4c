"""The driver of `legacy-2019`: performs the commands of the machine of 2019 in virtual time, faults F1 to F9 included.

Polls are counted, not simulated one by one: the driver knows at which poll something is decided (the end of the
command, an error of the check, the limit of history events), and that poll is one entry of the clock. What each state
costs in transitions, functions and events is in `scheduler.legacy_counts`; here only segments are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from scheduler import legacy
from scheduler.commands import Protect
from scheduler.events import DONE, FAILED, TIMEOUT
from scheduler.legacy import ERROR, FAILURE, FINISHED, SAME, SUCCESS
from scheduler.legacy_counts import EXECUTION_END, TASKS, state_counts
from scheduler.policy import Policy
from sim.clock import REPORT
from sim.inputs import WorldInputs
from sim.instances import NOT_YET, LiveInstance, LiveWorker
from sim.legacy_attempts import LegacyAttempts
from sim.legacy_execution import EVENTS, LiveExecution
from sim.legacy_queue import Message
from sim.services import row
from spotbed.journal import Journal
from spotbed.metering import GAVE_UP, VANISHED, Tally

ENDED, FULL, CHECK_FAILS = "ended", "full", "check-fails"  # beside ERROR: what the last of some polls finds
_TAILS = ("success", "fail_ssm", "fail_string", "queue_check")
_TAKEN_EVENTS = sum(state_counts(state).history_events for state in ("GetJob", "DeleteJob"))
_UNWRITTEN_TRIES = TASKS["WriteJobFailed"][1].attempts  # the answer ('success', 'null') cannot be written (F5)

Planned: TypeAlias = tuple[LiveExecution, int, int, str]


class LegacyWorld(LegacyAttempts):
    """One world under the scheduler of 2019. `run()` returns its tally."""

    architecture = "legacy-2019"

    def __init__(self, inputs: WorldInputs, policy: Policy, journal: Journal | None = None) -> None:
        super().__init__(inputs, policy, journal)
        table = self.latencies.table
        self.receive_latency = table("queue_check")
        self.start_latency = table("job_start")
        self.end_latency = table("teardown")
        self.tail_latency = {name: table(name) for name in _TAILS}
        poll_latency = table("poll")
        self.cycle_ms = self.settings.poll_ms + round(sum(poll_latency) / len(poll_latency))
        self._perform: dict[type, Callable[[LiveExecution, Any], None]] = {
            Protect: self._protect,
            legacy.Receive: self._receive_later,
            legacy.Delete: self._delete,
            legacy.SendCommand: self._start_later,
            legacy.Poll: self._poll,
            legacy.SearchOutput: self._search,
            legacy.WriteStatus: self._nothing,
            legacy.Send: self._send,
            legacy.CountQueue: self._count_later,
            legacy.Terminate: self._terminate_later,
        }

    # the run ----------------------------------------------------------------------------------------------------
    def run(self) -> Tally:
        """Run the world until nothing is left to do, or nothing can ever be done, or to the end of the drain."""
        self.clock.process(self._ticks())
        self.clock.run_all(self._arrivals, self._is_over)
        self._close()
        return self.tally

    def _close(self) -> None:
        """What still runs is billed to the end of the run."""
        tally = self.tally
        for pool in self.pools:
            for instance in list(pool.instances.values()):
                self._close_instance(instance)
        if self.boot_ms:
            tally.count("boot_second", round(self.boot_ms / 1000))
        tally.end_ms = self.clock.now_ms
        tally.faults = self.faults.seen

    def _close_instance(self, instance: LiveInstance) -> None:
        execution = self.executions.get(instance.number)
        if execution is not None and execution.attempt is not None and not execution.attempt.accounted:
            end_ms = min(self.clock.now_ms, execution.attempt.end_ms)
            self._account(execution.attempt, end_ms, legacy.ABANDONED, useful=False)
        self._end(instance, "orphan" if instance.number in self.orphans else "end-of-run")

    def _hear(self, execution: LiveExecution, event: Any) -> None:
        """One step of the machine, and its commands performed."""
        execution.state, commands = legacy.step(execution.state, event, self.policy)
        if self.journal is not None:
            self.journal.step("worker", execution.state.badge.id, event, commands)
        perform = self._perform
        for command in commands:
            perform[command.__class__](execution, command)

    def _count(self, execution: LiveExecution, segment: str, times: int = 1) -> None:
        if times:
            execution.count(segment, times)
            self.tally.count(segment, times)

    def _room(self, execution: LiveExecution) -> int:
        """How many more history events the execution may have (F2)."""
        return self.settings.history_limit - EXECUTION_END - execution.history

    def _failed_tries(self, state: str) -> int:
        """How many tries of a task fail before one does not; as many as it has when all do. The fault is called
        `lambda.error`, or `lambda.error.STATE` for a single state."""
        known, most = self.inputs.services.probability, TASKS[state][1].attempts + 1
        name = f"lambda.error.{state}"
        name = name if name in known else "lambda.error"
        failed = 0
        while failed < most and self.faults.occurs(name):
            failed += 1
        return failed

    def _retried(self, execution: LiveExecution, state: str, failed: int) -> int:
        """Meter the tries of a task after those that failed; returns how long the state waits in all, in ms."""
        retry = TASKS[state][1]
        self._count(execution, "task_retry", min(failed, retry.attempts))
        return retry.wait_s(failed) * 1000

    # the life of an execution -----------------------------------------------------------------------------------
    def on_ready(self, worker: LiveWorker) -> None:
        """Both status checks have passed."""
        self._recount(worker, "idle")
        execution = self.executions.get(worker.instance.number)
        if execution is None:
            return
        now = self.clock.now_ms
        waited_ms = max(0, now - execution.begin_ms)
        self.boot_ms += waited_ms
        self._count(execution, "worker_start")
        tries = waited_ms // self.settings.lambda_timeout_ms
        self._count(execution, "task_retry", min(tries, TASKS["WaitEC2"][1].attempts))
        self._hear(execution, legacy.StatusOk(now))

    def on_notice(self, worker: LiveWorker, lead_ms: int) -> None:
        """The original does not listen (F1)."""

    def on_lost(self, worker: LiveWorker) -> None:
        """The execution does not hear of it (F1). Systems Manager answers InProgress until it gives up on the agent."""
        execution = self.executions.get(worker.instance.number)
        if execution is None or execution.attempt is None:
            return
        attempt = execution.attempt
        self._is_lost(execution, accepted=execution.finds == ENDED or not self.settings.string_check)
        if attempt.lost:
            execution.known_ms = max(self.settings.lost_agent_detect_ms, self.clock.now_ms - attempt.start_ms)
            self._plan_polls(execution)

    def _end(self, instance: LiveInstance, reason: str) -> None:
        execution = self.executions.get(instance.number)
        if execution is not None and execution.state.phase == "booting" and reason != "end-of-run":
            self._boot_fails(execution)
        super()._end(instance, reason)

    def _boot_fails(self, execution: LiveExecution) -> None:
        """The instance goes while WaitEC2 waits. DescribeInstanceStatus lists it no more, which the waiter takes for
        not yet: that try runs into the function's timeout. The next find the instance terminated, and fail at once."""
        timeout_ms = self.settings.lambda_timeout_ms
        waited_ms = max(1, self.clock.now_ms - execution.begin_ms)
        self.boot_ms += -(-waited_ms // timeout_ms) * timeout_ms
        self._hear(execution, legacy.BootFailed(self.clock.now_ms))

    def _dies(self, execution: LiveExecution, event: Any) -> None:
        """An error that nothing catches: the job that the execution holds is lost, and its instance stays (F2, F8)."""
        attempt, now, instance = execution.attempt, self.clock.now_ms, execution.instance
        self._hear(execution, event)
        execution.run += 1
        if attempt is not None and not attempt.accounted:
            self._account(attempt, min(now, attempt.end_ms), legacy.ABANDONED, useful=False)
        if execution.number >= 0:
            self.jobs.copy_ends(execution.number, VANISHED, now)
        if not execution.gone and instance.number in execution.group.protected:
            self.orphans.add(instance.number)
            self.tally.orphan_workers += 1
        self._retire(execution)

    def _full(self, execution: LiveExecution) -> None:
        limits = self.tally.limits
        limits["stepfunctions.history_limit"] = limits.get("stepfunctions.history_limit", 0) + 1
        self._dies(execution, legacy.HistoryFull(self.clock.now_ms))

    def _retire(self, execution: LiveExecution) -> None:
        """The execution has ended: say what it used."""
        self.live_executions -= 1
        execution.attempt, execution.message, execution.number = None, None, -1
        if self.journal is None:
            return
        used = execution.account()
        body = {
            "jobs": execution.jobs,
            "polls": execution.polls,
            "transitions": used.transitions,
            "functions": used.functions,
            "history_events": used.history_events,
            "segments": dict(execution.segments),
            "end": execution.state.phase,
        }
        self.journal.fact(self.clock.now_ms, "legacy-execution", execution.state.badge.id, body)

    # commands ---------------------------------------------------------------------------------------------------
    def _nothing(self, execution: LiveExecution, command: Any) -> None:
        """The table of 2019 is written and never read."""

    def _protect(self, execution: LiveExecution, command: Protect) -> None:
        now, instance = self.clock.now_ms, execution.instance
        first = execution.state.phase == "protecting"
        failed = self._failed_tries("ProtectEC2") if first else 0
        self._retried(execution, "ProtectEC2", failed)
        if failed > TASKS["ProtectEC2"][1].attempts:
            self._dies(execution, legacy.ProtectFailed(now))
            return
        if command.on and instance.ended_ms == NOT_YET:
            execution.group.protected.add(instance.number)
        if first:
            self._hear(execution, legacy.Protected(now))

    def _receive_later(self, execution: LiveExecution, command: legacy.Receive) -> None:
        if execution.tail and not execution.state.tries:
            self._count(execution, "next_job")
        latency_ms = self.receive_latency[row(execution.instance.number, execution.cycle)]
        self.clock.at(self.clock.now_ms + command.after_ms + latency_ms, REPORT, self._receive, execution)

    def _receive(self, execution: LiveExecution) -> None:
        now, queue, tries = self.clock.now_ms, execution.group.queue, execution.state.tries
        if self._room(execution) < _TAKEN_EVENTS:
            self._full(execution)
            return
        message = None
        if queue.visible and not self.faults.occurs("sqs.empty_receive"):
            message = queue.receive(now, reordered=self.faults.occurs("sqs.reorder"))
        if message is None:
            self._receives_nothing(execution)
            return
        self._count(execution, "receive_retry", tries)
        number = execution.number = message.number
        execution.message = message
        execution.cycle += 1
        retries = self.submissions.spec_of(number).retries
        self._hear(execution, legacy.MessageReceived(now, self.work.job_id(number), retries, message.re_run))

    def _receives_nothing(self, execution: LiveExecution) -> None:
        """Nothing came; the last try of the state ends in SQSCheck."""
        execution.tail = "queue_check"
        if execution.state.tries == TASKS["GetJob"][1].attempts:
            if self._room(execution) < EVENTS["empty_receive"] + EVENTS["queue_check"]:
                self._full(execution)
                return
            self._count(execution, "empty_receive")
        self._hear(execution, legacy.NothingReceived(self.clock.now_ms))

    def _delete(self, execution: LiveExecution, command: legacy.Delete) -> None:
        """The message is hidden, and deleted soon after. A delete that takes longer than the visibility timeout, or
        that never succeeds, lets it be received again while this worker runs the job (F7)."""
        message, queue, now = execution.message, execution.group.queue, self.clock.now_ms
        failed = self._failed_tries("DeleteJob")
        execution.delay_ms = self._retried(execution, "DeleteJob", failed)
        never = failed > TASKS["DeleteJob"][1].attempts
        if message is None or (execution.delay_ms < self.settings.visibility_ms and not never):
            return
        receipt = message.receipt
        queue.in_flight += 1
        self.clock.at(now + self.settings.visibility_ms, REPORT, self._reappears, (execution, message, receipt))
        if not never:
            self.clock.at(now + execution.delay_ms, REPORT, self._deleted, (execution, message, receipt))

    def _reappears(self, hidden: tuple[LiveExecution, Message, int]) -> None:
        execution, message, receipt = hidden
        if execution.group.queue.reappear(message, receipt, self.clock.now_ms):
            self.jobs.add_copy(message.number)

    def _deleted(self, hidden: tuple[LiveExecution, Message, int]) -> None:
        execution, message, receipt = hidden
        if execution.group.queue.delete(message, receipt, self.clock.now_ms):
            self.jobs.drop_copy(message.number)

    def _start_later(self, execution: LiveExecution, command: legacy.SendCommand) -> None:
        if self._room(execution) < EVENTS["start_refused"]:
            self._full(execution)
            return
        latency_ms = self.start_latency[row(execution.number, execution.cycle)]
        self.clock.at(self.clock.now_ms + execution.delay_ms + latency_ms, REPORT, self._start, execution)

    def _start(self, execution: LiveExecution) -> None:
        """SendCommand. An instance that is gone, or whose agent has not registered, is refused in every try (F3). A try
        that fails otherwise has sent the command all the same."""
        now, retry = self.clock.now_ms, TASKS["StartJob"][1]
        if execution.gone or execution.instance.number not in self.registered:
            self._refused_later(execution)
            return
        failed = self._failed_tries("StartJob")
        if failed > retry.attempts:
            for _ in range(failed):
                self._run_again(execution, None)
            self._refused_later(execution)
            return
        self._count(execution, "job_start")
        self._retried(execution, "StartJob", failed)
        attempt = self._begin(execution)
        for _ in range(failed):
            self._run_again(execution, attempt)
        self._hear(execution, legacy.CommandSent(now))

    def _refused_later(self, execution: LiveExecution) -> None:
        self._count(execution, "start_refused")
        retry = TASKS["StartJob"][1]
        at_ms = self.clock.now_ms + retry.wait_s(retry.attempts) * 1000
        self.clock.at(at_ms, REPORT, self._refused, execution)

    def _refused(self, execution: LiveExecution) -> None:
        if self._enters(execution, "fail_ssm"):
            self._hear(execution, legacy.StartRefused(self.clock.now_ms))

    def _enters(self, execution: LiveExecution, tail: str) -> bool:
        """Whether the execution may still go through this tail; it dies if not."""
        execution.tail, execution.delay_ms = tail, 0
        more = 0 if tail == "success" else EVENTS["give_up"]
        if self._room(execution) < EVENTS[tail] + more:
            self._full(execution)
            return False
        return True

    # polls ------------------------------------------------------------------------------------------------------
    def _poll(self, execution: LiveExecution, command: legacy.Poll) -> None:
        failed = self._failed_tries("CheckJob")  # of the first check; later ones keep the last answer
        self._retried(execution, "CheckJob", failed)
        execution.check_fails = failed > TASKS["CheckJob"][1].attempts
        self._plan_polls(execution)

    def _plan_polls(self, execution: LiveExecution) -> None:
        """Find the poll at which something is decided, and let only that one happen."""
        attempt = execution.attempt
        if attempt is None:
            return
        cycle_ms, room = self.cycle_ms, max(0, self._room(execution) // EVENTS["poll"])
        polls, finds = max(1, -(-execution.known_ms // cycle_ms)), ENDED
        if execution.check_fails:
            polls, finds = 1, CHECK_FAILS
        elif 0 < execution.error_poll <= polls:
            polls, finds = execution.error_poll, ERROR
        at_ms = attempt.start_ms + polls * cycle_ms
        if polls > room:
            at_ms, polls, finds = attempt.start_ms + (room + 1) * cycle_ms, room, FULL
        execution.run, execution.finds = execution.run + 1, finds
        planned = (execution, execution.run, polls, finds)
        self.clock.at(max(self.clock.now_ms, at_ms), REPORT, self._polled, planned)

    def _polled(self, planned: Planned) -> None:
        execution, run, polls, finds = planned
        if execution.run != run:
            return
        self._count(execution, "poll", polls)
        execution.polls += polls
        if finds == FULL:
            self._full(execution)
        elif finds == CHECK_FAILS:
            self._dies(execution, legacy.CheckFailed(self.clock.now_ms))
        elif finds == ERROR:
            self._check_errs(execution, polls)
        else:
            self._check_ends(execution, polls)

    def _check_ends(self, execution: LiveExecution, polls: int) -> None:
        """Systems Manager knows how the command has ended, or has given up on the agent (F1)."""
        attempt, answer, tail = execution.attempt, SUCCESS, "fail_string"
        if attempt is None:
            return
        if attempt.lost or attempt.cause in (FAILED, TIMEOUT):
            answer, tail = FAILURE, "fail_ssm"
        elif attempt.cause == DONE:
            tail = "success"
        if not self._enters(execution, tail):
            return
        if not attempt.accounted:
            self._ends(attempt, accepted=True)
        self._hear(execution, legacy.Polled(self.clock.now_ms, answer, polls))

    def _check_errs(self, execution: LiveExecution, polls: int) -> None:
        """The check fails inside and answers ('success', 'null'), whatever the command does (F5). Without a success
        string the job is called successful; with one it is failed, and run again. Neither is written to the table."""
        attempt, now, accepted = execution.attempt, self.clock.now_ms, not self.settings.string_check
        if attempt is None or not self._enters(execution, "success" if accepted else "fail_string"):
            return
        self.faults.seen["ssm.error"] = self.faults.seen.get("ssm.error", 0) + 1
        execution.delay_ms = self._retried(execution, "WriteJobFailed", _UNWRITTEN_TRIES)
        if not attempt.accounted and now >= attempt.end_ms:
            self._ends(attempt, accepted=accepted)
        elif not attempt.accounted:
            self._let_go(execution, attempt)
        self._hear(execution, legacy.Polled(now, ERROR, polls))

    def _search(self, execution: LiveExecution, command: legacy.SearchOutput) -> None:
        self._hear(execution, legacy.OutputSearched(self.clock.now_ms, execution.tail == "success"))

    # after a job ------------------------------------------------------------------------------------------------
    def _send(self, execution: LiveExecution, command: legacy.Send) -> None:
        """The job goes to a queue, and the execution holds it no more."""
        number, attempt, now = execution.number, execution.attempt, self.clock.now_ms
        execution.attempt, execution.message, execution.number = None, None, -1
        if command.queue == SAME:
            execution.group.queue.send(Message(number, command.re_run), now)
        elif command.queue == FINISHED:
            execution.jobs += 1
            if attempt is not None and not attempt.accounted:
                attempt.accepted = True  # it still runs: what becomes of it decides
            else:
                self._conclude(number, completed=attempt is not None and attempt.cause == DONE and not attempt.lost)
        else:
            self._count(execution, "give_up")
            self.jobs.copy_ends(number, GAVE_UP, now)

    def _count_later(self, execution: LiveExecution, command: legacy.CountQueue) -> None:
        tail = execution.tail
        self._count(execution, tail)
        latency_ms = self.tail_latency[tail][row(execution.instance.number, execution.cycle)]
        self.clock.at(self.clock.now_ms + execution.delay_ms + latency_ms, REPORT, self._counted, execution)

    def _counted(self, execution: LiveExecution) -> None:
        now = self.clock.now_ms
        self._hear(execution, legacy.QueueCounted(now, execution.group.queue.count(now)))

    def _terminate_later(self, execution: LiveExecution, command: legacy.Terminate) -> None:
        """After a failed boot there is nothing left to end."""
        now = self.clock.now_ms
        if "worker_start" not in execution.segments:
            self._count(execution, "boot_failed")
            self._hear(execution, legacy.Terminated(now))
            self._retire(execution)
            return
        latency_ms = self.end_latency[row(execution.instance.number, execution.cycle)]
        failed = 0 if execution.gone else self._failed_tries("FinalTerminate")
        delay_ms = self._retried(execution, "FinalTerminate", failed)
        self.clock.at(now + delay_ms + latency_ms, REPORT, self._terminate, (execution, failed))

    def _terminate(self, planned: tuple[LiveExecution, int]) -> None:
        execution, failed = planned
        now, group = self.clock.now_ms, execution.group
        if self._room(execution) + EXECUTION_END < EVENTS["teardown"]:
            self._full(execution)
        elif failed > TASKS["FinalTerminate"][1].attempts:
            self._dies(execution, legacy.TerminateFailed(now))
        else:
            self._count(execution, "teardown")
            self._hear(execution, legacy.Terminated(now))
            self._retire(execution)
            if not execution.gone:
                group.desired = max(0, group.desired - 1)
                self.stop(execution.worker, "idle")
