"""`order`: which waiting job next?

Three kinds. A static key is fixed when the job is queued; the lowest is first, equal ones go by submission, and an
interrupted job is queued again under the same key, so it does not lose its place. `rank` sorts the first few jobs of
the index again when a worker claims. `select` and `reserve` need the whole queue in one place: architecture central.
"""

from scheduler.policies.order.conservative import Conservative
from scheduler.policies.order.deficit_round_robin import DeficitRoundRobin
from scheduler.policies.order.earliest_deadline_first import EarliestDeadlineFirst
from scheduler.policies.order.easy import Easy, EasySjbf
from scheduler.policies.order.easy_plus_plus import EasyPlusPlus
from scheduler.policies.order.fair_share import FairShare
from scheduler.policies.order.fifo import Fifo
from scheduler.policies.order.learned import F1, F2, F3, F4
from scheduler.policies.order.least_laxity import LeastLaxityFirst
from scheduler.policies.order.newest_past_age import NewestPastAge
from scheduler.policies.order.noisy_tenants import NoisyTenants
from scheduler.policies.order.priority_with_ageing import PriorityWithAgeing
from scheduler.policies.order.shortest_job_first import ShortestJobFirst
from scheduler.policies.order.tenant_limit import TenantLimit
from scheduler.policies.order.time_to_live import TimeToLive
from scheduler.policies.order.unicep import Unicep
from scheduler.policies.order.wfp3 import Wfp3

__all__ = [
    "F1",
    "F2",
    "F3",
    "F4",
    "Conservative",
    "DeficitRoundRobin",
    "EarliestDeadlineFirst",
    "Easy",
    "EasyPlusPlus",
    "EasySjbf",
    "FairShare",
    "Fifo",
    "LeastLaxityFirst",
    "NewestPastAge",
    "NoisyTenants",
    "PriorityWithAgeing",
    "ShortestJobFirst",
    "TenantLimit",
    "TimeToLive",
    "Unicep",
    "Wfp3",
]
