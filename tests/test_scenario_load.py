"""From file to scenario: overrides, all errors at once, the blocks that people read, and no traceback ever."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotbed.errors import InputError, Problem
from spotbed.scenario.load import load_scenario, render, render_all, validate
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_work import Synthetic
from spotbed.scenario.overrides import changed_data, parse_value
from spotbed.scenario.problems import Caution, is_error

MINIMAL = """\
workload:
  source: synthetic
  jobs: 10
  classes: [{name: unit, runtime: 40m}]
capacity:
  pools: [{id: spot, instance_type: c6i.xlarge}]
policies: [spot-only]
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    return written(tmp_path, MINIMAL)


def written(folder: Path, text: str, name: str = "demo.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def told(path: Path, *overrides: str) -> list[str]:
    """The first lines of all problems, without the folder."""
    return [render(problem, []).replace(f"{path.parent}/", "") for problem in validate(path, overrides)]


def test_a_scenario_knows_its_file(minimal: Path) -> None:
    scenario = load_scenario(minimal)
    assert (scenario.source_path, scenario.base_dir, scenario.name) == (minimal, minimal.parent, "demo")
    assert scenario.warnings == ()
    assert scenario.positions is not None
    node = scenario.positions.find(("capacity", "pools", 0, "instance_type"))
    assert node is not None
    assert (node.mark.line, node.mark.column) == (6, 37)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my work (2).yaml", "my-work--2-"),
        ("...yaml", "scenario"),
        ("é.yml", "scenario"),
        ("a" * 150 + ".yaml", "a" * 100),
    ],
)
def test_a_scenario_is_named_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    assert load_scenario(written(tmp_path, MINIMAL, file)).name == name


def test_overrides(minimal: Path) -> None:
    scenario = load_scenario(
        minimal,
        [
            "seed=9",
            "workload.jobs=500",
            "workload.classes.0.runtime={dist: lognormal, median: 1h, p95: 3h}",
            "workload.classes.unit.vcpus=2",
            "capacity.pools.spot.max=7",
            "capacity.budget=500 USD",
            "capacity.budget=",
            "services.sqs.visibility=5s",
            "policies.0={use: spot-only, label: x}",
            "policies.x.protect=daly",
        ],
    )
    work = scenario.workload
    assert isinstance(work, Synthetic)
    assert (scenario.seed, work.jobs, work.classes[0].vcpus) == (9, 500, 2)
    assert work.classes[0].runtime.params() == {"median": 3600, "p95": 10_800}
    assert (scenario.capacity.pools[0].max, scenario.capacity.budget) == (7, None)
    assert scenario.services.overrides() == {"sqs.visibility": "5s"}
    assert scenario.policies[0].protect is not None
    assert load_scenario(minimal).seed == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sed=1", "--set sed=1: error: sed: unknown key. Did you mean 'seed'?"),
        ("capcity.budget=5 USD", "--set capcity.budget=5 USD: error: capcity: unknown key. Did you mean 'capacity'?"),
        ("seed=x", "--set seed=x: error: seed: must be a whole number, not the text 'x'."),
        (
            "capacity.pools.0.max=-1",
            "--set capacity.pools.0.max=-1: error: capacity.pools.0.max: must be at least 0, not -1.",
        ),
        (
            "capacity.pools.sport.max=1",
            "--set capacity.pools.sport.max=1: error: capacity.pools: has no entry 'sport': it has 1, counted from 0. "
            "Did you mean 'spot'?",
        ),
        (
            "workload.jobs.x=1",
            "--set workload.jobs.x=1: error: workload.jobs: has no keys: it is 10. A path ends at a single value.",
        ),
        ("seed", "--set seed: error: not key=value. Write it as --set workload.jobs=100."),
        ("=5", "--set =5: error: not key=value. Write it as --set workload.jobs=100."),
        (
            "seed=[1",
            "--set seed=[1: error: not valid YAML: did not find expected ',' or ']'. Is a comma, ] or } missing?",
        ),
    ],
)
def test_a_wrong_override_is_told_as_such(minimal: Path, override: str, said: str) -> None:
    assert told(minimal, override) == [said]


def test_all_wrong_overrides_are_told(minimal: Path) -> None:
    assert len(told(minimal, "seed", "workload.jobs.x=1", "capacity.pools.9.max=1")) == 3


