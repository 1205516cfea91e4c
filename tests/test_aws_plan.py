"""`spotbed plan`: the deploy gate, what it refuses, what it writes, and which plans may be applied."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from aws import package, plan
from aws.change_set import rendered
from aws.control import PoolSpec
from aws.evidence import MISS_RATE_POINTS_BELOW, checks_of, read_record
from aws.idle import idle_cost
from aws.plan import Plan, make_plan, package_of, plan_schema, read_plan, write_plan
from aws.policy import policy_from
from spotbed.api import compare_scenario
from spotbed.build import Blueprint, blueprint
from spotbed.cli.app import app
from spotbed.errors import InputError, OutsideError
from spotbed.pricebook import PriceBook
from spotbed.scenario.load import load_scenario
from spotbed.services_preset import ServicesPreset
from spotbed.stats import paired, summarise

NOW = datetime(2026, 11, 23, 12, 0, 0, 5, tzinfo=UTC)
SCENARIO = """\
name: small
seed: 3
replications: 6
workload:
  source: synthetic
  jobs: 12
  arrivals: {dist: poisson, rate: 60/h}
  classes: [{runtime: {dist: lognormal, median: 40m, p95: 90m}, vcpus: 4, memory: 8 GiB, deadline: 24h}]
capacity:
  pools:
    - {id: spot, instance_type: c6i.xlarge, az: us-east-1a, purchase: spot, max: 20}
    - {id: od, instance_type: c6i.xlarge, az: us-east-1b, purchase: on-demand, max: 20}
policies:
  - {use: on-demand-only, label: on-demand}
  - spot-only
  - {use: policies/hedge.py:Hedge, label: hedge, with: {slack_factor: 2.0}, protect: daly}
  - legacy-2019
  - {use: spot-only, label: dear, place: {use: lowest-price, with: {purchase: on-demand}}}
  - {use: spot-only, label: papers, protect: continuous}
  - {use: uniform-progress, label: sees-all, with: {available: now}}
  - central
  - {use: policies/mixed.py:Mixed, label: mixed}
baseline: on-demand
gates: [{rule: cost_usd.mean <= 0.8 * baseline, for: [spot-only, hedge]}]
"""
TARGET = """\
schema: spotbed/target/v1
stack: eda
region: us-east-1
network: {vpc: vpc-0123abcd, subnets: {us-east-1a: subnet-0123abcd, us-east-1b: subnet-1123abcd}, out: nat}
images: {x86_64: ami-0123abcd}
teams: [{name: cpu, bucket: cpu-jobs}, {name: gpu, bucket: gpu-jobs}]
spend_cap: 500 USD
alarms: {email: ops@example.com}
"""
MIXED = """\
from dataclasses import dataclass
from typing import ClassVar

from scheduler.policies.place import LowestPrice


@dataclass(frozen=True)
class Mixed(LowestPrice):
    delegates: ClassVar[str] = "capacity-optimized"
"""
COMPARED = ("spot-only", "hedge", "legacy-2019", "dear", "mixed")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A folder with the scenario, its policy, a target, and the record of the comparison."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "policies").mkdir()
    shutil.copy(root / "policies" / "hedge.py", folder / "policies")
    (folder / "policies" / "mixed.py").write_text(MIXED)
    (folder / "small.yaml").write_text(SCENARIO)
    (folder / "TARGET.yaml").write_text(TARGET)
    compare_scenario(folder / "small.yaml", out=folder / "record", jobs=1, policies=COMPARED)
    return folder


@pytest.fixture
def here(compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to change, and the current folder."""
    folder = tmp_path / "here"
    shutil.copytree(compared, folder)
    monkeypatch.chdir(folder)
    return folder


def planned(folder: Path, label: str = "hedge", target: str | None = "TARGET.yaml") -> plan.Planned:
    file = None if target is None else folder / target
    return make_plan(folder / "small.yaml", label, folder / "record", file, NOW)


