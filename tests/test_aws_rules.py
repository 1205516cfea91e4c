"""The house's own rules hold for every variant of the stacks, and each of them can fail."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aws_stacks import KINDS, of_type, rendered

from aws.render import Template

guard = pytest.importorskip("guard", reason="guardpycfn is not installed", exc_type=ImportError)


def of(template: Template, kind: str) -> dict[str, Any]:
    """The properties of the first resource of a type."""
    return next(iter(of_type(template, f"AWS::{kind}").values()))


def statement(template: Template, role: str, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][
        number
    ]
    return found


def plain_http(template: Template, kind: str) -> None:
    of(template, kind)["PolicyDocument"]["Statement"][0]["Condition"]["Bool"]["aws:SecureTransport"] = "true"


# One fault for each rule: which variant it is put into, and how.
FAULTS: Mapping[str, tuple[str, Callable[[Template], Any]]] = {
    "no_full_access": (
        "resources",
        lambda made: of(made, "IAM::Role")["ManagedPolicyArns"].append("arn:aws:iam::aws:policy/AmazonS3FullAccess"),
    ),
    "no_kind_of_action_is_allowed_whole": (
        "scheduler",
        lambda made: statement(made, "ParkRole").update(Action="dynamodb:*"),
    ),
    "every_resource_only_with_a_reason": (
        "scheduler",
        lambda made: statement(made, "ParkRole", 1).update(Resource="*"),
    ),
    "no_role_is_passed": ("scheduler", lambda made: statement(made, "FleetRole")["Action"].append("iam:PassRole")),
    "tables_are_encrypted": ("scheduler", lambda made: of(made, "DynamoDB::Table").pop("SSESpecification")),
    "tables_can_be_brought_back": (
        "scheduler",
        lambda made: of(made, "DynamoDB::Table")["PointInTimeRecoverySpecification"].update(
            PointInTimeRecoveryEnabled=False
        ),
    ),
    "queues_are_encrypted": ("scheduler", lambda made: of(made, "SQS::Queue").pop("SqsManagedSseEnabled")),
    "buckets_are_encrypted": ("bucket", lambda made: of(made, "S3::Bucket").pop("BucketEncryption")),
    "disks_are_encrypted": (
        "resources",
        lambda made: of(made, "EC2::LaunchTemplate")["LaunchTemplateData"]["BlockDeviceMappings"][0]["Ebs"].update(
            Encrypted=False
        ),
    ),
    "queues_want_tls": ("scheduler", lambda made: made["Resources"].pop("DeadQueuePolicy")),
    "buckets_want_tls": ("bucket", lambda made: plain_http(made, "S3::BucketPolicy")),
    "metadata_wants_a_token": (
        "resources",
        lambda made: of(made, "EC2::LaunchTemplate")["LaunchTemplateData"]["MetadataOptions"].update(
            HttpTokens="optional"
        ),
    ),
    "no_public_address": ("resources", lambda made: of(made, "EC2::Subnet").update(MapPublicIpOnLaunch=True)),
    "no_public_address_of_a_machine": (
        "resources",
        lambda made: of(made, "EC2::LaunchTemplate")["LaunchTemplateData"].update(
            NetworkInterfaces=[{"AssociatePublicIpAddress": True}]
        ),
    ),
    "nobody_is_let_in_from_everywhere": (
        "endpoints",
        lambda made: of(made, "EC2::SecurityGroup")["SecurityGroupIngress"][0].update(CidrIp="0.0.0.0/0"),
    ),
    "buckets_are_private": (
        "bucket",
        lambda made: of(made, "S3::Bucket")["PublicAccessBlockConfiguration"].update(BlockPublicPolicy=False),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_variant_keeps_the_rules(kind: str) -> None:
    assert {rule for path in guard.RULES for rule in guard.broken(rendered(kind), path)} == set()


@pytest.mark.parametrize("rule", FAULTS)
def test_each_rule_can_fail(rule: str) -> None:
    kind, fault = FAULTS[rule]
    made = copy.deepcopy(rendered(kind))
    fault(made)
    assert {each for path in guard.RULES for each in guard.broken(made, path)} == {rule}


def test_no_rule_is_without_a_fault() -> None:
    assert {rule for path in guard.RULES for rule in guard.names(path)} == FAULTS.keys()
