"""What `policy new` writes: for each point a policy of about 15 lines, and the decision that its test
works out by hand.

`{name}` is the class, `{file}` its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Beginning(NamedTuple):
    """A policy to start from: its source, and of its test the imports and the body."""

    source: str
    imports: str
    test: str


_ORDER = Beginning(
    '''"""A policy of my own. In a scenario: `{{use: {file}:{name}, with: {{per_vcpu: 5m}}}}`."""

from dataclasses import dataclass

from scheduler.policies.order import Fifo


@dataclass(frozen=True)
class {name}(Fifo):
    """Small jobs first: for each vCPU that it needs, a job lets those go first that come within `per_vcpu` after it."""

    per_vcpu_ms: int = 600_000

    def key(self, job):
        return job.ticket.submit_ms + self.per_vcpu_ms * job.ticket.spec.vcpus
''',
    "MINUTE, a_job, a_ticket",
    '''
def test_a_small_job_goes_before_a_large_one_that_came_a_little_earlier():
    """10 min x 4 vCPUs = 40 min, 20 min + 10 min x 1 vCPU = 30 min: fifo would take the large one."""
    large, small = a_ticket("large", vcpus=4), a_ticket("small", submit_ms=20 * MINUTE, vcpus=1)
    assert {name}().key(a_job(ticket=large)) == 40 * MINUTE
    assert {name}().key(a_job(ticket=small)) == 30 * MINUTE
''',
)

_PLACE = Beginning(
    '''"""A policy of my own. In a scenario: `{{use: {file}:{name}, with: {{slack: 1.5}}}}`."""

from dataclasses import dataclass

from scheduler.policies.place import PriceCapacityOptimized
from scheduler.policy import Routing


@dataclass(frozen=True)
class {name}(PriceCapacityOptimized):
    """Spot while a job has slack; on-demand once what is left is less than `slack` times its estimated work."""

    slack: float = 1.5

    def route(self, job, now_ms):
        ticket = job.ticket
        if ticket.deadline_ms < 0 or ticket.estimate_ms < 0:
            return Routing("spot")
        work_ms = ticket.estimate_ms - job.progress_ms
        left_ms = round(ticket.deadline_ms - self.slack * work_ms) - now_ms
        return Routing("spot", left_ms) if left_ms > 0 else Routing("on-demand")
''',
    "HOUR, a_job, a_ticket",
    '''
def test_a_job_leaves_spot_when_its_slack_is_used_up():
    """Two hours of work, due in six: 6 h - 1.5 x 2 h = 3 h on Spot. `fallback` would go by the wait alone."""
    waiting = a_job(ticket=a_ticket(estimate_ms=2 * HOUR, deadline_ms=6 * HOUR))
    assert {name}().route(waiting, HOUR) == ("spot", 2 * HOUR)
    assert {name}().route(waiting, 3 * HOUR) == ("on-demand", 0)
''',
)

_SCALE = Beginning(
    '''"""A policy of my own. In a scenario: `{{use: {file}:{name}, with: {{share: 0.3}}}}`."""

import math
from dataclasses import dataclass

from scheduler.policies.scale import BacklogAndBusy


@dataclass(frozen=True)
class {name}(BacklogAndBusy):
    """Workers for a share of the jobs that wait; the others wait for a worker that is done."""

    share: float = 0.5

    def desired(self, view, need):
        wanted = max(math.ceil(self.share * need.queued), need.seats) if need.queued else 0
        return min(self.max_workers, need.busy + max(wanted, need.booting + need.idle))
''',
    "a_class, a_view",
    '''
def test_half_of_what_waits_gets_workers():
    """Three run and ten wait: 3 + 10 / 2. `backlog-and-busy` would want 13."""
    assert {name}().desired(a_view(), a_class(queued=10, busy=3)) == 8
    assert {name}().desired(a_view(), a_class(queued=10, seats=7)) == 7
''',
)

_RETRY = Beginning(
    '''"""A policy of my own. In a scenario: `{{use: {file}:{name}, with: {{step: 5m}}}}`."""

from dataclasses import dataclass

from scheduler.policies.retry import Immediate


@dataclass(frozen=True)
class {name}(Immediate):
    """A delay that grows by a step with each failure, and half a step of chance; no retry after `most` failures."""

    step_ms: int = 60_000
    most: int = 5

    def delay_ms(self, job, cause, u):
        return None if job.failures > self.most else round(self.step_ms * (job.failures - u / 2))
''',
    "MINUTE, a_job",
    '''
def test_the_delay_grows_by_a_step():
    """u, a number in [0, 1), is drawn for each retry: a policy has no chance of its own."""
    assert {name}().delay_ms(a_job("failed", failures=3), "failed", 0.5) == 2.75 * MINUTE
    assert {name}().delay_ms(a_job("failed", failures=6), "failed", 0.5) is None
''',
)

_PROTECT = Beginning(
    '''"""A policy of my own. In a scenario: `{{use: {file}:{name}, with: {{share: 0.2}}}}`."""

from dataclasses import dataclass

from scheduler.policies.protect import OnNotice


@dataclass(frozen=True)
class {name}(OnNotice):
    """A checkpoint after each share of a job's estimated work, but not within `least`; and on notice, if it fits."""

    share: float = 0.1
    least_ms: int = 600_000

    def checkpoint_every_ms(self, claim, settings):
        return max(self.least_ms, round(self.share * claim.estimate_ms))