@given(st.text(max_size=30), st.text(max_size=30))
def test_random_overrides_are_values_or_errors(key: str, value: str) -> None:
    data = {"a": [{"id": "b", "c": 1}], "d": {"e": None}}
    try:
        changed, path = changed_data(data, key.split("."), parse_value(value))
    except InputError as error:
        assert error.problems  # noqa: PT017 - the error is one of two right outcomes
    else:
        assert len(path) == len(key.split("."))
        assert isinstance(changed, dict)
    assert data == {"a": [{"id": "b", "c": 1}], "d": {"e": None}}


GOLDEN = """\
seed: 3
workload:
  source: synthetic
  jobs: 10
  classes:
    - {name: unit, runtime: 40, deadlin: 4h}
capacity:
  pools:
    - {id: a, instance_type: c6i.xlarge, purchase: spot}
    - {id: b, instance_typ: c6i.xlarge}
    - {id: "\\e[31mred", instance_type: c6i.xlarge, az: us-east-1z}
policies: [spot-only, {use: spot-onyl, with: {avoid: 5m}}]
seed: 4
"""

RENDERED = """\
demo.yaml:6:29: error: workload.classes.0.runtime: a duration without a unit. Write 40s, 40m or 40h.
        - {name: unit, runtime: 40, deadlin: 4h}
                                ^^
demo.yaml:6:33: error: workload.classes.0.deadlin: unknown key. Did you mean 'deadline'?
        - {name: unit, runtime: 40, deadlin: 4h}
                                    ^^^^^^^
demo.yaml:10:15: error: capacity.pools.1.instance_typ: unknown key. Did you mean 'instance_type'?
        - {id: b, instance_typ: c6i.xlarge}
                  ^^^^^^^^^^^^
demo.yaml:11:12: error: capacity.pools.2.id: '\\x1b[31mred' is no name. A name has letters, digits and any of ._+-@: \
in it.
        - {id: "\\e[31mred", instance_type: c6i.xlarge, az: us-east-1z}
               ^^^^^^^^^^^
demo.yaml:11:56: error: capacity.pools.2.az: unknown availability zone 'us-east-1z'. Zones are us-east-1a, us-east-1b, \
us-east-1c, us-east-1d, us-east-1e, us-east-1f.
        - {id: "\\e[31mred", instance_type: c6i.xlarge, az: us-east-1z}
                                                           ^^^^^^^^^^
demo.yaml:12:29: error: policies.1.use: unknown policy 'spot-onyl'. Did you mean 'spot-only'?
    policies: [spot-only, {use: spot-onyl, with: {avoid: 5m}}]
                                ^^^^^^^^^
demo.yaml:13:1: error: seed: given twice, first at 1:1. Keep one of the two.
    seed: 4
    ^^^^"""


def test_all_errors_of_a_file_are_told_at_once_with_place_and_caret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, GOLDEN)
    assert render_all(validate("demo.yaml")) == RENDERED


def test_a_syntax_error_has_a_caret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "workload:\n  source: [synthetic\ncapacity: {}\n")
    assert render_all(validate("demo.yaml")) == (
        "demo.yaml:3:9: error: not valid YAML: did not find expected ',' or ']'. Is a comma, ] or } missing?\n"
        "    capacity: {}\n"
        "            ^"
    )


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "5\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    (problem,) = validate(written(tmp_path, text))
    assert problem.message.startswith("must be a mapping, not")
    assert (problem.line, problem.column) == (1, 1)
    assert "spotbed init" in str(problem.hint)


def test_one_wrong_value_in_many_places_is_told_once_each_and_not_for_ever(tmp_path: Path) -> None:
    jobs = "\n".join(f"    - {{id: j{number}, runtime: 40}}" for number in range(500))
    rest = "capacity: {pools: [{instance_type: c6i.xlarge}]}\npolicies: [spot-only]\n"
    text = f"workload:\n  jobs_list:\n{jobs}\n{rest}"
    problems = validate(written(tmp_path, text))
    assert len(problems) == 201
    assert problems[-1].message == "300 more errors are not shown."


def test_a_warning_stops_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace("runtime: 40m", "runtime: 40m, deadline: 30m"))
    (problem,) = validate(path)
    assert isinstance(problem, Caution)
    assert not is_error(problem)
    said = "warning: workload.classes.0.deadline: 30m is shorter than the median runtime of class unit, 40m."
    assert render(problem, []) == f"{path}:4:50: {said}"
    assert load_scenario(path).warnings == (problem,)


