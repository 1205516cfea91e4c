"""What fails outside of us: each a clear message, exit code 4, and a way on."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.stub import Stubber
from plans import TARGET, planned
from typer.testing import CliRunner

from aws import account, session
from aws.account import Prepared, perform, prepare
from aws.buckets import code_bucket
from aws.formation import ChangeSet, Formation, Pace, StackChange, Wanted
from aws.outside import outside, told
from aws.plan import write_plan
from aws.quotas import Need, Quota, read_quotas, shortages
from aws.removal import Found, Removal, kind_of
from aws.session import Identity, Session
from spotbed.cli.app import app
from spotbed.errors import InputError, OutsideError

ACCOUNT, REGION = "111122223333", "us-east-1"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
FAST = Pace(0.0001, 0.01, lambda _: None)


@pytest.fixture(autouse=True)
def _nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No local stacks."""
    monkeypatch.setenv("SPOTBED_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


class Stubs(Session):
    """A session whose clients answer what a test has laid down, and nothing else."""

    identity = Identity(ACCOUNT, "arn:aws:iam::111122223333:user/ops")  # type: ignore[assignment]

    def __init__(self, region: str = REGION) -> None:
        super().__init__(region)
        self._made: dict[str, tuple[Any, Stubber]] = {}

    def client(self, service: str, read_timeout_s: int = 0) -> Any:
        return self.stub(service)[0]

    def stub(self, service: str) -> tuple[Any, Stubber]:
        if service not in self._made:
            make: Any = boto3.client
            client = make(service, REGION, aws_access_key_id="a", aws_secret_access_key="b")
            stubber = Stubber(client)
            stubber.activate()
            self._made[service] = client, stubber
        return self._made[service]

    def answers(self, service: str, method: str, *answers: dict[str, Any]) -> None:
        for each in answers:
            self.stub(service)[1].add_response(method, each)

    def fails(self, service: str, method: str, code: str, message: str = "") -> None:
        self.stub(service)[1].add_client_error(method, code, message)


def invoke(*arguments: str, code: int) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.stdout + result.stderr
    return result.stderr


def written(**more: Any) -> str:
    write_plan(planned(**more), Path("PLAN"))
    return "PLAN"


def client_error(code: str, message: str = "", operation: str = "DescribeStacks") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


# what AWS answers, in words -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "message", "what", "how"),
    [
        ("ExpiredToken", "", "The credentials of AWS have expired.", "aws sso login"),
        ("RequestExpired", "", "The credentials of AWS have expired.", "new keys"),
        ("InvalidClientTokenId", "", "does not take these credentials (InvalidClientTokenId).", "get-caller-identity"),
        (
            "AccessDenied",
            "User: arn:aws:iam::1:user/x not authorized to perform: iam:CreateRole on resource: arn:aws:iam::1:role/r "
            "because no identity-based policy allows it",
            "You may not call iam:CreateRole on arn:aws:iam::1:role/r.",
            "deploy/iam-policy.json",
        ),
        ("UnauthorizedOperation", "You may not.", "You may not call DescribeStacks.", "allow DescribeStacks"),
        ("Throttling", "Rate exceeded", "DescribeStacks with Throttling: there are too many calls", "wait a minute"),
        ("Unheard", "of", "AWS refuses DescribeStacks: Unheard: of", "mend that"),
    ],
)  # fmt: skip
def test_an_answer_of_aws_is_told(code: str, message: str, what: str, how: str) -> None:
    error = told(client_error(code, message), "the plan")
    text = str(error)
    assert error.exit_code == 4
    assert what in text.splitlines()[0]
    assert text.splitlines()[1] == "Kept: the plan"
    assert how in text.splitlines()[2]


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (boto.NoCredentialsError(), "There are no credentials of AWS."),
        (boto.ProfileNotFound(profile="x"), "The config profile (x) could not be found."),
        (boto.UnauthorizedSSOTokenError(), "The login to AWS is no longer good"),
        (boto.NoRegionError(), "No region is named."),
        (
            boto.EndpointConnectionError(endpoint_url="https://x"),
            "https://x does not answer (EndpointConnectionError).",
        ),
        (boto.ReadTimeoutError(endpoint_url="https://x"), "https://x does not answer (ReadTimeoutError)."),
        (boto.DataNotFoundError(data_path="x"), "The call of AWS failed"),
    ],
)
def test_the_way_to_aws_is_told(error: BotoCoreError, what: str) -> None:
    with pytest.raises(OutsideError) as raised, outside("the plan"):
        raise error
    assert str(raised.value).startswith(what)
    assert raised.value.exit_code == 4


