"""The diagrams of the stacks are those of the templates, and the committed ones are not stale."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aws import diagrams
from aws.render import FOLDER, Template, read_template


def template(name: str) -> Template:
    return read_template(FOLDER / "templates" / f"{name}.yaml")


def test_the_committed_diagrams_are_not_stale(root: Path) -> None:
    text = (root / "docs" / "deploy.md").read_text("utf-8")
    assert text == diagrams.written(text), "run `python -m aws.diagrams`"
    assert text.count("```mermaid") == 2


def arrows(diagram: str) -> set[tuple[str, str, str]]:
    return set(re.findall(r'^    (\w+) --(?: "([\w, ]+)" --)?> (\w+)$', diagram, re.MULTILINE))


def test_rights_are_drawn_as_they_are() -> None:
    drawn = arrows(diagrams.scheduler_diagram(template("scheduler")))
    assert {each for each in drawn if each[0] == "ParkFunction"} == {
        ("ParkFunction", "Keep", "Workers"),
        ("ParkFunction", "Answer", "WorkerMachine"),
    }
    assert {source for source, _, target in drawn if target == "Instances"} == {
        "StepFunction",
        "FleetFunction",
        "OperateFunction",
    }
    assert {source for source, _, target in drawn if target == "LinuxDocument"} == {
        "StepFunction",
        "FleetFunction",
        "OperateFunction",
    }
    assert {("JobQueue", "", "IntakeFunction"), ("WorkerMachine", "", "StepFunction")} <= drawn
    assert {
        ("clock", "Tick", "FleetFunction"),
        ("ec2", "Interruption, Rebalance, Gone, Tagged, Launched", "DeliverFunction"),
    } <= drawn


def test_references_are_drawn_as_they_are() -> None:
    drawn = arrows(diagrams.resources_diagram(template("resources")))
    assert {target for source, _, target in drawn if source == "Pool"} == {"Subnet", "Machine"}
    assert {target for source, _, target in drawn if source == "Machine"} == {"InstanceRole", "Wall"}
    assert {("DropRule", "", "Bucket"), ("DropRule", "", "door"), ("InstanceRole", "", "Bucket")} <= drawn


@pytest.mark.parametrize("name", ["scheduler", "resources"])
def test_every_arrow_joins_what_is_drawn(name: str) -> None:
    diagram = getattr(diagrams, f"{name}_diagram")(template(name))
    nodes = set(re.findall(r'^ +(?:subgraph )?(\w+)(?:$|[\[({>/]+")', diagram, re.MULTILINE))
    ends = {end for source, _, target in arrows(diagram) for end in (source, target)}
    assert ends <= nodes


def test_the_command_draws_into_the_document(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (root / "docs" / "deploy.md").read_text("utf-8")
    monkeypatch.setattr(diagrams, "TARGET", tmp_path / "deploy.md")
    diagrams.TARGET.write_text(re.sub(r"```mermaid.*?```\n", "", text, flags=re.DOTALL), "utf-8")
    diagrams.main([])
    assert diagrams.TARGET.read_text("utf-8") == text
    assert capsys.readouterr().out == f"{diagrams.TARGET}\n"