def made_plan(folder: Path, label: str = "hedge", target: str | None = "TARGET.yaml") -> Plan:
    found = planned(folder, label, target).plan
    assert found is not None
    return found


def failed(folder: Path, label: str = "spot-only") -> set[str]:
    found = planned(folder, label, None)
    assert (found.plan is None) == any(not check.passed for check in found.checks)
    return {check.check for check in found.checks if not check.passed}


def blueprint_of(folder: Path) -> Blueprint:
    return blueprint(load_scenario(folder / "small.yaml"))


# what a plan says -----------------------------------------------------------------------------------------------------
def test_a_plan_holds_what_was_compared(here: Path) -> None:
    found = made_plan(here)
    made = blueprint_of(here)
    composed = made.composed["hedge"]
    assert (found.hashes.policy, found.hashes.scenario) == (composed.sha256, made.scenario.sha256)
    policy = found.policy
    assert policy["settings"]["seed"] == 3
    assert policy["points"]["place"]["parameters"]["slack_factor"] == 2.0
    ((path, text),) = found.policy_sources.items()
    assert text == (here / "policies" / "hedge.py").read_text()
    assert policy["points"]["place"]["class"] == f"{path.removesuffix('.py').replace('/', '.')}:Hedge"
    assert [pool.group for pool in found.pools] == ["eda-spot", "eda-od"]
    assert found.account is not None
    assert [team.name for team in found.account.teams] == ["cpu", "gpu"]


def test_where_aws_chooses_the_pool_there_is_one_mixed_group(here: Path) -> None:
    found = made_plan(here, "mixed")
    assert found.delegated == "capacity-optimized"
    assert [(pool.id, pool.group) for pool in found.pools] == [("spot", "eda-mixed")], "on demand is not what it buys"
    (group,) = [change for change in found.change_set if change.type == "AWS::AutoScaling::AutoScalingGroup"]
    assert (group.stack, group.resource) == ("eda-cpu", "Mixed")
    assert found.account is not None
    pools = [pool.model_dump() for pool in found.pools]
    stacks = {each.name: each.template for each in rendered(found.account, pools, found.policy, found.delegated)}
    assert stacks["eda-cpu"]["Parameters"]["AllocationStrategy"]["Default"] == "capacity-optimized"


def test_pools_of_one_group_are_one_pool_with_what_they_have_in_common(here: Path) -> None:
    (small,) = made_plan(here, "mixed").pools
    large = small.model_copy(
        update={"id": "b", "vcpus": 2.0, "memory_gib": 16.0, "max": 5, "on_demand_usd_per_hour": 0.01}
    )
    (common,) = plan.specs_of([small, large])
    assert {**large.spec(), "id": "mixed", "max": small.max + 5, "memory_gib": small.memory_gib} == common
    apart = large.model_copy(update={"group": "eda-b"})
    assert plan.specs_of([small, apart]) == [small.spec(), apart.spec()]


def test_the_planned_policy_decides_as_the_compared_one(here: Path) -> None:
    found = made_plan(here, "spot-only")
    made = blueprint_of(here)
    assert policy_from(found.policy) == made.policy(made.composed["spot-only"])


