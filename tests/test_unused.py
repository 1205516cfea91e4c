"""What a world does not use costs it nothing. Instructions are counted, not seconds: those of Python, one by one, so
that two counts of the same world are equal, on any machine and under any load."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from spotbed.build import blueprint
from spotbed.scenario.load import load_scenario
from spotbed.worlds import run_world

Instructions = Counter[tuple[str, str]]  # how many were executed, by file and function
ROOT = Path(__file__).parent.parent
SCENARIO = """\
workload:
  source: synthetic
  jobs: {jobs}
  arrivals: {{dist: poisson, rate: 1200/h}}
  classes:
    - {{runtime: {{dist: lognormal, median: 10m, p95: 30m}}, vcpus: 4, memory: 8 GiB, checkpointable: true, {of_class}}}
    {more}
capacity:
  {capacity}
  pools:
    - {{id: spot, instance_type: c6i.xlarge, az: us-east-1a, max: 30}}
    - {{id: other, instance_type: m6i.xlarge, az: us-east-1b, max: 30}}
    - {{id: od, instance_type: c6i.xlarge, purchase: on-demand, max: 30}}
market:
  interruptions: {{source: weibull, up: {{shape: 0.6, scale: 1h}}, down: {{shape: 0.7, scale: 20m}}, burst: 3m}}
  {market}
policies: [{{use: spot-fallback, label: one, {policy}}}]
"""


def counted(folder: Path, keys: Mapping[str, str], jobs: int = 200) -> Instructions:
    """World 0 of the scenario with these keys: made, simulated, billed and measured. It has run before, so that what a
    process does once is done."""
    file = folder / "s.yaml"
    blanks = dict.fromkeys(("of_class", "more", "capacity", "market", "policy"), "")
    file.write_text(SCENARIO.format(jobs=jobs, **{**blanks, **keys}))
    made = blueprint(load_scenario(file))
    (composed,) = made.composed.values()
    run_world(made, composed, 0)
    return instructions(lambda: run_world(made, composed, 0))


def instructions(run: Callable[[], Any]) -> Instructions:
    """The instructions that are executed meanwhile."""
    found: Counter[Any] = Counter()

    def instruction(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            found[frame.f_code] += 1
        return instruction

    def call(frame: FrameType, *_: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return instruction

    before = sys.gettrace()
    sys.settrace(call)
    try:
        run()
    finally:
        sys.settrace(before)
    named: Instructions = Counter()
    for code, count in found.items():
        named[code.co_filename.removeprefix(f"{ROOT}/"), code.co_qualname] += count
    return named


def difference(one: Instructions, other: Instructions) -> dict[tuple[str, str], int]:
    """How many more `other` has, by file and function."""
    return {name: more for name in one | other if (more := other[name] - one[name])}


def of(found: Instructions, part: str) -> int:
    """Those of a file or folder, or of a function."""
    return sum(count for (file, name), count in found.items() if file.startswith(part) or name == part)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Instructions:
    return counted(tmp_path_factory.mktemp("plain"), {})


def test_the_same_world_is_the_same_number_of_instructions(plain: Instructions, tmp_path: Path) -> None:
    assert difference(plain, counted(tmp_path, {})) == {}
    assert plain.total() > 200 * 1000


# Where each is written: a file, a folder or a function that nothing else needs.
READS = "spotbed/work/build.py"
ABSENT = "- {runtime: 20m, vcpus: 4, memory: 8 GiB, share: 0"
FEATURES = {
    "gangs": ({"of_class": "gang: 2"}, "sim/gangs.py"),
    "turns of gangs": ({"of_class": "gang: 2"}, "scheduler/gangs.py"),
    "groups": ({"of_class": "array: 4, stop_on_first_success: true"}, "sim/groups.py"),
    "licences": ({"of_class": "licences: {a: 1}", "capacity": "licences: {a: 5}"}, "AttemptWorld._take_licences"),
    "staging": ({"of_class": "input: 3 GiB"}, "AttemptWorld._count_staging"),
    "failures": ({"of_class": "fail_probability: 0.5"}, "Submissions.outcome"),
    "budget": ({"capacity": "budget: 1000 USD"}, "World.spent_usd"),
    "ranks": ({"policy": "order: fair-share"}, "sim/ranked.py"),
    "ages": ({"policy": "protect: age-aware"}, "sim/aged.py"),
    "retry budget": ({"policy": "retry: token-bucket"}, "sim/retry_budget.py"),
    "moves": ({"of_class": "deadline: 3h", "policy": "move: uniform-progress"}, "scheduler/policies/move/"),
    "head node": ({"policy": "architecture: central"}, "sim/central.py"),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_no_instruction_is_executed_for_what_a_world_does_not_use(
    feature: str, plain: Instructions, tmp_path: Path
) -> None:
    keys, part = FEATURES[feature]
    assert of(counted(tmp_path, keys, jobs=20), part) > 0
    assert of(plain, part) == 0


def test_what_is_said_without_being_used_costs_nothing(plain: Instructions, tmp_path: Path) -> None:
    """Keys at the values that they have anyway, and licences that no job takes."""
    keys = {
        "of_class": "gang: 1, array: 1, licences: {}, priority: 0, tenant: default, gpus: 0, fail_probability: 0, "
        "success_string_missing: 0, input: 0 GiB, output: 0 GiB, late_penalty: 0 USD/h, runtime_on: {}, after: [], "
        "retries: 3, stop_on_first_success: false",
        "capacity": "licences: {a: 5}\n  slots_per_instance: 1",
        "market": "outages: []\n  rebalance: {probability: 0}",
        "policy": "move: stay, order: fifo",
    }
    assert difference(plain, counted(tmp_path, keys)) == {}


def test_what_only_a_class_without_jobs_asks_for_costs_nothing(tmp_path: Path) -> None:
    """A class costs a world a little even if no job of it comes; what it asks for, nothing once it is read. (Not so
    `array`: which jobs come is drawn with it.)"""
    asks = (
        "gang: 2, priority: 5, retries: 0, fail_probability: 0.5, success_string_missing: 0.5, input: 3 GiB, "
        "output: 3 GiB, late_penalty: 1 USD/h, deadline: 10h, timeout: 1h, runtime_on: {m6i: 2}"
    )
    bare = counted(tmp_path, {"more": f"{ABSENT}}}"})
    for asked in (asks, "licences: {a: 1}"):
        asking = counted(tmp_path, {"more": f"{ABSENT}, {asked}}}", "capacity": "licences: {a: 5}"})
        assert {name: more for name, more in difference(bare, asking).items() if name[0] != READS} == {}
