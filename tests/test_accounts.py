"""What checkpoints kept is useful only for jobs that end well; staging, checkpoints and all calls are metered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import HOUR, MINUTE, S, constant, policy_of, pool, steps, work_of

from scheduler.policies.protect import NoProtection, Periodic
from scheduler.policies.retry import Immediate
from scheduler.settings import Settings
from sim import gangs
from sim.decoupled import OPERATIONS, DecoupledWorld
from sim.inputs import (
    Billing,
    Interruptions,
    JobClass,
    MarketInputs,
    PricePath,
    ServiceInputs,
    Work,
    WorldInputs,
)
from spotbed.journal import Journal
from spotbed.ledger import Costs, LedgerError, PoolFacts, make_bill
from spotbed.metering import CHECKPOINT, FAILED, GAVE_UP, LOST, UNFINISHED, USEFUL, Tally
from spotbed.metrics import metrics
from spotbed.pricebook import PriceBook
from spotbed.services_preset import ServicesPreset

SETTINGS = Settings(tick_ms=10 * S, keep_alive_ms=30 * S, checkpoint_write_ms=10 * S, checkpoint_restore_ms=20 * S)
FACTS = [PoolFacts("spot", 0.17)]


def run(
    work: Work,
    *,
    price: PricePath | None = None,
    market: MarketInputs | None = None,
    protect: object = None,
    rate: float = 0.0,
    journal: Journal | None = None,
    **fields: object,
) -> Tally:
    services = ServiceInputs(staging_gib_per_s=rate)
    inputs = WorldInputs(1, 0, work, (pool(most=1, price=price),), market or MarketInputs(), services, **fields)  # type: ignore[arg-type]
    policy = policy_of(SETTINGS, protect=protect or NoProtection(), retry=Immediate())
    return DecoupledWorld(inputs, policy, journal).run()


def taken(at_ms: int, back_ms: int) -> MarketInputs:
    """EC2 takes all instances at a time, and has some again later."""
    capacity = np.array([0, at_ms, back_ms, 1 << 40]), np.array([1, 0, 1, 1])
    return MarketInputs(
        Interruptions("trace", capacity={"spot": capacity}, burst_ms=0), notice_probability=0.0, launch=constant(0)
    )


def test_an_instance_that_is_taken_before_it_runs_is_neither_billed_nor_interrupted() -> None:
    market = replace(taken(30 * S, 10 * MINUTE), launch=constant(60))
    tally = run(work_of((JobClass("job"),), [0], [MINUTE]), market=market)
    assert (tally.pools[0].instances, tally.pools[0].interruptions, tally.attempts) == (1, 0, 1)


MOVING = steps([0, 4 * MINUTE, 30 * MINUTE], [0.06, 0.09, 0.05])
POISON = JobClass("job", checkpointable=True, fail_probability=1.0, retries=1)


@pytest.mark.parametrize("price", [None, MOVING])
@pytest.mark.parametrize("first_hour_free", [False, True])
def test_checkpointed_work_of_a_job_that_is_given_up_has_failed(price: PricePath | None, first_hour_free: bool) -> None:
    """Interrupted after two checkpoints of its ten minutes; then it fails twice, on other instances."""
    billing = Billing(60.0, first_hour_free)
    journal = Journal()
    tally = run(
        work_of((POISON,), [0], [10 * MINUTE]),
        price=price,
        market=taken(6 * MINUTE + 30 * S, 9 * MINUTE),
        protect=Periodic(every_ms=2 * MINUTE),
        billing=billing,
        journal=journal,
    )
    use = tally.pools[0]
    assert tally.jobs.status[0] == GAVE_UP
    assert (use.ms[USEFUL], tally.jobs.useful_ms[0]) == (0, 0)
    assert use.ms[FAILED] >= 10 * MINUTE
    assert use.usd[USEFUL] == pytest.approx(0, abs=1e-12)
    assert math.fsum(use.usd) == pytest.approx(use.instance_usd, rel=1e-12)
    (told,) = [entry for entry in journal.entries if entry.kind == "kept-for-nothing"]
    assert (told.body["cause"], told.body["useful_ms"] > 0) == ("failed", True)
    values = metrics(tally, work_of((POISON,), [0], [10 * MINUTE]), FACTS, 0.0)
    assert values["spot_work_s"] == 0


@pytest.mark.parametrize("price", [None, MOVING])
def test_checkpointed_work_of_a_job_that_never_ends_is_lost(price: PricePath | None) -> None:
    work = work_of((JobClass("job", checkpointable=True),), [0], [10 * MINUTE])
    market = taken(6 * MINUTE + 30 * S, 100 * HOUR)
    tally = run(work, price=price, market=market, protect=Periodic(every_ms=2 * MINUTE), drain_ms=2 * HOUR)
    use = tally.pools[0]
    assert tally.jobs.status[0] == UNFINISHED
    assert (use.ms[USEFUL], use.ms[FAILED]) == (0, 0)
    worked_ms = 5 * MINUTE + 30 * S - 2 * 10 * S
    assert use.ms[LOST] == tally.jobs.lost_ms[0] == worked_ms
    assert math.fsum(use.usd) == pytest.approx(use.instance_usd, rel=1e-12)


def test_checkpointed_work_of_a_job_that_is_done_was_useful() -> None:
    work = work_of((JobClass("job", checkpointable=True),), [0], [10 * MINUTE])
    tally = run(work, market=taken(6 * MINUTE + 30 * S, 9 * MINUTE), protect=Periodic(every_ms=2 * MINUTE))
    assert tally.pools[0].ms[USEFUL] == 10 * MINUTE
    # two whole checkpoints of the first attempt, two of the second: its work of six minutes needs none at the end
    assert tally.operations["checkpoint"] == 4
    assert tally.operations["restore"] == 1
    assert tally.pools[0].ms[CHECKPOINT] == 4 * 10 * S + 20 * S


# staging --------------------------------------------------------------------------------------------------------------
def test_input_is_read_at_each_start_and_output_written_once_and_both_take_time_and_money() -> None:
    staged = JobClass("job", input_gib=10, output_gib=5, fail_probability=0.0)
    work = work_of((staged,), [0], [10 * MINUTE])
    tally = run(work, market=taken(5 * MINUTE, 6 * MINUTE), rate=0.25)
    assert tally.gib == {"in": 20.0, "out": 5.0}
    assert tally.jobs.useful_ms[0] == 10 * MINUTE + (10 + 5) * 4 * S
    book, preset = PriceBook.load(), ServicesPreset.load()
    bill = make_bill(tally, FACTS, "decoupled", book, preset, Costs(), hours=1.0)
    calls = {(line.item, line.cause): line.usage for line in bill.lines}
    assert calls["s3.get", "useful"] == 20 * 128  # parts of 8 MiB
    assert calls["s3.put", "useful"] == 5 * 128


def test_a_failed_attempt_writes_no_output() -> None:
    staged = JobClass("job", output_gib=5, fail_probability=1.0, retries=0)
    assert "out" not in run(work_of((staged,), [0], [MINUTE]), rate=0.25).gib


# operations -----------------------------------------------------------------------------------------------------------
def test_an_operation_without_a_price_is_an_error_and_not_free() -> None:
    tally = run(work_of((JobClass("job"),), [0], [MINUTE]))
    tally.count("telepathy")
    with pytest.raises(LedgerError, match="no operation 'telepathy' of decoupled"):
        make_bill(tally, FACTS, "decoupled", PriceBook.load(), ServicesPreset.load(), Costs(), hours=1.0)


ADDED = {"stage_in_gib", "stage_out_gib", "hour"}  # by the ledger, to what the drivers count
RANKED = {"rank"}  # by sim.ranked, which only an order that ranks brings in
SEATS = set(gangs.OPERATIONS)  # by sim.gangs, which only work with gangs brings in


def counted_by_decoupled() -> set[str]:
    return {*OPERATIONS, "submit"} - {"event", "timer"} | {"deliver", "step", "park", "ended"} | ADDED | RANKED | SEATS


def test_the_driver_counts_the_operations_of_the_services_data_and_no_others() -> None:
    assert counted_by_decoupled() == set(ServicesPreset.load().operations["decoupled"])


# keys -----------------------------------------------------------------------------------------------------------------
def latencies_in_use(preset: ServicesPreset) -> set[str]:
    from spotbed.build import _PATHS

    names = {"decoupled": "decoupled", "central": "central", "legacy-2019": "legacy"}
    tables = {architecture: preset.paths[names[architecture]] for architecture in _PATHS}
    return {
        name
        for architecture, operations in _PATHS.items()
        for paths in operations.values()
        for path in paths
        for name in tables[architecture].get(path, ())
    }


def test_every_path_of_the_services_data_is_taken() -> None:
    from spotbed.build import _PATHS

    preset = ServicesPreset.load()
    names: Mapping[str, str] = {"decoupled": "decoupled", "central": "central", "legacy-2019": "legacy"}
    for architecture, operations in _PATHS.items():
        taken = {path for paths in operations.values() for path in paths}
        assert set(preset.paths[names[architecture]]) <= taken, architecture


def test_no_key_of_the_services_data_is_dead() -> None:
    """Each is a latency on a path that is taken, part of a usage table, or named in the code that reads it."""
    root = Path(__file__).parent.parent
    code = "".join(path.read_text() for folder in ("sim", "spotbed") for path in sorted((root / folder).rglob("*.py")))
    tables = (root / "spotbed" / "data" / "services-aws-us-east-1.yaml").read_text().split("\npaths:")[1]
    preset = ServicesPreset.load()
    used = latencies_in_use(preset) | {"lambda.cold_start", "ec2.boot", "ec2.boot_windows", "ec2.pending"}
    dead = [
        key
        for key in preset.settings
        if key.removesuffix(".median").removesuffix(".p95") not in used
        and f'"{key}"' not in code
        and f'"{key.removesuffix(".bucket").removesuffix(".refill")}"' not in code
        and f"of: {key}" not in tables
        and f"per: {key}" not in tables
        and f"memory: {key}" not in tables
        and f"duration: {key}" not in tables
        and not key.startswith("ec2.vcpus.")  # read by the name of the purchase option
    ]
    assert dead == []