def test_the_prediction_is_what_the_worlds_had(here: Path) -> None:
    prediction = made_plan(here).prediction
    results = json.loads((here / "record" / "results.json").read_text())
    entry = next(each for each in results["policies"] if each["label"] == "hedge")
    for name, metric in entry["metrics"].items():
        found = prediction.metrics[name]
        assert (found.mean, found.n) == (pytest.approx(metric["mean"]), metric["n"])
    assert sum(line.usd.mean or 0 for line in prediction.bill) == pytest.approx(entry["metrics"]["cost_usd"]["mean"])
    with (here / "record" / "worlds.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["policy"] == "hedge"]
    per_1000 = [float(row["cost_usd"]) / float(row["jobs_done"]) * 1000 for row in rows]
    found = prediction.per_job["cost_usd_per_1000_jobs"]
    summary = summarise(per_1000)
    assert summary["ci95"] is not None
    assert found.mean == pytest.approx(summary["mean"])
    assert found.ci95 == pytest.approx(tuple(summary["ci95"]))
    assert found.low is not None
    assert found.high is not None
    assert min(per_1000) <= found.low <= found.high <= max(per_1000)


def test_a_line_that_a_world_lacks_counts_as_nothing_there(here: Path) -> None:
    record = read_record(here / "record")
    for lines in record.bill.values():
        assert {len(values) for values in lines.values()} == {6}


def test_the_idle_cost_is_that_of_the_price_book() -> None:
    book, preset = PriceBook.load(), ServicesPreset.load()
    one, three = (idle_cost(book, preset, zones) for zones in (1, 3))
    assert sum(line.usd for line in one.nat) == pytest.approx(730 * (0.045 + 0.005))
    assert sum(line.usd for line in three.endpoints) == pytest.approx(4 * 3 * 730 * 0.01)
    common = {line.item: line.usage for line in one.common}
    assert common["lambda.request"] == 730 * 60
    assert not [item for item in common if item.startswith("network.")]
    assert three.usd_per_month["nat"] == one.usd_per_month["nat"]
    assert one.usd_per_month["nat"] == pytest.approx(sum(line.usd for line in (*one.common, *one.nat)))


def test_each_team_gets_resources_of_its_own(here: Path) -> None:
    made = [(change.stack, change.type) for change in made_plan(here).change_set]
    assert {stack for stack, _ in made} == {"eda", "eda-cpu", "eda-gpu"}
    assert made.count(("eda-cpu", "AWS::AutoScaling::AutoScalingGroup")) == 2
    assert [kind for stack, kind in made if stack == "eda-gpu" and kind == "AWS::S3::Bucket"] == ["AWS::S3::Bucket"]
    assert not {"AWS::EC2::VPC", "AWS::EC2::VPCEndpoint"} & {kind for _, kind in made}, "the network is the team's own"
    assert made_plan(here, target=None).change_set == ()


def test_of_gangs_whose_members_do_not_reach_each_other_it_is_said(here: Path) -> None:
    (here / "small.yaml").write_text(SCENARIO.replace("deadline: 24h", "gang: 2"))
    compare_scenario(here / "small.yaml", out=here / "record", jobs=1, policies=("spot-only",))
    (note,) = planned(here, "spot-only").notes
    assert "network: {peers: true}" in note
    (here / "TARGET.yaml").write_text(TARGET.replace("out: nat", "out: nat, peers: true"))
    found = planned(here, "spot-only")
    assert found.notes == []
    assert found.plan is not None
    assert "AWS::EC2::SecurityGroupIngress" in {change.type for change in found.plan.change_set}


@pytest.mark.parametrize(
    ("out", "other"), [("nat", "AWS::EC2::SecurityGroupIngress"), ("endpoints", "AWS::EC2::NatGateway")]
)
def test_a_network_is_made_where_there_is_none(here: Path, out: str, other: str) -> None:
    lines = [line for line in TARGET.splitlines() if not line.startswith("network")]
    (here / "TARGET.yaml").write_text("\n".join([*lines, f"network: {{out: {out}}}"]))
    kinds = [change.type for change in made_plan(here).change_set]
    assert kinds.count("AWS::EC2::VPC") == 1
    assert other not in kinds
    assert kinds.count("AWS::EC2::VPCEndpoint") == (2 if out == "nat" else 6)


def test_pools_are_as_the_functions_read_them(here: Path) -> None:
    specs = [PoolSpec(**pool.spec()) for pool in made_plan(here).pools]
    assert [(spec.id, spec.az, spec.purchase, spec.vcpus, spec.max) for spec in specs] == [
        ("spot", "us-east-1a", "spot", 4, 20),
        ("od", "us-east-1b", "on-demand", 4, 20),
    ]


# the gate -------------------------------------------------------------------------------------------------------------
def test_the_gate_is_reckoned_from_the_worlds(here: Path) -> None:
    record, made = read_record(here / "record"), blueprint_of(here)
    checks = {check.check: check for check in checks_of(record, "spot-only", made, made.composed["spot-only"])}
    worlds = [record.worlds[label]["cost_usd"] for label in ("spot-only", "on-demand")]
    ends = paired(*worlds)["ratio_ci95"]
    assert ends is not None
    assert checks["cost ratio"].value == ends[1] < 1
    assert checks["miss rate"].limit == MISS_RATE_POINTS_BELOW


def test_a_policy_that_is_not_cheaper_is_not_deployed(here: Path) -> None:
    assert failed(here, "dear") == {"cost ratio"}


def test_the_baseline_has_nothing_to_be_better_than(here: Path) -> None:
    assert failed(here, "on-demand") == {"compared with a baseline"}


def rewrite(folder: Path, change: Callable[[dict[str, str]], None], name: str = "worlds.csv") -> None:
    path = folder / "record" / name
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        change(row)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("metric", ["jobs_lost", "duplicate_completions", "orphan_workers"])
def test_one_broken_invariant_in_one_world_is_enough(here: Path, metric: str) -> None:
    def breaks(row: dict[str, str]) -> None:
        if (row["policy"], row["world"]) == ("spot-only", "4"):
            row[metric] = "1.0"

    rewrite(here, breaks)
    assert failed(here) == {metric}


def test_deadlines_missed_more_often_are_seen_to_a_tenth_of_a_point(here: Path) -> None:
    def misses(row: dict[str, str]) -> None:
        if (row["policy"], row["world"]) == ("spot-only", "1"):
            row["deadline_missed"] = "1.0"

    rewrite(here, misses)
    assert failed(here) == {"miss rate"}


def test_misses_are_counted_among_jobs_that_have_a_deadline(here: Path) -> None:
    record = read_record(here / "record")
    assert record.deadline_share("spot-only") == 1.0
    runs = here / "record" / "runs" / "spot-only" / "jobs.csv"
    lines = runs.read_text().splitlines()
    place = lines[0].split(",").index("deadline")
    for number in range(1, 7):
        cells = lines[number].split(",")
        cells[place] = ""
        lines[number] = ",".join(cells)
    runs.write_text("\n".join(lines) + "\n")
    assert read_record(here / "record").deadline_share("spot-only") == 0.5


def test_a_gate_of_the_scenario_must_hold_too(here: Path) -> None:
    text = SCENARIO.replace("<= 0.8 * baseline", "<= 0.01 * baseline")
    (here / "small.yaml").write_text(text)
    assert failed(here) == {"scenario", "gate cost_usd.mean <= 0.01 * baseline"}


def test_results_that_were_edited_do_not_agree_with_the_worlds(here: Path) -> None:
    def cheaper(row: dict[str, str]) -> None:
        if row["policy"] == "dear":
            row["cost_usd"] = str(float(row["cost_usd"]) / 4)

    rewrite(here, cheaper)
    assert failed(here, "dear") == {"record of dear"}


@pytest.mark.parametrize(
    ("key", "check"),
    [
        ("scheduler_sha256", "scheduler source"),
        ("scenario_sha256", "scenario"),
        ("price_book_sha256", "price book"),
        ("catalogue_sha256", "catalogue of instances"),
        ("services_sha256", "services data"),
    ],
)
def test_what_was_changed_since_the_comparison_stops_the_plan(here: Path, key: str, check: str) -> None:
    path = here / "record" / "provenance.json"
    said = json.loads(path.read_text())
    said[key] = "0" * 64
    path.write_text(json.dumps(said))
    assert failed(here) == {check}


def test_a_changed_policy_file_or_parameter_stops_the_plan(here: Path) -> None:
    hedge = here / "policies" / "hedge.py"
    hedge.write_text(hedge.read_text() + "\n# changed\n")
    assert failed(here, "hedge") == {"policy source and parameters"}
    (here / "small.yaml").write_text(SCENARIO.replace("slack_factor: 2.0", "slack_factor: 3.0"))
    assert failed(here, "hedge") == {"policy source and parameters", "scenario"}


def test_a_comparison_with_overrides_is_planned_as_it_was_compared(here: Path) -> None:
    compare_scenario(
        here / "small.yaml", out=here / "record", jobs=1, policies=["spot-only"], overrides=["seed=5"], replications=3
    )
    found = made_plan(here, "spot-only", None)
    assert found.overrides == ("seed=5", "replications=3")
    assert found.policy["settings"]["seed"] == 5


# what is refused ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("label", "place", "reason"),
    [
        ("papers", "policies.5.protect", "progress kept to the millisecond"),
        ("sees-all", "policies.6", "`pools.available_now`, and no AWS call answers that"),
        ("legacy-2019", "policies.3", "'legacy-2019' cannot be deployed"),
        ("central", "policies.7", "sees the whole queue"),
    ],
)
def test_what_aws_cannot_observe_is_refused_at_its_place(here: Path, label: str, place: str, reason: str) -> None:
    if label not in COMPARED:
        path = here / "record" / "results.json"
        results = json.loads(path.read_text())
        results["policies"].append({**results["policies"][1], "label": label})
        path.write_text(json.dumps(results))
    with pytest.raises(InputError) as caught:
        planned(here, label, None)
    assert reason in "\n".join(problem.message for problem in caught.value.problems)
    assert all(str(problem.path).startswith(place) and problem.line for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("vcpus: 2,", "vcpus: 2, gang: 99,", "workload.classes.0.gang"),
        ("capacity:\n", "capacity:\n  slots_per_instance: 2\n", "capacity.slots_per_instance"),
        ("capacity:\n", "capacity:\n  licences: {solver: 2}\n", "capacity.licences"),
        ("  - spot-only\n", "  - {use: greedy-deadline, label: spot-only}\n", "policies.1"),
    ],
)
def test_what_is_not_built_on_aws_is_refused(here: Path, old: str, new: str, place: str) -> None:
    small = SCENARIO.replace("vcpus: 4, memory: 8 GiB", "vcpus: 2, memory: 2 GiB").replace("max: 20", "max: 100")
    assert old in small
    (here / "small.yaml").write_text(small.replace(old, new))
    with pytest.raises(InputError) as caught:
        planned(here, "spot-only", None)
    (problem,) = [each for each in caught.value.problems if "the functions on AWS do not yet" in each.message]
    assert str(problem.path) == place


