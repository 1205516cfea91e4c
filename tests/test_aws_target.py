"""TARGET.yaml: what it takes, and how it says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from aws.target import is_target, load_target, misfits, target_schema, validate_target
from spotbed.cli.app import app
from spotbed.errors import InputError

SMALLEST = """\
schema: spotbed/target/v1
stack: eda
region: us-east-1
network: {vpc: vpc-0123abcd, subnets: {us-east-1a: subnet-0123abcd}}
images: {x86_64: ami-0123abcd}
teams: [{name: cpu, bucket: cpu-jobs}]
spend_cap: 500 USD
alarms: {email: ops@example.com}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "TARGET.yaml"
    path.write_text(text)
    return path


def changed(old: str, new: str) -> str:
    assert old in SMALLEST
    return SMALLEST.replace(old, new)


def test_the_shipped_example_is_valid_in_both_ways(root: Path) -> None:
    path = root / "deploy" / "TARGET.example.yaml"
    target = load_target(path)
    assert target.teams[0].prefix == "jobs/"
    assert target.retention.logs == 30 * 86_400
    Draft202012Validator(target_schema()).validate(yaml.safe_load(path.read_text()))


def test_defaults_of_the_smallest_target(tmp_path: Path) -> None:
    target = load_target(written(tmp_path, SMALLEST))
    assert target.network.out == "endpoints"
    made = "".join(line for line in SMALLEST.splitlines(keepends=True) if not line.startswith("network"))
    assert load_target(written(tmp_path, made)).network.vpc is None
    assert (target.teams[0].suffix, target.instances.work_directory) == ("job.sh", "/work")
    assert target.instances.instance_store is None
    assert target.spend_cap == 500


WRONG = [
    ("stack: eda", "stack: Eda!", 2, "stack", "is no name of a stack"),
    ("us-east-1\n", "us-est-1\n", 3, "region", "us-est-1"),
    ("vpc-0123abcd", "vpc-xyz", 4, "network.vpc", "is no id of a VPC"),
    ("us-east-1a: subnet-0123abcd", "us-east-1a: sub-1", 4, "network.subnets.us-east-1a", "is no id of a subnet"),
    ("us-east-1a:", "eu-west-1a:", 4, "network.subnets.eu-west-1a", "is not in us-east-1"),
    (", subnets: {us-east-1a: subnet-0123abcd}", "", 4, "network", "has no subnets"),
    ("vpc: vpc-0123abcd, ", "", 4, "network.subnets", "are of no VPC"),
    ("ami-0123abcd", "my-image", 5, "images.x86_64", "is no image"),
    ("{x86_64: ami-0123abcd}", "{}", 5, "images", "names no image"),
    ("bucket: cpu-jobs", "bucket: Cpu_Jobs", 6, "teams.0.bucket", "is no name of a bucket"),
    ("bucket: cpu-jobs", "bucket: cpu-jobs, prefix: ../up", 6, "teams.0.prefix", "is no prefix"),
    ("bucket: cpu-jobs", "bucket: cpu-jobs, prefix: a*/", 6, "teams.0.prefix", "is no prefix"),
    (
        "500 USD",
        "500 USD\ninstances: {work_directory: /a/../b}",
        8,
        "instances.work_directory",
        "no absolute path",
    ),
    ("bucket: cpu-jobs", "bucket: cpu-jobs, sufix: x", 6, "teams.0.sufix", "unknown key"),
    ("500 USD", "500", 7, "spend_cap", "without a unit"),
    ("ops@example.com", "ops", 8, "alarms.email", "is no e-mail address"),
    ("email: ops@example.com}", "email: a@b.co}\nretention: {logs: 8d}", 9, "retention.logs", "CloudWatch"),
    ("email: ops@example.com}", "email: a@b.co}\nretention: {jobs: 6h}", 9, "retention.jobs", "less than a day"),
    ("schema: spotbed/target/v1", "schema: spotbed/target/v9", 1, "schema", "is not known"),
]


@pytest.mark.parametrize(("old", "new", "line", "path", "message"), WRONG, ids=[case[1].strip() for case in WRONG])
def test_a_mistake_is_told_at_its_line(tmp_path: Path, old: str, new: str, line: int, path: str, message: str) -> None:
    problems = validate_target(written(tmp_path, changed(old, new)))
    assert [(problem.line, problem.path) for problem in problems] == [(line, path)]
    assert message in problems[0].message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = changed("vpc-0123abcd", "vpc-x").replace("500 USD", "a lot").replace("stack: eda\n", "")
    assert {problem.path for problem in validate_target(written(tmp_path, text))} == {
        "stack",
        "network.vpc",
        "spend_cap",
    }


