"""The services presets: every value has a source, the tables give the original's counts, overrides carry through."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spotbed.errors import InputError
from spotbed.pricebook import PriceBook
from spotbed.services_preset import KINDS, Latency, ServicesPreset

FILE = Path(__file__).parent.parent / "spotbed" / "data" / "services-aws-us-east-1.yaml"
ROLES = {"setting", "latency", "fault", "limit", "size", "charge", "physics"}
TRANSITIONS, EVENTS = "stepfunctions.transition", "stepfunctions.history-event"


@pytest.fixture
def aws() -> ServicesPreset:
    return ServicesPreset.load("aws-us-east-1")


def use(preset: ServicesPreset, architecture: str, operations: Mapping[str, float]) -> Mapping[str, float]:
    """What so many operations use in all."""
    total: defaultdict[str, float] = defaultdict(float)
    for operation, times in operations.items():
        for item, units in preset.operations[architecture][operation].items():
            total[item] += times * units
    return total


def usd(usage: Mapping[str, float], only: Iterable[str] | None = None) -> float:
    book = PriceBook.load()
    return sum(units * book.usd(item) for item, units in usage.items() if only is None or item in only)


# --- values --------------------------------------------------------------------------------------------------------


def test_every_value_has_a_source_or_a_range_and_a_reason(aws: ServicesPreset) -> None:
    for setting in aws.settings.values():
        assert setting.role in ROLES
        assert setting.kind in KINDS.values()
        if setting.assumed:
            assert setting.low <= setting.value <= setting.high
            assert setting.low < setting.high
            assert setting.why
        else:
            assert setting.source
            assert re.fullmatch(r"\d{4}(-\d{2}){0,2}", setting.date)
    assert {setting.key for setting in aws.assumed()} < set(aws.keys())


def test_the_file_is_tidy() -> None:
    text = FILE.read_text()
    values = text[text.index("values:") : text.index("paths:")]
    named = re.findall(r"^  ([a-z][\w.-]*): \{value", values, flags=re.MULTILINE)
    assert len(named) == len(set(named)) > 100
    document = yaml.safe_load(text)
    assert set(named) == set(document["values"])
    assert {entry["source"] for entry in document["values"].values() if "source" in entry} == set(document["sources"])


def test_latencies_come_in_pairs_that_make_a_lognormal(aws: ServicesPreset) -> None:
    keys = {key for key, setting in aws.settings.items() if setting.role == "latency"}
    names = {key.rpartition(".")[0] for key in keys}
    assert {f"{name}.{part}" for name in names for part in ("median", "p95")} == keys
    for name in names:
        assert 0 < aws.latency(name).median_s < aws.latency(name).p95_s


@given(st.floats(1e-3, 1e3), st.floats(1.001, 50))
def test_the_mean_of_a_latency_is_the_lognormals(median_s: float, ratio: float) -> None:
    latency = Latency(median_s, median_s * ratio)
    shape = math.log(ratio) / stats.norm.ppf(0.95)
    assert latency.mean_s == pytest.approx(stats.lognorm(shape, scale=median_s).mean(), rel=1e-9)
    assert Latency(0, 0).mean_s == 0


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("lease", 300, "duration"),
        ("tick", 60, "duration"),
        ("keep_alive", 60, "duration"),
        ("boot_timeout", 600, "duration"),
        ("sqs.duplicate", 0.0001, "probability"),
        ("claim_candidates", 10, "count"),
        ("stepfunctions.history_limit", 25_000, "count"),
        ("stepfunctions.roll_over_at", 20_000, "count"),
        ("stepfunctions.transition.bucket", 5_000, "count"),
        ("stepfunctions.transition.refill", 1_500, "rate_per_s"),
        ("stepfunctions.start_execution.refill", 300, "rate_per_s"),
        ("ec2.run_instances.refill", 2, "rate_per_s"),
        ("lambda.concurrency", 1_000, "count"),
        ("legacy.poll", 5, "duration"),
        ("legacy.lost_agent_detect", 14_400, "duration"),
        ("legacy.lambda_memory", 0.5, "gib"),
        ("legacy.ebs_gib", 100, "gib"),
        ("s3.bandwidth", 0.25, "gib_per_s"),
    ],
)
def test_values_and_how_they_are_written(aws: ServicesPreset, key: str, value: float, kind: str) -> None:
    assert aws.value(key) == value
    assert aws.kind(key) == kind


# --- usage ---------------------------------------------------------------------------------------------------------


def test_every_item_has_a_price_and_every_path_a_latency(aws: ServicesPreset) -> None:
    book = PriceBook.load()
    assert set(aws.operations) == set(aws.paths) == {"decoupled", "legacy", "central"}
    for table in aws.operations.values():
        for usage in table.values():
            for item, units in usage.items():
                assert book.line(item).usd_per_unit * units >= 0
                assert units > 0
    for paths in aws.paths.values():
        for path in paths.values():
            assert path
            for name in path:
                assert aws.latency(name).median_s > 0


@given(st.integers(1, 500), st.integers(0, 5000))
def test_a_worker_of_the_original_makes_the_published_counts(jobs: int, polls: int) -> None:
    preset = ServicesPreset.load()
    operations = {
        "worker_start": 1, "job_start": jobs, "poll": polls, "success": jobs, "next_job": jobs - 1, "teardown": 1,
    }  # fmt: skip
    total = use(preset, "legacy", operations)
    assert total[TRANSITIONS] == 14 * jobs + 3 * polls + 8
    assert total["lambda.request"] == 9 * jobs + polls + 5
    assert total[EVENTS] == 55 * jobs + 9 * polls + 28
    assert total["sqs.request"] == 8 * jobs
    assert total["dynamodb.provisioned-write"] == 2 * jobs
    assert total["ssm.command"] == jobs


@pytest.mark.parametrize(
    ("operations", "transitions", "calls", "events", "requests", "writes"),
    [  # the rows of the counts table of the original; the start and end of an execution are in ours
        (("submit",), 0, 0, 0, 2, 0),
        (("submit_s3",), 0, 1, 0, 2, 0),
        (("worker_start",), 4 + 1, 2 + 1, 14 + 1, 0, 0),
        (("job_start",), 6, 5, 27, 4, 1),
        (("poll",), 3, 1, 9, 0, 0),
        (("success", "next_job"), 8, 4, 28, 4, 1),
        (("fail_ssm", "next_job"), 7, 3, 23, 4, 1),
        (("fail_string", "next_job"), 9, 4, 30, 4, 1),
        (("give_up",), 1, 1, 5, 0, 0),
        (("teardown",), 4, 2, 14 + 1, 0, 0),
        (("empty_receive",), 4, 4, 14, 8, 0),
        (("scale_tick",), 0, 1, 0, 2, 0),
    ],
)
def test_rows_of_the_originals_table(
    aws: ServicesPreset,
    operations: tuple[str, ...],
    transitions: int,
    calls: int,
    events: int,
    requests: int,
    writes: int,
) -> None:
    total = use(aws, "legacy", dict.fromkeys(operations, 1))
    counted = (TRANSITIONS, "lambda.request", EVENTS, "sqs.request", "dynamodb.provisioned-write")
    assert tuple(total[item] for item in counted) == (transitions, calls, events, requests, writes)


def test_the_originals_polling_meets_the_limit_after_2773_polls(aws: ServicesPreset) -> None:
    limit = aws.value("stepfunctions.history_limit")
    before = use(aws, "legacy", {"worker_start": 1, "job_start": 1})[EVENTS]
    assert (limit - before) // aws.operations["legacy"]["poll"][EVENTS] == 2773


@pytest.mark.parametrize("check_s", [0.0, 0.2, 0.5])
def test_the_originals_polling_costs_5_cents_a_worker_hour(aws: ServicesPreset, check_s: float) -> None:
    polls = 3600 / (aws.value("legacy.poll") + check_s)
    assert 0.049 <= usd(use(aws, "legacy", {"poll": polls}), {TRANSITIONS}) <= 0.055


def test_the_originals_wait_for_a_boot_is_billed(aws: ServicesPreset) -> None:
    assert usd(use(aws, "legacy", {"boot_second": 180})) == pytest.approx(0.0015, rel=1e-4)


def test_a_cycle_of_ours_is_three_transitions_and_ends_rolled_over_in_time(aws: ServicesPreset) -> None:
    cycle = use(aws, "decoupled", {"deliver": 1, "step": 1, "park": 1})
    assert cycle[TRANSITIONS] == 3
    assert cycle[EVENTS] <= 14
    cycles = aws.value("stepfunctions.roll_over_at") // cycle[EVENTS]
    assert cycles * cycle[EVENTS] + cycle[EVENTS] < aws.value("stepfunctions.history_limit")


def test_an_hour_of_work_costs_us_a_tenth_of_the_originals_polling(aws: ServicesPreset) -> None:
    job = {"submit": 1, "claim_hit": 1, "start": 1, "renewal": 36, "complete": 1, "deliver": 2, "step": 2, "park": 2}
    assert usd(use(aws, "decoupled", job)) < 0.1 * usd(use(aws, "legacy", {"poll": 3600 / 5.3}))


def test_a_call_of_a_function_uses_memory_duration_and_its_share_of_cold_starts(aws: ServicesPreset) -> None:
    exact = aws.with_overrides({"lambda.cold_start.probability": 0, "lambda.duration.step": 0.0601})
    step = exact.operations["decoupled"]["step"]
    assert step["lambda.request"] == 1
    assert step["lambda.gb-second"] == pytest.approx(0.25 * 0.061, rel=1e-12)  # rounded up to the millisecond
    cold = aws.with_overrides({"lambda.cold_start.probability": 1, "lambda.duration.step": 0.060})
    init_s = aws.latency("lambda.cold_start").mean_s
    assert cold.operations["decoupled"]["step"]["lambda.gb-second"] == pytest.approx(0.25 * (0.06 + init_s), rel=1e-12)


# --- overrides and the ideal preset --------------------------------------------------------------------------------


def test_overrides_carry_through_to_the_tables(aws: ServicesPreset) -> None:
    changed = aws.with_overrides({"lambda.memory": 0.5, "network.nat_gateways": 3, "lease": 120.0})
    step = aws.operations["decoupled"]["step"]
    assert changed.operations["decoupled"]["step"]["lambda.gb-second"] == 2 * step["lambda.gb-second"]
    assert changed.operations["decoupled"]["hour"]["network.nat-hour"] == 3
    assert changed.operations["legacy"]["poll"] == aws.operations["legacy"]["poll"]
    assert (changed.value("lease"), aws.value("lease")) == (120, 300)
    assert not changed.setting("network.nat_gateways").assumed
    assert changed.sha256 != aws.sha256
    assert aws.with_overrides({}).sha256 == aws.sha256


def test_a_lower_history_limit_rolls_over_earlier(aws: ServicesPreset) -> None:
    assert aws.with_overrides({"stepfunctions.history_limit": 5000}).value("stepfunctions.roll_over_at") == 4000
    both = aws.with_overrides({"stepfunctions.history_limit": 5000, "stepfunctions.roll_over_at": 5000})
    assert both.value("stepfunctions.roll_over_at") == 5000


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"leese": 1.0}, ["services.leese: unknown key. Did you mean 'lease'?"]),
        ({"sqs.visibilty": 1.0}, ["Did you mean 'sqs.visibility'?"]),
        ({"lease": 0.0}, ["services.lease: 0 must be a number above 0."]),
        ({"keep_alive": -1.0}, ["services.keep_alive: -1 must be a number of at least 0."]),
        ({"sqs.duplicate": 1.5}, ["services.sqs.duplicate: 1.5 must be between 0 and 1."]),
        ({"claim_candidates": 2.5}, ["must be a whole number above 0."]),
        ({"tick": float("inf"), "lease": float("nan")}, ["services.tick: inf", "services.lease: nan"]),
        ({"sqs.send.median": 1.0}, ["services.sqs.send.median: 1 is above sqs.send.p95 (0.025). Set both."]),
        ({"stepfunctions.roll_over_at": 30000.0}, ["is above stepfunctions.history_limit (25000). Set both."]),
    ],
)
def test_impossible_overrides(aws: ServicesPreset, overrides: dict[str, float], said: list[str]) -> None:
    with pytest.raises(InputError) as error:
        aws.with_overrides(overrides)
    for part in said:
        assert part in str(error.value)


@given(st.data())
def test_any_fitting_value_of_any_key_is_taken(data: st.DataObject) -> None:
    preset = ServicesPreset.load()
    key = data.draw(st.sampled_from([key for key in preset.settings if not key.endswith((".median", ".p95"))]))
    top = 1.0 if preset.kind(key) == "probability" else 1e6
    value = float(data.draw(st.integers(1, int(top))))
    if key == "stepfunctions.roll_over_at":
        value = min(value, preset.value("stepfunctions.history_limit"))
    changed = preset.with_overrides({key: value})
    assert changed.value(key) == value
    assert (changed.setting(key).low, changed.setting(key).high) == (value, value)


def test_ideal_services_take_nothing_and_cost_nothing(aws: ServicesPreset) -> None:
    ideal = ServicesPreset.load("ideal")
    assert ideal.keys() == aws.keys()
    for key, setting in ideal.settings.items():
        if setting.role in {"latency", "fault", "charge"}:
            assert setting.value == 0
        elif setting.role == "limit":
            assert setting.value == 1 << 30
        else:
            assert setting == aws.setting(key)
    assert not ideal.charged
    assert {name: set(table) for name, table in ideal.operations.items()} == {
        name: set(table) for name, table in aws.operations.items()
    }
    assert not any(usage for table in ideal.operations.values() for usage in table.values())
    assert ideal.with_overrides({"sqs.send.median": 0.1, "sqs.send.p95": 0.2}).latency("sqs.send") == Latency(0.1, 0.2)


def test_an_unknown_preset() -> None:
    with pytest.raises(InputError, match=r"unknown services preset 'ideel'\. Did you mean 'ideal'"):
        ServicesPreset.load("ideel")
    with pytest.raises(InputError, match="It is one of aws-us-east-1, ideal"):
        ServicesPreset.load("gcp")


# --- its page ------------------------------------------------------------------------------------------------------


def test_the_page_of_the_services_has_every_fault_and_limit_with_its_value(aws: ServicesPreset, root: Path) -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| ([\d., ]+) \|", (root / "docs" / "services.md").read_text("utf-8"), re.MULTILINE
    )
    told = {}
    for key, values in rows:
        names = (key,) if key in aws.settings else (f"{key}.bucket", f"{key}.refill")
        told |= dict(zip(names, map(float, values.split(", ")), strict=True))
    assert told == {key: each.value for key, each in aws.settings.items() if each.role in ("fault", "limit")}
