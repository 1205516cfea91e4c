"""What a message of a job may say: the keys and quantities of a scenario's job, and what is said of all others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aws.translate import LARGEST_ARRAY, BadMessage, Submission, from_message, in_order, task_id, task_of
from scheduler.job_record import JobSpec
from spotbed.scenario.models_work import InlineJob, JobClass

NOW_MS = 5_000
OF_A_PROGRAM = {"name", "gang"}  # of a class; not yet


def read(**more: Any) -> Submission:
    return from_message(json.dumps({"id": "a", "commands": ["x"], **more}), NOW_MS)


def refusal(**more: Any) -> str:
    with pytest.raises(BadMessage) as caught:
        read(**more)
    return str(caught.value)


def test_a_message_says_what_a_scenario_says_of_a_job() -> None:
    made = read(
        vcpus=4,
        memory="8 GiB",
        gpus=1,
        priority=-3,
        tenant="cpu-team",
        deadline="12h",
        timeout="36h",
        retries=2,
        checkpointable=True,
        estimate="1h30m",
        licences={"hspice": 2},
        late_penalty="5 USD/h",
        after=["b"],
        array=100,
    )
    assert made.ticket.spec == JobSpec(
        "a", 4, 8.0, 1, -3, "cpu-team", 2, True, 36 * 3_600_000, licences=(("hspice", 2),)
    )  # fmt: skip
    assert (made.ticket.submit_ms, made.ticket.estimate_ms) == (NOW_MS, 5_400_000)
    assert made.ticket.deadline_ms == NOW_MS + 12 * 3_600_000
    assert made.body == {"commands": ["x"], "timeout_s": 129_600.0, "late_penalty_usd_per_hour": 5.0}
    assert (made.after, made.array, made.last_id) == (("b",), 100, "a[99]")


def test_what_it_leaves_out_is_as_in_a_scenario() -> None:
    made, model = read(), InlineJob(id="a", runtime="1h")  # type: ignore[arg-type]  # as a file has it
    spec = made.ticket.spec
    for name in ("vcpus", "gpus", "priority", "tenant", "retries", "checkpointable"):
        assert getattr(spec, name) == getattr(model, name), name
    assert (spec.memory_gib, spec.timeout_ms, made.ticket.deadline_ms, made.ticket.estimate_ms) == (0, -1, -1, -1)
    assert (made.array, made.last_id, made.after) == (1, "a", ())


def test_every_key_of_a_scenarios_job_is_taken_or_refused_with_its_reason() -> None:
    for name in sorted((JobClass.model_fields.keys() | InlineJob.model_fields.keys()) - OF_A_PROGRAM):
        says = refusal(**{name: None}) if name != "after" else ""
        assert "unknown" not in says, name


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"timeout": 60}, "timeout: 60 is a duration without a unit. Write 60s, 60m or 60h"),
        ({"timeout": "0s"}, "timeout: must be longer than 0s"),
        ({"estimate": "2:30"}, "estimate: '2:30' is not a duration. Write 2h30m or 2m30s"),
        ({"deadline": None}, "deadline: None is not a duration. Write it as 45s, 90m, 1h30m or 2d"),
        ({"memory": 8}, "memory: 8 is a size without a unit. Write 8 GiB or 8 GB"),
        ({"memory": "8G"}, "memory: '8G' is not a size. Write it as 8 GiB, 500 MB or 16 GB"),
        ({"late_penalty": 5, "deadline": "1h"}, "late_penalty: 5 is a price per hour without a unit. Write 5 USD/h"),
        ({"late_penalty": "5 USD/h"}, "late_penalty: without a `deadline` nothing is late"),
        ({"vcpus": 0}, "vcpus: a number above 0, not 0"),
        ({"gpus": 1.5}, "gpus: a whole number from 0 to 1000000000, not 1.5"),
        ({"retries": 1_001}, "retries: a whole number from 0 to 1000, not 1001"),
        ({"priority": True}, "priority: a whole number from -1000000 to 1000000, not True"),
        ({"checkpointable": "false"}, "checkpointable: true or false, not 'false'"),
        ({"env": ["X=1"]}, "env: names, each with its value, not ['X=1']"),
        ({"tenant": ""}, "tenant: a text that is not empty, not ''"),
        ({"array": 0}, "array: a whole number from 1 to 1000000000, not 0"),
        ({"array": 5_000}, "array: 5000 jobs, and one message may be 1,000: send several, each with its id"),
        ({"id": "sweep[3]"}, "id: 'sweep[3]' ends as only the jobs of an `array` do; write it without the brackets"),
        ({"timeout_s": 60}, "timeout_s: write 'timeout' with its unit, as \"timeout\": \"60s\""),
        ({"memory_gib": 1.5}, "memory_gib: write 'memory' with its unit, as \"memory\": \"1.5 GiB\""),
        ({"runtime": "1h"},
         "runtime: describes a simulated job; a real one takes as long as it takes; `estimate` says what you expect"),
        ({"output": "1 GiB"}, "output: describes a simulated job; a real one names what it makes: `outputs`"),
        ({"comands": 1}, "unknown key 'comands' (did you mean 'commands'?)"),
        ({"qqq": 1}, "unknown key 'qqq'"),
        ({"retry": "3"}, "unknown key 'retry' (did you mean 'retries'?)"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_the_way_to_write_it(more: dict[str, Any], says: str) -> None:
    assert refusal(**more) == says


def test_a_message_of_2019_has_its_own_keys_only() -> None:
    old = {"job_id": "a", "commands": ["x"], "retry": "3"}
    assert from_message(json.dumps(old), 0).ticket.spec.retries == 3
    with pytest.raises(
        BadMessage, match=r"^timeout: is no key of a message of 2019; one with `id` in place of `job_id`"
    ):
        from_message(json.dumps({**old, "timeout": "1h"}), 0)


@pytest.mark.parametrize(("array", "index"), [("a", 0), ("a[1]", 12), ("x\ny", 999)])
def test_the_jobs_of_an_array_are_known_by_their_ids(array: str, index: int) -> None:
    assert task_of(task_id(array, index)) == (array, index)


@pytest.mark.parametrize("name", ["a", "[1]", "a[]", "a[x]", "a[1] ", "a[-1]", "a[1"])
def test_no_other_id_is_one_of_an_array(name: str) -> None:
    assert task_of(name) is None


def test_the_jobs_of_an_array_sort_by_their_index() -> None:
    names = [task_id("a", index) for index in range(LARGEST_ARRAY)]
    assert sorted(sorted(names), key=in_order) == names
