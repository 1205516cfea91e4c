"""The functions of `aws` with real boto3 on moto's tables, in virtual time.

Instances and wrappers are those of the in-memory stand-in; everything between them is what is deployed.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import boto3
import quick_moto
from botocore.exceptions import ClientError, ReadTimeoutError
from in_memory_ec2 import DOOR, MARKET, NOT_YET, REPORT, TICK, TIMER, Clock, Ec2, Heard, Latency, Wrapper

from aws import fleet, functions, jobs, seats, workers
from aws.control import Control, Launched, PoolSpec
from aws.effects import DelayedMessages
from aws.local import asl
from aws.store import Store, Tables, WorkerRow, Write
from aws.tables import make_tables
from scheduler.codec import encode
from scheduler.commands import Checkpoint, Start
from scheduler.events import DONE, InterruptionSeen, Lost, Ready, Woken
from scheduler.policy import Policy
from sim.inputs import Work, WorldInputs
from spotbed.journal import Journal
from spotbed.quantities import format_duration, format_size

FINAL = ("done", "failed", "cancelled")
LONGEST_MS = 40 * 3_600_000
THROTTLED = "ThrottlingException"
FAILURES = (ClientError, ReadTimeoutError)
TABLES = Tables("jobs", "workers", "fleet")


def again(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call as Step Functions, EventBridge, SQS and the wrapper do: what AWS has throttled is called again."""
    try:
        return function(*arguments)
    except FAILURES as error:
        if not comes_again(error):
            raise
        return function(*arguments)


def comes_again(error: Exception) -> bool:
    """Whether the services call a function again because of it; any other error is a fault of ours."""
    return not isinstance(error, ClientError) or error.response["Error"]["Code"] == THROTTLED


quick_moto.install()


def message_of(work: Work, number: int) -> dict[str, Any]:
    """The message that submits a job of a world."""
    klass, estimate_ms = work.classes[work.klass[number]], int(work.estimate_ms[number])
    times = {"timeout": klass.timeout_ms or 0, "deadline": klass.deadline_ms or 0, "estimate": estimate_ms}
    shape = {name: getattr(klass, name) for name in
             ("vcpus", "gpus", "priority", "tenant", "retries", "checkpointable", "gang")}  # fmt: skip
    return {"id": work.job_id(number), "commands": ["true"], **shape, "memory": format_size(klass.memory_gib),
            **{name: format_duration(ms / 1000) for name, ms in times.items() if ms > 0}}  # fmt: skip


def handled(handler: Callable[..., Any], payload: dict[str, Any], control: Control) -> Any:
    """Call a handler as Lambda does: what goes in and comes out is JSON."""
    return json.loads(json.dumps(handler(json.loads(json.dumps(payload)), None, control)))