def test_services_that_cost_nothing_are_no_basis(here: Path) -> None:
    (here / "small.yaml").write_text(SCENARIO + "services: {preset: ideal}\n")
    with pytest.raises(InputError, match="services without latency"):
        planned(here, "spot-only", None)


def test_a_policy_with_other_libraries_is_refused_at_its_line(here: Path) -> None:
    hedge = here / "policies" / "hedge.py"
    hedge.write_text("import numpy\n" + hedge.read_text())
    with pytest.raises(InputError, match=r"hedge.py:1.*numpy"):
        planned(here)


def test_a_target_that_lacks_a_zone_is_refused(here: Path) -> None:
    (here / "TARGET.yaml").write_text(TARGET.replace(", us-east-1b: subnet-1123abcd", ""))
    with pytest.raises(InputError, match="no subnet in us-east-1b"):
        planned(here)


def test_a_folder_that_is_no_comparison_is_told_apart(here: Path) -> None:
    for folder, words in ((here, "is no folder of a comparison"), (here / "record/runs/hedge", "is a run, not")):
        with pytest.raises(InputError, match=words):
            make_plan(here / "small.yaml", "hedge", folder, None, NOW)
    (here / "record" / "worlds.csv").write_text("policy,world\nhedge,0\n")
    with pytest.raises(InputError, match="is not as `compare` writes it"):
        planned(here)


