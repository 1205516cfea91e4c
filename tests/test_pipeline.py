"""The pipeline for GitHub Actions: what it runs exists, in this order, with no secret and nothing that can move."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from aws.translate import from_message
from spotbed.cli.app import app

ORDER = ["test", "compare", "plan", "apply", "verify", "roll-back"]


@pytest.fixture(scope="module")
def pipeline() -> dict[str, Any]:
    path = Path(__file__).parent.parent / ".github" / "workflows" / "deploy.yml"
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def steps(pipeline: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in pipeline["jobs"].items():
        for step in job["steps"]:
            yield name, step


def commands(script: str) -> Iterator[list[str]]:
    """The calls of spotbed in a script, as words."""
    for line in re.split(r"\n|&&|;|\|\|", script.replace("\\\n", " ")):
        if "spotbed " not in line:
            continue
        words = shlex.split(line.split(" > ")[0].split(" >> ")[0], comments=True)
        if "spotbed" in words:
            yield words[words.index("spotbed") + 1 :]


def test_the_jobs_follow_one_another(pipeline: dict[str, Any]) -> None:
    jobs = pipeline["jobs"]
    assert list(jobs) == ORDER
    for before, name in itertools.pairwise(ORDER):
        needs = jobs[name]["needs"]
        assert before in ([needs] if isinstance(needs, str) else needs)
    assert jobs["roll-back"]["if"] == "${{ failure() && needs.apply.result == 'success' }}"
    assert all("if" not in jobs[name] for name in ORDER[:-1])
    assert not any("continue-on-error" in step for _, step in steps(pipeline))


def test_it_runs_only_when_somebody_starts_it_and_one_at_a_time(pipeline: dict[str, Any]) -> None:
    assert list(pipeline[True]) == ["workflow_dispatch"]  # YAML reads `on` as true
    assert pipeline["concurrency"]["cancel-in-progress"] is False


def test_somebody_approves_before_an_account_is_touched(pipeline: dict[str, Any]) -> None:
    jobs = pipeline["jobs"]
    assert jobs["apply"]["environment"] == "deploy"
    for name in ("test", "compare", "plan"):
        assert "environment" not in jobs[name]
        assert "permissions" not in jobs[name]


def test_no_secret_is_read_and_a_role_is_assumed_only_where_it_is_needed(pipeline: dict[str, Any]) -> None:
    assert "secrets" not in json.dumps({str(key): value for key, value in pipeline.items()})
    assert pipeline["permissions"] == {"contents": "read"}
    assumes = {name for name, step in steps(pipeline) if "configure-aws-credentials" in step.get("uses", "")}
    may = {name for name, job in pipeline["jobs"].items() if job.get("permissions", {}).get("id-token") == "write"}
    assert assumes == may == {"apply", "verify", "roll-back"}
    for name, step in steps(pipeline):
        if "configure-aws-credentials" in step.get("uses", ""):
            assert step["with"].keys() == {"role-to-assume", "aws-region"}, name


def test_actions_are_pinned(pipeline: dict[str, Any]) -> None:
    used = [step["uses"] for _, step in steps(pipeline) if "uses" in step]
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each)] == []


def test_what_a_user_types_is_no_part_of_a_script(pipeline: dict[str, Any]) -> None:
    assert [step["run"] for _, step in steps(pipeline) if "${{" in step.get("run", "")] == []


def test_every_command_exists_with_its_options(pipeline: dict[str, Any]) -> None:
    root = typer.main.get_command(app)
    commands_of: Any = root
    called = []
    for _, step in steps(pipeline):
        for words in commands(step.get("run", "")):
            command = commands_of.commands[words[0]]
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= known, words
            assert command.make_context(words[0], list(words[1:])).params
            called.append(words[0])
    assert [name for name, _ in itertools.groupby(called)] == [
        "validate", "compare", "plan", "apply", "submit", "jobs", "verify", "drain", "compare", "plan", "apply",
    ]  # fmt: skip


def test_the_jobs_that_show_that_a_stack_works_are_jobs(root: Path) -> None:
    lines = (root / "deploy" / "smoke.jsonl").read_text().splitlines()
    assert len({from_message(line, 0).ticket.id for line in lines}) == len(lines) >= 3