class Executions:
    """Step Functions in virtual time: what aws/worker.asl.json says, its timeouts and retries on the world's clock."""

    def __init__(self, world: World) -> None:
        self._world, self._machine = world, asl.Machine()
        self._handlers = {"StepFunction": functions.step, "ParkFunction": functions.park}
        self._parked: dict[str, tuple[asl.State, asl.Data]] = {}
        self._started: set[tuple[str, int]] = set()
        self._ids = itertools.count()
        self._entered = 0  # executions that go on, each because of what the one before it does
        self._begin: list[asl.Data] = []
        self.entered: Counter[str] = Counter()  # states; each is a transition that is billed
        self.called: Counter[str] = Counter()  # functions

    def start(self, worker: str, generation: int) -> None:
        if (worker, generation) not in self._started:
            self._started.add((worker, generation))
            self.entered["start"] += 1
            data = {"worker": worker, "generation": generation}
            if self._entered:  # StartExecution returns before the execution begins
                self._begin.append(data)
            else:
                self._enter(self._machine.first, data)

    def answer(self, token: str) -> None:
        if token in self._parked:
            state, data = self._parked.pop(token)
            self._enter(state["Next"], data)

    def _times_out(self, token: str) -> None:
        if token in self._parked:
            state, data = self._parked.pop(token)
            self._enter(asl.after_timeout(state), data)

    def _later(self, after_ms: int, rank: int, act: Callable[[], None]) -> None:
        self._world.clock.at(self._world.clock.now_ms + after_ms, rank, act)

    def _enter(self, name: str, data: asl.Data) -> None:
        """Let an execution go on, and those begin that it has started."""
        self._entered += 1
        try:
            self._go_on(name, data)
        finally:
            self._entered -= 1
        while self._begin and not self._entered:
            self._enter(self._machine.first, self._begin.pop(0))

    def _go_on(self, name: str, data: asl.Data) -> None:
        """Go on until a state waits, or the execution ends."""
        while (state := self._machine.states[name])["Type"] != "Succeed":
            self.entered[name] += 1
            if state["Type"] == "Choice":
                name = self._machine.choose(name, data)
            elif (found := self._perform(name, state, data)) is None:
                return
            else:
                name, data = found
        self.entered[name] += 1

    def _perform(self, name: str, state: asl.State, data: asl.Data, tries: int = 0) -> tuple[str, asl.Data] | None:
        """(the next state, its data), or None while the task waits: for its token, or to call its function again."""
        token = f"token-{next(self._ids)}"
        function, payload = asl.call_of(state, data, token)
        if asl.waits(state):
            self._parked[token] = state, data
            wait_s = asl.timeout_s(state, data)
            if wait_s < workers.FOREVER_S:
                self._later(wait_s * 1000, TIMER, partial(self._times_out, token))
        self.called[function] += 1
        try:
            result = handled(self._handlers[function], payload, self._world.control)
        except FAILURES as error:
            pause_s = asl.pause_s(state, tries + 1)
            if not comes_again(error) or pause_s is None:
                raise
            self._parked.pop(token, None)
            self._later(round(pause_s * 1000), REPORT, partial(self._again, name, data, tries + 1))
            return None
        return None if asl.waits(state) else (state["Next"], asl.output_of(state, data, result))

    def _again(self, name: str, data: asl.Data, tries: int) -> None:
        found = self._perform(name, self._machine.states[name], data, tries)
        if found is not None:
            self._enter(*found)


