"""`retry`: the application failed and tries are left; after how long again?

Attempts that end for a reason of the infrastructure never come here: they are queued again at once, at no cost.
"""

from scheduler.policies.retry.dead_letter import DeadLetter
from scheduler.policies.retry.decorrelated_jitter import DecorrelatedJitter
from scheduler.policies.retry.equal_jitter import EqualJitter
from scheduler.policies.retry.full_jitter import FullJitter
from scheduler.policies.retry.immediate import Immediate
from scheduler.policies.retry.rules import Rules
from scheduler.policies.retry.sideline import Sideline
from scheduler.policies.retry.token_bucket import TokenBucket

__all__ = [
    "DeadLetter",
    "DecorrelatedJitter",
    "EqualJitter",
    "FullJitter",
    "Immediate",
    "Rules",
    "Sideline",
    "TokenBucket",
]
