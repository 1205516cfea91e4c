"""Policies as users name them: by name, by file, by entry point, composed; what is listed, checked, scaffolded."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from core_examples import HOUR, MINUTE, job, ticket

from aws.refusals import refuse_undeployable
from scheduler.policies.place import Diversified, LowestPrice, OnDemandFallback
from scheduler.policies.presets import DEFAULTS, PARTS, PRESETS
from scheduler.policies.protect import Daly
from scheduler.policies.retry import FullJitter
from scheduler.policies.scale import DrainTime
from scheduler.policy import POINTS, Policy, Routing
from scheduler.settings import Settings
from spotbed.api import ready
from spotbed.build import Blueprint
from spotbed.errors import InputError
from spotbed.policies import Composed, check, compose, known, scaffold
from spotbed.policies.compose import sees_the_queue
from spotbed.policies.scaffold import class_name
from spotbed.scenario.load import load_scenario
from spotbed.scenario.models_policies import PolicyEntry

SOUND = '''
from dataclasses import dataclass
from scheduler.policies.order import Fifo

@dataclass(frozen=True)
class Newest(Fifo):
    """Last come, first served."""

    weight: float = 1.0

    def key(self, job):
        return -self.weight * job.ticket.submit_ms
'''


def made(entry: Mapping[str, Any] | str, base_dir: Path = Path()) -> Composed:
    fields = {"use": entry} if isinstance(entry, str) else entry
    return compose(PolicyEntry.model_validate({"label": "mine", **fields}), base_dir)


def wrong(entry: Mapping[str, Any] | str, base_dir: Path = Path()) -> list[str]:
    """What is wrong with an entry: path, message and hint of each problem."""
    with pytest.raises(InputError) as raised:
        made(entry, base_dir)
    return [f"{each.path}: {each.message} {each.hint or ''}".strip() for each in raised.value.problems]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a policy file into a folder of its own, which is returned."""

    def written(source: str, name: str = "mine.py") -> Path:
        (tmp_path / name).write_text(source, "utf-8")
        return tmp_path

    return written


# composing ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fills_its_points_and_our_defaults_fill_the_rest(name: str) -> None:
    _, architecture, filled = PRESETS[name]
    composed = made(name)
    assert composed.architecture == architecture
    assert composed.parts == {**DEFAULTS, **filled}
    assert composed.policy(Settings()) == Policy(**{**DEFAULTS, **filled}, architecture=architecture)  # type: ignore[arg-type]


def test_parameters_go_to_the_part_of_the_preset_that_has_them() -> None:
    composed = made({"use": "spot-diversified", "with": {"max_share_per_pool": 0.3, "avoid": "10m"}})
    assert composed.parts["place"] == Diversified(max_share_per_pool=0.3, avoid_ms=10 * MINUTE)
    assert composed.parts["scale"] == DEFAULTS["scale"]


def test_any_point_can_be_replaced_and_keeps_its_own_parameters() -> None:
    composed = made(
        {"use": "spot-fallback", "with": {"after_interruptions": 1}, "protect": "daly",
         "scale": {"use": "drain-time", "with": {"target": "1h30m"}}}
    )  # fmt: skip
    assert composed.parts["place"] == OnDemandFallback(after_interruptions=1)
    assert composed.parts["protect"] == Daly()
    assert composed.parts["scale"] == DrainTime(target_ms=90 * MINUTE)


def test_a_policy_may_be_composed_of_points_alone() -> None:
    entry = {"order": "edf", "place": "lowest-price", "scale": {"use": "drain-time"}, "retry": "full-jitter"}
    composed = made(entry)
    assert {point: composed.names[point] for point in entry} == {
        "order": "edf", "place": "lowest-price", "scale": "drain-time", "retry": "full-jitter",
    }  # fmt: skip
    assert composed.parts["protect"] == DEFAULTS["protect"]


def test_the_settings_of_the_scheduler_of_2019_are_services_data_and_not_parameters() -> None:
    composed = made({"use": "legacy-2019", "with": {"poll": "60s"}})
    assert composed.services == {"legacy.poll": "60s"}
    assert composed.parts == made("legacy-2019").parts


@pytest.mark.parametrize(("point", "name"), [(point, name) for point, kinds in PARTS.items() for name in kinds])
def test_what_is_shown_of_a_part_can_be_written_as_it_is_shown(point: str, name: str) -> None:
    part = PARTS[point][name]()
    architecture = "central" if sees_the_queue(part) else "decoupled"
    composed = Composed("x", architecture, {**DEFAULTS, point: part}, dict.fromkeys(POINTS, "x"), {})
    parameters = {
        key: value for key, value in composed.described()[point].items() if key != "use" and not isinstance(value, dict)
    }
    again = made({point: {"use": name, "with": parameters}, "architecture": architecture})
    assert again.parts[point] == part


