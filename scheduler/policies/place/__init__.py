"""`place`: on which purchase option may a job run, and from which pools does new capacity come?

All but `delegated` *decide*: they name pools, each of which is one single-type, single-zone group on AWS. `delegated`
leaves the choice to AWS, in one mixed group.
"""

from scheduler.policies.place.capacity_optimized import CapacityOptimized
from scheduler.policies.place.cheapest_run import CheapestRun
from scheduler.policies.place.delegated import Delegated
from scheduler.policies.place.diversified import Diversified
from scheduler.policies.place.lowest_price import LowestPrice
from scheduler.policies.place.on_demand_fallback import OnDemandFallback
from scheduler.policies.place.pools import ANY, ON_DEMAND, SPOT, candidates, failed_lately, fill
from scheduler.policies.place.price_capacity_optimized import PriceCapacityOptimized
from scheduler.policies.place.short_on_spot import ShortOnSpot
from scheduler.policies.place.spot_hedge import SpotHedge
from scheduler.policies.place.zones import EvenOverZones

__all__ = [
    "ANY",
    "ON_DEMAND",
    "SPOT",
    "CapacityOptimized",
    "CheapestRun",
    "Delegated",
    "Diversified",
    "EvenOverZones",
    "LowestPrice",
    "OnDemandFallback",
    "PriceCapacityOptimized",
    "ShortOnSpot",
    "SpotHedge",
    "candidates",
    "failed_lately",
    "fill",
]
