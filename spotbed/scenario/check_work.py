"""Checks of the workload: names, dependencies, deadlines, and whether jobs fit what they may run on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from spotbed.quantities import format_duration, format_size
from spotbed.scenario.models import Scenario
from spotbed.scenario.models_work import (
    AtOnce,
    Constant,
    Distribution,
    Exponential,
    Inline,
    JobTraits,
    Lognormal,
    Lublin,
    Synthetic,
    Uniform,
    Weibull,
)
from spotbed.scenario.models_world import Capacity, Pool
from spotbed.scenario.problems import shown, suggestion
from spotbed.scenario.tell import Teller
from spotbed.scenario.yaml_positions import Keys

_After = tuple[str, Sequence[str]]  # a class or job, and what it waits for
_LN_2 = 0.6931471805599453


def median_s(dist: Distribution) -> float | None:
    """The median in seconds; None for recorded durations."""
    match dist:
        case Constant():
            return dist.value
        case Exponential():
            return dist.mean * _LN_2
        case Lognormal():
            return dist.median
        case Weibull():
            return float(dist.scale * _LN_2 ** (1 / dist.shape))
        case Uniform():
            return (dist.low + dist.high) / 2
        case _:
            return None


def traits_of(scenario: Scenario) -> list[tuple[Keys, str, JobTraits]]:
    """All descriptions of jobs, with where they stand and what they are called."""
    workload = scenario.workload
    if isinstance(workload, Synthetic):
        return [(("workload", "classes", i), f"class {c.name}", c) for i, c in enumerate(workload.classes)]
    if isinstance(workload, Inline):
        return [(("workload", "jobs_list", i), f"job {j.id}", j) for i, j in enumerate(workload.jobs_list)]
    return [(("workload", "defaults"), "a job", workload.defaults)]


def check_end(scenario: Scenario, teller: Teller) -> None:
    """Arrivals end by number or by time."""
    workload = scenario.workload
    if not isinstance(workload, Synthetic) or workload.jobs is not None:
        return
    if isinstance(workload.arrivals, AtOnce):
        teller.error("is missing.", ("workload", "jobs"), "All jobs come at once: say how many.")
    elif scenario.horizon is None:
        teller.error("is missing.", ("workload", "jobs"), "Say how many, or when arrivals stop: `horizon: 48h`.")


def check_names(scenario: Scenario, teller: Teller) -> None:
    """Classes and jobs are called differently."""
    workload = scenario.workload
    if isinstance(workload, Synthetic):
        names = [item.name for item in workload.classes]
        tell_duplicates(names, teller, ("workload", "classes"), "name")
    if isinstance(workload, Inline):
        tell_duplicates([job.id for job in workload.jobs_list], teller, ("workload", "jobs_list"), "id")


def tell_duplicates(names: Sequence[str], teller: Teller, keys: Keys, key: str) -> None:
    """An error at each entry whose name an earlier entry has."""
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if name in first:
            node = teller.document.find((*keys, first[name]))
            where = f", first on line {node.mark.line}" if node else ""
            teller.error(f"{shown(name)} is given twice{where}.", (*keys, number, key), f"Each {key} is unique.")
        first.setdefault(name, number)


def check_dependencies(scenario: Scenario, teller: Teller) -> None:
    """What jobs wait for exists, and nothing waits for itself."""
    workload = scenario.workload
    if isinstance(workload, Synthetic):
        pairs = [(item.name, item.after) for item in workload.classes]
        _tell_unknown(pairs, teller, ("workload", "classes"), ids_of=dict(pairs))
        _tell_cycle(pairs, teller, ("workload", "classes"))
    if isinstance(workload, Inline):
        pairs = [(job.id, job.after) for job in workload.jobs_list]
        _tell_unknown(pairs, teller, ("workload", "jobs_list"), ids_of=())
        _tell_cycle(pairs, teller, ("workload", "jobs_list"))


def _tell_unknown(pairs: Sequence[_After], teller: Teller, keys: Keys, *, ids_of: Collection[str]) -> None:
    """Names to wait for that nothing has, and that are no ids such as CLASS-0 of the classes `ids_of`."""
    names = {name for name, _ in pairs}
    for number, (_, awaited) in enumerate(pairs):
        for position, name in enumerate(awaited):
            stem, _, index = name.rpartition("-")
            if name not in names and not (stem in ids_of and index.isdecimal()):
                teller.error(
                    f"{shown(name)} is not known.", (*keys, number, "after", position), suggestion(name, names)
                )


def _tell_cycle(pairs: Sequence[_After], teller: Teller, keys: Keys) -> None:
    if len(dict(pairs)) < len(pairs):
        return  # of names given twice, nobody knows which is meant
    try:
        TopologicalSorter(dict(pairs)).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        number = next(number for number, (name, _) in enumerate(pairs) if name in circle)
        chain = " waits for ".join(circle[:8]) + (" waits for ..." if len(circle) > 8 else "")
        teller.error(f"jobs wait for each other in a circle: {chain}.", (*keys, number, "after"), "Cut it somewhere.")


def check_deadlines(scenario: Scenario, teller: Teller) -> None:
    """Warn of times within which half of the jobs cannot end."""
    for keys, name, traits in traits_of(scenario):
        runtime = getattr(traits, "runtime", None)
        median = median_s(runtime) if isinstance(runtime, Distribution) else runtime
        if median is None:
            continue
        for key, allowed_s in (("deadline", traits.deadline), ("timeout", traits.timeout)):
            if allowed_s is not None and allowed_s < median:
                what = f"{format_duration(allowed_s)} is shorter than the median runtime of {name}"
                teller.warning(f"{what}, {format_duration(median)}.", (*keys, key))


def check_fit(scenario: Scenario, teller: Teller) -> None:
    """Every job fits a pool (or the cluster), and there are licences enough."""
    capacity = scenario.capacity
    pools = Pools(capacity)
    for keys, name, traits in traits_of(scenario):
        for below, message, hint in misfits(capacity, pools, name, traits, getattr(traits, "slots", 1)):
            teller.error(message, (*keys, *below), hint)
    if isinstance(scenario.workload, Lublin) and capacity.cluster is not None:
        for message in _beyond(capacity.cluster.slots, scenario.workload.slots, "the modelled machine"):
            teller.error(message, ("workload", "slots"))


class Shape(Protocol):
    """What a job needs, whether a scenario or a file of jobs says so."""

    @property
    def vcpus(self) -> float: ...
    @property
    def memory(self) -> float: ...
    @property
    def gpus(self) -> int: ...
    @property
    def gang(self) -> int: ...
    @property
    def licences(self) -> Mapping[str, int]: ...


def misfits(
    capacity: Capacity, pools: Pools, name: str, shape: Shape, slots: int
) -> Iterator[tuple[Keys, str, str | None]]:
    """Why such a job can never run: the keys below it that say so, what is wrong, and a hint."""
    for licence, count in shape.licences.items():
        owned = capacity.licences
        if licence not in owned:
            hint = suggestion(licence, owned) or f"Add `licences: {{{licence}: N}}` to capacity."
            yield ("licences", licence), f"capacity.licences has no {shown(licence)}.", hint
        elif count > owned[licence]:
            message = f"needs {count} licences {shown(licence)}, and there are {owned[licence]}."
            yield ("licences", licence), message, None
    if capacity.cluster is not None:
        yield from ((("slots",), message, None) for message in _beyond(capacity.cluster.slots, slots, name))
    elif not (fitting := pools.that_fit(shape)):
        message = f"{name} fits no pool: it needs {_needs(shape)}."
        yield (), message, pools.largest()
    elif shape.gang > (most := sum(pool.max for pool in fitting)):
        yield ("gang",), f"{name} needs {shape.gang} instances, and its pools hold {most}.", None


def _beyond(slots: int, needed: int, name: str) -> Iterator[str]:
    if needed > slots:
        yield f"{name} needs {needed} slots; the cluster has {slots}."


class Pools:
    """The pools of a scenario with the size of their slots."""

    def __init__(self, capacity: Capacity) -> None:
        from spotbed.catalogue import Catalogue

        catalogue = Catalogue.load()
        types = {pool.instance_type: catalogue.find(pool.instance_type) for pool in capacity.pools}
        slots = capacity.slots_per_instance
        self._slots = slots
        self._pools = capacity.pools
        self._sizes = {name: (t.vcpus / slots, t.memory_gib / slots, t.gpus / slots) for name, t in types.items()}
        self._known: dict[tuple[float, float, int, str | None], list[Pool]] = {}

    def that_fit(self, traits: Shape, purchase: str | None = None) -> list[Pool]:
        """Those (of one purchase option, if given) in a slot of which such a job can run."""
        need = (traits.vcpus, traits.memory, traits.gpus, purchase)
        if need not in self._known:
            self._known[need] = [pool for pool in self._pools if self._fits(pool, *need)]
        return self._known[need]

    def _fits(self, pool: Pool, vcpus: float, memory_gib: float, gpus: int, purchase: str | None) -> bool:
        size = self._sizes[pool.instance_type]
        wanted = pool.max > 0 and purchase in (None, pool.purchase)
        return wanted and vcpus <= size[0] and memory_gib <= size[1] and gpus <= size[2]

    def largest(self) -> str:
        """The sizes of the largest slots of pools that may hold an instance, in words."""
        sizes = sorted({self._sizes[pool.instance_type] for pool in self._pools if pool.max > 0}, reverse=True)[:3]
        if not sizes:
            return "Every pool has max: 0."
        listed = "; ".join(f"{vcpus:g} vCPUs, {memory:g} GiB, {gpus:g} GPUs" for vcpus, memory, gpus in sizes)
        return f"The largest pools have {listed}{' in each slot' if self._slots > 1 else ''}."


def _needs(traits: Shape) -> str:
    gpus = f", {traits.gpus} GPUs" if traits.gpus else ""
    return f"{traits.vcpus:g} vCPUs, {format_size(traits.memory)}{gpus}"