def test_a_hash_changes_with_what_decides_and_with_nothing_else() -> None:
    base = made("spot-diversified")
    assert base.sha256 == made("spot-diversified").sha256
    assert base.sha256 == dataclasses.replace(base, label="other").sha256
    assert base.sha256 != made({"use": "spot-diversified", "with": {"max_share_per_pool": 0.4}}).sha256
    assert base.sha256 != made({"use": "spot-diversified", "retry": "immediate"}).sha256


def test_the_hash_of_a_users_policy_changes_with_its_file(write: Callable[..., Path]) -> None:
    folder = write(SOUND)
    before = made("mine.py:Newest", folder).sha256
    write(SOUND.replace("-self.weight", "-2 * self.weight"))
    assert made("mine.py:Newest", folder).sha256 != before
    write(SOUND)
    assert made("mine.py:Newest", folder).sha256 == before


# mistakes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("spot-diversifed", "use: unknown policy 'spot-diversifed'. Did you mean 'spot-diversified'?"),
        ({"order": "fifi"}, "order.use: unknown order policy 'fifi'. Did you mean 'fifo'?"),
        (
            {"use": "spot-only", "with": {"avoidd": "5m"}},
            "with.avoidd: 'avoidd' is no parameter of 'spot-only'. Did you mean 'avoid'?",
        ),
        ({"scale": {"use": "drain-time", "with": {"target": 3600}}}, "scale.with.target: "),
        (
            {"use": "spot-diversified", "with": {"max_share_per_pool": 2}},
            "with.max_share_per_pool: must be above 0 and at most 1, not 2.",
        ),
        (
            {"use": "legacy-2019", "with": {"pol": "5s"}},
            "with.pol: 'pol' is no parameter of legacy-2019. Did you mean 'poll'?",
        ),
        (
            {"use": "spot-diversified", "place": "lowest-price", "with": {"max_share_per_pool": 0.5}},
            "with.max_share_per_pool: 'max_share_per_pool' has no effect: the entry fills 'place' itself.",
        ),
        ("nowhere.py:Mine", "use: there is no file 'nowhere.py'."),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_name(entry: Any, message: str) -> None:
    (told,) = wrong(entry)
    assert told.startswith(f"policies.{message}")


def test_all_mistakes_of_an_entry_are_told_at_once() -> None:
    entry = {
        "use": "spot-only",
        "with": {"no": 1},
        "order": "fofi",
        "scale": {"use": "drain-time", "with": {"tarte": 1}},
    }
    assert len(wrong(entry)) == 3


@pytest.mark.parametrize(
    ("source", "name", "line", "message"),
    [
        ("class Mine:\n    def key(self, job)\n        return 0\n", "Mine", 2, "is no Python"),
        ("import nothing_of_that_name\n", "Mine", 1, "cannot be imported: ModuleNotFoundError"),
        ("\n\n1 / 0\n", "Mine", 3, "cannot be imported: ZeroDivisionError"),
        (SOUND, "Newst", 1, "there is no class 'Newst' in it"),
        ("class Mine:\n    def route(self, job, now_ms): ...\n", "Mine", 1, "fills 'place' but has no method 'choose'"),
        ("class Mine:\n    pass\n", "Mine", 1, "fills no point of a policy"),
        ("class Mine:\n    def __init__(self, a): ...\n    def key(self, job): ...\n", "Mine", 1, "cannot be made"),
    ],
)
def test_a_mistake_in_a_policy_file_is_told_with_file_and_line(
    write: Callable[..., Path], source: str, name: str, line: int, message: str
) -> None:
    folder = write(source)
    with pytest.raises(InputError) as raised:
        made(f"mine.py:{name}", folder)
    (problem,) = raised.value.problems
    assert (problem.file, problem.line) == (str(folder / "mine.py"), line)
    assert message in problem.message


def test_a_class_that_fills_another_point_is_refused(write: Callable[..., Path]) -> None:
    (told,) = wrong({"place": "mine.py:Newest"}, write(SOUND))
    assert told == "policies.place.use: Newest does not fill 'place'."


# a user's class -----------------------------------------------------------------------------------------------------
def test_a_users_class_fills_the_points_whose_methods_it_has(write: Callable[..., Path]) -> None:
    composed = made({"use": "mine.py:Newest", "with": {"weight": 2}}, write(SOUND))
    assert composed.policy(Settings()).order.key(job(of=ticket(submit_ms=5))) == -10
    assert {point: part for point, part in composed.parts.items() if point != "order"} == {
        point: part for point, part in DEFAULTS.items() if point != "order"
    }


def test_a_class_may_fill_more_than_one_point_with_one_set_of_parameters(write: Callable[..., Path]) -> None:
    source = SOUND + "\n    def delay_ms(self, job, cause, u):\n        return int(self.weight)\n"
    composed = made({"use": "mine.py:Newest", "with": {"weight": 7}}, write(source))
    assert composed.parts["order"] == composed.parts["retry"]
    assert composed.policy(Settings()).retry.delay_ms(job(), "failed", 0.5) == 7