@pytest.mark.parametrize(
    ("problem", "lines", "text"),
    [
        (Problem("is wrong."), [], "error: is wrong."),
        (Problem("is wrong.", path="a.b", hint="Mend it."), [], "error: a.b: is wrong. Mend it."),
        (Problem("is wrong.", "x", 1, 3), ["a: b c, d"], "x:1:3: error: is wrong.\n    a: b c, d\n      ^"),
        (Problem("is wrong.", "x", 1, 4), ["a: b c, d"], "x:1:4: error: is wrong.\n    a: b c, d\n       ^^^"),
        (
            Problem("is wrong.", "x", 1, 4),
            ["a: 'b, c' # d"],
            "x:1:4: error: is wrong.\n    a: 'b, c' # d\n       ^^^^^^",
        ),
        (Problem("is wrong.", "x", 1, 1), ["日本: x"], "x:1:1: error: is wrong.\n    日本: x\n    ^^^^"),
        (Problem("is wrong.", "x", 1, 5), ["日本: x"], "x:1:5: error: is wrong.\n    日本: x\n          ^"),
        (Problem("is wrong.", "x", 1, 6), ["a: \tb"], "x:1:6: error: is wrong.\n    a: \\tb\n          ^"),
        (Problem("is wrong.", "x", 9, 1), ["a"], "x:9:1: error: is wrong."),
        (Problem("a\nb\x1b", "x\x07"), [], "x\\x07: error: a\\nb\\x1b"),
    ],
)
def test_blocks(problem: Problem, lines: list[str], text: str) -> None:
    assert render(problem, lines) == text


def test_a_long_line_is_cut_around_the_place() -> None:
    line = "a" * 500 + " key: value" + "b" * 500
    block = render(Problem("is wrong.", "x", 1, 502), [line]).splitlines()
    assert len(block[1]) < 130
    assert block[1].startswith("    ...aaa")
    assert block[1].endswith("bbb...")
    column = block[2].index("^")
    assert block[1][column : column + 3] == "key"


def outcome(path: Path) -> Scenario | str:
    """What comes of a file: a scenario, or what is said of it."""
    try:
        return load_scenario(path)
    except InputError as error:
        return render_all(error.problems)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_random_text_is_refused_and_never_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    assert fit_for_a_terminal(outcome(path))


def fit_for_a_terminal(said: Scenario | str) -> bool:
    return isinstance(said, str) and said != "" and all(c.isprintable() or c == "\n" for c in said)


TOKENS = [
    *[
        "null",
        "true",
        "-1",
        "1e999",
        "5",
        "[]",
        "{}",
        "''",
        "'a b'",
        "0s",
        "1:30",
        ".nan",
        ".inf",
        "spot",
        "nothing.py:X",
    ],
    *["- ", "{", "}", "[", "]", ": ", ",", "\n", "  ", "\t", "#", "!!str x", "2026-01-01", "&a x", "*a", "<<: *a"],
    *[r'"\x1b[31m"', r'"\u202e"', "é", "9" * 30, "random", "{every: 24h}", "data:nothing", "data:..", "~/x", "%", "@"],
]


def mutated(text: str, chance: random.Random) -> str:
    """The text with one to three pieces put in, taken out or replaced."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(text))
        if chance.random() < 0.4:
            text = text[:at] + chance.choice(TOKENS) + text[at:]
        elif chance.random() < 0.4:
            text = text[:at] + text[at + chance.randint(1, 12) :]
        else:
            words = text.split(" ")
            words[chance.randrange(len(words))] = chance.choice(TOKENS)
            text = " ".join(words)
    return text


@pytest.mark.parametrize("name", ["eda-regression.yaml", "real/kth-on-p3.yaml", "tenants-1x10-10x1.yaml"])
def test_a_damaged_scenario_is_a_scenario_or_refused(root: Path, tmp_path: Path, name: str) -> None:
    text = (root / "scenarios" / name).read_text("utf-8")
    chance = random.Random(name)
    outcomes = [outcome(written(tmp_path, mutated(text, chance))) for _ in range(300)]
    refused = [found for found in outcomes if not isinstance(found, Scenario)]
    assert len(refused) > 150
    assert all(fit_for_a_terminal(said) for said in refused)
