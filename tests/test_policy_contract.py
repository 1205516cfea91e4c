"""`policy check` finds each way to break the contract, and `policy new` writes policies that keep it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from core_examples import policy_of

from scheduler.policies.presets import PARTS
from scheduler.policies.protect import Daly, Periodic
from scheduler.policy import POINTS, Policy
from spotbed.errors import InputError
from spotbed.policies import check, scaffold
from spotbed.policies.about import source_told, summary_of
from spotbed.policies.battery import questions
from spotbed.policies.check import CheckReport
from spotbed.policies.futures import peeks
from spotbed.policies.load import METHODS

OWN = '''
from dataclasses import dataclass
from scheduler.policies.{point} import {base}
{imports}

@dataclass(frozen=True)
class Mine({base}):
    """A policy of a user."""

    {body}
'''


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CheckReport]:
    """Checks a policy of these lines, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(body: str, base: str = "Fifo", point: str = "order", imports: str = "") -> CheckReport:
        source = OWN.format(base=base, point=point, body=body.replace("\n", "\n    "), imports=imports)
        Path("mine.py").write_text(source, "utf-8")
        return check("mine.py:Mine")

    return run


def failed(report: CheckReport) -> dict[str, str]:
    return {each.name: each.detail for each in report.checks if not each.passed}


# purity -------------------------------------------------------------------------------------------------------------
def test_what_is_impure_by_its_source_is_not_even_imported(checked: Callable[..., CheckReport]) -> None:
    report = checked("def key(self, job):\n    return 1.0", imports="open('trace', 'w').close()")
    assert failed(report) == {"pure": "mine.py:4 calls open; so it was not run"}
    assert [each.name for each in report.checks] == ["pure"]
    assert not Path("trace").exists()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import time; return time.time() * 0.0", "time.time: a clock"),
        ("import pathlib; return len(pathlib.Path('hidden.dat').read_text()) * 1.0", "open 'hidden.dat'"),
    ],
)
def test_a_clock_or_a_file_behind_another_module_is_found_as_well(
    checked: Callable[..., CheckReport], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, what: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    Path(tmp_path / "hidden.dat").write_text("x")
    Path(tmp_path / "behind.py").write_text(f"def look():\n    {line}\n")
    monkeypatch.delitem(sys.modules, "behind", raising=False)
    told = failed(checked("def key(self, job):\n    return behind.look()", imports="import behind"))
    assert list(told) == ["pure"]
    assert what in told["pure"]


# no peeking ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("imports", "line"),
    [
        ("import gc", "return len(gc.get_objects())"),
        ("from sim.decoupled import DecoupledWorld", "return 1.0"),
        ("", "return len(self.key.__globals__)"),
        ("", "return len(getattr(type(job), '__subclasses__')())"),
    ],
)
def test_no_way_leads_to_the_world_that_asks(checked: Callable[..., CheckReport], imports: str, line: str) -> None:
    told = failed(checked(f"def key(self, job):\n    {line}", imports=imports))
    assert list(told) == ["no peeking"]
    assert "was not run" in told["no peeking"]


@pytest.mark.parametrize(
    ("world", "what"),
    [
        (1, "interruptions that come later"), (2, "capacity that comes later"), (3, "prices that come later"),
        (4, "the true runtimes of jobs that have not ended"),
    ],
)  # fmt: skip
def test_a_policy_that_knows_which_future_it_is_in_is_found_out(world: int, what: str) -> None:
    """It checkpoints more often in one of the worlds, and so already before that one differs."""
    made = iter(range(9))

    def policy() -> Policy:
        return policy_of(protect=Daly() if next(made) == world else Periodic())

    assert peeks(policy) == what
    assert peeks(lambda: policy_of(protect=Daly())) == ""


# total, repeatable, written down ------------------------------------------------------------------------------------
def test_a_policy_answers_at_the_edges_too(checked: Callable[..., CheckReport]) -> None:
    price = "max(pool.price_usd_per_hour for pool in view.observation.pools)"
    told = failed(checked(f"def desired(self, view, need):\n    return round(1 / {price})", "BacklogAndBusy", "scale"))
    assert list(told) == ["answers"]
    assert "Mine.desired raised ZeroDivisionError" in told["answers"]


@pytest.mark.parametrize("point", POINTS)
def test_every_point_has_questions_and_every_method_of_it_is_asked(point: str) -> None:
    also = ("select", "rank") if point == "order" else ()
    assert {method for method, _ in questions(point)} == {*METHODS[point], *also}


@pytest.mark.parametrize(
    ("field", "lost"),
    [
        ("seen: frozenset = frozenset('ab')", "json"),
        ("ages: tuple = ((1, 2), (3, 4))", ""),
        ("share: float = 0.25", ""),
    ],
)
def test_parameters_must_survive_json(checked: Callable[..., CheckReport], field: str, lost: str) -> None:
    assert list(failed(checked(field))) == ([lost] if lost else [])


def test_parts_of_ours_are_checked_by_name_those_for_a_head_node_included() -> None:
    for point, kinds in PARTS.items():
        for name in kinds:
            report = check(name)
            assert report.passed, (point, name, failed(report))


# starting one -------------------------------------------------------------------------------------------------------
def test_each_new_policy_outside_the_repository_passes_the_test_that_comes_with_it(tmp_path: Path, root: Path) -> None:
    for point in POINTS:
        files = scaffold(tmp_path / f"my_{point}", point)
        assert [file.name for file in files] == [f"my_{point}.py", f"test_my_{point}.py"]
        assert len([line for line in files[0].read_text("utf-8").splitlines() if line.strip()]) <= 20
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout


def test_a_new_policy_replaces_no_test(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("mine")
    with pytest.raises(InputError, match=r"test_mine\.py.*exists already"):
        scaffold(tmp_path / "mine")
    assert [file.name for file in tmp_path.iterdir()] == ["test_mine.py"]


# what is told of them -----------------------------------------------------------------------------------------------
@dataclass
class Titled:
    """Steps ("Step scaling", Amazon User Guide). More (of this (kind))."""


@dataclass
class AfterAColon:
    """Lifetimes: Doe et al., "Why not", FOO 2011, section 2. And more: not this 1999."""


@dataclass
class Nested:
    """Young's (simple) rule (Young, CACM 17(9), 1974)."""


@dataclass
class Plain:
    """A rule of thumb (of ours). It has no source."""


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (Titled, '"Step scaling", Amazon User Guide'),
        (AfterAColon, 'Doe et al., "Why not", FOO 2011, section 2'),
        (Nested, "Young, CACM 17(9), 1974"),
        (Plain, ""),
    ],
)
def test_the_source_is_what_the_docstring_cites(kind: type, source: str) -> None:
    assert source_told(kind) == source


def test_the_summary_is_the_first_sentence() -> None:
    assert summary_of(Plain) == "A rule of thumb (of ours)"