''',
    "HOUR, MINUTE, a_claim",
    '''
def test_a_long_job_is_checkpointed_less_often():
    """A tenth of 20 h, and of 1 h: 6 min, which is less than `least`. `periodic` would write both each hour."""
    assert {name}().checkpoint_every_ms(a_claim(estimate_ms=20 * HOUR), None) == 2 * HOUR
    assert {name}().checkpoint_every_ms(a_claim(estimate_ms=HOUR), None) == 10 * MINUTE
''',
)

_MOVE = Beginning(
    '''"""A policy of my own. In a scenario: `{{use: {file}:{name}, place: fallback}}`."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class {name}:
    """Spot until `used` of the slack that a job came with is gone; then on-demand to the end."""

    used: float = 0.5
    moves: ClassVar[bool] = True

    def target(self, sight, view):
        if sight.deadline_ms < 0 or sight.estimate_ms < 0 or sight.purchase == "on-demand":
            return "stay"
        slack_ms = sight.deadline_ms - sight.submit_ms - sight.estimate_ms
        left_ms = sight.deadline_ms - view.now_ms - (sight.estimate_ms - sight.progress_ms)
        if left_ms < (1 - self.used) * slack_ms:
            return "on-demand"
        return "stay" if sight.purchase else "spot"
''',
    "HOUR, a_sight, a_view",
    '''
def test_half_of_the_slack_is_spent_on_waiting_for_spot():
    """Four hours of work, eight of time: after two idle hours it goes to on-demand, where `greedy` waits on."""
    assert {name}().target(a_sight(), a_view(now_ms=2 * HOUR)) == "spot"
    assert {name}().target(a_sight(), a_view(now_ms=2 * HOUR + 1)) == "on-demand"
    assert {name}().target(a_sight(purchase="spot", progress_ms=HOUR), a_view(now_ms=2 * HOUR)) == "stay"
''',
)

BEGINNINGS: Mapping[str, Beginning] = {
    "order": _ORDER, "place": _PLACE, "scale": _SCALE, "retry": _RETRY, "protect": _PROTECT, "move": _MOVE,
}  # fmt: skip

TEST = '''"""What {name} decides, by hand, and that it keeps the contract of a policy. Run it with `pytest`."""

from pathlib import Path

from spotbed.policies import check, load_class
from spotbed.policies.examples import {imports}

HERE = Path(__file__).parent
{name} = load_class("{file}:{name}", HERE)

{test}

def test_it_keeps_the_contract_of_a_policy():
    report = check(f"{{HERE / '{file}'}}:{name}")
    assert report.passed, [each for each in report.checks if not each.passed]
'''