def test_a_label_that_was_not_compared_is_named(here: Path) -> None:
    with pytest.raises(InputError, match="did not compare 'papers'"):
        planned(here, "papers", None)
    with pytest.raises(InputError, match="Did you mean 'hedge'"):
        planned(here, "hege", None)


# the file -------------------------------------------------------------------------------------------------------------
def test_a_plan_comes_back_as_it_was_written(here: Path) -> None:
    found = made_plan(here)
    write_plan(found, here / "PLAN")
    assert read_plan(here / "PLAN", NOW) == found
    document = json.loads((here / "PLAN").read_text())
    Draft202012Validator(plan_schema()).validate(document)
    assert document["created_at"] == "2026-11-23T12:00Z"
    assert str(here) not in (here / "PLAN").read_text()


def test_the_same_inputs_give_the_same_plan_and_package(here: Path) -> None:
    one, two = made_plan(here), made_plan(here)
    assert one == two
    assert package_of(one).sha256 == one.package.sha256


def test_a_plan_expires_after_seven_days(here: Path) -> None:
    write_plan(made_plan(here), here / "PLAN")
    read_plan(here / "PLAN", NOW + timedelta(days=6, hours=23))
    with pytest.raises(OutsideError, match="expired at 2026-11-30T12:00Z") as caught:
        read_plan(here / "PLAN", NOW.replace(microsecond=0) + timedelta(days=7))
    assert caught.value.exit_code == 4


