"""CloudFormation, as `apply` and `destroy` use it: change sets that are shown before they are performed, and waits that
say which resource is being worked on and, when one fails, the first that did and why.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from aws.outside import FAILED, code_of
from spotbed.errors import OutsideError

TAG = "spotbed:stack"  # of everything that is made, CloudFormation's stacks included
TEAM_TAG = "spotbed:team"
_CAPABILITIES = ("CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
_EMPTY = ("didn't contain changes", "No updates are to be performed", "no changes")
_CANCELLED = "cancelled"  # what CloudFormation gives up when another resource has failed
_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "IMPORT_COMPLETE"})
_AS_BEFORE = frozenset({"UPDATE_ROLLBACK_COMPLETE"})  # an update failed, and was taken back
_NEVER_MADE = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"})
_UNMADE = "REVIEW_IN_PROGRESS"  # a change set was made for it, and not performed
_STACK = "AWS::CloudFormation::Stack"
Described = Mapping[str, Any]


@dataclass(frozen=True)
class Pace:
    """How often CloudFormation is asked, and for how long. Seconds."""

    every_s: float = 3.0
    within_s: float = 3 * 3600.0  # a gradual deployment of functions and state machine takes half an hour
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Wanted:
    """A stack to make, or to change."""

    name: str
    template_url: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class StackChange:
    """What would become of a resource: added, changed, replaced, perhaps replaced, or removed."""

    stack: str
    action: str
    resource: str
    type: str


@dataclass(frozen=True)
class ChangeSet:
    """What CloudFormation would do to a stack; without changes there is nothing to do."""

    stack: str
    name: str
    changes: Sequence[StackChange]


def _unheard(done: int, total: int, note: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Formation:
    """Stacks through one client. `heard` is told (done, of how many, what is going on) while it waits."""

    client: Any
    pace: Pace = Pace()
    heard: Callable[[int, int, str], None] = _unheard

    # looking --------------------------------------------------------------------------------------------------------
    def described(self, name: str) -> Described | None:
        """A stack as CloudFormation describes it, by its name or id; None where there is none."""
        try:
            found = self.client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        gone = not found or found[0]["StackStatus"] == "DELETE_COMPLETE"
        return None if gone else dict(found[0])

    def ours(self) -> Iterator[Described]:
        """Every stack in this region that carries our tag."""
        for page in self.client.get_paginator("describe_stacks").paginate():
            yield from (each for each in page["Stacks"] if TAG in tags_of(each))

    def resources(self, name: str, kind: str) -> list[str]:
        """The names of a stack's resources of a type."""
        pages = self.client.get_paginator("list_stack_resources").paginate(StackName=name)
        found = [each for page in pages for each in page["StackResourceSummaries"]]
        return [str(each["PhysicalResourceId"]) for each in found if each["ResourceType"] == kind and _is_there(each)]

    # making ---------------------------------------------------------------------------------------------------------
    def prepare(self, wanted: Wanted, name: str) -> ChangeSet:
        """Let CloudFormation say what it would do. `name` is that of the change set, and new. Raises OutsideError."""
        there = self.described(wanted.name)
        new = there is None or there["StackStatus"] == _UNMADE
        self.client.create_change_set(
            StackName=wanted.name,
            ChangeSetName=name,
            ChangeSetType="CREATE" if new else "UPDATE",
            TemplateURL=wanted.template_url,
            Capabilities=list(_CAPABILITIES),
            Tags=[{"Key": key, "Value": value} for key, value in wanted.tags.items()],
        )
        return self._made(wanted.name, name)

    def _made(self, stack: str, name: str) -> ChangeSet:
        for _ in self._times(stack):
            found = self.client.describe_change_set(StackName=stack, ChangeSetName=name)
            if found["Status"] == "CREATE_COMPLETE":
                return ChangeSet(stack, name, tuple(self._changes(stack, found)))
            if found["Status"] == "FAILED":
                reason = str(found.get("StatusReason", ""))
                self.client.delete_change_set(StackName=stack, ChangeSetName=name)
                if any(words in reason for words in _EMPTY):
                    return ChangeSet(stack, name, ())
                what = f"CloudFormation does not take the template of {stack}: {reason}"
                raise OutsideError(what, "every stack as it was", "mend that, and apply again", exit_code=FAILED)
        raise AssertionError  # _times raises

    def _changes(self, stack: str, found: Mapping[str, Any]) -> Iterator[StackChange]:
        page = found
        while True:
            for each in page.get("Changes", ()):
                change = each["ResourceChange"]
                yield StackChange(stack, _action(change), change["LogicalResourceId"], change["ResourceType"])
            if not page.get("NextToken"):
                return
            page = self.client.describe_change_set(
                StackName=stack, ChangeSetName=found["ChangeSetName"], NextToken=page["NextToken"]
            )

    def discard(self, change_set: ChangeSet) -> None:
        """Forget a change set; also the empty stack that CloudFormation has made for it."""
        there = self.described(change_set.stack)
        if there is not None and there["StackStatus"] == _UNMADE:
            self.client.delete_stack(StackName=change_set.stack)
        elif change_set.changes:
            self.client.delete_change_set(StackName=change_set.stack, ChangeSetName=change_set.name)

    def perform(self, change_set: ChangeSet, kept: str) -> None:
        """Execute a change set and wait. Raises OutsideError with the first resource that failed."""
        last = self._last_event(change_set.stack)
        self.client.execute_change_set(StackName=change_set.stack, ChangeSetName=change_set.name)
        status = self._ended(change_set.stack, last, len(change_set.changes))
        if status in _GOOD:
            return
        after = f"{change_set.stack} as it was" if status in _AS_BEFORE else f"{change_set.stack} in {status}"
        how = "mend that, and apply again" if status in _AS_BEFORE else next_step(change_set.stack, status)
        what = f"{change_set.stack} was not deployed: {self._reason(change_set.stack, last)}"
        raise OutsideError(what, f"{kept}; {after}", how, exit_code=FAILED)

    def delete(self, name: str, kept: str) -> None:
        """Delete a stack and wait. Raises OutsideError with what could not be deleted."""
        there = self.described(name)
        if there is None:
            return
        stack_id, last = str(there["StackId"]), self._last_event(name)
        total = len(list(self._all_resources(name)))
        self.client.delete_stack(StackName=name)
        status = self._ended(stack_id, last, total)
        if status == "DELETE_COMPLETE":
            return
        what = f"{name} was not removed: {self._reason(stack_id, last)}"
        raise OutsideError(what, f"{kept}; the rest of {name}", "mend that, and destroy again", exit_code=FAILED)

    def _all_resources(self, name: str) -> Iterator[Any]:
        for page in self.client.get_paginator("list_stack_resources").paginate(StackName=name):
            yield from (each for each in page["StackResourceSummaries"] if _is_there(each))

    # waiting --------------------------------------------------------------------------------------------------------
    def _ended(self, stack: str, last: str, total: int) -> str:
        """The status in which a stack comes to rest."""
        for _ in self._times(stack):
            found = self._status(stack)
            if found in _GOOD or not found.endswith("_IN_PROGRESS"):
                return found
            events = self._events_since(stack, last)
            done = {each["LogicalResourceId"] for each in events if each["ResourceStatus"].endswith("_COMPLETE")}
            now = next((each for each in reversed(events) if each["ResourceType"] != _STACK), None)
            what = f"{now['ResourceStatus']} {now['LogicalResourceId']}" if now else found
            self.heard(min(len(done), total), total, f"{_name_of(stack)}: {what}")
        raise AssertionError  # _times raises

    def _status(self, stack: str) -> str:
        """Of a stack by its name or id; one that is not found has been deleted."""
        there = self.described(stack)
        return "DELETE_COMPLETE" if there is None else str(there["StackStatus"])

    def _times(self, stack: str) -> Iterator[None]:
        for _ in range(max(1, round(self.pace.within_s / self.pace.every_s))):
            yield
            self.pace.sleep(self.pace.every_s)
        what = f"CloudFormation is still at work on {stack} after {self.pace.within_s / 60:.0f} minutes."
        how = f"look at its events ({look(stack)}), and give the same command again when it has ended"
        raise OutsideError(what, "what it has done until now; it goes on by itself", how, exit_code=FAILED)

    def _last_event(self, stack: str) -> str:
        """The id of a stack's newest event; "" where there is none."""
        try:
            events = self.client.describe_stack_events(StackName=stack)["StackEvents"]
        except ClientError as error:
            if "does not exist" in str(error):
                return ""
            raise
        return str(events[0]["EventId"]) if events else ""

    def _events_since(self, stack: str, last: str) -> list[Described]:
        """A stack's events that came later, the oldest first."""
        found: list[Described] = []
        with contextlib.suppress(ClientError):  # a stack that was deleted is found by its id only
            for page in self.client.get_paginator("describe_stack_events").paginate(StackName=stack):
                for event in page["StackEvents"]:
                    if event["EventId"] == last:
                        return found[::-1]
                    found.append(event)
        return found[::-1]

    def _reason(self, stack: str, last: str) -> str:
        """The first resource that failed, and why."""
        failed = [
            each
            for each in self._events_since(stack, last)
            if each["ResourceStatus"].endswith("_FAILED") and _CANCELLED not in each.get("ResourceStatusReason", "")
        ]
        for each in [*(one for one in failed if one["ResourceType"] != _STACK), *failed]:
            why = str(each.get("ResourceStatusReason", "no reason is given")).strip()
            return f"{each['LogicalResourceId']} ({each['ResourceType']}): {why}"
        return str((self.described(stack) or {}).get("StackStatusReason", "no reason is given"))


