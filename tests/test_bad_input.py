"""Bad input of a scenario: each kind gives file, line, value and hint as an InputError (exit code 2), no traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spotbed.errors import InputError, Problem
from spotbed.scenario.load import load_scenario

GOOD = """\
workload:
  source: synthetic
  jobs: 10
  classes:
    - {name: unit, runtime: 40m, vcpus: 2}
    - {name: merge, runtime: 10m, after: unit}
capacity:
  pools:
    - {id: spot, instance_type: c6i.xlarge, az: us-east-1a}
    - {id: on-demand, instance_type: c6i.xlarge, purchase: on-demand}
policies:
  - on-demand-only
  - {use: spot-only, label: spot}
gates:
  - {rule: cost_usd.mean <= 0.6 * baseline, for: spot}
"""

SYNTAX = "class Mine:\n    def key(self, job)\n        return 1\n"
METHOD = "class Mine:\n    def route(self, job, now_ms):\n        return None\n"
RAISES = "import nothing_of_this_name\n"
BOMB = "l0: &l0 [lol, lol, lol]\n" + "\n".join(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, 20))
OUTAGE = "market: {outages: [{az: us-east-1b, from: 1h, until: 2h}]}\ngates:"
TRACE = "market: {{interruptions: {{source: trace, path: '{}'}}}}\ngates:"

# what is wrong, the text that is replaced, by what, on which line, what the message says, what the hint says
CASES = [
    ("an unknown key", "vcpus: 2", "vcpu: 2", 5, "unknown key", "Did you mean 'vcpus'?"),
    ("an unknown key above", "policies:", "policy: x\npolicies:", 11, "unknown key", "Did you mean 'policies'?"),
    ("a missing unit", "40m", "40", 5, "a duration without a unit", "Write 40s, 40m or 40h."),
    ("a missing unit", "vcpus: 2", "memory: 8", 5, "a size without a unit", "Write 8 GiB or 8 GB."),
    ("a clock time", "40m", "1:30", 5, "not a duration", "Write 1h30m or 1m30s."),
    ("a negative number", "jobs: 10", "jobs: -1", 3, "must be at least 1, not -1.", None),
    ("a negative duration", "40m", "-40m", 5, "a duration must not be negative", "Write it as"),
    ("zero where impossible", "jobs: 10", "jobs: 0", 3, "must be at least 1, not 0.", None),
    ("zero where impossible", "vcpus: 2", "vcpus: 0", 5, "must be above 0, not 0.", None),
    ("a wrong kind", "jobs: 10", "jobs: ten", 3, "must be a whole number, not the text 'ten'.", None),
    ("an unknown policy", "spot-only", "spot-onyl", 13, "unknown policy 'spot-onyl'", "Did you mean 'spot-only'?"),
    ("an unknown point", "spot-only", "spot-only, order: edff", 13, "'edff'", "'edf'"),
    ("an unknown parameter", "label: spot", "label: spot, with: {avod: 5m}", 13, "'avod'", "Did you mean 'avoid'?"),
    ("an unknown type", "c6i.xlarge, az", "c6i.huge, az", 9, "unknown instance type 'c6i.huge'", ""),
    ("an unknown zone", "us-east-1a", "us-east-1z", 9, "unknown availability zone 'us-east-1z'", "us-east-1a"),
    ("an unknown region", "  pools", "  region: us-esat-1\n  pools", 8, "unknown region 'us-esat-1'", "Did you mean"),
    ("a policy that is no file", "spot-only", "nothing.py:Mine", 13, "nothing.py", ""),
    ("a job that fits no pool", "vcpus: 2", "vcpus: 64", 5, "class unit fits no pool: it needs 64 vCPUs", "4 vCPUs"),
    ("a job that fits no pool", "vcpus: 2", "memory: 1 TiB", 5, "fits no pool: it needs 1 vCPUs, 1024 GiB", "8 GiB"),
    ("a job that fits no pool", "vcpus: 2", "gpus: 1", 5, "1 GPUs", "0 GPUs"),
    (
        *("no pool of its purchase option", ", purchase: on-demand", "", 12),
        *("class unit and 1 more fit no on-demand pool", "Add a pool with `purchase: on-demand`."),
    ),
    ("a dependency cycle", "vcpus: 2", "after: merge", 5, "in a circle: unit waits for merge waits for unit", "Cut it"),
    ("a job after itself", "after: unit", "after: merge", 6, "in a circle: merge waits for merge", "Cut it"),
    ("an unknown dependency", "after: unit", "after: unt", 6, "'unt' is not known.", "Did you mean 'unit'?"),
    ("duplicate classes", "name: merge", "name: unit", 6, "'unit' is given twice, first on line 5.", "unique"),
    ("duplicate pools", "id: on-demand", "id: spot", 10, "'spot' is given twice, first on line 9.", "unique"),
    ("duplicate labels", "on-demand-only", "{use: decoupled, label: spot}", 13, "twice, first on line 12.", "unique"),
    ("a duplicate key", "jobs: 10", "jobs: 10\n  jobs: 20", 4, "given twice, first at 3:3.", "Keep one of the two."),
    ("an unknown baseline", "gates:", "baseline: spt\ngates:", 14, "'spt' is not the label", "Did you mean 'spot'?"),
    ("a gate for nobody", "for: spot", "for: spt", 15, "'spt' is not the label", "Did you mean 'spot'?"),
    ("an unknown metric", "cost_usd", "cost", 15, "'cost' is not a metric", "Did you mean 'cost_usd'?"),
    ("an unknown statistic", ".mean", ".max", 15, "'max' is not a statistic", "mean, p50, p95"),
    ("an outage elsewhere", "gates:", OUTAGE, 14, "no pool is in 'us-east-1b'.", "Did you mean 'us-east-1a'?"),
    ("a missing file", "gates:", TRACE.format("nothing.json"), 14, "nothing.json", "starts at the scenario's folder"),
    ("missing data", "gates:", TRACE.format("data:lublin_256.swf"), 14, "'lublin_256.swf'", "spotbed data get lublin_"),
    ("an unknown service", "gates:", "services: {sqs.visiblity: 5s}\ngates:", 14, "unknown key", "sqs.visibility"),
    ("a swept key", "gates:", "sweep: {checkpoint.wrte: [5s]}\ngates:", 14, "checkpoint.wrte: unknown key", "'write'"),
    ("a swept value", "gates:", "sweep: {seed: [1, x]}\ngates:", 14, "seed: must be a whole number", None),
    ("no price", "gates:", "market: {prices: constant}\ngates:", 9, "has no price.", "Give the pool a `price:`"),
    ("a price that is not known", "us-east-1a}", "us-east-1a, os: windows}", 9, "no on-demand price", "`price:`"),
    ("no end", "  jobs: 10\n", "", 2, "is missing.", "All jobs come at once: say how many."),
]  # fmt: skip


@pytest.mark.parametrize(("what", "old", "new", "line", "message", "hint"), CASES)
def test_bad_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    old: str,
    new: str,
    line: int,
    message: str,
    hint: str | None,
) -> None:
    monkeypatch.delenv("SPOTBED_DATA", raising=False)
    monkeypatch.setenv("SPOTBED_CACHE", str(tmp_path / "cache"))
    assert GOOD.count(old) >= 1, what
    path = tmp_path / "scenario.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    problem = only_problem(path)
    assert (problem.file, problem.line) == (str(path), line)
    assert problem.column is not None
    assert message in problem.message
    assert (hint or "") in (problem.hint or "")
    if hint is not None:
        assert problem.hint


def only_problem(path: Path) -> Problem:
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert caught.value.exit_code == 2
    (problem,) = caught.value.problems
    return problem


def test_the_good_one_is_good(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_scenario(path).warnings == ()


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        (SYNTAX, 2, "is no Python"),
        (METHOD, 1, "Mine fills 'place' but has no method 'choose'."),
        (RAISES, 1, "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_policy_file_that_is_wrong_is_named_with_its_line(
    tmp_path: Path, source: str, line: int, message: str
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(source, encoding="utf-8")
    path = tmp_path / "scenario.yaml"
    path.write_text(GOOD.replace("spot-only", "mine.py:Mine"), encoding="utf-8")
    problem = only_problem(path)
    assert (problem.file, problem.line) == (str(mine), line)
    assert message in problem.message


def test_a_yaml_bomb(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(BOMB, encoding="utf-8")
    problem = only_problem(path)
    assert problem.message == "aliases unfold to more than 100,000 values."
    assert (problem.file, problem.hint) == (str(path), "Write the values out.")
    assert problem.line is not None


def test_a_file_of_2_gb(tmp_path: Path) -> None:
    path = tmp_path / "core.dump"
    with path.open("wb") as stream:
        os.truncate(stream.fileno(), 2 * 2**30)  # sparse: it takes no room
    problem = only_problem(path)
    assert problem.message == "the file has 2.0 GiB; a scenario has at most 8 MiB."
    assert problem.hint


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_bytes(b"workload:\n  jobs: \xff\xfe\x00\n")
    problem = only_problem(path)
    assert (problem.line, problem.column, problem.message) == (2, 9, "not UTF-8 text: byte 0xff.")
    assert problem.hint
