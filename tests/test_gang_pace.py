"""A gang over pools of different speed has the pace of the slowest; whoever served in it has his own again after it."""

from __future__ import annotations

from dataclasses import replace

from worlds import HOUR, MINUTE, policy_of, pool, work_of

from scheduler.policies.place import LowestPrice
from scheduler.policies.protect import Periodic
from scheduler.settings import Settings
from sim.decoupled import DecoupledWorld
from sim.inputs import JobClass, MarketInputs, ServiceInputs, WorldInputs
from spotbed.metering import DONE


def test_a_job_after_a_gang_of_two_speeds_keeps_what_its_checkpoints_say() -> None:
    """On c5 and m5 after a gang that m5 slowed to 1.3: 30 minutes of work, a first attempt that fails at their end, and
    checkpoints each minute. The second attempt has one minute left."""
    gang = JobClass("gang", gang=2, vcpus=4.0, runtime_on={"m5": 1.3})
    single = JobClass("single", vcpus=4.0, checkpointable=True)
    work = work_of((gang, single), [0, MINUTE, MINUTE], [10 * MINUTE, 30 * MINUTE, 30 * MINUTE], klass=[0, 1, 1])
    work = replace(work, outcomes=dict.fromkeys((1, 2), (("failed", 1), ("done", 0))))
    pools = (pool("fast", most=1), pool("slow", most=1, instance_type="m5.xlarge"))
    inputs = WorldInputs(1, 0, work, pools, MarketInputs(), ServiceInputs())
    policy = policy_of(Settings(keep_alive_ms=HOUR), place=LowestPrice(), protect=Periodic(every_ms=MINUTE))
    tally = DecoupledWorld(inputs, policy).run()
    assert set(tally.jobs.status) == {DONE}
    assert list(tally.jobs.useful_ms)[1:] == [30 * MINUTE] * 2
