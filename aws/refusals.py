"""Which policies cannot be deployed, and why: what the fleet on AWS cannot observe, and what Lambda does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aws.package import check_user_source
from aws.translate import MOST_SEATS
from scheduler.observation import NOT_HAD, SOURCES
from scheduler.policies.order.easy import CENTRAL_ONLY
from scheduler.policy import NOTHING_NEEDED, POINTS
from spotbed.build import Blueprint
from spotbed.errors import InputError, Problem
from spotbed.policies.compose import Composed
from spotbed.policies.load import source_of
from spotbed.scenario.models import Scenario
from spotbed.sources import source_file

_ARCHITECTURE = "decoupled"
_MODEL_NEEDS = "which no program gives: it is a model for papers"


def refuse_undeployable(made: Blueprint, composed: Composed) -> None:
    """Raise InputError for what cannot be deployed: the fleet on AWS cannot observe it, or Lambda does not have it."""
    problems = list(_refusals(made, composed))
    if problems:
        raise InputError(problems)
    for kind in {type(part) for part in composed.parts.values()}:
        if not kind.__module__.startswith("scheduler."):
            check_user_source(str(source_file(kind)), source_of(kind))


def _refusals(made: Blueprint, composed: Composed) -> Iterator[Problem]:
    scenario = made.scenario
    positions = scenario.positions
    assert positions is not None, "it was read from a file"
    number = [entry.label for entry in scenario.policies].index(composed.label)
    if scenario.capacity.cluster:
        yield positions.problem("a cluster of your own is not launched on AWS.", ("capacity", "cluster"))
    if not made.preset.charged:
        text = "services without latency, limit or charge are not what the policy would meet."
        yield positions.problem(text, ("services",), hint="Compare under `services: {preset: aws-us-east-1}`.")
    if composed.architecture != _ARCHITECTURE:
        text = f"{composed.architecture!r} cannot be deployed: what runs on AWS is {_ARCHITECTURE!r}."
        yield positions.problem(text, ("policies", number, "architecture"))
    for path, what in _not_built(scenario, composed, number):
        yield positions.problem(f"{what}: a simulation has them, the functions on AWS do not yet.", path)
    yield from _mixed(made, composed, number)
    for point in POINTS:
        for need in sorted(getattr(composed.parts[point], "needs", NOTHING_NEEDED)):
            reason = _unobservable(need)
            if reason:
                text = f"{composed.names[point]!r} cannot be deployed: it needs `{need}`, {reason}."
                yield positions.problem(text, ("policies", number, point))


def _mixed(made: Blueprint, composed: Composed, number: int) -> Iterator[Problem]:
    """Where AWS chooses among the pools of one group, each of them must serve every job."""
    positions, place = made.scenario.positions, composed.parts["place"]
    assert positions is not None
    if not getattr(place, "delegates", ""):
        return
    pools = [pool for pool in made.pools if pool.purchase == place.purchase]
    if not pools:
        yield positions.problem(f"there is no pool of {place.purchase!r}.", ("policies", number, "place"))
    for klass in made.world(0, composed)[0].work.classes:
        small = next((pool for pool in pools if not _fits(klass, pool)), None)
        if small is not None:
            text = f"leaves the choice of pools to AWS, and {klass.name!r} does not fit into {small.id!r}."
            yield positions.problem(text, ("policies", number, "place"))


def _fits(need: Any, pool: Any) -> bool:
    return bool(need.vcpus <= pool.vcpus and need.memory_gib <= pool.memory_gib and need.gpus <= pool.gpus)


def _not_built(scenario: Scenario, composed: Composed, number: int) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(place, what) of what the driver on AWS does not perform."""
    if composed.parts["move"].moves:
        yield ("policies", number), "jobs that move to another purchase option while they run"
    if getattr(composed.parts["scale"], "sees_jobs", False):
        yield ("policies", number), "a list of the jobs with a deadline for `scale`"
    if scenario.capacity.slots_per_instance > 1:
        yield ("capacity", "slots_per_instance"), "instances with several slots"
    if scenario.capacity.licences:
        yield ("capacity", "licences"), "licences"
    for name in ("classes", "jobs_list"):
        for place, shape in enumerate(getattr(scenario.workload, name, None) or ()):
            if shape.gang > MOST_SEATS:
                yield ("workload", name, place, "gang"), f"gangs of more than {MOST_SEATS} workers"
            if getattr(shape, "stop_on_first_success", False):
                yield ("workload", name, place, "stop_on_first_success"), "arrays that stop with their first success"


def _unobservable(need: str) -> str:
    """Why the fleet on AWS cannot have what a policy needs; empty if it can."""
    if need in SOURCES:
        return "" if SOURCES[need].aws is not None else "and no AWS call answers that"
    if need in CENTRAL_ONLY:
        return "and no part of a decoupled scheduler sees the whole queue"
    return NOT_HAD.get(need, _MODEL_NEEDS)
