"""The smoke test of a real account, walked through on MiniStack: so it can be trusted to begin, and to clean up."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import smoke_aws
from deployed import Deployed, eventually
from ministack import ACCOUNT, Ministack
from smoke_aws import STACK, Smoke
from typer.testing import CliRunner

from aws import account, removal
from aws.formation import Pace
from spotbed.cli.app import app

TARGET = {
    "schema": "spotbed/target/v1",
    "stack": "theirs",
    "region": "us-east-1",
    "network": {"out": "endpoints"},
    "images": {"x86_64": "ami-0123456789abcdef0"},
    "teams": [{"name": "cpu", "bucket": "smoked-jobs"}],
    "spend_cap": "5 USD",
    "alarms": {"email": "ops@example.com"},
}


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout if result.exit_code in (0, 4) else result.output


class Machines(Deployed):
    """The instances of the smoke's stack; each boots when it is seen first."""

    def role_of(self, name: str) -> str:
        found = self.account.client("cloudformation").describe_stack_resources(
            StackName=f"{STACK}-smoke", LogicalResourceId=name
        )
        return f"arn:aws:iam::{ACCOUNT}:role/{found['StackResources'][0]['PhysicalResourceId']}"

    def live(self) -> None:
        """A tick, and who was launched boots."""
        self.call("fleet", {})
        for instance in self.instances():
            if eventually(lambda instance=instance: self.workers().get(instance)) == "booting":
                self.boot(instance)


@pytest.mark.slow
def test_the_smoke_test_walks_through(ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ministack.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPOTBED_HOME", str(tmp_path / "home"))
    pace = Pace(0.1, 60.0)
    monkeypatch.setattr(account, "prepare", functools.partial(account.prepare, gradual=False, pace=pace))
    monkeypatch.setattr(removal, "Pace", lambda: pace)
    machines = Machines(ministack, STACK, {"group": f"{STACK}-spot"}, "smoked-jobs-smoke")
    smoke = Smoke(tmp_path, TARGET, invoke, meanwhile=machines.live, within_s=60.0)
    assert 0 < smoke.estimate_usd(smoke.plan()) < 1
    smoke.deploy_and_use()


def test_it_asks_for_a_target_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("SPOTBED_AWS_TARGET", raising=False)
    assert smoke_aws.main() == 1
    assert "SPOTBED_AWS_TARGET=TARGET.yaml make test-aws" in capsys.readouterr().err
