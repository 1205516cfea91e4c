"""deploy/iam-policy.json: what the person needs who deploys. That `apply` and `destroy` get by with it is shown on
MiniStack (tests/test_aws_account.py); what CloudFormation does in that person's name is looked up here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from aws_stacks import KINDS, as_list, rendered

ACCOUNT = "111122223333"
LARGEST = 6_144  # characters of a managed policy without white space (IAM user guide, "IAM and AWS STS quotas")
NAMED = "arn:aws:{}:us-east-1:" + ACCOUNT + ":{}"
# Type -> what CloudFormation calls to make and to remove it, and the resource's name. From the types' pages in the
# CloudFormation reference; "*" where IAM knows no name, or only one that AWS invents.
CALLS: dict[str, tuple[str, str, str]] = {
    "AWS::AutoScaling::AutoScalingGroup": (
        "autoscaling",
        "CreateAutoScalingGroup DeleteAutoScalingGroup UpdateAutoScalingGroup CreateOrUpdateTags",
        "autoScalingGroup:1:autoScalingGroupName/eda-c6i-1a",
    ),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm DeleteAlarms TagResource", "alarm:eda-LostJobs-1"),
    "AWS::CodeDeploy::Application": (
        "codedeploy",
        "CreateApplication DeleteApplication",
        "application:eda-Serverless-1",
    ),
    "AWS::CodeDeploy::DeploymentGroup": (
        "codedeploy",
        "CreateDeploymentGroup DeleteDeploymentGroup CreateDeployment GetDeployment",
        "deploymentgroup:eda-Serverless-1/eda-Step-1",
    ),
    "AWS::DynamoDB::Table": (
        "dynamodb",
        "CreateTable DeleteTable DescribeTable UpdateTable UpdateContinuousBackups UpdateTimeToLive TagResource",
        "table/eda-jobs",
    ),
    "AWS::EC2::EIP": ("ec2", "AllocateAddress ReleaseAddress", "*"),
    "AWS::EC2::InternetGateway": ("ec2", "CreateInternetGateway DeleteInternetGateway CreateTags", "*"),
    "AWS::EC2::LaunchTemplate": (
        "ec2",
        "CreateLaunchTemplate CreateLaunchTemplateVersion DeleteLaunchTemplate ModifyLaunchTemplate RunInstances",
        "*",
    ),
    "AWS::EC2::NatGateway": ("ec2", "CreateNatGateway DeleteNatGateway", "*"),
    "AWS::EC2::Route": ("ec2", "CreateRoute DeleteRoute", "*"),
    "AWS::EC2::RouteTable": ("ec2", "CreateRouteTable DeleteRouteTable", "*"),
    "AWS::EC2::SecurityGroup": (
        "ec2",
        "CreateSecurityGroup DeleteSecurityGroup AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress "
        "RevokeSecurityGroupEgress RevokeSecurityGroupIngress",
        "*",
    ),
    "AWS::EC2::SecurityGroupIngress": ("ec2", "AuthorizeSecurityGroupIngress RevokeSecurityGroupIngress", "*"),
    "AWS::EC2::Subnet": ("ec2", "CreateSubnet DeleteSubnet ModifySubnetAttribute", "*"),
    "AWS::EC2::SubnetRouteTableAssociation": ("ec2", "AssociateRouteTable DisassociateRouteTable", "*"),
    "AWS::EC2::VPC": ("ec2", "CreateVpc DeleteVpc ModifyVpcAttribute", "*"),
    "AWS::EC2::VPCEndpoint": ("ec2", "CreateVpcEndpoint DeleteVpcEndpoints ModifyVpcEndpoint", "*"),
    "AWS::EC2::VPCGatewayAttachment": ("ec2", "AttachInternetGateway DetachInternetGateway", "*"),
    "AWS::Events::EventBus": ("events", "CreateEventBus DeleteEventBus TagResource", "event-bus/eda-transitions"),
    "AWS::Events::Rule": ("events", "PutRule PutTargets RemoveTargets DeleteRule DescribeRule", "rule/eda-cpu-drop"),
    "AWS::IAM::InstanceProfile": (
        "iam",
        "CreateInstanceProfile DeleteInstanceProfile AddRoleToInstanceProfile RemoveRoleFromInstanceProfile",
        "instance-profile/eda-instance-us-east-1",
    ),
    "AWS::IAM::ManagedPolicy": (
        "iam",
        "CreatePolicy DeletePolicy CreatePolicyVersion DeletePolicyVersion GetPolicy ListPolicyVersions",
        "policy/eda-instance-us-east-1",
    ),
    "AWS::IAM::Role": (
        "iam",
        "CreateRole DeleteRole GetRole PassRole PutRolePolicy DeleteRolePolicy AttachRolePolicy "
        "DetachRolePolicy TagRole",
        "role/eda-StepRole-1",
    ),
    "AWS::Lambda::EventSourceMapping": ("lambda", "CreateEventSourceMapping DeleteEventSourceMapping", "*"),
    "AWS::Lambda::Function": (
        "lambda",
        "CreateFunction DeleteFunction UpdateFunctionCode UpdateFunctionConfiguration PublishVersion CreateAlias "
        "UpdateAlias DeleteAlias AddPermission RemovePermission PutFunctionEventInvokeConfig "
        "PutFunctionRecursionConfig",
        "function:eda-step",
    ),
    "AWS::Logs::LogGroup": (
        "logs",
        "CreateLogGroup DeleteLogGroup PutRetentionPolicy",
        "log-group:/aws/lambda/eda-step",
    ),
    "AWS::S3::Bucket": (
        "s3",
        "CreateBucket DeleteBucket PutEncryptionConfiguration PutBucketPublicAccessBlock PutLifecycleConfiguration "
        "PutBucketNotification PutBucketOwnershipControls PutBucketTagging",
        "eda-cpu-jobs",
    ),
    "AWS::S3::BucketPolicy": ("s3", "PutBucketPolicy DeleteBucketPolicy", "eda-cpu-jobs"),
    "AWS::SNS::Subscription": ("sns", "Subscribe", "eda-alarms"),
    "AWS::SNS::Topic": ("sns", "CreateTopic DeleteTopic SetTopicAttributes", "eda-alarms"),
    "AWS::SNS::TopicPolicy": ("sns", "SetTopicAttributes", "eda-alarms"),
    "AWS::SQS::Queue": ("sqs", "CreateQueue DeleteQueue SetQueueAttributes TagQueue", "eda-jobs"),
    "AWS::SQS::QueuePolicy": ("sqs", "SetQueueAttributes", "eda-jobs"),
    "AWS::SSM::Document": ("ssm", "CreateDocument UpdateDocument DeleteDocument", "document/eda-run-job-linux"),
    "AWS::StepFunctions::StateMachine": (
        "states",
        "CreateStateMachine UpdateStateMachine DeleteStateMachine PublishStateMachineVersion CreateStateMachineAlias",
        "stateMachine:eda-worker",
    ),
}
# What SAM makes of its own types (seen in its transform's output: tests/transform_stacks.py).
OF_SAM = {
    "AWS::Serverless::Function": (
        *("AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping", "AWS::Events::Rule"),
        *("AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup"),
    ),
    "AWS::Serverless::StateMachine": ("AWS::StepFunctions::StateMachine",),
}


@pytest.fixture(scope="module")
def statements(root: Path) -> list[dict[str, Any]]:
    text = (root / "deploy" / "iam-policy.json").read_text()
    filled = text.replace("TEAM-BUCKET", "eda-cpu-jobs").replace("STACK", "eda")
    found: list[dict[str, Any]] = json.loads(filled)["Statement"]
    return found


def allows(statements: list[dict[str, Any]], action: str, resource: str) -> bool:
    return any(
        any(fnmatchcase(action, pattern) for pattern in as_list(each["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in as_list(each["Resource"]))
        for each in statements
    )


def made() -> set[str]:
    """The types of all that any of the stacks may hold."""
    types = {body["Type"] for kind in KINDS for body in rendered(kind)["Resources"].values()}
    return {one for kind in types for one in OF_SAM.get(kind, (kind,))}


def arn(service: str, resource: str) -> str:
    if resource == "*":
        return "*"
    if service == "s3":
        return f"arn:aws:s3:::{resource}"
    return f"arn:aws:iam::{ACCOUNT}:{resource}" if service == "iam" else NAMED.format(service, resource)


def test_every_type_that_is_made_may_be_made_and_removed(statements: list[dict[str, Any]]) -> None:
    assert made() <= CALLS.keys(), "a type of which nobody has said what it needs"
    refused = [
        f"{service}:{call} on {resource}"
        for service, calls, resource in CALLS.values()
        for call in calls.split()
        if not allows(statements, f"{service}:{call}", arn(service, resource))
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("action", "resource"),
    [  # CreateDeployment reads it (CodeDeploy user guide, "Permissions reference")
        ("codedeploy:GetDeploymentConfig", "deploymentconfig:CodeDeployDefault.LambdaCanary10Percent10Minutes"),
        ("lambda:TagResource", "event-source-mapping:0f1e2d3c"),  # CloudFormation gives it the tags of the stack
    ],
)
def test_what_aws_itself_names_may_be_used(statements: list[dict[str, Any]], action: str, resource: str) -> None:
    assert allows(statements, action, NAMED.format(action.partition(":")[0], resource))


def test_what_bears_another_name_is_out_of_reach(statements: list[dict[str, Any]]) -> None:
    others = [
        f"{service}:{call}"
        for service, calls, resource in CALLS.values()
        for call in calls.split()
        if resource != "*" and allows(statements, f"{service}:{call}", arn(service, resource).replace("eda", "theirs"))
    ]
    assert others == []


def test_nothing_is_allowed_wholesale(statements: list[dict[str, Any]]) -> None:
    assert list(wholesale(statements)) == []
    assert len(json.dumps(statements, separators=(",", ":"))) < LARGEST


def wholesale(statements: list[dict[str, Any]]) -> Iterator[str]:
    for each in statements:
        for action in as_list(each["Action"]):
            service, _, call = action.partition(":")
            if call == "*" and (service == "iam" or "*" in as_list(each["Resource"])):
                yield f"{each['Sid']}: {action}"
