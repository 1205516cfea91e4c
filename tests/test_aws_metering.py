"""What the control plane uses: of many jobs one after the other, and what it costs beside the original's.

That both sides use the same is asserted wherever they decide the same (test_aws_conformance.py, test_aws_gangs.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from aws_meter import AWS
from legacy_worlds import legacy_policy
from legacy_worlds import world as legacy_world
from test_aws_conformance import agree
from test_conformance import PLAIN, SLOW, SPOT, world

from sim.decoupled import DecoupledWorld
from sim.legacy import LegacyWorld
from spotbed.ledger import operation_usd
from spotbed.pricebook import PriceBook


def test_jobs_one_after_the_other() -> None:
    agree(world(PLAIN, [(at * 1_000, 400_000) for at in range(12)], {"spot-a": [(0, 3)], "spot-b": [(0, 2)]}, SLOW))


def usd(operations: Mapping[str, int], architecture: str) -> float:
    book, table = PriceBook.load("us-east-1"), AWS.operations[architecture]
    return sum(times * operation_usd(table[name], book) for name, times in operations.items())


def test_the_control_plane_of_an_hour_of_work_costs_at_most_a_tenth_of_the_originals() -> None:
    """Everything that happens for one job of an hour: its worker's whole life and the fleet's ticks."""
    ours = DecoupledWorld(world(PLAIN, [(0, 3_600_000)], {}, SLOW), SPOT).run()
    original = LegacyWorld(legacy_world([3_590]), legacy_policy()).run()
    assert original.operations["poll"] > 600  # about each 5 s
    assert usd(ours.operations, "decoupled") <= 0.1 * usd(original.operations, "legacy")
