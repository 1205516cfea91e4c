"""The codec: every state, event and command goes through JSON and comes back, and nothing else comes in."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from core_examples import BADGE, claimed, job, observation, pool, sight, ticket, worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler import codec
from scheduler.codec import RECORDS, VERSION, CodecError, decode, encode
from scheduler.commands import Command, Launch, Release, Start, command_id
from scheduler.events import Event, Ready, Tick
from scheduler.fleet import Fleet
from scheduler.job_record import Job
from scheduler.record import record
from scheduler.settings import Settings
from scheduler.worker import Worker

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if inner[-1] is Ellipsis:
            return st.lists(values_of(inner[0]), max_size=2).map(tuple)
        return st.tuples(*map(values_of, inner))
    if hint in RECORDS.values():
        return record_of(hint)
    if get_args(hint):
        return st.one_of(*map(values_of, get_args(hint)))
    known = {int: st.integers(), float: NUMBERS, str: st.text(), bool: st.booleans(), type(None): st.none()}
    return known[hint]


def record_of(kind: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.deferred(lambda: st.builds(kind, **{each.name: values_of(hints[each.name]) for each in fields(kind)}))


records = st.sampled_from(sorted(RECORDS)).flatmap(lambda name: record_of(RECORDS[name]))


def through_json(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_any_record_survives_json(value: Any) -> None:
    back = through_json(value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_each_kind_of_record_survives_json(name: str) -> None:
    @settings(max_examples=5, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(record_of(RECORDS[name]))
    def survives(value: Any) -> None:
        assert through_json(value) == value

    survives()


def test_every_event_command_and_state_is_a_record() -> None:
    crossing = {*get_args(Event), *get_args(Command), Worker, Job, Fleet, Settings}
    assert crossing <= set(RECORDS.values())


def test_no_two_records_share_a_name() -> None:
    """A record is written by its name alone."""
    names = Counter(
        value.__name__
        for module in codec._MODULES
        for value in vars(module).values()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
    )
    assert max(names.values()) == 1
    assert names.keys() == RECORDS.keys()


def test_the_wire_format_of_version_1() -> None:
    assert VERSION == 1
    assert encode(claimed("j", 3, at_ms=5)) == {
        "v": 1, "is": "JobClaimed", "at_ms": 5, "job": "j", "epoch": 3, "progress_ms": 0, "estimate_ms": -1,
        "timeout_ms": -1, "checkpointable": True, "mtbf_ms": 0,
    }  # fmt: skip
    assert encode(worker("running", job="j", epoch=3)) == {
        "v": 1, "is": "Worker", "badge": {"is": "Badge", "id": "w1", "pool": "spot-a", "purchase": "spot"},
        "phase": "running", "job": "j", "epoch": 3, "checkpointable": False, "history": 0, "generation": 0,
    }  # fmt: skip
    assert encode(Release("j", 3, "interrupted", -1)) == {
        "v": 1, "is": "Release", "job": "j", "epoch": 3, "cause": "interrupted", "progress_ms": -1,
    }  # fmt: skip


def test_nested_tuples_come_back_as_tuples() -> None:
    held = job(of=ticket(licences=(("solver", 2), ("router", 1))), waiting_for=2)
    assert encode(held)["ticket"]["spec"]["licences"] == [["solver", 2], ["router", 1]]
    assert through_json(held) == held
    tick = Tick(5, observation(pools=[pool(), pool("b")], jobs=[sight()]))
    assert through_json(tick) == tick
    assert isinstance(through_json(tick).observation.pools, tuple)


def test_numbers_keep_their_kind() -> None:
    back = through_json(observation(spent_usd=1.0, budget_usd=0.1 + 0.2))
    assert isinstance(back.spent_usd, float)
    assert back.budget_usd == 0.1 + 0.2
    assert isinstance(through_json(Launch("p", 1, "c")).count, int)


def test_a_field_with_a_default_may_be_missing_so_that_records_can_grow() -> None:
    grown = encode(worker("idle", history=56))
    del grown["generation"]
    assert decode(grown) == worker("idle", history=56)


REQUIRED = [(kind, each.name) for kind in RECORDS.values() for each in fields(kind) if each.default is MISSING]


@pytest.mark.parametrize(("kind", "missing"), [(Start, "epoch"), (Ready, "at_ms"), (Worker, "badge")])
def test_a_field_without_a_default_must_be_there(kind: type, missing: str) -> None:
    assert (kind, missing) in REQUIRED
    made = {Start: Start("j", 1, 0, -1), Ready: Ready(0), Worker: worker()}[kind]
    value = encode(made)
    del value[missing]
    with pytest.raises(CodecError, match=rf"{kind.__name__}: unknown fields \[\], missing fields \['{missing}'\]"):
        decode(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"is": "Ready", "at_ms": 1}, "version None, not 1"),
        ({"v": 2, "is": "Ready", "at_ms": 1}, "version 2, not 1"),
        ({"v": 1, "is": "Object", "at_ms": 1}, "unknown record 'Object'"),
        ({"v": 1, "at_ms": 1}, "unknown record None"),
        ({"v": 1, "is": ["Ready"], "at_ms": 1}, "unknown record"),
        ({"v": 1, "is": "Ready", "at_ms": 1, "by": 2}, r"unknown fields \['by'\]"),
        ({"v": 1, "is": "Worker", "badge": {"id": "w1"}}, "unknown record None"),
        ({"v": 1, "is": "Tick", "at_ms": 1, "observation": {"is": "Nowhere"}}, "unknown record 'Nowhere'"),
    ],
)
def test_what_is_no_record_is_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        decode(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["Ready", "Worker", "Badge"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["is", "v", "at_ms", "badge", "phase"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["is", "v", "at_ms", "badge", "job"]), JSON, max_size=5))
def test_whatever_json_comes_in_the_answer_is_a_record_or_a_codec_error(value: dict[str, Any]) -> None:
    try:
        made = decode({**value, "v": 1})
    except CodecError:
        return
    assert type(made) in RECORDS.values()


def test_what_is_no_record_does_not_go_out() -> None:
    @record
    class Ready:  # a namesake
        at_ms: int

    for wrong in (Ready(1), Badgeless()):
        with pytest.raises(CodecError, match="is no record"):
            encode(wrong)


@record
class Badgeless:
    """A record of nobody's."""

    badge: str = BADGE.id


def test_a_command_is_recognised_by_its_place() -> None:
    """Same record, same version, same place in the list: the same id; anything else: another."""
    assert command_id("w1", 4, 0) == "w1/4/0"
    places = [(subject, version, place) for subject in ("w1", "w2") for version in (1, 2) for place in (0, 1)]
    assert len({command_id(*each) for each in places}) == len(places)
