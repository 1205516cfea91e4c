"""The settings that the core reads besides a policy's own parameters; they come from the scenario."""

from __future__ import annotations

from scheduler.record import record


@record
class Settings:
    """All times in milliseconds. The defaults are those of `services: {preset: aws-us-east-1}`."""

    seed: int = 0
    lease_ms: int = 300_000
    tick_ms: int = 60_000
    keep_alive_ms: int = 60_000
    boot_timeout_ms: int = 600_000
    roll_over_at: int = 20_000  # history events of one execution; AWS ends it at 25,000
    events_per_cycle: int = 28  # history events between two claims
    checkpoint_write_ms: int = 0
    checkpoint_restore_ms: int = 0
    startup_ms: int = 0
    reaction_ms: int = 0  # what a deadline must allow from a decision to a ready worker: tick, launch and boot
