"""docs/deploy.md: what it shows can be done as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from aws.idle import idle_cost
from aws.target import load_target
from spotbed.cli.app import app
from spotbed.pricebook import PriceBook
from spotbed.services_preset import ServicesPreset


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "docs" / "deploy.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_target_of_an_empty_account_is_one(text: str, tmp_path: Path) -> None:
    (block,) = blocks(text, "yaml")
    (tmp_path / "TARGET.yaml").write_text(block)
    target = load_target(tmp_path / "TARGET.yaml")
    assert (target.stack, target.network.vpc, target.network.out) == ("eda", None, "nat")


def test_every_command_has_the_options_that_are_given(text: str) -> None:
    lines = [line.partition("#")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("spotbed ")]
    assert len(commands) >= 6
    root = get_command(app)
    for name, *given in commands:
        context = typer.Context(root)
        found = root.get_command(context, name)  # type: ignore[attr-defined]
        assert found is not None, name
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in given if word.startswith("-")} <= known, name


def test_from_an_account_to_a_job_it_takes_five_commands(text: str) -> None:
    after = text[text.index("Then five commands") :]
    assert len(re.findall("^spotbed ", blocks(after, "sh")[0], re.MULTILINE)) == 5


def test_the_idle_costs_are_those_of_the_price_book(text: str) -> None:
    cost = idle_cost(PriceBook.load(), ServicesPreset.load(), 1)
    common = sum(line.usd for line in cost.common)
    nat, endpoints = (cost.usd_per_month[way] - common for way in ("nat", "endpoints"))
    told = re.search(r"about \$(\d+) a month.*?\$(\d+) for a NAT gateway, or \$(\d+) for each zone", text, re.DOTALL)
    assert told is not None
    assert [int(number) for number in told.groups()] == [round(common), round(nat), round(endpoints)]
