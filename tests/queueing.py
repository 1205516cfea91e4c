"""What the tests share with `spotbed bench published`: queues in the simulator, and what theory says of them."""

from spotbed.published.queueing import (
    SINGLE,
    Starts,
    central_starts,
    cluster_starts,
    column,
    decoupled_starts,
    estimate,
    eternal_starts,
    inputs_of,
    kiefer_wolfowitz_ms,
    mg1_wait,
    mmc_wait,
    plain_work,
    run_cluster,
    slowdowns,
)

__all__ = [
    "SINGLE",
    "Starts",
    "central_starts",
    "cluster_starts",
    "column",
    "decoupled_starts",
    "estimate",
    "eternal_starts",
    "inputs_of",
    "kiefer_wolfowitz_ms",
    "mg1_wait",
    "mmc_wait",
    "plain_work",
    "run_cluster",
    "slowdowns",
]
