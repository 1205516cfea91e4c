"""Applying a plan to an account: exactly what the plan says, and again without effect.

`prepare` looks and lets CloudFormation say what it would do; `perform` does that. Before `prepare` has found everything
fit, nothing is changed; what it changes itself is the bucket of the code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aws.buckets import Buckets, code_bucket
from aws.change_set import changes, rendered, team_stack
from aws.formation import (
    TAG,
    TEAM_TAG,
    ChangeSet,
    Formation,
    Pace,
    StackChange,
    Wanted,
    look,
    outputs_of,
    refuse_unfit,
    tags_of,
)
from aws.outside import FAILED, outside, told
from aws.package import PackagedFile, stack_files
from aws.plan import GATE_FAILED, Plan, package_of
from aws.prediction import limits
from aws.quotas import Need, read_quotas, shortages
from aws.render import Code, as_json
from aws.session import Session
from aws.stack import PLAN
from aws.target import Target
from spotbed.catalogue import Catalogue
from spotbed.errors import InputError, OutsideError, Problem

PREFIX = "spotbed/"  # of what we keep in buckets
_WRAPPER = "aws/wrapper.py"
_HOLDS = {  # what is lost with it
    "AWS::DynamoDB::Table": "records",
    "AWS::S3::Bucket": "outputs",
    "AWS::SQS::Queue": "messages",
    "AWS::AutoScaling::AutoScalingGroup": "instances that run jobs",
}
_LOSES = frozenset({"replace", "perhaps replace", "remove"})
_NOTHING_DEPLOYED = "every stack as it was; the code's bucket may have been made"


def _unheard(done: int, total: int, note: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Prepared:
    """What would be done, and what the user should know first."""

    plan: Plan
    target: Target
    session: Session
    formation: Formation
    change_sets: Sequence[ChangeSet]
    notes: Sequence[str]

    @property
    def changes(self) -> list[StackChange]:
        return [change for each in self.change_sets for change in each.changes]

    def heard_by(self, heard: Callable[[int, int, str], None]) -> Prepared:
        """The same, and somebody else is told how far it is."""
        return replace(self, formation=replace(self.formation, heard=heard))

    @property
    def losses(self) -> list[StackChange]:
        """Changes that take away what holds data or instances."""
        return [each for each in self.changes if each.type in _HOLDS and each.action in _LOSES]

    @property
    def lost(self) -> list[str]:
        """What would be lost, in words."""
        types = {each.type for each in self.losses}
        return [words for kind, words in _HOLDS.items() if kind in types]


def account_of(plan: Plan) -> Target:
    """The account's inputs of a plan. Raises OutsideError for one that has none."""
    target = plan.account
    if target is None:
        what = "This plan is for a local fleet only: it was made without --target."
        how = "give --target local, or plan again with --target TARGET.yaml"
        raise OutsideError(what, "the plan; nothing was deployed", how, exit_code=FAILED)
    return target


# before anything is changed -----------------------------------------------------------------------------------------
def prepare(
    plan: Plan,
    session: Session,
    heard: Callable[[int, int, str], None] = _unheard,
    *,
    pace: Pace | None = None,
    gradual: bool = True,
) -> Prepared:
    """Check everything, upload the code, and let CloudFormation say what it would do.

    `plan` is one that `read_plan` has let pass. Raises InputError and OutsideError.
    """
    target = account_of(plan)
    _refuse_other(plan, target)
    _refuse_elsewhere(target, session)
    formation = Formation(session.client("cloudformation"), pace or Pace(), heard)
    notes = [*_quota_notes(plan, session), *_check_stacks(target, formation)]
    _refuse_taken(target, session, formation)
    with outside(_NOTHING_DEPLOYED):
        wanted = _upload(plan, target, session, gradual=gradual)
        name = f"spotbed-{plan.sha256[:12]}-{int(time.time())}"
        change_sets = [formation.prepare(each, name) for each in wanted]
    return Prepared(plan, target, session, formation, change_sets, notes)