class World:
    """One world under a decoupled policy; `run` returns its journal. Enter it inside moto's `mock_aws`.

    `plug` wraps what stands for the other services: the target, Step Functions, messages, timers and hints.
    """

    def __init__(
        self, inputs: WorldInputs, policy: Policy, client: Any = None, plug: Callable[[Any], Any] = lambda given: given
    ) -> None:
        self.inputs, self.policy = inputs, policy
        self.clock, self.latency, self.journal = Clock(), Latency(inputs), Journal()
        self.executions = Executions(self)
        client = client or boto3.client("dynamodb", region_name="us-east-1")
        make_tables(client, TABLES)
        pools = {
            pool.id: PoolSpec(
                pool.id, pool.instance_type, pool.az, pool.purchase, pool.max, pool.vcpus, pool.memory_gib, pool.gpus,
                pool.on_demand_usd_per_hour, f"group-{pool.id}",
            )
            for pool in inputs.pools
        }  # fmt: skip
        self.control = Control(
            store=Store(client, TABLES),
            policy=policy,
            target=plug(self),
            executions=plug(self.executions),
            messages=plug(self),
            timers=plug(self),
            hints=plug(self),
            journal=self.journal,
            pools=pools,
            now_ms=lambda: self.clock.now_ms,
        )
        self._seen = Store(boto3.client("dynamodb", region_name="us-east-1"), TABLES)  # by wrappers, who try again
        self.ec2 = Ec2(inputs, self.clock, self.latency, self._say, self._interrupted)
        self.told: list[tuple[str, str, str]] = []
        self.called: Counter[str] = Counter()  # functions, apart from those of the executions
        self.messages = self.commands = 0  # of timers; to instances
        self._sent: set[tuple[str, int, str]] = set()
        self._joined: set[tuple[str, int, str]] = set()
        self._launched: dict[str, Launched] = {}
        self._numbers = {inputs.work.job_id(number): number for number in range(len(inputs.work))}
        self._ids = itertools.count()

    # the run ----------------------------------------------------------------------------------------------------
    def run(self) -> Journal:
        for number, submit_ms in enumerate(self.inputs.work.submit_ms.tolist()):
            self.clock.at(submit_ms, DOOR, partial(self._submit, number))
        self.clock.at(0, TICK, self._tick)
        while self.clock.next() != TICK or not self._is_over():
            assert self.clock.now_ms < LONGEST_MS, "this world does not end"
        return self.journal

    def _is_over(self) -> bool:
        live = any(self.ec2.live(pool) for pool in self.ec2.pools)
        ended = {job for job, phase, _ in self.told if phase in FINAL}  # of which all may be told twice
        return not live and len(ended) == len(self.inputs.work)

    def _tick(self) -> None:
        self._call(functions.fleet, {})
        self.clock.at(self.clock.now_ms + self.policy.settings.tick_ms, TICK, self._tick)

    def _submit(self, number: int) -> None:
        message = message_of(self.inputs.work, number)
        event = {"Records": [{"messageId": f"message-{number}", "body": json.dumps(message)}]}
        assert self._call(functions.intake, event) == {"batchItemFailures": []}

    def _call(self, handler: Callable[..., Any], payload: dict[str, Any]) -> Any:
        self.called[handler.__name__] += 1
        return again(handled, handler, payload, self.control)

    # EventBridge ------------------------------------------------------------------------------------------------
    def _say(self, worker: str, make: Callable[[int], Any]) -> None:
        starts, number = make is Ready, self.ec2.instances[worker].number
        latency_ms = self.latency("worker_start", number, 2) if starts else self.latency("event", number, 0)
        event_id = f"event-{next(self._ids)}"
        self.clock.at(self.clock.now_ms + latency_ms, MARKET, partial(self._send, worker, event_id, make))

    def _interrupted(self, event: InterruptionSeen) -> None:
        """What Deliver does when a warning is news."""
        taken = self.control.store.counted(f"pool#{event.pool}", interruptions=1)
        self.control.store.write(replace(taken, sets={"last_interruption_ms": event.at_ms}))
        fleet.hears(self.control, event)

    def _send(self, worker: str, event_id: str, make: Callable[[int], Any]) -> None:
        event = encode(make(self.clock.now_ms))
        self._call(functions.deliver, {"worker": worker, "id": event_id, "event": event})

    # the target -------------------------------------------------------------------------------------------------
    def start(self, worker: WorkerRow, order: Start) -> bool:
        self.commands += 1
        instance = self.ec2.instances[worker.name]
        if (order.job, order.epoch, worker.name) in self._sent:
            return True
        self._sent.add((order.job, order.epoch, worker.name))
        if instance.ended_ms != NOT_YET:
            self._say(worker.name, Lost)
            return True
        row, work, number = self.control.store.job(order.job), self.inputs.work, self._numbers[order.job]
        assert row is not None
        klass = work.classes[work.klass[number]]
        fails = klass.exit_code or 1 if order.epoch == 1 and work.outcome_u[number] < klass.fail_probability else 0
        heard = Heard(
            renew=partial(self._renew, order, worker.name),
            keep=partial(self._keep, order, worker.name),
            report=partial(self._ended, worker.name, order),
        )
        instance.wrapper = Wrapper(self.clock, self.latency, self.policy.settings, order, number, row.record,
                                   int(work.runtime_ms[number]), fails, heard)  # fmt: skip
        return True

    def _keep(self, order: Start, worker: str, safe_ms: int) -> None:
        if not self._rank(order, worker):  # the checkpoint of a gang is that of its first member
            self._write(order, safe_ms=safe_ms)

    def _renew(self, order: Start, worker: str) -> bool:
        """The wrapper's conditional write: of the job's lease, or of the seat of another member."""
        until_ms, rank = self.clock.now_ms + self.policy.settings.lease_ms, self._rank(order, worker)
        held = self._seat(order, rank, until_ms=until_ms) if rank else self._write(order, lease_until_ms=until_ms)
        if held and (order.job, order.epoch, worker) not in self._joined and self._is_gang(order):
            self._joined.add((order.job, order.epoch, worker))
            self._seat(order, rank, host=worker)
        return held

    def _is_gang(self, order: Start) -> bool:
        return seats.SEATS in self._seen.job(order.job).item

    def _rank(self, order: Start, worker: str) -> int:
        members = seats.workers_of(self._seen.job(order.job).item)
        return members.index(worker) if worker in members else min(1, len(members) - 1)

    def _write(self, order: Start, **sets: Any) -> bool:
        held: bool = again(
            self.control.store.write,
            Write(
                TABLES.jobs,
                {"job_id": order.job},
                sets=sets,
                condition="#e = :e AND #p = :p",
                names={"#e": "epoch", "#p": "phase"},
                values={"e": order.epoch, "p": "leased"},
            ),
        )
        return held

    def _seat(self, order: Start, rank: int, **sets: Any) -> bool:
        found = self._seen.job(order.job).item[seats.SEATS]
        return self._write(order, seats={**found, str(rank): {**found[str(rank)], **sets}})

    def _ended(self, worker: str, order: Start, event_id: str, make: Callable[[int], Any]) -> None:
        ended = make(self.clock.now_ms)
        if ended.cause != DONE or self._rank(order, worker):  # of work that is done it was written with what is safe
            self._write(order, exit_code=ended.exit_code)
        self.ec2.instances[worker].wrapper = None
        self._send(worker, event_id, make)

    def checkpoint(self, worker: WorkerRow, order: Checkpoint) -> None:
        self.commands += 1
        after_ms = self.latency("order", self._numbers[order.job], order.epoch)
        leaves = partial(self._leaves, worker.name, (order.job, order.epoch))
        self.clock.at(self.clock.now_ms + after_ms, REPORT, leaves)

    def _leaves(self, worker: str, key: tuple[str, int]) -> None:
        wrapper, row = self.ec2.instances[worker].wrapper, self._seen.job(key[0])
        if wrapper is None or wrapper.key != key or self.ec2.instances[worker].ended_ms != NOT_YET:
            return
        if (row.record.phase, row.record.epoch) == ("leased", key[1]):
            wrapper.checkpoint()
        elif seats.SEATS in row.item:
            wrapper.stop()

    def stop(self, worker: WorkerRow, reason: str) -> None:
        self.ec2.terminate(self.ec2.instances[worker.name], reason)

    def protect(self, worker: WorkerRow, on: bool) -> None:
        """Nothing scales in here."""

    def launch(self, pool: PoolSpec, count: int, command_id: str) -> Launched:
        if command_id not in self._launched:
            names = [instance.name for instance in self.ec2.launch(pool.id, count)]
            self._launched[command_id] = Launched(len(names), reason="capacity")
            for name in names:
                self.clock.at(self.clock.now_ms, MARKET, partial(self._tells_of, name, pool.group))
        return self._launched[command_id]

    def _tells_of(self, instance: str, group: str) -> None:
        """Auto Scaling says that it has launched an instance."""
        detail = {"EC2InstanceId": instance, "AutoScalingGroupName": group}
        self._call(functions.deliver, {"detail-type": functions.LAUNCHED, "detail": detail})

    def withdraw(self, pool: PoolSpec, count: int) -> None:
        """All that is launched here comes."""

    def live(self) -> Mapping[str, str]:
        return {each.name: pool for pool in self.ec2.pools for each in self.ec2.live(pool)}

    def price_usd_per_hour(self, pool: PoolSpec) -> float:
        path = self.ec2.pools[pool.id].price
        return float(path.usd_per_hour[0])

    # messages and timers ----------------------------------------------------------------------------------------------
    def wake(self, worker: str, event_id: str) -> None:
        at_ms = self.clock.now_ms + self.latency("wake", self.ec2.instances[worker].number, 0)
        self.clock.at(at_ms, REPORT, partial(self._send, worker, event_id, Woken))

    def set(self, job_id: str, after_ms: int) -> None:
        self.messages += max(1, -(-after_ms // (DelayedMessages.LONGEST_S * 1000)))
        self.clock.at(self.clock.now_ms + after_ms, TIMER, partial(again, jobs.expire, self.control, job_id))

    def moved(self, job_id: str, before: str, after: str) -> None:
        """Only ends are told of here."""

    def ended(self, job_id: str, phase: str, reason: str, more: Mapping[str, Any] = {}) -> None:
        self.told.append((job_id, phase, reason))