def test_an_altered_plan_is_refused(here: Path) -> None:
    write_plan(made_plan(here), here / "PLAN")
    text = (here / "PLAN").read_text()
    for old, new in (
        ("2026-11-30", "2036-11-30"),
        ('"slack_factor": 2.0', '"slack_factor": 0.1'),
        ("500 USD", "900 USD"),
    ):
        assert old in text
        (here / "PLAN").write_text(text.replace(old, new))
        with pytest.raises(InputError, match="was altered after it was made"):
            read_plan(here / "PLAN", NOW)
    for content in ("{", "[]", '{"schema": "spotbed/plan/v9"}'):
        (here / "PLAN").write_text(content)
        with pytest.raises(InputError, match="is no plan"):
            read_plan(here / "PLAN", NOW)


def test_a_plan_of_other_code_is_refused_and_names_the_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plan(made_plan(here), here / "PLAN")
    real = package.function_files

    def without_draw(*given: Any, **named: Any) -> list[str]:
        return [path for path in real(*given, **named) if path != "scheduler/draw.py"]

    monkeypatch.setattr(package, "function_files", without_draw)
    with pytest.raises(OutsideError, match=r"scheduler/draw\.py") as caught:
        read_plan(here / "PLAN", NOW)
    assert caught.value.exit_code == 3


# the command ----------------------------------------------------------------------------------------------------------
def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["plan", "small.yaml", "--record", "record", *words])


def test_the_command_writes_a_plan_and_says_what_it_is(here: Path) -> None:
    result = invoke("--policy", "hedge", "--target", "TARGET.yaml", "-o", "PLAN")
    assert result.exit_code == 0, result.output
    for words in ("Idle, USD a month", "Expected for 1,000 jobs: $", "Delegated to AWS: nothing", "cost ratio"):
        assert words in result.stdout
    assert read_plan(here / "PLAN", datetime.now(UTC)).label == "hedge"
    printed = invoke("--policy", "hedge", "--output", "json")
    assert json.loads(printed.stdout)["target"] is None


def test_the_command_exits_with_3_and_writes_nothing_when_the_gate_fails(here: Path) -> None:
    result = invoke("--policy", "dear", "-o", "PLAN", "--output", "json")
    assert result.exit_code == 3
    assert not (here / "PLAN").exists()
    assert json.loads(result.stdout)["passed"] is False
    assert "deploy gate failed: cost ratio" in result.stderr


def test_the_command_replaces_no_file_that_is_no_plan(here: Path) -> None:
    result = invoke("--policy", "hedge", "-o", "small.yaml")
    assert result.exit_code == 2
    assert (here / "small.yaml").read_text() == SCENARIO
    assert invoke("--policy", "hedge", "-o", "PLAN").exit_code == 0
    assert invoke("--policy", "spot-only", "-o", "PLAN").exit_code == 0
