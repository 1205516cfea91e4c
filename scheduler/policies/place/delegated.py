"""One mixed group whose strategy is AWS's own code: `SpotAllocationStrategy` of Auto Scaling ("Allocation strategies
for multiple instance types", Amazon EC2 Auto Scaling User Guide).

All others of this point decide themselves. This one leaves the choice to AWS, so that what runs there is modelled here
and is not our code: in simulation it chooses as our policy of the strategy's name does.

Needs: what the policy of that name needs. Can be deployed, as one group over all pools of its purchase option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler.job_record import Job
from scheduler.observation import ClassCount
from scheduler.policies.place.capacity_optimized import CapacityOptimized
from scheduler.policies.place.lowest_price import LowestPrice
from scheduler.policies.place.pools import SPOT
from scheduler.policies.place.price_capacity_optimized import PriceCapacityOptimized
from scheduler.policy import ROUTINGS, FleetView, Routing
from scheduler.record import record

Model = type[PriceCapacityOptimized] | type[CapacityOptimized] | type[LowestPrice]
MODELS: Mapping[str, Model] = {
    "price-capacity-optimized": PriceCapacityOptimized,
    "capacity-optimized": CapacityOptimized,
    "lowest-price": LowestPrice,
}


@record
class Delegated:
    """One mixed group, and AWS chooses. `strategy` names its allocation strategy, which our policy of the same name
    stands for in simulation; only pools of the purchase option take part."""

    strategy: str = "price-capacity-optimized"
    purchase: str = SPOT

    def __post_init__(self) -> None:
        if self.strategy not in MODELS:
            raise ValueError(f"strategy is one of {', '.join(MODELS)}, not {self.strategy!r}")

    @property
    def delegates(self) -> str:
        """The name of AWS's strategy, which decides in place of this policy."""
        return self.strategy

    def route(self, job: Job, now_ms: int) -> Routing:
        return ROUTINGS[self.purchase]

    def choose(self, view: FleetView, need: ClassCount, count: int) -> Sequence[tuple[str, int]]:
        if need.purchase not in ("any", self.purchase):
            return []
        return MODELS[self.strategy](purchase=self.purchase).choose(view, need, count)