def _refuse_other(plan: Plan, target: Target) -> None:
    """Raise OutsideError unless what would be rendered here is what the plan lists."""
    here = set(changes(target, [pool.model_dump() for pool in plan.pools], plan.policy, plan.delegated))
    other = sorted(f"{each.stack} {each.resource}" for each in here ^ set(plan.change_set))
    if other:
        what = f"The code here would not make what was planned: {', '.join(other[:5])}{' and more' * (len(other) > 5)}."
        how = "take the code of the plan again, or make the plan again: spotbed plan"
        raise OutsideError(what, "the plan; nothing was deployed", how, exit_code=GATE_FAILED)


def _refuse_elsewhere(target: Target, session: Session) -> None:
    """Raise unless the credentials are good, and for the target's account and region."""
    kept = "the plan; nothing was deployed"
    if session.region != target.region:
        what = f"The plan is for {target.region}, and --region says {session.region}."
        raise OutsideError(what, kept, "leave --region out, or plan for the other region", exit_code=FAILED)
    account = session.identity.account
    if target.account is not None and target.account != account:
        what = f"The plan is for the account {target.account}, and these credentials are of {account}."
        raise OutsideError(what, kept, "name the profile of that account: --profile NAME", exit_code=FAILED)


def _quota_notes(plan: Plan, session: Session) -> Iterator[str]:
    """What the account's quotas do not allow. Raises OutsideError when no pool of a quota could launch anything."""
    try:
        quotas = read_quotas(session.client("service-quotas"))
    except (ClientError, BotoCoreError) as error:
        first = str(told(error)).partition("\n")[0]
        yield f"The quotas of EC2 were not checked: {first}"
        return
    found = shortages(quotas, _needs(plan))
    stopped = [each.says(session.region) for each in found if each.stops]
    if stopped:
        how = "ask for more, or plan with other pools; then apply again"
        raise OutsideError("\n".join(stopped), "the plan; nothing was deployed", how, exit_code=FAILED)
    yield from (each.says(session.region) for each in found)


def _needs(plan: Plan) -> Iterator[Need]:
    catalogue = Catalogue.load()
    for pool in plan.pools:
        vcpus = int(catalogue.find(pool.instance_type).vcpus)
        yield Need(pool.id, pool.instance_type, pool.purchase, vcpus, vcpus * pool.max)


def _check_stacks(target: Target, formation: Formation) -> Iterator[str]:
    """Raise OutsideError for a stack that is not ours, or cannot be changed; tell of teams that the plan has not."""
    with outside():
        names = [target.stack, *(team_stack(target.stack, team.name) for team in target.teams)]
        for name in names:
            there = formation.described(name)
            if there is None:
                continue
            if tags_of(there).get(TAG) != target.stack:
                what = f"There is a stack {name} in {target.region} already, and spotbed did not make it."
                how = "give the stack in TARGET.yaml another name, and plan again"
                raise OutsideError(what, "that stack, unchanged; nothing was deployed", how, exit_code=FAILED)
            refuse_unfit(there)
        others = [str(each["StackName"]) for each in formation.ours() if tags_of(each)[TAG] == target.stack]
    for name in sorted(set(others) - set(names)):
        yield f"The stack {name} is of a team that the plan does not have: it stays as it is."


def _refuse_taken(target: Target, session: Session, formation: Formation) -> None:
    """Raise OutsideError for a bucket that would be made, and that is there: CloudFormation would find out late."""
    account, kept = session.identity.account, "that bucket, unchanged; nothing was deployed"
    buckets = Buckets(session.client("s3"), account, target.region)
    with outside():
        for team in target.teams:
            new = formation.described(team_stack(target.stack, team.name)) is None
            if new and buckets.is_there(team.bucket):
                what = f"The bucket {team.bucket} of the team {team.name} is there already, and would have to be made."
                raise OutsideError(what, kept, "give it another name in TARGET.yaml, and plan again", exit_code=FAILED)
        results = f"{target.stack}-{account}-{target.region}"
        if formation.described(target.stack) is None and buckets.is_there(results):
            what = f"The bucket {results} is there already: something is left of an earlier stack."
            how = f"remove what is left: spotbed destroy {target.stack} --target aws; then apply again"
            raise OutsideError(what, kept, how, exit_code=FAILED)