def test_a_file_is_read_anew_when_it_has_changed(write: Callable[..., Path]) -> None:
    folder = write(SOUND)
    submitted = job(of=ticket(submit_ms=5))
    assert made("mine.py:Newest", folder).parts["order"].key(submitted) == -5
    write(SOUND.replace("-self.weight", "self.weight"))
    assert made("mine.py:Newest", folder).parts["order"].key(submitted) == 5


def test_an_installed_distribution_offers_policies_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "scheduler.policies.place:LowestPrice", "spotbed.policies")
    monkeypatch.setattr("spotbed.policies.load.entry_points", lambda *, group: EntryPoints([point]).select(group=group))
    assert made({"use": "theirs", "with": {"purchase": "on-demand"}}).parts["place"] == LowestPrice("on-demand")
    (info,) = [each for each in known() if each.name == "theirs"]
    assert (info.point, info.origin) == ("place", "scheduler.policies.place.lowest_price")
    (told,) = wrong("their")
    assert told == "policies.use: unknown policy 'their'. Did you mean 'theirs'?"


# listing ------------------------------------------------------------------------------------------------------------
def test_all_policies_and_parts_are_listed_with_a_sentence_each() -> None:
    infos = known()
    named = {(each.point, each.name) for each in infos}
    parts = {(point, name) for point, kinds in PARTS.items() for name in kinds}
    assert named == {("policy", name) for name in PRESETS} | parts
    assert all(each.summary and "\n" not in each.summary for each in infos)


def test_parameters_are_listed_as_a_scenario_would_write_them() -> None:
    (jitter,) = [each for each in known() if each.name == "full-jitter"]
    assert jitter.parameters == {"base": "1s", "cap": "15m", "budget": "1h"}
    assert FullJitter() == FullJitter(base_ms=1_000, cap_ms=15 * MINUTE, budget_ms=HOUR)


def test_what_is_listed_as_not_deployable_is_what_a_plan_refuses(root: Path) -> None:
    """One scenario with every part that a decoupled scheduler can ask; what needs the whole queue is refused before."""
    infos = [each for each in known() if each.point in POINTS and not sees_the_queue(PARTS[each.point][each.name]())]
    entries = [{"label": f"{each.point}-{each.name}", each.point: each.name} for each in infos]
    scenario = load_scenario(
        root / "scenarios" / "demo.yaml", [f"policies={json.dumps(entries)}", "gates=", "baseline="]
    )
    made = ready(scenario)
    refused = {label for label, composed in made.composed.items() if _is_refused(made, composed)}
    assert refused == {f"{each.point}-{each.name}" for each in infos if not each.deployable}


def _is_refused(made: Blueprint, composed: Composed) -> bool:
    try:
        refuse_undeployable(made, composed)
    except InputError:
        return True
    return False


# checking -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", [name for name, (_, architecture, _) in PRESETS.items() if architecture == "decoupled"]
)
def test_our_policies_pass_their_own_checks(name: str) -> None:
    report = check(name)
    assert [each.name for each in report.checks if not each.passed and each.name != "deployable"] == []
    assert report.passed


def test_the_example_of_a_users_policy_passes(root: Path) -> None:
    report = check(str(root / "policies" / "hedge.py") + ":Hedge")
    assert [each.name for each in report.checks if not each.passed] == []


@pytest.mark.parametrize(
    ("source", "failing"),
    [
        (SOUND.replace("from dataclasses", "import random\nfrom dataclasses"), "pure"),
        (SOUND.replace("return -self", "open('x', 'w').close()\n        return -self"), "pure"),
        (SOUND.replace("job.ticket.submit_ms", "len(next(iter({'a', 'bb', 'ccc', 'dddd'})))"), "repeatable"),
        (SOUND.replace("job.ticket.submit_ms", "job.ticket.size_of_it"), "answers"),
        (SOUND.replace("return -self", "return 'first'\n        return -self"), "answers"),
        (SOUND.replace("def key", "def no_key"), "complete"),
        (SOUND.replace("(Fifo)", ""), ""),
    ],
)
def test_each_check_finds_what_it_is_for(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, failing: str
) -> None:
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    if failing == "complete":
        source = source.replace("(Fifo)", "")
    report = check(f"{write(source) / 'mine.py'}:Newest")
    assert [each.name for each in report.checks if not each.passed] == ([failing] if failing else [])
    assert report.passed == (not failing)


