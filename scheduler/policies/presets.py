"""Policies by name: what fills the six points. A scenario may replace any point of them."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.policies.move import (
    Greedy,
    NextSpotOracle,
    ShiftedGreedy,
    Stay,
    TimeSliced,
    UniformProgress,
    UniformProgressLiteral,
)
from scheduler.policies.order import (
    F1,
    F2,
    F3,
    F4,
    Conservative,
    DeficitRoundRobin,
    EarliestDeadlineFirst,
    Easy,
    EasyPlusPlus,
    EasySjbf,
    FairShare,
    Fifo,
    LeastLaxityFirst,
    NewestPastAge,
    NoisyTenants,
    PriorityWithAgeing,
    ShortestJobFirst,
    TenantLimit,
    TimeToLive,
    Unicep,
    Wfp3,
)
from scheduler.policies.place import (
    ON_DEMAND,
    CapacityOptimized,
    CheapestRun,
    Delegated,
    Diversified,
    EvenOverZones,
    LowestPrice,
    OnDemandFallback,
    PriceCapacityOptimized,
    ShortOnSpot,
    SpotHedge,
)
from scheduler.policies.protect import (
    AgeAware,
    Continuous,
    Daly,
    NoProtection,
    OnNotice,
    OnRebalance,
    Periodic,
    Young,
)
from scheduler.policies.retry import (
    DeadLetter,
    DecorrelatedJitter,
    EqualJitter,
    FullJitter,
    Immediate,
    Rules,
    Sideline,
    TokenBucket,
)
from scheduler.policies.scale import (
    BacklogAndBusy,
    DeadlineAware,
    DrainTime,
    HourOfDay,
    StaticStability,
    StepBands,
    TargetBacklog,
    VisibleBacklog,
)

# point -> name -> what makes it. The names are those that scenarios use.
PARTS: Mapping[str, Mapping[str, type]] = {
    "order": {
        "fifo": Fifo,
        "priority": PriorityWithAgeing,
        "sjf": ShortestJobFirst,
        "edf": EarliestDeadlineFirst,
        "easy": Easy,
        "easy-sjbf": EasySjbf,
        "easy++": EasyPlusPlus,
        "conservative": Conservative,
        "least-laxity": LeastLaxityFirst,
        "newest-past-age": NewestPastAge,
        "ttl": TimeToLive,
        "tenant-limit": TenantLimit,
        "fair-share": FairShare,
        "deficit-round-robin": DeficitRoundRobin,
        "noisy-tenants": NoisyTenants,
        "wfp3": Wfp3,
        "unicep": Unicep,
        "f1": F1,
        "f2": F2,
        "f3": F3,
        "f4": F4,
    },
    "place": {
        "lowest-price": LowestPrice,
        "price-capacity-optimized": PriceCapacityOptimized,
        "diversified": Diversified,
        "fallback": OnDemandFallback,
        "capacity-optimized": CapacityOptimized,
        "spot-hedge": SpotHedge,
        "zones": EvenOverZones,
        "cheapest-run": CheapestRun,
        "short-on-spot": ShortOnSpot,
        "delegated": Delegated,
    },
    "scale": {
        "visible-backlog": VisibleBacklog,
        "backlog-and-busy": BacklogAndBusy,
        "drain-time": DrainTime,
        "target-backlog": TargetBacklog,
        "step-bands": StepBands,
        "deadline-aware": DeadlineAware,
        "hour-of-day": HourOfDay,
        "static-stability": StaticStability,
    },
    "retry": {
        "immediate": Immediate,
        "full-jitter": FullJitter,
        "equal-jitter": EqualJitter,
        "decorrelated-jitter": DecorrelatedJitter,
        "token-bucket": TokenBucket,
        "rules": Rules,
        "sideline": Sideline,
        "dead-letter": DeadLetter,
    },
    "protect": {
        "none": NoProtection,
        "on-notice": OnNotice,
        "periodic": Periodic,
        "young": Young,
        "daly": Daly,
        "age-aware": AgeAware,
        "on-rebalance": OnRebalance,
        "continuous": Continuous,
    },
    "move": {
        "stay": Stay,
        "greedy": Greedy,
        "time-sliced": TimeSliced,
        "shifted-greedy": ShiftedGreedy,
        "uniform-progress": UniformProgress,
        "uniform-progress-literal": UniformProgressLiteral,
        "next-spot": NextSpotOracle,
    },
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
    "spot-hedge": (
        "Spot in pools that have lost nothing lately, on-demand for what they cannot give",
        "decoupled",
        {"place": SpotHedge()},
    ),
    "static-stability": (
        "even over the zones, with as much in reserve as a lost zone takes",
        "decoupled",
        {"place": EvenOverZones(), "scale": StaticStability()},
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
