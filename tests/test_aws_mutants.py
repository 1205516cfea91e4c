"""The conformance tests bite: a driver with one line changed, on either side, no longer gives the other's journal."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from mutation import Mutant, fresh_modules

DRIVERS = ("aws", "aws_world", "in_memory", "in_memory_ec2", "test_conformance", "test_aws_conformance")
NOTICED, UNNOTICED = "test_a_job_that_is_checkpointed_on_notice", "test_a_job_that_is_interrupted_without_a_notice"
PERIODIC = "test_a_job_that_goes_on_from_its_last_periodic_checkpoint"
SECOND, ROLLS = "test_a_second_job_wakes_the_idle_worker", "test_an_execution_that_rolls_over"
TIMEOUTS, FALLBACK = "test_failures_delays_and_timeouts", "test_a_job_that_falls_back_to_on_demand"
LONGEST_MS = 3 * 3_600_000  # none of these scenarios takes as long
SILENT = "test_a_silent_loss"


@dataclass(frozen=True)
class Dies(Mutant):
    """A mutant; `rule` is the scenario in which it dies."""


AWS = (
    Dies("a claim forgets what checkpoints keep", NOTICED, "aws.jobs", "        leased.progress_ms,\n", "        0,\n"),
    Dies(
        "an interrupted job is completed",
        UNNOTICED,
        "aws.workers",
        "command.job, command.epoch, command.cause, 0, command.progress_ms, row.name)",
        "command.job, command.epoch, DONE, 0, command.progress_ms, row.name)",
    ),
    Dies(
        "the reaper forgets what the wrapper has kept",
        SILENT,
        "aws.jobs",
        "LeaseExpired(now, epoch, row.safe_ms)",
        "LeaseExpired(now, epoch, 0)",
    ),
    Dies(
        "a worker that is gone is told to go on",
        SILENT,
        "aws.fleet",
        'workers.deliver(control, holder, f"reaped/{holder}", packed(Lost(control.now_ms())))',
        'workers.deliver(control, holder, f"reaped/{holder}", packed(ended))',
    ),
    Dies(
        "a retry does not wait",
        TIMEOUTS,
        "aws.jobs",
        "control.timers.set(job.ticket.id, command.after_ms)",
        "control.timers.set(job.ticket.id, 0)",
    ),
    Dies(
        "a job that waits no more is still counted",
        SECOND,
        "aws.jobs",
        "merged(counts(before, -1), counts(after, 1))",
        "merged(counts(after, 1))",
    ),
    Dies(
        "jobs wait in no order",
        ROLLS,
        "aws.classes",
        'return f"{ordered & ((1 << 64) - 1):016x}#{submit_ms:015d}#{job_id}"',
        'return f"{~ordered & ((1 << 64) - 1):016x}#{submit_ms:015d}#{job_id}"',
    ),
    Dies(
        "an idle worker cannot be found",
        SECOND,
        "aws.workers",
        '    if state.phase == "idle" != row.record.phase:\n',
        '    if state.phase == "gone" != row.record.phase:\n',
    ),
    Dies(
        "the fleet is not told that a pool is full",
        FALLBACK,
        "aws.fleet",
        "    if granted < order.count:\n",
        "    if False:\n",
    ),
    Dies(
        "an old timer fires",
        SECOND,
        "aws.workers",
        "isinstance(each, Claim | Start | Stop)",
        "isinstance(each, Start | Stop)",
    ),
)
SIM = (
    Dies(
        "a job that goes on restores nothing",
        NOTICED,
        "sim.running",
        "            overhead_ms += self._restore_ms\n",
        "",
    ),
    Dies(
        "checkpoints take no time",
        PERIODIC,
        "sim.running",
        "total_ms += (work_ms - 1) // every_ms * self._write_ms",
        "total_ms += 0",
    ),
    Dies(
        "the last checkpoint takes no time",
        NOTICED,
        "sim.decoupled",
        "begin_ms + (self._write_ms if worked > safe else 0)",
        "begin_ms",
    ),
    Dies("a limit of time is none", TIMEOUTS, "sim.running", "if 0 <= command.timeout_ms < total_ms:", "if False:"),
    Dies(
        "a notice always comes two minutes ahead",
        NOTICED,
        "sim.decoupled",
        "Notice(at_ms, max(0, end_ms - at_ms))",
        "Notice(at_ms, lead_ms)",
    ),
    Dies(
        "a lease lives as long as its attempt",
        SILENT,
        "sim.decoupled",
        "renewals = max(0, now - started_ms) // self.renewal_ms",
        "renewals = 0",
    ),
    Dies(
        "a retry does not wait",
        TIMEOUTS,
        "sim.jobs",
        'command.after_ms, TIMER, self._job_timer_fires, (number, "delay")',
        '1, TIMER, self._job_timer_fires, (number, "delay")',
    ),
    Dies(
        "a hint takes no time",
        SECOND,
        "sim.decoupled",
        "at_ms = self.clock.now_ms + self.wake_latency[position]",
        "at_ms = self.clock.now_ms",
    ),
    Dies(
        "a report takes no time",
        ROLLS,
        "sim.usual",
        "report_ms = start_ms + work_ms + report_latency[position]",
        "report_ms = start_ms + work_ms",
    ),
    Dies(
        "a pool that refuses is not avoided",
        FALLBACK,
        "sim.decoupled",
        "        if granted < wanted:\n",
        "        if False:\n",
    ),
)


def dies(mutant: Mutant, scenario: str) -> str:
    """What broke when both sides ran the scenario; "" if they agreed."""
    with fresh_modules(mutant, also=DRIVERS):
        import aws_world
        import test_aws_conformance as both
        import test_conformance as stand_in

        stand_in.agree = both.agree
        aws_world.LONGEST_MS = LONGEST_MS
        try:
            if scenario == SILENT:
                both.test_a_silent_loss(stand_in.SLOW, stand_in.Periodic(every_ms=300_000))
            else:
                getattr(stand_in, scenario)(stand_in.SLOW)
        except AssertionError as death:
            return str(death) or "an assertion"
    return ""


def marked(number: int, mutant: Mutant) -> object:
    """Some in each run of the tests, all in the slow part."""
    marks = () if number % 10 == 0 else pytest.mark.slow
    return pytest.param(mutant, marks=marks, id=f"{mutant.module}-{mutant.name.replace(' ', '-')}")


@pytest.mark.parametrize("mutant", [marked(*each) for side in (AWS, SIM) for each in enumerate(side)])
def test_a_mutant_dies(mutant: Mutant) -> None:
    assert dies(mutant, mutant.rule), f"{mutant.name}: nobody noticed"


def test_there_are_ten_on_each_side() -> None:
    for side in (AWS, SIM):
        assert len({each.source() for each in side}) == len(side) >= 10
