"""I10: the same seed gives the same journal, under any hash seed, in any number of processes, whatever ran before."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smoke import worlds
from worlds import Case, cases

import spotbed
from spotbed.api import compare_scenario
from spotbed.build import Blueprint, blueprint
from spotbed.journal import Journal
from spotbed.metering import Tally
from spotbed.scenario.load import load_scenario
from spotbed.worlds import run_world, simulate

# Pools and classes are named so that neither their order in the file nor that of the alphabet is that of a hash.
POOLS = """
workload:
  source: synthetic
  jobs: 40
  arrivals: {dist: poisson, rate: 60/h}
  classes:
    - {name: short, share: 0.7, runtime: {dist: lognormal, median: 6m, p95: 20m}, vcpus: 2, memory: 4 GiB,
       checkpointable: true, fail_probability: 0.05}
    - {name: long, share: 0.3, runtime: 15m, vcpus: 4, memory: 4 GiB, deadline: 3h, tenant: other}
capacity:
  pools:
    - {id: b, instance_type: c6i.xlarge, az: us-east-1b, purchase: spot, max: 6}
    - {id: a, instance_type: m5.xlarge, az: us-east-1a, purchase: spot, max: 6}
    - {id: od, instance_type: c6i.xlarge, az: us-east-1a, purchase: on-demand, max: 6}
market:
  interruptions: {source: weibull, up: {shape: 0.6, scale: 1h}, down: {shape: 0.7, scale: 10m}, burst: 1m}
  notice: {probability: 0.9, lead: 2m}
checkpoint: {write: 10s, restore: 10s}
policies: [decoupled, spot-diversified, greedy-deadline, legacy-2019, central]
baseline: decoupled
"""
CLUSTER = """
workload:
  source: synthetic
  jobs: 60
  arrivals: {dist: poisson, rate: 120/h}
  classes: [{name: job, runtime: {dist: lognormal, median: 6m, p95: 20m}}]
capacity: {cluster: {slots: 8}}
policies: [central, {use: central, label: sjf, order: sjf}]
baseline: central
"""
SCENARIOS = {"pools": POOLS, "cluster": CLUSTER}
WORLD = 1
HERE = Path(spotbed.__file__).parent.parent
HASHES_OF_A_WORLD = """
import json, sys
from spotbed.build import blueprint
from spotbed.scenario.load import load_scenario
from spotbed.worlds import run_world
made = blueprint(load_scenario(sys.argv[1], ()))
runs = {label: run_world(made, composed, int(sys.argv[2]), journal=True) for label, composed in made.composed.items()}
print(json.dumps({label: run.journal.sha256() for label, run in runs.items()}))
"""


@pytest.fixture(params=SCENARIOS)
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small scenario, as a file; under it run all architectures."""
    path = tmp_path / f"{request.param}.yaml"
    path.write_text(f"name: {request.param}\nseed: 5\nreplications: 3\n{SCENARIOS[request.param]}")
    return path


def hashes(made: Blueprint, seed: int | None = None, world: int = WORLD) -> dict[str, str]:
    """The hash of the journal of a world under each policy."""
    found = {}
    for label, composed in made.composed.items():
        journal = run_world(made, composed, world, seed=seed, journal=True).journal
        assert journal is not None
        assert len(journal.entries) > 100
        found[label] = journal.sha256()
    return found


def test_a_journal_depends_on_seed_and_world_and_on_nothing_that_ran_before(scenario: Path) -> None:
    made = blueprint(load_scenario(scenario, ()))
    first = hashes(made)
    others = [hashes(made, seed=6), hashes(made, world=2)]
    again = hashes(blueprint(load_scenario(scenario, ())))
    assert again == first
    assert all(first[label] not in other.values() for other in others for label in first)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_journal_does_not_depend_on_the_hash_seed(scenario: Path, hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", HASHES_OF_A_WORLD, str(scenario), str(WORLD)]
    told = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == hashes(blueprint(load_scenario(scenario, ())))


def written(scenario: Path, folder: Path, processes: int) -> tuple[Mapping[str, str], dict[str, bytes]]:
    """(hashes of the journals, files with numbers) of a comparison run by so many processes."""
    compare_scenario(scenario, jobs=processes, out=folder)
    provenance = json.loads((folder / "provenance.json").read_text())
    names = ["results.json", "notes.json", *(str(path.relative_to(folder)) for path in sorted(folder.rglob("*.csv")))]
    return provenance["journal_sha256"], {name: (folder / name).read_bytes() for name in names}


def test_a_comparison_does_not_depend_on_the_number_of_processes(scenario: Path, tmp_path: Path) -> None:
    alone, shared = (written(scenario, tmp_path / str(processes), processes) for processes in (1, 2))
    assert alone[0] == shared[0]
    assert len(set(alone[0].values())) == len(alone[0]) >= 2
    assert alone[1].keys() == shared[1].keys()
    assert [name for name, content in alone[1].items() if content != shared[1][name]] == []
    assert {"results.json", "worlds.csv", "bill.csv"} <= alone[1].keys()


# what tests are given -------------------------------------------------------------------------------------------------
def drawn() -> list[int]:
    seeds: list[int] = []

    @worlds(60)
    @given(st.integers(0, 1 << 64))
    def one(seed: int) -> None:
        seeds.append(seed)

    one()
    return seeds


def test_what_hypothesis_draws_does_not_depend_on_what_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn()
    (tmp_path / "full_of_numbers.py").write_text(f"NUMBERS = {list(range(70_001, 72_001, 7))}")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("full_of_numbers")
    assert drawn() == before


# random worlds --------------------------------------------------------------------------------------------------------
def told(tally: Tally) -> tuple[object, ...]:
    """All that a tally says."""
    jobs = {name: list(values) for name, values in vars(tally.jobs).items()}
    return jobs, tally.pools, tally.operations, tally.gib, tally.limits, tally.samples, tally.faults, tally.end_ms


@worlds(20)
@given(cases("weibull"))
def test_a_random_world_runs_the_same_again_with_or_without_a_journal(case: Case) -> None:
    journals = Journal(), Journal()
    with_one, again = (simulate(case.inputs, case.policy, journal) for journal in journals)
    without = simulate(case.inputs, case.policy)
    assert journals[0].sha256() == journals[1].sha256()
    assert told(with_one) == told(again) == told(without)