# before anything is done ----------------------------------------------------------------------------------------------
def test_without_credentials_nothing_is_tried() -> None:
    said = invoke("apply", written(), code=4)
    assert said.startswith("error: There are no credentials of AWS.")
    assert "To go on: log in (aws configure sso" in said
    assert "There are no credentials" in invoke("destroy", "eda", "--yes", "--region", REGION, code=4)
    assert "AWS was not asked" in invoke("status", "--stack", "eda", code=2)
    assert "No region of AWS is named" in invoke("status", "--stack", "eda", "--target", "aws", code=4)


def test_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(
        session, "CONFIG", session.CONFIG.merge(boto3.session.Config(retries={"total_max_attempts": 1}))
    )
    said = invoke("jobs", "--stack", "eda", "--region", REGION, code=4)
    assert said.startswith("error: http://127.0.0.1:9/ does not answer")
    assert "AWS_ENDPOINT_URL" in said


def test_a_plan_that_has_expired_or_has_no_account() -> None:
    assert "expired at" in invoke("apply", written(age=timedelta(days=8)), code=4)
    Path("PLAN").unlink()
    assert "for a local fleet only" in invoke("apply", written(target=None), code=4)
    Path("PLAN").unlink()
    assert "the plan's target calls the stack 'eda'" in invoke("apply", written(), "--stack", "other", code=2)


def test_another_region_or_account_than_the_plans() -> None:
    assert "The plan is for us-east-1, and --region says eu-west-1." in invoke(
        "apply", written(), "--region", "eu-west-1", code=4
    )
    mine = planned({**TARGET, "account": "999988887777"})
    with pytest.raises(OutsideError, match="for the account 999988887777, and these credentials are of 111122223333"):
        prepare(mine, Stubs(), pace=FAST)


def test_a_plan_that_lists_other_resources_than_the_code_makes() -> None:
    plan = planned()
    fewer = plan.model_copy(update={"change_set": [each for each in plan.change_set if each.resource != "Jobs"]})
    with pytest.raises(OutsideError, match="would not make what was planned: eda Jobs") as raised:
        prepare(fewer, Stubs(), pace=FAST)
    assert raised.value.exit_code == 3


def test_a_stack_whose_name_leaves_no_room_for_the_buckets() -> None:
    assert code_bucket("eda", ACCOUNT, REGION) == "eda-code-111122223333-us-east-1"
    with pytest.raises(InputError, match=r"S3 takes 63\. Here it has 30 characters at most"):
        code_bucket("x" * 32, ACCOUNT, "ap-southeast-1")


# quotas ---------------------------------------------------------------------------------------------------------------
def quota(name: str, code: str, value: float) -> dict[str, Any]:
    return {"QuotaCode": code, "QuotaName": name, "Value": value}