@pytest.mark.parametrize(
    ("team", "message"),
    [
        ("{name: cpu, bucket: other}", "two teams have the name 'cpu'"),
        ("{name: b, bucket: cpu-jobs, prefix: b/}", "could be a job of 'cpu' as well"),
        ("{name: b, bucket: cpu-jobs, suffix: my-job.sh}", "could be a job of 'cpu' as well"),
        ("{name: b, bucket: cpu-jobs, suffix: sh}", "could be a job of 'cpu' as well"),
    ],
)
def test_teams_do_not_take_each_others_jobs(tmp_path: Path, team: str, message: str) -> None:
    text = changed("[{name: cpu, bucket: cpu-jobs}]", f"[{{name: cpu, bucket: cpu-jobs}}, {team}]")
    assert message in validate_target(written(tmp_path, text))[0].message
    apart = "[{name: cpu, bucket: cpu-jobs, suffix: a.run}, {name: b, bucket: cpu-jobs, suffix: b.sh}]"
    assert validate_target(written(tmp_path, changed("[{name: cpu, bucket: cpu-jobs}]", apart))) == []


def test_two_things_are_not_mounted_in_one_place(tmp_path: Path) -> None:
    text = SMALLEST + "instances: {instance_store: /x, mounts: [{kind: efs, id: fs-0123abcd, at: /x}]}\n"
    assert validate_target(written(tmp_path, text))[0].path == "instances.instance_store"
    lustre = SMALLEST + "instances: {mounts: [{kind: fsx-lustre, id: fs-0123abcd, at: /x}]}\n"
    assert "has no mount name" in validate_target(written(tmp_path, lustre))[0].message


def test_hostile_text_gets_into_no_name(tmp_path: Path) -> None:
    for bad in ("a;b", "$(x)", "a b", "`id`", "a'b"):
        for key in ("stack", "region"):
            lines = [f"{key}: {json.dumps(bad)}" if line.startswith(key) else line for line in SMALLEST.splitlines()]
            with pytest.raises(InputError):
                load_target(written(tmp_path, "\n".join(lines)))
        team = changed("bucket: cpu-jobs", f"bucket: cpu-jobs, suffix: {json.dumps(bad)}")
        with pytest.raises(InputError):
            load_target(written(tmp_path, team))


def test_what_pools_need_and_the_target_lacks_is_told(tmp_path: Path) -> None:
    target = load_target(written(tmp_path, SMALLEST))
    pool: dict[str, Any] = {"id": "a", "az": "us-east-1a", "os": "linux", "arch": "x86_64"}
    assert misfits(target, "us-east-1", [pool], "T") == []
    paths = [
        problem.path
        for problem in misfits(
            target,
            "us-west-2",
            [{**pool, "az": "us-east-1b"}, {**pool, "arch": "arm64"}, {**pool, "os": "windows"}],
            "T",
        )
    ]
    assert paths == ["region", "network.subnets", "images", "images"]


def test_validate_knows_a_target_from_a_scenario(tmp_path: Path) -> None:
    good, bad = written(tmp_path, SMALLEST), tmp_path / "bad.yaml"
    bad.write_text(SMALLEST.replace("vpc-0123abcd", "vpc-x"))
    assert is_target(good)
    assert not is_target(tmp_path / "absent.yaml")
    assert CliRunner().invoke(app, ["validate", str(good)]).exit_code == 0
    result = CliRunner().invoke(app, ["validate", str(good), str(bad)])
    assert result.exit_code == 2
    assert f"{bad}:4:" in result.output


def test_a_file_that_is_no_mapping_says_how_a_target_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="A target starts with"):
        load_target(written(tmp_path, "- 1\n"))


def test_what_is_asked_before_a_start_is_a_function(tmp_path: Path) -> None:
    whole = "arn:aws:lambda:us-east-1:111122223333:function:licences:live"
    for name in ("licences", "licences:live", whole):
        target = load_target(written(tmp_path, f"{SMALLEST}checkout: {{function: '{name}'}}\n"))
        assert target.checkout is not None
        assert target.checkout.function == name
    with pytest.raises(InputError, match="'a b' is no Lambda function"):
        load_target(written(tmp_path, f"{SMALLEST}checkout: {{function: a b}}\n"))
    assert load_target(written(tmp_path, SMALLEST)).checkout is None
