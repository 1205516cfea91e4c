"""Policies by name: what fills the six points. A scenario may replace any point of them."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.policies.backfill import Easy
from scheduler.policies.move import Greedy, Stay, UniformProgress
from scheduler.policies.order import EarliestDeadlineFirst, Fifo, PriorityWithAgeing, ShortestJobFirst
from scheduler.policies.place import (
    ON_DEMAND,
    Diversified,
    LowestPrice,
    OnDemandFallback,
    PriceCapacityOptimized,
)
from scheduler.policies.protect import Continuous, Daly, NoProtection, OnNotice, Periodic
from scheduler.policies.retry import FullJitter, Immediate
from scheduler.policies.scale import BacklogAndBusy, DrainTime, VisibleBacklog

# point -> name -> what makes it. The names are those that scenarios use.
PARTS: Mapping[str, Mapping[str, type]] = {
    "order": {
        "fifo": Fifo,
        "priority": PriorityWithAgeing,
        "sjf": ShortestJobFirst,
        "edf": EarliestDeadlineFirst,
        "easy": Easy,
    },
    "place": {
        "lowest-price": LowestPrice,
        "price-capacity-optimized": PriceCapacityOptimized,
        "diversified": Diversified,
        "fallback": OnDemandFallback,
    },
    "scale": {
        "visible-backlog": VisibleBacklog,
        "backlog-and-busy": BacklogAndBusy,
        "drain-time": DrainTime,
    },
    "retry": {"immediate": Immediate, "full-jitter": FullJitter},
    "protect": {
        "none": NoProtection,
        "on-notice": OnNotice,
        "periodic": Periodic,
        "daly": Daly,
        "continuous": Continuous,
    },
    "move": {"stay": Stay, "greedy": Greedy, "uniform-progress": UniformProgress},
}

DEFAULTS: Mapping[str, object] = {
    "order": Fifo(),
    "place": PriceCapacityOptimized(),
    "scale": BacklogAndBusy(),
    "retry": FullJitter(),
    "protect": OnNotice(),
    "move": Stay(),
}

# name -> (what it says in one line, architecture, the points that it fills; the others are DEFAULTS)
PRESETS: Mapping[str, tuple[str, str, Mapping[str, object]]] = {
    "decoupled": ("our defaults on Spot: price-capacity-optimized, checkpoint on notice", "decoupled", {}),
    "on-demand-only": ("cheapest on-demand pool, never Spot", "decoupled", {"place": LowestPrice(ON_DEMAND)}),
    "spot-only": ("cheapest Spot pool, never on-demand", "decoupled", {"place": LowestPrice()}),
    "spot-diversified": ("Spot spread over pools, with an on-demand floor", "decoupled", {"place": Diversified()}),
    "spot-fallback": (
        "Spot, and on-demand after a wait or k interruptions",
        "decoupled",
        {"place": OnDemandFallback()},
    ),
    "greedy-deadline": (
        "Spot when up, else wait; on-demand when the deadline forces it",
        "decoupled",
        {"move": Greedy(), "place": LowestPrice("any")},
    ),
    "uniform-progress": (
        "keep the pace that meets the deadline; Spot whenever it allows",
        "decoupled",
        {"move": UniformProgress(), "place": LowestPrice("any")},
    ),
    "central": ("one head node with the whole queue, EASY backfill", "central", {"order": Easy()}),
    "legacy-2019": (
        "the original scheduler of 2019, faults included",
        "legacy-2019",
        {"place": LowestPrice(), "scale": VisibleBacklog(), "retry": Immediate(), "protect": NoProtection()},
    ),
}