QUOTAS = [
    quota("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-1", 5.0),
    quota("All G and VT Spot Instance Requests", "L-2", 0.0),
    quota("All P4, P3 and P2 Spot Instance Requests", "L-3", 96.0),
    quota("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "L-4", 64.0),
    quota("Running On-Demand HPC instances", "L-5", 0.0),
    quota("EC2-VPC Elastic IPs", "L-6", 5.0),
]


@pytest.fixture
def quotas() -> list[Quota]:
    stubs = Stubs()
    stubs.answers("service-quotas", "list_service_quotas", {"Quotas": QUOTAS})
    return read_quotas(stubs.client("service-quotas"))


@pytest.mark.parametrize(
    ("instance_type", "purchase", "code"),
    [
        ("c6i.xlarge", "spot", "L-1"),
        ("vt1.3xlarge", "spot", "L-2"),
        ("g5.xlarge", "spot", "L-2"),
        ("p4d.24xlarge", "spot", "L-3"),
        ("p5.48xlarge", "spot", ""),
        ("hpc7a.96xlarge", "on-demand", "L-5"),
        ("t3.medium", "on-demand", "L-4"),
        ("trn1.2xlarge", "on-demand", ""),
    ],
)
def test_a_type_counts_against_the_quota_of_its_family(
    quotas: list[Quota], instance_type: str, purchase: str, code: str
) -> None:
    assert "".join(each.code for each in quotas if each.covers(instance_type, purchase)) == code


def test_quotas_are_compared_with_all_that_pools_may_come_to(quotas: list[Quota]) -> None:
    c6i, g5 = Need("a", "c6i.xlarge", "spot", 4, 24), Need("b", "g5.xlarge", "spot", 4, 8)
    few, none = shortages(quotas, [c6i, g5, Need("c", "m5.large", "on-demand", 2, 64)])
    assert (few.quota.code, few.vcpus, few.stops) == ("L-1", 24, False)
    assert (none.quota.code, none.vcpus, none.stops) == ("L-2", 8, True)
    said = few.says(REGION)
    assert "is 5 vCPUs in us-east-1, and the pool a may come to 24" in said
    assert "--quota-code L-1 --desired-value 24 --region us-east-1" in said


def test_a_quota_below_one_instance_stops_and_a_small_one_is_told() -> None:
    stubs = Stubs()
    stubs.answers("service-quotas", "list_service_quotas", {"Quotas": [{**QUOTAS[0], "Value": 3.0}]})
    with pytest.raises(OutsideError, match="is 3 vCPUs in us-east-1, and the pool c6i-1a may come to 24") as raised:
        prepare(planned(), stubs, pace=FAST)
    assert raised.value.exit_code == 4
    stubs.answers("service-quotas", "list_service_quotas", {"Quotas": QUOTAS})
    (note,) = account._quota_notes(planned(), stubs)
    assert "is 5 vCPUs" in note
    stubs.fails("service-quotas", "list_service_quotas", "AccessDenied")
    (note,) = account._quota_notes(planned(), stubs)
    assert note == "The quotas of EC2 were not checked: You may not call ListServiceQuotas."


# CloudFormation -------------------------------------------------------------------------------------------------------
def described(status: str, name: str = "eda", tag: str | None = "eda", **more: Any) -> dict[str, Any]:
    tags = [] if tag is None else [{"Key": "spotbed:stack", "Value": tag}]
    arn = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/{name}/1"
    one = {"StackName": name, "StackId": arn, "StackStatus": status, "CreationTime": WHEN, "Tags": tags, **more}
    return {"Stacks": [one]}


def event(number: int, resource: str, status: str, reason: str = "", kind: str = "AWS::Lambda::Function") -> Any:
    return {
        "StackId": "1",
        "StackName": "eda",
        "EventId": str(number),
        "LogicalResourceId": resource,
        "ResourceType": kind,
        "Timestamp": WHEN,
        "ResourceStatus": status,
        **({"ResourceStatusReason": reason} if reason else {}),
    }


@pytest.mark.parametrize(
    ("status", "how"),
    [
        ("ROLLBACK_COMPLETE", "spotbed destroy eda --target aws, then apply again"),
        ("DELETE_FAILED", "spotbed destroy eda"),
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback --stack-name eda"),
        ("UPDATE_IN_PROGRESS", "somebody changes it now"),
    ],
)
def test_a_stack_that_cannot_be_changed_is_refused_before_anything_is_made(status: str, how: str) -> None:
    stubs = Stubs()
    stubs.fails("service-quotas", "list_service_quotas", "AccessDenied")
    stubs.answers("cloudformation", "describe_stacks", described(status))
    with pytest.raises(OutsideError, match=f"The stack eda is in {status}.") as raised:
        prepare(planned(), stubs, pace=FAST)
    assert how in str(raised.value)


class Cloudformation:
    """A stack `eda` and the answers to one deployment."""

    def __init__(self, pace: Pace = FAST) -> None:
        self.stubs = Stubs()
        self.formation = Formation(self.stubs.client("cloudformation"), pace)
        self.change_set = ChangeSet("eda", "one", (StackChange("eda", "add", "Jobs", "AWS::DynamoDB::Table"),))

    def answers(self, method: str, *answers: dict[str, Any]) -> None:
        self.stubs.answers("cloudformation", method, *answers)

    def executes(self, *statuses: str, events: list[Any]) -> None:
        """It is executed, found in these states, and has had these events at the end, the newest first."""
        self.answers("describe_stack_events", {"StackEvents": [event(0, "eda", "REVIEW_IN_PROGRESS")]})
        self.answers("execute_change_set", {})
        for status in statuses:
            self.answers("describe_stacks", described(status))
            if status.endswith("_IN_PROGRESS"):
                self.answers("describe_stack_events", {"StackEvents": events})
        self.answers("describe_stack_events", {"StackEvents": events})


EVENTS = [
    event(5, "eda", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create", "AWS::CloudFormation::Stack"),
    event(4, "Fleet", "CREATE_FAILED", "Resource creation cancelled"),
    event(3, "Intake", "CREATE_FAILED", "The role may not be assumed"),
    event(2, "Results", "CREATE_FAILED", "eda-1-us-east-1 already exists", "AWS::S3::Bucket"),
    event(1, "Jobs", "CREATE_IN_PROGRESS"),
    event(0, "eda", "REVIEW_IN_PROGRESS"),
]


def test_a_deployment_that_fails_half_way_names_the_first_resource_and_its_reason() -> None:
    cloud = Cloudformation()
    cloud.executes("CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE", events=EVENTS)
    with pytest.raises(OutsideError) as raised:
        cloud.formation.perform(cloud.change_set, "deployed: nothing")
    assert str(raised.value).splitlines() == [
        "eda was not deployed: Results (AWS::S3::Bucket): eda-1-us-east-1 already exists",
        "Kept: deployed: nothing; eda in ROLLBACK_COMPLETE",
        "To go on: nothing can be made of it any more: spotbed destroy eda --target aws, then apply again",
    ]
    assert raised.value.exit_code == 4


def test_an_update_that_fails_leaves_the_stack_as_it_was() -> None:
    cloud = Cloudformation()
    cloud.executes("UPDATE_ROLLBACK_COMPLETE", events=EVENTS)
    with pytest.raises(OutsideError, match="eda as it was\nTo go on: mend that, and apply again"):
        cloud.formation.perform(cloud.change_set, "deployed: nothing")


def test_how_far_it_is_is_told_while_it_waits() -> None:
    heard: list[tuple[int, int, str]] = []
    cloud = Cloudformation()
    formation = Formation(cloud.formation.client, FAST, lambda *said: heard.append(said))
    cloud.executes("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", events=EVENTS)
    formation.perform(cloud.change_set, "")
    assert heard == [(0, 1, "eda: CREATE_FAILED Fleet")]


def test_a_wait_without_end_ends() -> None:
    cloud = Cloudformation(Pace(60.0, 60.0, lambda _: None))
    cloud.executes("UPDATE_IN_PROGRESS", events=EVENTS)
    with pytest.raises(OutsideError, match="still at work on eda after 1 minutes") as raised:
        cloud.formation.perform(cloud.change_set, "")
    assert "describe-stack-events --stack-name eda" in str(raised.value)


def test_an_interruption_says_that_cloudformation_goes_on() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    cloud = Cloudformation(Pace(1.0, 60.0, interrupted))
    cloud.executes("UPDATE_IN_PROGRESS", events=EVENTS)
    plan = planned()
    target = account.account_of(plan)
    prepared = Prepared(plan, target, cloud.stubs, cloud.formation, [cloud.change_set], [])
    with pytest.raises(KeyboardInterrupt, match="CloudFormation goes on with eda by itself"):
        perform(prepared)


def test_a_template_that_is_not_taken_and_one_that_changes_nothing() -> None:
    wanted = Wanted("eda", "https://s3/eda.json", {"spotbed:stack": "eda"})
    for reason, words in (("Template format error", "does not take the template"), ("didn't contain changes", "")):
        cloud = Cloudformation()
        cloud.answers("describe_stacks", described("CREATE_COMPLETE"))
        cloud.answers("create_change_set", {})
        cloud.answers("describe_change_set", {"Status": "CREATE_PENDING"}, {"Status": "FAILED", "StatusReason": reason})
        cloud.answers("delete_change_set", {})
        if words:
            with pytest.raises(OutsideError, match=words):
                cloud.formation.prepare(wanted, "one")
        else:
            assert cloud.formation.prepare(wanted, "one").changes == ()


def test_what_is_replaced_is_told_from_what_is_changed() -> None:
    def change(action: str, **more: Any) -> dict[str, Any]:
        body = {"Action": action, "LogicalResourceId": "Jobs", "ResourceType": "AWS::DynamoDB::Table", **more}
        return {"Type": "Resource", "ResourceChange": body}

    first = {"Status": "CREATE_COMPLETE", "ChangeSetName": "one", "NextToken": "more",
             "Changes": [change("Add"), change("Modify"), change("Modify", Replacement="True")]}  # fmt: skip
    cloud = Cloudformation()
    cloud.answers("describe_stacks", described("UPDATE_COMPLETE"))
    cloud.answers("create_change_set", {})
    second = {"Status": "CREATE_COMPLETE", "Changes": [change("Modify", Replacement="Conditional"), change("Remove")]}
    cloud.answers("describe_change_set", first, second)
    found = cloud.formation.prepare(Wanted("eda", "https://s3/eda.json", {}), "one")
    assert [each.action for each in found.changes] == ["add", "change", "replace", "perhaps replace", "remove"]
    target = account.account_of(planned())
    losses = Prepared(planned(), target, cloud.stubs, cloud.formation, [found], []).losses
    assert [each.action for each in losses] == ["replace", "perhaps replace", "remove"]


# removing -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def removal() -> tuple[Removal, Stubs]:
    stubs = Stubs()
    return Removal("eda", stubs, lambda *_: None, FAST), stubs


def test_a_stack_that_is_not_removed_names_the_resource(removal: tuple[Removal, Stubs]) -> None:
    mine, stubs = removal
    stubs.answers("cloudformation", "describe_stacks", described("CREATE_COMPLETE"))
    stubs.answers("cloudformation", "describe_stack_events", {"StackEvents": [event(0, "eda", "CREATE_COMPLETE")]})
    stubs.answers("cloudformation", "list_stack_resources", {"StackResourceSummaries": []})
    stubs.answers("cloudformation", "delete_stack", {})
    stubs.answers("cloudformation", "describe_stacks", described("DELETE_FAILED"))
    failed = event(1, "Network", "DELETE_FAILED", "has dependencies and cannot be deleted", "AWS::EC2::VPC")
    stubs.answers(
        "cloudformation", "describe_stack_events", {"StackEvents": [failed, event(0, "eda", "CREATE_COMPLETE")]}
    )
    with pytest.raises(OutsideError, match=r"Network \(AWS::EC2::VPC\): has dependencies") as raised:
        mine._formation.delete("eda", "the team's stacks")
    assert "mend that, and destroy again" in str(raised.value)


def test_instances_launched_by_hand_are_told_and_not_ended(removal: tuple[Removal, Stubs]) -> None:
    mine, stubs = removal
    instances = {"Reservations": [{"Instances": [{"InstanceId": "i-1"}, {"InstanceId": "i-2"}]}]}
    stubs.answers("ec2", "describe_instances", instances)
    with pytest.raises(OutsideError, match="still run, and bill: i-1, i-2") as raised:
        mine._refuse_left([])
    assert "aws ec2 terminate-instances --instance-ids i-1 i-2" in str(raised.value)
    stubs.answers("ec2", "describe_instances", {"Reservations": []})
    with pytest.raises(OutsideError, match="with the tag spotbed:stack=eda are left: theirs"):
        mine._refuse_left(["theirs"])


def test_workers_that_do_not_end_are_told_with_the_way_to_end_them(removal: tuple[Removal, Stubs]) -> None:
    mine, stubs = removal
    group = {"AutoScalingGroupName": "eda-a", "MinSize": 0, "MaxSize": 1, "DesiredCapacity": 1, "DefaultCooldown": 0,
             "AvailabilityZones": [], "HealthCheckType": "EC2", "CreatedTime": WHEN,
             "Instances": [{"InstanceId": "i-1", "AvailabilityZone": "a", "LifecycleState": "InService",
                            "HealthStatus": "Healthy", "ProtectedFromScaleIn": True}]}  # fmt: skip
    stubs.answers("autoscaling", "describe_auto_scaling_groups", *[{"AutoScalingGroups": [group]}] * 100)
    with pytest.raises(OutsideError, match="spotbed destroy eda --now"):
        list(mine._counted(0.001))


@pytest.mark.parametrize(("status", "is_gone"), [("DELETING", True), ("UPDATING", False)])
def test_a_table_in_use_is_gone_only_if_it_is_being_removed(
    removal: tuple[Removal, Stubs], status: str, is_gone: bool
) -> None:
    mine, stubs = removal
    found = {"ResourceTagMappingList": [{"ResourceARN": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/eda-old-jobs"}]}
    stubs.answers("resourcegroupstaggingapi", "get_resources", found)
    stubs.fails("dynamodb", "delete_table", "ResourceInUseException")
    stubs.answers("dynamodb", "describe_table", {"Table": {"TableStatus": status}})
    with contextlib.nullcontext() if is_gone else pytest.raises(ClientError, match="ResourceInUse"):
        mine._remove_rest("eda-code")
    assert [each.name for each in mine.removed] == (["eda-old-jobs"] if is_gone else [])


class Group:
    """A group whose instances go when nobody protects them. As in AWS, protection is set of those in service only."""

    def __init__(self, *states: str) -> None:
        self.states, self.looks = list(states), 0

    def get_paginator(self, _: str) -> Group:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        self.looks += 1
        if self.looks > 2:
            self.states = [{"Pending": "InService"}.get(each, each) for each in self.states if each != "Terminating"]
        listed = [{"InstanceId": f"i-{number}", "LifecycleState": state, "ProtectedFromScaleIn": True}
                  for number, state in enumerate(self.states)]  # fmt: skip
        return [{"AutoScalingGroups": [{"AutoScalingGroupName": "eda-a", "Instances": listed}]}]

    def update_auto_scaling_group(self, **given: Any) -> None:
        assert (given["MaxSize"], given["DesiredCapacity"]) == (0, 0)

    def set_instance_protection(self, InstanceIds: list[str], **_: Any) -> None:  # noqa: N803 boto3's
        for each in InstanceIds:
            number = int(each.removeprefix("i-"))
            if self.states[number] != "InService":
                error = {"Code": "ValidationError", "Message": f"The instance {each} is not in InService"}
                raise ClientError({"Error": error}, "SetInstanceProtection")
            self.states[number] = "Terminating"


def test_instances_that_come_or_go_while_a_stack_is_removed_are_waited_for(removal: tuple[Removal, Stubs]) -> None:
    mine, _ = removal
    mine._autoscaling = group = Group("InService", "Terminating", "Pending")
    mine._end_workers(Found("eda", None, (), "", ()), now=True)
    assert group.states == []


@pytest.mark.parametrize(
    ("arn", "kind", "name"),
    [
        ("arn:aws:dynamodb:us-east-1:1:table/eda-jobs", "dynamodb:table", "eda-jobs"),
        ("arn:aws:sqs:us-east-1:1:eda-jobs", "sqs:", "eda-jobs"),
        ("arn:aws:s3:::eda-1", "s3:", "eda-1"),
        ("arn:aws:logs:us-east-1:1:log-group:/aws/lambda/eda-step", "logs:log-group", "/aws/lambda/eda-step"),
        ("arn:aws:ec2:us-east-1:1:volume/vol-1", "ec2:", "volume/vol-1"),
    ],
)
def test_what_is_left_is_known_by_its_arn(arn: str, kind: str, name: str) -> None:
    assert kind_of(arn) == (kind, name)


def test_an_interruption_before_anything_is_done_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(account, "prepare", interrupted)
    said = invoke("apply", written(), code=130)
    assert said.splitlines() == [
        "Interrupted.",
        "Kept: every stack as it was.",
        "To go on: give the same command again.",
    ]
