"""A deployed run's journal is priced and played again: it agrees with itself, and a spoilt one does not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml
from aws_world import World
from moto import mock_aws
from verify_runs import (
    Lines,
    as_deployed,
    completed_twice,
    hours_inflated,
    of_journal,
    stretched,
    with_times,
    without_jobs,
    without_submissions,
)

from aws.prediction import estimate
from scheduler.codec import encode
from scheduler.settings import Settings
from sim.inputs import Interruptions
from spotbed.api import ready
from spotbed.errors import InputError
from spotbed.metric_names import METRIC_NAMES
from spotbed.policies.examples import a_ticket
from spotbed.quantities import parse_duration
from spotbed.scenario.load import load_scenario
from spotbed.services_preset import ServicesPreset
from spotbed.verify.latencies import recalibrated
from spotbed.verify.lines import lines_of, read_journal, since
from spotbed.verify.observed import observe
from spotbed.verify.replay import Deployed, measure, replay, run_of
from spotbed.verify.scenario import scenario_of
from spotbed.verify.verdict import Verdict, verdict
from spotbed.worlds import WorldRun, run_world

JOURNALS = Path(__file__).parent / "fixtures" / "journals"
RECORDED = ("local", "local-losses", "local-demo")
ENDS = {"local": (0, 0), "local-losses": (3, 1), "local-demo": (0, 1)}  # instances taken, jobs given up
FAULTLESS = [
    f"services.{key}=0"
    for key, each in ServicesPreset.load().settings.items()
    if each.role == "fault" and each.kind == "probability"
]
SPOILT: dict[str, Callable[[Lines], Lines]] = {
    "times stretched by 30 %": stretched,
    "jobs dropped": without_jobs,
    "submissions dropped": without_submissions,
    "a completion doubled": completed_twice,
    "instance hours inflated": hours_inflated,
}


def deployed(file: Path, label: str, overrides: list[str], **more: Any) -> Deployed:
    made = ready(load_scenario(file, overrides), worlds=1)
    composed = made.composed[label]
    return Deployed(made, composed, made.policy(composed), **more)


def recorded(name: str) -> tuple[Lines, Deployed]:
    """A journal of a local stack, and what ran there."""
    text = gzip.decompress((JOURNALS / f"{name}.jsonl.gz").read_bytes()).decode()
    values = [json.loads(line) for line in text.splitlines()]
    if name == "local-demo":
        ran = deployed(Path(__file__).parent.parent / "scenarios" / "demo.yaml", "diversified", [])
    else:
        ran = deployed(JOURNALS / "small.yaml", "hedge", [])
    return values, replace(ran, policy=replace(ran.policy, settings=Settings(**values[0][3]["settings"])))


def judged(values: Lines, ran: Deployed) -> Verdict:
    """The verdict of `verify` on a local stack."""
    run = run_of(lines_of(values), ran)
    return verdict(run, ran, services=recalibrated(run, ran).preset)


def simulated(root: Path, label: str, overrides: list[str]) -> tuple[WorldRun, Deployed]:
    ran = deployed(root / "scenarios" / "demo.yaml", label, overrides, sees_prices=False)
    return run_world(ran.made, ran.composed, 0, journal=True), ran


# a journal of the simulator's -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("label", ["on-demand", "spot-only", "diversified", "fallback"])
def test_a_simulated_run_is_told_by_its_journal_and_played_again_without_an_error(root: Path, label: str) -> None:
    world, ran = simulated(root, label, ["services.preset=ideal", "workload.jobs=60"])
    assert world.journal is not None
    run = run_of(lines_of(as_deployed(world.journal, world.inputs.work)), ran)
    assert run.seen.problems == []
    live, again = measure(run, ran), replay(run, ran)
    assert live.metrics == pytest.approx(world.result.metrics, rel=1e-12)
    assert again.metrics == pytest.approx(live.metrics, rel=1e-12)
    assert again.tally.operations == world.tally.operations
    found = verdict(run, ran)
    assert found.passed
    assert all(row.error == pytest.approx(0, abs=1e-9) for row in found.rows)


def test_the_meters_of_a_journal_are_those_of_the_simulator(root: Path) -> None:
    world, ran = simulated(root, "spot-only", ["services.preset=ideal", "workload.jobs=60"])
    assert world.journal is not None
    run = run_of(lines_of(as_deployed(world.journal, world.inputs.work)), ran)
    assert measure(run, ran).tally.operations == world.tally.operations


def test_with_latencies_a_simulated_run_is_played_again_to_a_thousandth(root: Path) -> None:
    world, ran = simulated(root, "spot-only", [*FAULTLESS, "workload.jobs=60"])
    assert world.journal is not None
    run = run_of(lines_of(as_deployed(world.journal, world.inputs.work)), ran)
    live, again = measure(run, ran), replay(run, ran)
    assert live.metrics == pytest.approx(world.result.metrics, rel=1e-3)
    assert again.metrics == pytest.approx(live.metrics, rel=3e-3)
    assert verdict(run, ran).passed


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_simulated_journal_fails(root: Path, spoil: Callable[[Lines], Lines]) -> None:
    world, ran = simulated(root, "spot-only", [*FAULTLESS, "workload.jobs=60"])
    assert world.journal is not None
    values = spoil(as_deployed(world.journal, world.inputs.work))
    assert not verdict(run_of(lines_of(values), ran), ran).passed


def predicted(worlds: list[WorldRun]) -> dict[str, Any]:
    """What a plan would hold of these worlds."""
    metrics = {name: [world.result.metrics[name] for world in worlds] for name in METRIC_NAMES}
    lines = [{(line.item, line.cause): line.usd for line in world.result.bill.lines} for world in worlds]
    return {
        "metrics": {name: estimate(values).model_dump() for name, values in metrics.items()},
        "bill": [
            {"item": key[0], "cause": key[1], "usd": estimate([each.get(key, 0.0) for each in lines]).model_dump()}
            for key in dict.fromkeys(key for each in lines for key in each)
        ],
        "per_job": {
            name: estimate([over / jobs for over, jobs in zip(metrics[metric], metrics["jobs_done"], strict=True)])
            .model_dump()
            for name, metric in {
                "cost_usd_per_1000_jobs": "cost_usd", "miss_rate": "deadline_missed", "failed_rate": "jobs_failed",
                "attempts": "attempts", "interruptions": "interruptions",
            }.items()
        },
    }  # fmt: skip


def test_a_run_is_held_to_what_was_predicted(root: Path) -> None:
    world, ran = simulated(root, "spot-only", ["services.preset=ideal", "workload.jobs=60"])
    assert world.journal is not None
    run = run_of(lines_of(as_deployed(world.journal, world.inputs.work)), ran)
    same = predicted([world, world])
    for name in ("low", "high"):
        same["per_job"]["cost_usd_per_1000_jobs"][name] *= 1000
    found = verdict(run, ran, same)
    assert [each.name for each in found.held if not each.inside] == []
    assert {"cost_usd", "ec2.spot useful", "attempts per job"} <= {each.name for each in found.held}
    assert found.passed
    same["metrics"]["cost_usd"]["high"] *= 0.99
    dear = verdict(run, ran, same)
    assert [each.name for each in dear.held if not each.inside] == ["cost_usd"]
    assert not dear.passed
    assert verdict(run, ran, same, binding=False).passed
    same["metrics"]["jobs_submitted"]["high"] -= 1
    fewer = verdict(run, ran, same)
    assert "cost_usd" not in {each.name for each in fewer.held}
    assert "cost_usd_per_1000_jobs" in {each.name for each in fewer.held}
    assert fewer.passed


# the functions of aws, on emulated tables -----------------------------------------------------------------------------
@pytest.mark.parametrize("capacity", [[(0, 9)], [(0, 9), (1_500_457, 0), (2_400_000, 9)]], ids=["calm", "lost"])
def test_a_journal_of_the_functions_is_played_again_without_an_error(
    tmp_path: Path, capacity: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    ran = deployed(_scenario(tmp_path), "spot-only", [], sees_prices=False)
    inputs, _ = ran.made.world(0, ran.composed)
    at_ms, count = (np.array(column, dtype=np.int64) for column in zip(*capacity, strict=True))
    cause = Interruptions("trace", capacity={"spot": (at_ms, count)}, burst_ms=0)
    with mock_aws():
        journal = World(replace(inputs, market=replace(inputs.market, interruptions=cause)), ran.policy).run()
    run = run_of(lines_of(of_journal(journal)), ran)
    assert run.seen.problems == []
    found = verdict(run, ran)
    assert (found.live.metrics["interruptions"] > 0) is (len(capacity) > 1)
    broken = [(row.name, row.live, row.replayed) for row in found.rows if not row.passed]
    assert broken == []
    for name in ("makespan_s", "flow_s", "jobs_done", "attempts", "interruptions", "spot_worker_s", "lost_work_s"):
        assert found.replayed.metrics[name] == pytest.approx(found.live.metrics[name], rel=1e-3, abs=1e-6), name


def _scenario(folder: Path) -> Path:
    document = {
        "name": "functions",
        "services": {"preset": "ideal"},
        "checkpoint": {"write": "0s", "restore": "0s", "startup": "0s"},
        "market": {"launch": "20s"},
        "workload": {"source": "synthetic", "jobs": 8, "arrivals": {"dist": "poisson", "rate": "20/h"},
                     "classes": [{"runtime": {"dist": "uniform", "low": "5m", "high": "15m"}, "vcpus": 2}]},
        "capacity": {"pools": [{"id": "spot", "instance_type": "c6i.xlarge", "az": "us-east-1a", "max": 9,
                                "boot": "30s"}]},
        "policies": [{"use": "spot-only", "label": "spot-only"}],
    }  # fmt: skip
    path = folder / "functions.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


# journals of a local stack --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_run_of_a_local_stack_passes(name: str) -> None:
    found = judged(*recorded(name))
    assert found.passed
    rows = {row.name: row for row in found.rows}
    assert abs(rows["makespan_s"].error or 0) < 0.05
    assert abs(rows["flow_s"].error or 0) < 0.05
    assert (rows["interruptions"].live, rows["jobs_failed"].live) == ENDS[name]


def test_a_run_may_be_verified_as_soon_as_its_jobs_have_ended() -> None:
    """Workers that idle then are taken to stop when their keep-alive is over."""
    values, ran = recorded("local")
    last = max(number for number, line in enumerate(values) if line[3].get("is") == "AttemptEnded")
    early = values[: last + 4]
    gone = {line[2] for line in early if line[1] == "worker" and any(each["is"] == "Stop" for each in line[4])}
    assert len(gone) < 4, "some have not stopped"
    whole, cut = judged(values, ran), judged(early, ran)
    assert [(row.name, row.live, row.replayed) for row in cut.rows if not row.passed] == []
    assert cut.live.metrics["idle_s"] == pytest.approx(whole.live.metrics["idle_s"], abs=0.5)


def test_who_cancels_what_has_ended_does_not_lengthen_the_run() -> None:
    values, ran = recorded("local")
    job = next(line[2] for line in values if line[1] == "job")
    late_ms = values[-1][0] + 3_600_000
    late: Lines = [[late_ms, "job", job, {"v": 1, "is": "Cancelled", "at_ms": late_ms}, []]]
    assert judged([*values, *late], ran).rows == judged(values, ran).rows


def test_every_kind_of_end_is_played_again() -> None:
    """A success, one that waits for it, a job cancelled while it ran, a time limit, and a missing success string."""
    values, ran = recorded("local-ends")
    found = judged(values, ran)
    assert [(row.name, row.live, row.replayed) for row in found.rows if not row.passed] == []
    live = found.live.metrics
    assert (live["jobs_done"], live["jobs_failed"], live["attempts"]) == (2, 3, 8)
    assert found.replayed.metrics["attempts"] == 8
    assert found.passed


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("name", RECORDED)
def test_a_spoilt_journal_of_a_local_stack_fails(name: str, spoil: Callable[[Lines], Lines]) -> None:
    values, ran = recorded(name)
    assert not judged(spoil(values), ran).passed


def test_with_the_latencies_of_ec2_a_local_run_is_not_explained() -> None:
    values, ran = recorded("local")
    run = run_of(lines_of(values), ran)
    assert not verdict(run, ran).passed


@pytest.mark.parametrize("name", RECORDED)
def test_what_was_measured_plays_the_run_closer(name: str, tmp_path: Path) -> None:
    values, ran = recorded(name)
    run = run_of(lines_of(values), ran)
    fitted = recalibrated(run, ran)
    file = tmp_path / "measured.yaml"
    file.write_text(fitted.document())
    found = ServicesPreset.load(str(file))
    assert found.value("tick") == pytest.approx(1.0, abs=0.2)
    assert found.latency("ec2.boot").median_s < 1 < ServicesPreset.load().latency("ec2.boot").median_s
    assert "spotbed verify" in found.setting("ec2.boot.median").source
    live, before, after = measure(run, ran), replay(run, ran), replay(run, ran, found)
    for metric in ("makespan_s", "flow_s", "wait_s", "idle_s"):
        assert _error(after, live, metric) < _error(before, live, metric) / 2, metric


def _error(played: Any, live: Any, metric: str) -> float:
    return float(abs(played.metrics[metric] - live.metrics[metric]))


def test_a_scenario_takes_the_services_of_a_run(tmp_path: Path) -> None:
    values, ran = recorded("local")
    (tmp_path / "measured.yaml").write_text(recalibrated(run_of(lines_of(values), ran), ran).document())
    document = yaml.safe_load((JOURNALS / "small.yaml").read_text())
    document["services"] = {"preset": "measured.yaml", "keep_alive": "7s"}
    document["policies"] = document["policies"][:1]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(document))
    again = deployed(tmp_path / "again.yaml", "on-demand", [])
    assert again.policy.settings.keep_alive_ms == 7_000
    assert again.policy.settings.lease_ms == 15_000
    assert run_world(again.made, again.composed, 0).result.metrics["jobs_done"] == 6
    assert "measured.yaml" in again.made.input_files()


@pytest.mark.parametrize(
    ("text", "says"),
    [("values: {}", "is no services preset"), ("a: [", "is no services preset"), ("- 1", "is no services preset")],
)
def test_a_file_that_is_no_preset_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        ServicesPreset.load(str(tmp_path / "bad.yaml"))


# lines ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1, 2]",
        '[1, "clerk", "w1", {}, []]',
        '[1, "job", "a", {"v": 1, "is": "Nonsense"}, []]',
        '"x"',
        '[1, "world", "a", {"fact": "job"}, []]',
        '[1, "world", "a", {"fact": "job", "ticket": {"v": 1}}, []]',
    ],
)
def test_what_is_no_line_of_a_journal_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "journal.jsonl"
    good = '[5, "world", "w1", {"fact": "worker", "pool": "spot"}, []]'
    file.write_text(f"{good}\n{text}\n")
    with pytest.raises(InputError) as caught:
        read_journal(file)
    problem = caught.value.problems[0]
    assert (problem.file, problem.line) == (str(file), 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1\x15\x04\x89", "is the journal of a simulated run. A deployed run is needed: the journal.jsonl"),
        (b"[1, \x89]", "is no journal: its byte 4 is no text in UTF-8. A local stack keeps it as journal.jsonl"),
    ],
)
def test_a_file_that_is_no_text_is_told_in_the_users_words(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "journal.parquet"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_journal(file)
    assert str(caught.value).startswith(f"{file}: error: {said}")


def test_lines_of_a_functions_log_are_read_and_put_in_order() -> None:
    later, sooner = ([at_ms, "world", "w1", {"fact": "worker", "pool": "spot"}, []] for at_ms in (9, 4))
    assert [line.at_ms for line in lines_of([{"journal": later}, {"journal": sooner}])] == [4, 9]


# a run as a scenario --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["list", "classes"])
@pytest.mark.parametrize("name", RECORDED)
def test_a_run_becomes_a_scenario_that_runs(tmp_path: Path, name: str, form: Literal["list", "classes"]) -> None:
    values, ran = recorded(name)
    found = scenario_of(observe(lines_of(values), ran.policy.settings), "again", form)
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    again = deployed(tmp_path / "again.yaml", "spot-only", [])
    assert again.policy.settings.tick_ms == 1_000
    metrics = run_world(again.made, again.composed, 0).result.metrics
    live = measure(run_of(lines_of(values), ran), ran).metrics
    assert metrics["jobs_submitted"] == live["jobs_submitted"]
    if form == "list":
        assert metrics["jobs_failed"] == live["jobs_failed"]
        assert metrics["spot_work_s"] == pytest.approx(live["spot_work_s"], rel=0.02)
    assert "none is modelled" in found.to_yaml()


def as_array(values: Lines) -> Lines:
    """The same run, of which the jobs were one array."""
    text = json.dumps(values)
    names = [line[2] for line in values if line[3].get("fact") == "job"]
    for index, name in enumerate(names):
        text = text.replace(f'"{name}"', f'"sweep[{index}]"')
    found: Lines = json.loads(text)
    return [[found[0][0], "world", "sweep", {"fact": "array", "tasks": len(names)}, []], *found]


def test_the_jobs_of_an_array_are_names_of_a_scenario(tmp_path: Path) -> None:
    values, ran = recorded("local")
    found = scenario_of(observe(lines_of(as_array(values)), ran.policy.settings), "again", "list")
    listed = [each["id"] for each in found.document["workload"]["jobs_list"]]
    assert sorted(listed) == sorted(f"sweep:{index}" for index in range(len(listed)))
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    load_scenario(tmp_path / "again.yaml", [])


def test_ids_that_a_scenario_does_not_take_get_names_that_it_does(tmp_path: Path) -> None:
    values, ran = recorded("local")
    text = json.dumps(values)
    for name, other in {"job-01": "a b", "job-02": "a/b", "job-03": "-x" * 100}.items():
        text = text.replace(f'"{name}"', f'"{other}"')
    found = scenario_of(observe(lines_of(json.loads(text)), ran.policy.settings), "again", "list")
    listed = {each["id"] for each in found.document["workload"]["jobs_list"]}
    assert {"a-b", "job-04"} <= listed
    assert len(listed) == len({line[2] for line in values if line[3].get("fact") == "job"})
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    load_scenario(tmp_path / "again.yaml", [])


def test_who_waited_for_an_array_waited_for_its_jobs() -> None:
    ticket = encode(a_ticket("b"))
    facts: Lines = [
        [1, "world", "b", {"fact": "job", "ticket": ticket, "after": ["a", "sweep"]}, []],
        [1, "world", "sweep", {"fact": "array", "tasks": 3}, []],
    ]
    seen = observe(lines_of(facts), Settings())
    assert seen.jobs["b"].after == ("a", "sweep[0]", "sweep[1]", "sweep[2]")


def test_what_late_jobs_cost_is_in_the_bill_of_a_run() -> None:
    values, ran = recorded("local")
    plain = measure(run_of(lines_of(values), ran), ran)
    for line in values:
        if line[3].get("fact") == "job":
            line[3]["ticket"]["deadline_ms"] = line[3]["ticket"]["submit_ms"] + 500
            line[3]["late_penalty_usd_per_hour"] = 36.0
    run = run_of(lines_of(values), ran)
    for found in (measure(run, ran), replay(run, ran)):
        (usd,) = [line.usd for line in found.bill.lines if line.item == "penalty.late"]
        late_s = found.metrics["jobs_done"] * (found.metrics["flow_s"] - 0.5)
        assert usd == pytest.approx(0.01 * late_s, rel=1e-9)
    assert "penalty.late" not in {line.item for line in plain.bill.lines}
    fitted = scenario_of(run.seen, "again", "list").document["workload"]["jobs_list"]
    assert {each["late_penalty"] for each in fitted} == {"36 USD/h"}


def test_interruptions_are_fitted_where_there_were_enough(root: Path, tmp_path: Path) -> None:
    overrides = ["services.preset=ideal", "market.interruptions={source: exponential, mean: 5h}"]
    world, _ = simulated(root, "spot-only", overrides)
    assert world.journal is not None
    found = scenario_of(observe(lines_of(as_deployed(world.journal, world.inputs.work)), Settings()), "again")
    interruptions = found.document["market"]["interruptions"]
    taken = world.result.metrics["interruptions"]
    assert taken >= 10
    mean_s = parse_duration(interruptions["mean"])
    assert mean_s == pytest.approx(world.result.metrics["spot_worker_s"] / taken, rel=0.05)
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    assert deployed(tmp_path / "again.yaml", "spot-only", []).made.pools


def test_a_run_without_jobs_is_no_scenario() -> None:
    with pytest.raises(InputError, match="no job of this run"):
        scenario_of(observe([], Settings()), "again")


# a part of a journal --------------------------------------------------------------------------------------------------
def test_a_journal_is_cut_where_nothing_ran() -> None:
    first, ran = recorded("local")
    gap_ms = 3_600_000
    second = with_times(first[1:], lambda at_ms: at_ms + gap_ms)
    renamed = json.loads(json.dumps(second).replace("job-", "again-").replace('"i-', '"j-'))
    both, start_ms = lines_of([*first, *renamed]), first[0][0]
    cut = since(both, start_ms + gap_ms // 2)
    assert {line.subject[:5] for line in cut if line.fact == "job"} == {"again"}
    assert cut[0].fact == "stack"
    found = judged(renamed, ran)
    assert verdict(run_of(cut, ran), ran, services=recalibrated(run_of(cut, ran), ran).preset).rows == found.rows
    assert since(both, 0) == both
    with pytest.raises(InputError, match="never without work"):
        since(both, start_ms + gap_ms + 10_000)


def test_a_pool_that_the_scenario_does_not_have_is_told() -> None:
    """As of a stack on which AWS chooses among the pools."""
    values, ran = recorded("local")
    mixed = json.loads(json.dumps(values).replace('"pool": "spot"', '"pool": "mixed"'))
    with pytest.raises(InputError, match="ran in pool 'mixed'"):
        judged(mixed, ran)


def test_a_run_with_gangs_is_not_played_again() -> None:
    values, ran = recorded("local")
    paired = json.loads(json.dumps(values).replace('"gang": 1', '"gang": 2'))
    with pytest.raises(InputError, match="runs with gangs are not played again"):
        judged(paired, ran)
