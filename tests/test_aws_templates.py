"""The rules of the house over both stacks as they are rendered: rights, encryption, limits, and what the code needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_stacks import KINDS, TARGET, TEAMS, as_list, of_type, rendered, statements
from render_stacks import write

import aws.functions
from aws import jobs
from aws.render import Template, as_json, resources_stack, scheduler_stack
from aws.translate import _GONE, REBALANCE, WARNING
from spotbed.services_preset import ServicesPreset

FUNCTIONS = ("Intake", "Deliver", "Step", "Park", "Fleet", "Report", "Operate")
# Where a statement allows something on every resource, and why.
EVERYWHERE = {
    ("FleetRole", "Look"): {"autoscaling:DescribeAutoScalingGroups", "ec2:DescribeSpotPriceHistory"},
    ("OperateRole", "Look"): {"autoscaling:DescribeAutoScalingGroups"},
    ("WorkerMachineRole", "DeliverLogs"): {
        *("logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeLogGroups", "logs:GetLogDelivery"),
        *("logs:DescribeResourcePolicies", "logs:ListLogDeliveries", "logs:PutResourcePolicy"),
        "logs:UpdateLogDelivery",
    },
    ("CanaryRole", "Watch"): {"cloudwatch:DescribeAlarms"},
    ("InstancePolicy", "Agent"): {
        *("ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel"),
        *("ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel", "ec2messages:AcknowledgeMessage"),
        *("ec2messages:DeleteMessage", "ec2messages:FailMessage", "ec2messages:GetEndpoint", "ec2messages:GetMessages"),
        "ec2messages:SendReply",
    },
}  # of none of these calls does IAM know a resource (Service Authorization Reference)
# Queries of EC2 and SSM that name no resource are granted only where the code makes them; these are for later or for
# services that make the call for us.
NOT_OUR_CALLS = {
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"),  # Lambda's
    *("logs:CreateLogStream", "logs:PutLogEvents"),  # Lambda's
}


CALLERS = ("effects", "store", "functions", "drops", "rebuild", "checkout")  # modules of functions that call AWS
OTHERWISE = {"lambda:InvokeFunction": "invoke", "s3:ListBucket": "list_objects_v2"}


@pytest.fixture(params=KINDS)
def template(request: pytest.FixtureRequest) -> Template:
    return rendered(request.param)


# rights -----------------------------------------------------------------------------------------------------------
def test_no_policy_grants_everything(template: Template) -> None:
    for name, statement in statements(template):
        if statement["Effect"] == "Allow":
            for action in as_list(statement["Action"]):
                assert "*" not in action, (name, action)
    assert "FullAccess" not in json.dumps(template)
    assert "iam:PassRole" not in json.dumps(template)


def test_every_resource_is_only_where_a_reason_is_written(template: Template) -> None:
    found = {
        (name, statement["Sid"]): set(as_list(statement["Action"]))
        for name, statement in statements(template)
        if statement["Effect"] == "Allow" and "*" in as_list(statement.get("Resource"))
    }
    assert found == {key: EVERYWHERE[key] for key in found}


def test_nobody_else_is_let_in(template: Template) -> None:
    for name, statement in statements(template):
        principal = statement.get("Principal")
        if statement["Effect"] == "Allow" and principal is not None:
            assert principal != "*", name
            if "Service" in principal:
                assert isinstance(principal["Service"], str)
            else:
                assert "${AWS::AccountId}" in principal["AWS"]["Fn::Sub"], name


def test_who_may_write_a_queue_from_outside_is_of_this_account() -> None:
    for name, statement in statements(rendered("scheduler")):
        if statement.get("Principal") == {"Service": "events.amazonaws.com"}:
            assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}, name


def role_actions(template: Template) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, statement in statements(template):
        if name.endswith("Role") and "Principal" not in statement:
            found.setdefault(name, set()).update(as_list(statement["Action"]))
    return found


def test_every_function_has_a_role_of_its_own() -> None:
    functions = of_type(rendered("scheduler"), "AWS::Serverless::Function")
    assert {name: body["Role"] for name, body in functions.items()} == {
        f"{name}Function": {"Fn::GetAtt": [f"{name}Role", "Arn"]} for name in FUNCTIONS
    }


def test_what_each_function_may_not_do() -> None:
    """One thing for each that another may: what `AUTH=true` of an emulator is asked to deny."""
    actions = role_actions(rendered("scheduler"))
    for name, denied in {
        "IntakeRole": {"ssm:SendCommand", "states:StartExecution", "autoscaling:SetDesiredCapacity", "dynamodb:Scan"},
        "DeliverRole": {"ssm:SendCommand", "autoscaling:SetDesiredCapacity", "sqs:ReceiveMessage", "dynamodb:Scan"},
        "StepRole": {"autoscaling:SetDesiredCapacity", "sqs:ReceiveMessage"},
        "ParkRole": {"dynamodb:GetItem", "dynamodb:PutItem", "sqs:SendMessage", "states:StartExecution"},
        "FleetRole": {"sqs:ReceiveMessage", "s3:GetObject"},
        "ReportRole": {"ssm:SendCommand", "states:StartExecution", "dynamodb:GetItem", "sqs:ReceiveMessage"},
        "OperateRole": {"autoscaling:SetDesiredCapacity", "sqs:ReceiveMessage"},
    }.items():
        assert actions[name] & denied == set()
    assert not any("dynamodb:DeleteItem" in each or "dynamodb:DeleteTable" in each for each in actions.values())


def test_only_our_documents_are_sent_and_only_to_our_instances() -> None:
    grants = [
        (name, statement)
        for name, statement in statements(rendered("scheduler"))
        if "ssm:SendCommand" in as_list(statement["Action"])
    ]
    assert [name for name, _ in grants] == [f"{role}Role" for role in ("Step", "Fleet", "Operate") for _ in range(2)]
    document, instances, *others = (statement for _, statement in grants)
    assert others == [document, instances] * 2
    names = [body["Name"]["Fn::Sub"] for body in of_type(rendered("scheduler"), "AWS::SSM::Document").values()]
    pattern = document["Resource"]["Fn::Sub"].partition(":document/")[2]
    assert pattern == "${AWS::StackName}-run-job-*"
    assert all(name.startswith(pattern.removesuffix("*")) for name in names)
    assert instances["Condition"] == {"StringEquals": {"ssm:resourceTag/spotbed:stack": {"Ref": "AWS::StackName"}}}


def test_what_the_code_calls_is_granted_and_nothing_else(root: Path) -> None:
    text = "".join((root / "aws" / f"{name}.py").read_text("utf-8") for name in CALLERS)
    calls = set(re.findall(r"\.([a-z]+(?:_[a-z]+)*)\(", text))
    calls |= set(re.findall(r'get_paginator\("([a-z_0-9]+)"\)', text))
    granted = set().union(*(actions for name, actions in role_actions(rendered("scheduler")).items()
                            if name.removesuffix("Role") in FUNCTIONS))  # fmt: skip
    idle = {action for action in granted - NOT_OUR_CALLS if snake(action) not in calls}
    assert idle == set()
    needed = {"transact_write_items", "head_object"}  # which need what their parts, and get_object, need
    made = {call for call in calls if camel(call) in _operations()}
    assert {call for call in made - needed if not any(snake(action) == call for action in granted)} == set()


def snake(action: str) -> str:
    """The method of boto3 that makes the call of an action."""
    if action in OTHERWISE:
        return OTHERWISE[action]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", action.partition(":")[2]).lower()


def camel(call: str) -> str:
    return "".join(part.title() for part in call.split("_"))


def _operations() -> set[str]:
    import boto3

    names: set[str] = set()
    for service in ("dynamodb", "sqs", "ssm", "autoscaling", "ec2", "events", "stepfunctions", "lambda", "s3"):
        client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        names |= set(client.meta.service_model.operation_names)
    return names


def test_a_wrapper_writes_its_lease_and_nothing_that_decides() -> None:
    (statement,) = (each for _, each in statements(rendered("scheduler")) if each.get("Sid") == "RenewLease")
    allowed = set(statement["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"])
    assert allowed & {"state", "version", "body", "queue_class", "sort", "attempts", "ended_ms", "cost_usd"} == set()
    text = (Path(__file__).resolve().parent.parent / "aws" / "wrapper.py").read_text("utf-8")
    written = set(re.findall(r"(?:lease|self)\.write\((\w+)=", text)) | {
        "bucket",
        "checkpoint",
        "log",
        "output",
        "metrics",
        "seats",
    }
    assert all(f'"{name}"' in text or f"{name}=" in text for name in written)
    assert written | {"job_id", "epoch", "phase", "holder"} == allowed


# encryption -------------------------------------------------------------------------------------------------------
def test_tables_are_encrypted_and_can_be_brought_back() -> None:
    tables = of_type(rendered("scheduler"), "AWS::DynamoDB::Table")
    assert sorted(tables) == ["Fleet", "Jobs", "Workers"]
    for table in tables.values():
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_queues_and_buckets_are_encrypted_and_private(template: Template) -> None:
    for queue in of_type(template, "AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"] is True
    for bucket in of_type(template, "AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        assert all(bucket["PublicAccessBlockConfiguration"].values())
        assert "AbortIncompleteMultipartUpload" in json.dumps(bucket["LifecycleConfiguration"])


@pytest.mark.parametrize("kind", ["bucket", "scheduler"])
def test_checkpoints_that_nobody_takes_up_go_by_the_tag_that_wrappers_give_them(kind: str) -> None:
    text = (Path(__file__).resolve().parent.parent / "aws" / "wrapper.py").read_text("utf-8")
    (bucket,) = of_type(rendered(kind), "AWS::S3::Bucket").values()
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    (tag,) = rules["Checkpoints"]["TagFilters"]
    assert f'Tagging="{tag["Key"]}={tag["Value"]}"' in text
    granted = role_actions(rendered("resources"))["InstanceRole"]
    assert {"s3:PutObjectTagging", "s3:PutObject"} <= granted


def test_ended_jobs_are_kept_as_long_as_the_target_says_in_the_table_and_in_every_bucket() -> None:
    target = {**TARGET, "retention": {"logs": 30 * 86_400.0, "jobs": 90 * 86_400.0}}
    scheduler, team = scheduler_stack(target), resources_stack(target, (), TEAMS[1])
    for template in (scheduler, team):
        (bucket,) = of_type(template, "AWS::S3::Bucket").values()
        rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
        for rule, prefix in (("OldJobs", "spotbed/jobs/"), ("OldDrops", "spotbed/drop/")):
            assert (rules[rule]["Prefix"], rules[rule]["ExpirationInDays"]) == (prefix, {"Ref": "KeepDays"})
        assert value(template, "KeepDays") == 90
    table = of_type(scheduler, "AWS::DynamoDB::Table")["Jobs"]
    assert table["TimeToLiveSpecification"] == {"AttributeName": jobs.EXPIRES, "Enabled": True}
    assert scheduler["Globals"]["Function"]["Environment"]["Variables"]["KEEP_DAYS"] == {"Ref": "KeepDays"}


def test_every_queue_bucket_and_topic_refuses_what_is_not_encrypted(template: Template) -> None:
    kinds = {"AWS::SQS::Queue": "Queues", "AWS::S3::Bucket": "Bucket", "AWS::SNS::Topic": "Topics"}
    for kind, key in kinds.items():
        for name in of_type(template, kind):
            policies = [
                body["Properties"]
                for body in template["Resources"].values()
                if {"Ref": name} in as_list(body.get("Properties", {}).get(key, []))
            ]
            (policy,) = policies
            denials = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
            assert [(each["Principal"], each["Condition"]) for each in denials] == [
                ("*", {"Bool": {"aws:SecureTransport": "false"}})
            ], name


def test_instances_ask_for_tokens_and_encrypt_their_disks(template: Template) -> None:
    for machine in of_type(template, "AWS::EC2::LaunchTemplate").values():
        data = machine["LaunchTemplateData"]
        metadata = data["MetadataOptions"]
        assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)
        for device in data["BlockDeviceMappings"]:
            assert (device["Ebs"]["Encrypted"], device["Ebs"]["VolumeType"]) == (True, "gp3")
            assert device["Ebs"]["DeleteOnTermination"] is True


def test_no_instance_can_be_reached_or_has_a_public_address(template: Template) -> None:
    for subnet in of_type(template, "AWS::EC2::Subnet").values():
        assert subnet["MapPublicIpOnLaunch"] is False
    for name, group in of_type(template, "AWS::EC2::SecurityGroup").items():
        assert (name == "EndpointDoor") == ("SecurityGroupIngress" in group)
        assert "0.0.0.0/0" not in json.dumps(group.get("SecurityGroupIngress", []))


# what the code needs ----------------------------------------------------------------------------------------------
def test_every_variable_that_the_functions_read_is_given(root: Path) -> None:
    variables = rendered("scheduler")["Globals"]["Function"]["Environment"]["Variables"]
    spec = {
        *("SPOTBED_STACK", "JOBS_TABLE", "WORKERS_TABLE", "FLEET_TABLE", "QUEUE_URL", "DEAD_QUEUE_URL"),
        *("FINISHED_QUEUE_URL", "BUCKET", "PREFIX", "STATE_MACHINE_ARN", "DOCUMENT"),
    }
    assert spec <= variables.keys()
    text = (root / "aws" / "functions.py").read_text("utf-8")
    read = set(re.findall(r'given(?:\[|\.get\()"([A-Z_]+)"', text))
    assert read
    assert read <= variables.keys()


def test_every_index_that_the_store_asks_exists_with_its_keys(root: Path) -> None:
    text = (root / "aws" / "store.py").read_text("utf-8")
    asked = set(re.findall(r'tables\.(\w+),\s*"(by_\w+)"', text))
    tables = of_type(rendered("scheduler"), "AWS::DynamoDB::Table")
    indexes = {
        (name.lower(), index["IndexName"]): [key["AttributeName"] for key in index["KeySchema"]]
        for name, table in tables.items()
        for index in table.get("GlobalSecondaryIndexes", ())
    }
    assert indexes.keys() == asked
    assert indexes == {
        ("jobs", "by_class"): ["queue_class", "sort"],
        ("jobs", "by_lease"): ["lease", "lease_until_ms"],
        ("workers", "by_counted"): ["counted", "requested_ms"],
        ("workers", "by_idle"): ["counted", "idle_since"],
    }
    keys = [table["KeySchema"][0]["AttributeName"] for table in tables.values()]
    assert keys == ["job_id", "worker", "key"]


def test_every_handler_is_there() -> None:
    handlers = {body["Handler"] for body in of_type(rendered("scheduler"), "AWS::Serverless::Function").values()}
    assert handlers == {f"aws.functions.{name.lower()}" for name in FUNCTIONS}
    for handler in handlers:
        assert callable(getattr(aws.functions, handler.rpartition(".")[2]))


def test_deliver_hears_what_translate_understands() -> None:
    events = of_type(rendered("scheduler"), "AWS::Serverless::Function")["DeliverFunction"]["Events"]
    patterns = {name: body["Properties"]["Pattern"] for name, body in events.items()}
    assert patterns["Interruption"]["detail-type"] == [WARNING]
    assert patterns["Rebalance"]["detail-type"] == [REBALANCE]
    assert patterns["Gone"]["detail"]["state"] == sorted(_GONE)
    assert aws.functions.LAUNCHED in patterns["Launched"]["detail-type"]


def test_the_document_gets_the_parameters_that_effects_sends(root: Path) -> None:
    text = (root / "aws" / "effects.py").read_text("utf-8")
    sent = set(re.findall(r'^ +"([A-Z]\w+)": \[', text, re.MULTILINE))
    for body in of_type(rendered("scheduler"), "AWS::SSM::Document").values():
        assert sent == set(body["Content"]["parameters"])


# time and traffic -------------------------------------------------------------------------------------------------
def test_functions_end_in_finite_time_and_before_their_message_comes_again() -> None:
    template = rendered("scheduler")
    functions = of_type(template, "AWS::Serverless::Function")
    assert {name: body["Timeout"] for name, body in functions.items()} == {
        "IntakeFunction": 30,
        "DeliverFunction": 60,
        "StepFunction": 60,
        "ParkFunction": 30,
        "FleetFunction": 120,
        "ReportFunction": 60,
        "OperateFunction": 600,
    }
    assert of_type(template, "AWS::SQS::Queue")["JobQueue"]["VisibilityTimeout"] == 6 * 30
    machine = of_type(template, "AWS::Serverless::StateMachine")["WorkerMachine"]
    assert machine["Definition"]["States"]["Step"]["TimeoutSeconds"] > functions["StepFunction"]["Timeout"]


def test_new_code_takes_over_gradually_and_goes_back_on_any_alarm() -> None:
    template = rendered("scheduler")
    shared = template["Globals"]["Function"]
    alarms = {alarm["Ref"] for alarm in shared["DeploymentPreference"]["Alarms"]}
    assert shared["AutoPublishAlias"] == "live"
    assert shared["DeploymentPreference"]["Type"].startswith("Canary10Percent")
    assert alarms == set(of_type(template, "AWS::CloudWatch::Alarm"))
    assert {
        "DuplicateCompletions",
        "LostJobs",
        "DeadLetters",
        "CostPerJob",
        "DeadlineMisses",
        "FunctionErrors",
    } == alarms
    machine = of_type(template, "AWS::Serverless::StateMachine")["WorkerMachine"]
    assert machine["AutoPublishAlias"] == "live"
    assert (machine["DeploymentPreference"]["Type"], machine["DeploymentPreference"]["Percentage"]) == ("CANARY", 10)
    assert {alarm["Ref"] for alarm in machine["DeploymentPreference"]["Alarms"]} == alarms


def test_a_running_worker_ends_on_the_code_with_which_it_began() -> None:
    machine = of_type(rendered("scheduler"), "AWS::Serverless::StateMachine")["WorkerMachine"]
    assert machine["DefinitionSubstitutions"] == {
        "StepFunction": {"Ref": "StepFunction.Version"},
        "ParkFunction": {"Ref": "ParkFunction.Version"},
    }
    variables = rendered("scheduler")["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["STATE_MACHINE_ARN"]["Fn::Sub"].endswith(":stateMachine:${AWS::StackName}-worker:live")


def test_the_simulator_bills_the_alarms_and_metrics_that_are_made() -> None:
    alarms = of_type(rendered("scheduler"), "AWS::CloudWatch::Alarm").values()
    billed = [sum("MetricStat" in each for each in alarm.get("Metrics", ())) or 1 for alarm in alarms]
    own = {alarm["MetricName"] for alarm in alarms if alarm.get("Namespace") == "spotbed"}
    values = ServicesPreset.load()
    assert (values.value("cloudwatch.alarms"), values.value("cloudwatch.metrics")) == (sum(billed), len(own))
    assert len(alarms) == 6


def test_alarms_say_nothing_while_nothing_is_measured() -> None:
    for alarm in of_type(rendered("scheduler"), "AWS::CloudWatch::Alarm").values():
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]


def test_the_state_machine_writes_no_data_of_jobs_into_its_log() -> None:
    logging = of_type(rendered("scheduler"), "AWS::Serverless::StateMachine")["WorkerMachine"]["Logging"]
    assert (logging["IncludeExecutionData"], logging["Level"]) == (False, "ERROR")


def test_every_log_ends_some_day_and_goes_with_its_stack() -> None:
    logs = {
        name: body for name, body in rendered("scheduler")["Resources"].items() if body["Type"] == "AWS::Logs::LogGroup"
    }
    assert len(logs) == len(FUNCTIONS) + 1
    for body in logs.values():
        assert (body["DeletionPolicy"], body["Properties"]["RetentionInDays"]) == ("Delete", {"Ref": "LogDays"})


def test_nothing_stays_that_bills_when_a_stack_is_removed(template: Template) -> None:
    for body in template["Resources"].values():
        assert body.get("DeletionPolicy", "Delete") == "Delete"


# cfn-lint ---------------------------------------------------------------------------------------------------------
def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    tool = shutil.which("cfn-lint", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("cfn-lint is not installed")
    paths = [str(path) for path in write(tmp_path)]
    done = subprocess.run([tool, *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_checkov_is_told_to_skip_has_a_reason(root: Path) -> None:
    lines = (root / "aws" / "checkov.yaml").read_text("utf-8").splitlines()
    skipped = [line for line in lines if line.startswith("  - ")]
    assert skipped
    assert all(re.fullmatch(r"  - CKV_AWS_\d+ # .{20,}", line) for line in skipped)


def test_templates_fit_into_cloudformation(template: Template) -> None:
    assert len(as_json(template).encode()) < 1_000_000  # from a bucket; `--template-body` takes 51,200
    assert len(template["Resources"]) < 500
    assert len(template.get("Parameters", {})) < 200


def value(template: Template, name: str) -> Any:
    return template["Parameters"][name]["Default"]


def test_the_spend_cap_and_the_kill_switch_reach_the_functions() -> None:
    variables = rendered("scheduler")["Globals"]["Function"]["Environment"]["Variables"]
    assert (variables["BUDGET_USD"], variables["LAUNCHES"]) == ({"Ref": "SpendCapUsd"}, {"Ref": "Launches"})
    assert (value(rendered("scheduler"), "SpendCapUsd"), value(rendered("scheduler"), "Launches")) == (500.0, "on")