def tags_of(described: Described) -> dict[str, str]:
    """The tags of a stack."""
    return {each["Key"]: each["Value"] for each in described.get("Tags", ())}


def outputs_of(described: Described) -> dict[str, str]:
    """The outputs of a stack."""
    return {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())}


def refuse_unfit(described: Described) -> None:
    """Raise OutsideError for a stack of ours that cannot be changed as it is."""
    name, status = str(described["StackName"]), str(described["StackStatus"])
    if status == _UNMADE or status in _GOOD | _AS_BEFORE:
        return
    raise OutsideError(f"The stack {name} is in {status}.", "it, unchanged", next_step(name, status), exit_code=FAILED)


def next_step(name: str, status: str) -> str:
    """What to do with a stack in such a state."""
    if status in _NEVER_MADE:
        return f"nothing can be made of it any more: spotbed destroy {name} --target aws, then apply again"
    if status == "UPDATE_ROLLBACK_FAILED":
        return f"aws cloudformation continue-update-rollback --stack-name {name}, then apply again"
    if status.endswith("_IN_PROGRESS"):
        return f"somebody changes it now: wait until it has ended ({look(name)}), then give the same command again"
    return f"look at its events ({look(name)}), mend what failed, and give the same command again"


def look(name: str) -> str:
    """How to see what CloudFormation does."""
    return f"aws cloudformation describe-stack-events --stack-name {name}"


def _name_of(stack: str) -> str:
    """The name of a stack, which may be given by its ARN."""
    return stack.split("/")[1] if stack.startswith("arn:") else stack


def _action(change: Mapping[str, Any]) -> str:
    replacement = str(change.get("Replacement", "False"))
    if change["Action"] == "Modify":
        return {"True": "replace", "Conditional": "perhaps replace"}.get(replacement, "change")
    return {"Add": "add", "Remove": "remove"}.get(str(change["Action"]), str(change["Action"]).lower())


def _is_there(resource: Mapping[str, Any]) -> bool:
    return bool(resource.get("PhysicalResourceId")) and resource["ResourceStatus"] != "DELETE_COMPLETE"
