"""Orders to instances over SSM: which document, which parameters, and instances that are gone."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws.control import PoolSpec
from aws.effects import Ec2Fleet
from aws.store import WorkerRow
from scheduler.commands import Checkpoint, Start
from scheduler.worker import Badge, Worker

LINUX = PoolSpec("l", "c6i.large", "us-east-1a", "spot", 9, 2.0, 4.0, 0, 0.1, "group-l")
WINDOWS = PoolSpec("w", "c6i.large", "us-east-1a", "spot", 9, 2.0, 4.0, 0, 0.1, "group-w", "windows")


class Ssm:
    """Notes what is sent."""

    def __init__(self, error: str = "") -> None:
        self.sent: list[dict[str, Any]] = []
        self.error = error

    def send_command(self, **given: Any) -> None:
        if self.error:
            raise ClientError({"Error": {"Code": self.error}}, "SendCommand")
        self.sent.append(given)


def fleet(ssm: Ssm) -> Ec2Fleet:
    documents = {"linux": "our-linux", "windows": "our-windows"}
    return Ec2Fleet(ssm, None, None, documents, {pool.id: pool for pool in (LINUX, WINDOWS)}, lambda: None)


def row(pool: PoolSpec) -> WorkerRow:
    return WorkerRow("i-1#0", Worker(Badge("i-1#0", pool.id, pool.purchase)), 0)


@pytest.mark.parametrize(("pool", "document"), [(LINUX, "our-linux"), (WINDOWS, "our-windows")])
def test_the_document_is_that_of_the_pools_operating_system(pool: PoolSpec, document: str) -> None:
    ssm = Ssm()
    assert fleet(ssm).start(row(pool), Start("a b;$(id)\n{{ssm:x}}", 3, 60_000, -1))
    fleet(ssm).checkpoint(row(pool), Checkpoint("a", 3))
    start, leave = ssm.sent
    assert (start["DocumentName"], leave["DocumentName"]) == (document, document)
    assert start["InstanceIds"] == ["i-1"]
    assert start["Parameters"] == {
        "Action": ["run"], "Job": ["a%20b%3B%24%28id%29%0A%7B%7Bssm%3Ax%7D%7D"], "Epoch": ["3"], "Worker": ["i-1#0"],
        "CheckpointEveryMs": ["60000"],
    }  # fmt: skip
    assert leave["Parameters"]["Action"] == ["checkpoint"]


def test_an_instance_that_is_gone_is_no_error_and_any_other_is() -> None:
    assert not fleet(Ssm("InvalidInstanceId")).start(row(LINUX), Start("a", 1, 0, -1))
    with pytest.raises(ClientError):
        fleet(Ssm("ThrottlingException")).start(row(LINUX), Start("a", 1, 0, -1))


class Prices:
    """Of each product another price."""

    def describe_spot_price_history(self, ProductDescriptions: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803
        (product,) = ProductDescriptions
        return {"SpotPriceHistory": [{"SpotPrice": {"Linux/UNIX": "0.04", "Windows": "0.13"}[product]}]}


@pytest.mark.parametrize(("pool", "usd"), [(LINUX, 0.04), (WINDOWS, 0.13)])
def test_the_spot_price_is_that_of_the_pools_operating_system(pool: PoolSpec, usd: float) -> None:
    """What the cap on spending adds up: Windows costs several times as much."""
    target = Ec2Fleet(None, None, Prices(), {}, {pool.id: pool}, lambda: None)
    assert target.price_usd_per_hour(pool) == usd