def test_what_cannot_be_deployed_may_still_be_sound(write: Callable[..., Path]) -> None:
    source = SOUND.replace("    weight:", "    needs = frozenset({'pools.available_now'})\n    weight:")
    report = check(f"{write(source) / 'mine.py'}:Newest")
    assert [each.name for each in report.checks if not each.passed] == ["deployable"]
    assert report.passed
    assert report.checks[-1].detail == "needs pools.available_now, which no AWS call gives"


def test_a_check_of_nothing_is_a_mistake() -> None:
    for name in ("", "nothing"):
        with pytest.raises(InputError):
            check(name)


# starting one -------------------------------------------------------------------------------------------------------
def test_a_new_policy_is_short_sound_and_decides(tmp_path: Path) -> None:
    path = tmp_path / "my_policy.py"
    scaffold(path)
    lines = path.read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 20
    assert check(f"{path}:MyPolicy").passed
    policy = made({"use": "my_policy.py:MyPolicy", "with": {"slack": 2}}, tmp_path).parts["place"]
    waiting = job("queued", of=ticket(estimate_ms=HOUR, deadline_ms=5 * HOUR), progress_ms=HOUR // 2)
    assert policy.route(waiting, HOUR) == Routing("spot", 3 * HOUR)  # 5 h - 2 x 30 min - 1 h
    assert policy.route(waiting, 4 * HOUR) == Routing("on-demand")


def test_a_new_policy_replaces_nothing_and_is_python(tmp_path: Path) -> None:
    taken = tmp_path / "mine.py"
    taken.write_text("mine", "utf-8")
    for path, message in ((taken, "exists already"), (tmp_path / "mine.txt", "is a file of Python")):
        with pytest.raises(InputError, match=message):
            scaffold(path)
    assert taken.read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    ("file", "name"), [("hedge.py", "Hedge"), ("my_own-policy.py", "MyOwnPolicy"), ("2nd.py", "Policy2nd")]
)
def test_the_class_of_a_new_policy_is_called_after_its_file(file: str, name: str) -> None:
    assert class_name(Path(file)) == name


# the example --------------------------------------------------------------------------------------------------------
def test_hedge_buys_certainty_when_slack_runs_out(root: Path) -> None:
    """Two hours of work, due in six; with a factor of 1.5 it leaves Spot three hours before the deadline."""
    hedge = made({"use": "hedge.py:Hedge", "with": {"slack_factor": 1.5}}, root / "policies").parts["place"]
    due = job("queued", of=ticket(estimate_ms=2 * HOUR, deadline_ms=6 * HOUR))
    assert hedge.route(due, 0) == Routing("spot", 3 * HOUR)
    assert hedge.route(due, 3 * HOUR) == Routing("on-demand")
    assert hedge.route(dataclasses.replace(due, progress_ms=HOUR), 3 * HOUR) == Routing("spot", 90 * MINUTE)
    assert hedge.route(job("queued", of=ticket()), 9 * HOUR) == Routing("spot")


# the documentation --------------------------------------------------------------------------------------------------
def by_hand(root: Path) -> str:
    """The page without its figures, which are written by a command (test_policies_document.py)."""
    text = (root / "docs" / "policies.md").read_text("utf-8")
    return re.sub(r"<!-- figures of .*?<!-- end of figures -->", "", text, flags=re.DOTALL)


@pytest.mark.parametrize(("point", "name"), [(point, name) for point, kinds in PARTS.items() for name in kinds])
def test_docs_name_every_part_with_its_parameters_and_their_defaults(point: str, name: str, root: Path) -> None:
    section = by_hand(root).split(f"\n## `{point}`")[1].split("\n## ")[0]
    (line,) = [line for line in section.splitlines() if line.startswith(f"| `{name}` |")]
    (info,) = [each for each in known() if (each.point, each.name) == (point, name)]
    told = {key: value for key, value in info.parameters.items() if not isinstance(value, dict)}
    expected = [f"`{key}` {_plain(value) or 'none'}" for key, value in told.items()] or ["\N{EN DASH}"]
    assert sorted(line.split(" | ")[2].split(", ")) == sorted(expected)


def _plain(value: Any) -> str:
    if value in ("", ()):
        return "none"
    return (
        str(value).lower() if isinstance(value, bool) else f"{value:.12g}" if isinstance(value, float) else str(value)
    )


def test_docs_name_every_whole_policy_and_the_defaults(root: Path) -> None:
    text = by_hand(root).split("\n## ")[1]
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(PRESETS)
    names = [next(name for name, kind in PARTS[point].items() if type(DEFAULTS[point]) is kind) for point in POINTS]
    assert ", ".join(f"`{name}`" for name in names) in text


def test_an_order_that_only_ranks_is_refused_where_nobody_asks_it() -> None:
    with pytest.raises(InputError, match=r"'fair-share' ranks what a worker claims: in central none does"):
        made({"order": "fair-share", "architecture": "central"})
    assert made({"order": "wfp3", "architecture": "central"}).names["order"] == "wfp3"