# the code -----------------------------------------------------------------------------------------------------------
def _upload(plan: Plan, target: Target, session: Session, *, gradual: bool) -> list[Wanted]:
    """Put the package, the wrapper and the templates where CloudFormation finds them, by the hash of their content."""
    buckets = Buckets(session.client("s3"), session.identity.account, target.region)
    bucket = _code_bucket(target, buckets)

    def put(kind: str, content: bytes, suffix: str) -> str:
        key = f"{PREFIX}{kind}/{PackagedFile(kind, content).sha256}{suffix}"
        buckets.put(bucket, key, content)
        return key

    wrapper = next(file.content for file in stack_files() if file.path == _WRAPPER)
    code = Code(bucket, put("functions", package_of(plan).content, ".zip"), put("wrapper", wrapper, ".py"))
    pools = [pool.model_dump() for pool in plan.pools]
    stacks = rendered(
        target, pools, plan.policy, plan.delegated, code=code, limits=limits(plan.prediction), gradual=gradual
    )
    address = f"{buckets.client.meta.endpoint_url}/{bucket}"
    return [
        Wanted(
            each.name,
            f"{address}/{put('templates', as_json(each.template).encode(), '.json')}",
            _tags(target, each.team),
        )
        for each in stacks
    ]


def _code_bucket(target: Target, buckets: Buckets) -> str:
    """The target's own, which must be there; else one of the stack's, made if it is missing. Raises OutsideError."""
    if target.code_bucket is None:
        bucket = code_bucket(target.stack, buckets.account, target.region)
        buckets.provide(bucket, target.stack, target.tags)
        return bucket
    if not buckets.is_there(target.code_bucket):
        what = f"There is no bucket {target.code_bucket} for the code."
        how = "make it, or leave code_bucket out of TARGET.yaml: then one is made; plan again"
        raise OutsideError(what, "every stack as it was", how, exit_code=FAILED)
    return target.code_bucket


def _tags(target: Target, team: str) -> Mapping[str, str]:
    return {**target.tags, TAG: target.stack, **({TEAM_TAG: team} if team else {})}


# doing it -----------------------------------------------------------------------------------------------------------
def discard(prepared: Prepared) -> None:
    """Do nothing after all."""
    with outside(_NOTHING_DEPLOYED):
        for each in prepared.change_sets:
            prepared.formation.discard(each)


def perform(prepared: Prepared) -> dict[str, Any]:
    """Do what was prepared, stack by stack; the outputs of the scheduler's stack. Raises OutsideError with the first
    resource that failed."""
    deployed: list[str] = []
    for each in prepared.change_sets:
        kept = f"deployed: {', '.join(deployed)}" if deployed else "the code's bucket"
        if each.changes:
            with outside(kept):
                try:
                    prepared.formation.perform(each, kept)
                except KeyboardInterrupt:
                    raise KeyboardInterrupt(_goes_on(each.stack, kept)) from None
        deployed.append(each.stack)
    with outside(f"deployed: {', '.join(deployed)}"):
        there = prepared.formation.described(prepared.target.stack)
        outputs = outputs_of(there or {})
        _keep_plan(prepared, outputs)
    return outputs


def _goes_on(stack: str, kept: str) -> str:
    return f"{kept}; CloudFormation goes on with {stack} by itself, as you may see: {look(stack)}"


def _keep_plan(prepared: Prepared, outputs: Mapping[str, str]) -> None:
    """What was applied lies with the stack: `verify` holds its run to it."""
    if "Results" not in outputs:
        raise InputError(Problem(f"the stack {prepared.target.stack} has no output Results: it is not whole."))
    s3 = prepared.session.client("s3")
    s3.put_object(
        Bucket=outputs["Results"],
        Key=PREFIX + PLAN,
        Body=prepared.plan.text().encode(),
        ContentType="application/json",
        ExpectedBucketOwner=prepared.session.identity.account,
    )
