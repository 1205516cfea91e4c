"""How the stacks are rendered: copies for pools, zones and images, the variants, and what does not fit."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from aws_stacks import KINDS, OWN_NETWORK, POOLS, TARGET, TEAMS, of_type, pool, rendered
from hypothesis import example, given
from hypothesis import strategies as st

from aws.drops import Drop, dropped
from aws.idle import INTERFACES
from aws.render import (
    LARGEST_USER_DATA,
    Code,
    Limits,
    Template,
    as_json,
    as_yaml,
    boot,
    group_name,
    logical,
    read_template,
    resources_stack,
    scheduler_stack,
)
from aws.target import load_target
from spotbed.errors import InputError

GROUP = "AWS::AutoScaling::AutoScalingGroup"


def parameter(template: Template, name: str) -> Any:
    return template["Parameters"][name]["Default"]


# pools, zones and images --------------------------------------------------------------------------------------------
def test_a_pool_is_a_group_of_one_type_in_one_zone_under_one_purchase_option() -> None:
    template = rendered("resources")
    groups, pools = of_type(template, GROUP), template["Mappings"]["Pools"]
    assert [each["Name"] for each in pools.values()] == [each["id"] for each in POOLS]
    for each in POOLS:
        name = logical("Pool", each["id"])
        group, share = groups[name], "0" if each["purchase"] == "spot" else "100"
        assert pools[name] == {
            "Name": each["id"],
            "InstanceType": each["instance_type"],
            "Max": "6",
            "OnDemandPercentage": share,
        }
        assert group["VPCZoneIdentifier"] == [{"Ref": logical("Subnet", each["az"])}]
        assert template["Mappings"]["Zones"][logical("Subnet", each["az"])]["Name"] == each["az"]
        policy = group["MixedInstancesPolicy"]
        assert policy["LaunchTemplate"]["Overrides"] == [
            {"InstanceType": {"Fn::FindInMap": ["Pools", name, "InstanceType"]}}
        ]
        assert group["MaxSize"] == {"Fn::FindInMap": ["Pools", name, "Max"]}
        image = "windows" if each["os"] == "windows" else each["arch"]
        assert policy["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateId"] == {
            "Ref": logical("Machine", image)
        }


@pytest.mark.parametrize("kind", ["resources", "delegated", "own network"])
def test_groups_begin_empty_and_their_instances_are_safe_from_scaling_in(kind: str) -> None:
    for group in of_type(rendered(kind), GROUP).values():
        assert (group["MinSize"], group["NewInstancesProtectedFromScaleIn"]) == ("0", True)
        assert "DesiredCapacity" not in group  # an update of the stack stops nobody
        assert group["CapacityRebalance"] is False


def test_groups_are_called_as_the_plan_and_the_rights_of_functions_say() -> None:
    group = of_type(rendered("resources"), GROUP)["PoolOd"]
    assert group["AutoScalingGroupName"]["Fn::Sub"][0] == "${Scheduler}-${Name}"
    assert group_name("eda-prod", "od") == "eda-prod-od"
    assert of_type(rendered("delegated"), GROUP)["Mixed"]["AutoScalingGroupName"] == {"Fn::Sub": "${Scheduler}-mixed"}
    assert group_name("eda-prod", "od", delegated=True) == "eda-prod-mixed"


def test_where_aws_chooses_there_is_one_group_with_every_type_once() -> None:
    (group,) = of_type(rendered("delegated"), GROUP).values()
    overrides = group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
    assert [each["InstanceType"] for each in overrides] == ["c6i.xlarge", "c7g.xlarge", "m5.xlarge"]
    machines = [each["LaunchTemplateSpecification"]["LaunchTemplateId"]["Ref"] for each in overrides]
    assert machines == [logical("Machine", image) for image in ("x86_64", "arm64", "windows")]
    assert group["MaxSize"] == "30"
    assert len(group["VPCZoneIdentifier"]) == 2


def test_every_image_has_a_launch_template() -> None:
    images = rendered("resources")["Mappings"]["Images"]
    assert {each["Name"]: each["Image"] for each in images.values()} == TARGET["images"]
    assert images[logical("Machine", "windows")]["Device"] == "/dev/sda1"


@example(["a-bcdefgh", "a_bcdefgh", "ab", "Ab"])
@given(st.lists(st.text(alphabet="abAB01-_.", min_size=1, max_size=8), unique=True, max_size=20))
def test_logical_names_are_plain_and_differ(names: list[str]) -> None:
    found = [logical("Pool", name) for name in names]
    assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in found)
    assert len(set(found)) == len(names)


# networks -----------------------------------------------------------------------------------------------------------
def test_a_network_of_ours_is_private_with_free_ways_to_s3_and_dynamodb() -> None:
    template = rendered("resources")
    gateways = [
        each for each in of_type(template, "AWS::EC2::VPCEndpoint").values() if each["VpcEndpointType"] == "Gateway"
    ]
    assert sorted(each["ServiceName"]["Fn::Sub"].rpartition(".")[2] for each in gateways) == ["dynamodb", "s3"]
    associated = {
        each["SubnetId"]["Ref"] for each in of_type(template, "AWS::EC2::SubnetRouteTableAssociation").values()
    }
    assert set(of_type(template, "AWS::EC2::Subnet")) == associated
    ways = {
        name: each["GatewayId"] for name, each in of_type(template, "AWS::EC2::Route").items() if "GatewayId" in each
    }
    assert ways == {"InternetRoute": {"Ref": "InternetGateway"}}  # for the NAT gateway's subnet only
    blocks = [json.dumps(each["CidrBlock"]) for each in of_type(template, "AWS::EC2::Subnet").values()]
    assert len(set(blocks)) == len(blocks) == 3


@pytest.mark.parametrize(("kind", "out"), [("resources", "nat"), ("endpoints", "endpoints")])
def test_a_nat_gateway_or_endpoints_and_never_both(kind: str, out: str) -> None:
    template = rendered(kind)
    assert parameter(template, "Egress") == out
    conditions = {body["Type"]: body["Condition"] for body in template["Resources"].values() if "Condition" in body}
    assert conditions["AWS::EC2::NatGateway"] == "UseNat"
    assert conditions["AWS::EC2::VPCEndpoint"] == "UseEndpoints"
    interfaces = [each for each in of_type(template, "AWS::EC2::VPCEndpoint").values() if "SubnetIds" in each]
    services = sorted(each["ServiceName"]["Fn::Sub"].rpartition(".")[2] for each in interfaces)
    assert services == sorted(INTERFACES)  # whose price `plan` shows
    assert all(len(each["SubnetIds"]) == 2 for each in interfaces)


def test_in_a_network_of_the_teams_own_only_endpoints_are_made() -> None:
    template = rendered("own network")
    kinds = {body["Type"] for body in template["Resources"].values()}
    assert {kind for kind in kinds if kind.startswith("AWS::EC2::")} == {
        *("AWS::EC2::VPCEndpoint", "AWS::EC2::SecurityGroup", "AWS::EC2::LaunchTemplate"),
        "AWS::EC2::SecurityGroupIngress",  # if workers are peers
    }
    assert "Network" not in json.dumps(template).replace("NetworkInterface", "")
    groups = of_type(template, GROUP)
    assert groups["PoolOd"]["VPCZoneIdentifier"] == [OWN_NETWORK["subnets"]["us-east-1a"]]


def test_in_a_network_of_the_teams_own_endpoints_answer_whatever_its_addresses_are() -> None:
    """A target names a VPC and not its addresses, which are 172.31.0.0/16 in the one that AWS makes."""
    groups = of_type(rendered("own network"), "AWS::EC2::SecurityGroup")
    ranges = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"}
    for rules in (groups["EndpointDoor"]["SecurityGroupIngress"], groups["EndpointDoor"]["SecurityGroupEgress"]):
        assert {(each["CidrIp"], each["FromPort"], each["ToPort"]) for each in rules} == {
            (each, 443, 443) for each in ranges
        }
    anything = {each["CidrIp"] for each in groups["Wall"]["SecurityGroupEgress"] if each["IpProtocol"] == "-1"}
    assert anything == ranges
    assert "VpcCidr" not in rendered("own network")["Parameters"]


@pytest.mark.parametrize("peers", [False, True])
def test_workers_reach_each_other_only_if_the_target_says_so(peers: bool) -> None:
    """And then it is they alone that are let in."""
    template = resources_stack({**TARGET, "network": {**OWN_NETWORK, "peers": peers}}, POOLS, TEAMS[0])
    (rule,) = of_type(template, "AWS::EC2::SecurityGroupIngress").values()
    assert rule["GroupId"] == rule["SourceSecurityGroupId"] == {"Ref": "Wall"}
    assert not {"CidrIp", "CidrIpv6", "SourcePrefixListId"} & rule.keys()
    assert template["Resources"]["PeerRule"]["Condition"] == "UsePeers"
    assert template["Conditions"]["UsePeers"] == {"Fn::Equals": [{"Ref": "Peers"}, "true"]}
    assert parameter(template, "Peers") == json.dumps(peers)


# teams --------------------------------------------------------------------------------------------------------------
def test_a_new_team_is_a_bucket_and_a_rule() -> None:
    template = rendered("bucket")
    assert sorted(body["Type"] for body in template["Resources"].values()) == [
        "AWS::Events::Rule",
        "AWS::S3::Bucket",
        "AWS::S3::BucketPolicy",
    ]
    assert (parameter(template, "DropPrefix"), parameter(template, "DropSuffix")) == ("", ".run")


def test_what_is_dropped_is_a_message_at_the_door_and_intake_may_read_it() -> None:
    template = rendered("resources")
    rule = of_type(template, "AWS::Events::Rule")["DropRule"]
    assert rule["EventPattern"]["detail"]["object"]["key"] == [{"wildcard": {"Fn::Sub": "${DropPrefix}*${DropSuffix}"}}]
    assert rule["Targets"][0]["Arn"]["Fn::Sub"].endswith(":${Scheduler}-jobs")
    notifications = of_type(template, "AWS::S3::Bucket")["Bucket"]["NotificationConfiguration"]
    assert notifications == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    policy = json.dumps(of_type(template, "AWS::S3::BucketPolicy"))
    assert "role/${Scheduler}-intake-${AWS::Region}" in policy
    role = of_type(rendered("scheduler"), "AWS::IAM::Role")["IntakeRole"]["RoleName"]["Fn::Sub"]
    assert role == "${AWS::StackName}-intake-${AWS::Region}"


def test_instances_reach_the_buckets_of_the_targets_teams_and_no_other() -> None:
    role = of_type(rendered("resources"), "AWS::IAM::Role")["InstanceRole"]
    objects, names = role["Policies"][0]["PolicyDocument"]["Statement"]
    other = "arn:${AWS::Partition}:s3:::eda-jobs-gpu"
    assert objects["Resource"] == [{"Fn::Sub": "${Bucket.Arn}/*"}, {"Fn::Sub": f"{other}/*"}]
    assert names["Resource"] == [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": other}]
    assert role["ManagedPolicyArns"][1:] == TARGET["instances"]["profile"]["policies"]


def test_what_we_write_lies_below_one_prefix(root: Path) -> None:
    """Intake knows it, so that an output is never a job."""
    prefix = rendered("scheduler")["Globals"]["Function"]["Environment"]["Variables"]["PREFIX"]
    assert f'"prefix": "{prefix}"' in (root / "aws" / "templates" / "boot-linux.sh").read_text("utf-8")
    rules = of_type(rendered("resources"), "AWS::S3::Bucket")["Bucket"]["LifecycleConfiguration"]["Rules"]
    assert [rule["Prefix"] for rule in rules if "Prefix" in rule] == [f"{prefix}jobs/", f"{prefix}drop/"]


def test_the_example_of_a_target_is_rendered(root: Path) -> None:
    target = load_target(root / "deploy" / "TARGET.example.yaml").model_dump(by_alias=True)
    (zone, subnet), *_ = target["network"]["subnets"].items()
    pools = [pool("a", "c6i.xlarge", zone, "spot")]
    assert parameter(scheduler_stack(target), "SpendCapUsd") == target["spend_cap"]
    for team in target["teams"]:
        template = resources_stack(target, pools, team)
        assert of_type(template, GROUP)["PoolA"]["VPCZoneIdentifier"] == [subnet]
        assert parameter(template, "BucketName") == team["bucket"]


def test_tags_of_the_account_are_on_everything_that_has_ours() -> None:
    for kind in ("scheduler", "resources"):
        text = as_json(rendered(kind))
        assert text.count('"spotbed:stack"') - text.count("resourceTag/") <= text.count("cost-center")
    tags = of_type(rendered("resources"), GROUP)["PoolOd"]["Tags"]
    assert {tag["Key"] for tag in tags} == {"Name", "spotbed:stack", "spotbed:team", "spotbed:pool", "cost-center"}
    assert all(tag["PropagateAtLaunch"] is True for tag in tags)
    machine = of_type(rendered("resources"), "AWS::EC2::LaunchTemplate")[logical("Machine", "arm64")]
    for tagged in machine["LaunchTemplateData"]["TagSpecifications"]:
        assert {tag["Key"] for tag in tagged["Tags"]} >= {"spotbed:stack", "spotbed:team", "cost-center"}


def test_a_boundary_is_on_every_role() -> None:
    boundary = "arn:aws:iam::123456789012:policy/edge"
    target = {**TARGET, "instances": {**TARGET["instances"], "profile": {"policies": [], "boundary": boundary}}}
    for template in (scheduler_stack(target), resources_stack(target, POOLS, TEAMS[0])):
        roles = of_type(template, "AWS::IAM::Role")
        assert roles
        assert all(role["PermissionsBoundary"] == boundary for role in roles.values())


# variants -----------------------------------------------------------------------------------------------------------
def test_the_local_variant_differs_by_gradual_deployment_only() -> None:
    full, local = copy.deepcopy(rendered("scheduler")), rendered("local")
    text = as_json(local)
    for key in ("AutoPublishAlias", "DeploymentPreference", "CodeDeploy", "codedeploy", ":live", ".Version"):
        assert key not in text.replace('"Version": "2012-10-17"', "")
    assert set(full["Resources"]) - set(local["Resources"]) == {"CanaryRole"}
    machine = local["Resources"]["WorkerMachine"]["Properties"]
    assert machine["DefinitionSubstitutions"]["StepFunction"] == {"Fn::GetAtt": ["StepFunction", "Arn"]}
    for part in (full["Globals"]["Function"], full["Resources"]["WorkerMachine"]["Properties"]):
        del part["AutoPublishAlias"], part["DeploymentPreference"]
    del full["Resources"]["CanaryRole"]
    full["Resources"]["WorkerMachine"]["Properties"]["DefinitionSubstitutions"] = machine["DefinitionSubstitutions"]
    assert as_json(full).replace(":live", "") == text


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_says_the_same_and_uses_no_anchors(kind: str) -> None:
    template = rendered(kind)
    text = as_yaml(template)
    assert yaml.safe_load(text) == json.loads(as_json(template)) == template
    assert re.search(r"(^|[ :-])[&*][a-z]+\d*\b *$", text, re.MULTILINE) is None
    for section in template["Resources"].values():
        assert "Example" not in json.dumps(section)


def test_the_same_inputs_give_the_same_bytes_whatever_their_order() -> None:
    mixed = dict(reversed(TARGET.items()))
    assert as_yaml(resources_stack(mixed, POOLS, TEAMS[0])) == as_yaml(rendered("resources"))
    before = copy.deepcopy(TARGET)
    scheduler_stack(TARGET)
    assert before == TARGET


def test_what_the_plan_says_stands_in_the_template() -> None:
    code = Code("builds", "a/f.zip", "a/w.py")
    template = scheduler_stack(TARGET, code=code, limits=Limits(1.25, 3, 4))
    assert template["Globals"]["Function"]["CodeUri"] == {"Bucket": "builds", "Key": "a/f.zip"}
    limits = [parameter(template, name) for name in ("CostPerJobLimitUsd", "DeadLetterLimit", "DeadlineMissLimit")]
    assert (limits, parameter(template, "LogDays")) == ([1.25, 3, 4], 30)


def test_the_documents_and_the_state_machine_are_those_of_the_files(root: Path) -> None:
    template = rendered("scheduler")
    machine = of_type(template, "AWS::Serverless::StateMachine")["WorkerMachine"]
    assert machine["Definition"] == json.loads((root / "aws" / "worker.asl.json").read_text("utf-8"))
    for name, system in (("LinuxDocument", "linux"), ("WindowsDocument", "windows")):
        text = (root / "aws" / "documents" / f"run-job-{system}.yaml").read_text("utf-8")
        assert of_type(template, "AWS::SSM::Document")[name]["Content"] == yaml.safe_load(text)


def test_every_reference_leads_somewhere() -> None:
    for kind in KINDS:
        template = rendered(kind)
        known = {
            *template["Resources"],
            *template.get("Parameters", {}),
            "StepFunction.Version",
            "ParkFunction.Version",
        }
        used = set(re.findall(r'"Ref": "([^"]+)"', json.dumps(template)))
        assert {name for name in used if not name.startswith("AWS::")} <= known, kind


# what does not fit --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("suffix", "job sh"),
        ("bucket", "Bucket"),
        ("name", "a b"),
    ],
)
def test_what_is_of_another_form_is_refused(part: str, value: str) -> None:
    with pytest.raises(InputError, match="does not match"):
        resources_stack(TARGET, POOLS, {**TEAMS[0], part: value})


def test_a_work_directory_is_of_all_instances_and_no_shell() -> None:
    def rendered_with(directory: str) -> Template:
        instances = {**TARGET["instances"], "work_directory": directory}
        return resources_stack({**TARGET, "instances": instances}, POOLS, TEAMS[0])

    assert rendered_with("/fast/work")["Parameters"]["WorkDirectory"]["Default"] == "/fast/work"
    with pytest.raises(InputError, match="does not match"):
        rendered_with("/work'; reboot; '")


@pytest.mark.parametrize("text", ["x" * LARGEST_USER_DATA, "SPOTBED_BOOT_SCRIPT\nreboot"])
def test_a_script_that_does_not_fit_is_refused(text: str) -> None:
    target = {**TARGET, "instances": {**TARGET["instances"], "user_data": text}}
    with pytest.raises(InputError, match="user_data"):
        resources_stack(target, POOLS, TEAMS[0])


# booting ------------------------------------------------------------------------------------------------------------
def booted(image: str, user_data: str, **values: str) -> str:
    """The user data as CloudFormation would make it."""
    found: str = ""
    for part in boot(image, user_data)["Fn::Base64"]["Fn::Join"][1]:
        text = part if isinstance(part, str) else part["Fn::Sub"]
        found += text if isinstance(part, str) else re.sub(r"\$\{(.+?)\}", lambda name: values.get(name[1], ""), text)
    return found


def test_what_boots_linux_is_a_script_with_the_teams_own_first(tmp_path: Path) -> None:
    text = booted("x86_64", 'echo "it\'s" $HOME\n', Scheduler="eda-prod")
    assert text.startswith("#!/bin/bash\nSCHEDULER='eda-prod'\n")
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    own = text[text.index("mkdir -p") : text.index("# What a Linux")].replace("/opt/spotbed", str(tmp_path))
    subprocess.run(["bash", "-c", own], check=True)
    assert (tmp_path / "boot").read_text("utf-8") == '#!/bin/bash\necho "it\'s" $HOME\n\n'


def test_the_boot_script_reads_what_it_is_given_and_nothing_else(root: Path) -> None:
    script = (root / "aws" / "templates" / "boot-linux.sh").read_text("utf-8")
    given = set(re.findall(r"^([A-Z_]+)='", booted("x86_64", ""), re.MULTILINE))
    assert set(re.findall(r"\$([A-Z_]{2,})\b", script)) - {"CONFIG"} == given


def test_no_value_can_end_its_quotes() -> None:
    parameters = rendered("resources")["Parameters"]
    for name in re.findall(r"\$\{(\w+)\}", json.dumps(boot("x86_64", "")["Fn::Base64"]["Fn::Join"][1][1])):
        body = parameters[name]
        limited = body["Type"] == "Number" or "AllowedValues" in body
        assert limited or re.fullmatch(body["AllowedPattern"], "'") is None, name
        assert limited or re.fullmatch(body["AllowedPattern"], "a\nb") is None, name


def test_the_config_is_what_the_wrapper_reads(tmp_path: Path, root: Path) -> None:
    from aws.wrapper import Config

    script = (root / "aws" / "templates" / "boot-linux.sh").read_text("utf-8")
    start, end = script.index("cat > /etc/spotbed/config.json"), script.index("chmod 0600")
    given = {"SCHEDULER": "eda-prod", "REGION": "us-east-1", "BUCKET": "b", "LEASE_MS": "300000", "work_root": "/work"}
    text = script[start:end].replace("/etc/spotbed", str(tmp_path))
    subprocess.run(["bash", "-c", text], env={**given, "PATH": "/usr/bin:/bin"}, check=True)
    config = Config(**json.loads((tmp_path / "config.json").read_text("utf-8")))
    assert (config.jobs_table, config.deliver_function) == ("eda-prod-jobs", "eda-prod-deliver:live")
    assert (config.lease_ms, config.run_as, config.work_root) == (300_000, "spotbed-job", "/work")


def test_mounts_are_read_back_one_by_one(root: Path, tmp_path: Path) -> None:
    script = (root / "aws" / "templates" / "boot-linux.sh").read_text("utf-8")
    start, end = script.index("mount_shared() {"), script.index("aws s3 cp")
    mounts = "efs fs-01234567 /efs /;fsx-lustre fs-76543210 /fsx lustre;fsx-openzfs fs-0000000a /zfs /fsx/a;"
    stub = 'mount() { echo "$@"; }; mkdir() { :; }; install_packages() { :; }\n'
    done = subprocess.run(
        ["bash", "-euc", stub + script[start:end]],
        env={"MOUNTS": mounts, "REGION": "r", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "-t efs -o tls fs-01234567:/ /efs",
        "-t lustre -o relatime,flock fs-76543210.fsx.r.amazonaws.com@tcp:/lustre /fsx",
        "-t nfs -o nfsvers=4.2 fs-0000000a.fsx.r.amazonaws.com:/fsx/a /zfs",
    ]
    assert parameter(rendered("resources"), "Mounts") == "efs fs-0123456789abcdef0 /efs /;"


@pytest.mark.parametrize(("wanted", "units"), [("none", ["spotbed-credentials.service"]), ("instance", [])])
def test_the_user_of_jobs_stays_away_from_the_credentials_after_a_reboot(
    root: Path, tmp_path: Path, wanted: str, units: list[str]
) -> None:
    script = (
        (root / "aws" / "templates" / "boot-linux.sh").read_text("utf-8").replace("/etc/systemd/system", str(tmp_path))
    )
    start, end = script.index('if [ "$JOB_CREDENTIALS"'), script.index("work_root=$WORK_DIRECTORY")
    stub = 'iptables() { :; }; systemctl() { echo "$@"; }\n'
    done = subprocess.run(
        ["bash", "-euc", stub + script[start:end]],
        env={"JOB_CREDENTIALS": wanted, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [path.name for path in tmp_path.iterdir()] == units
    for path in tmp_path.iterdir():
        lines = path.read_text().splitlines()
        assert "Before=amazon-ssm-agent.service" in lines
        assert "RequiredBy=amazon-ssm-agent.service" in lines
        rule = "iptables -I OUTPUT -d 169.254.169.254 -m owner --uid-owner spotbed-job -j REJECT"
        assert f"ExecStart={rule}" in lines
        assert done.stdout.splitlines() == ["enable --quiet spotbed-credentials", "start spotbed-credentials"]


def test_the_short_forms_of_functions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("a: !GetAtt B.C.D\nb: !Sub [x, {y: !Ref Z}]\nc: !If [D, !Ref E, f]\n", "utf-8")
    assert read_template(path) == {
        "a": {"Fn::GetAtt": ["B", "C.D"]},
        "b": {"Fn::Sub": ["x", {"y": {"Ref": "Z"}}]},
        "c": {"Fn::If": ["D", {"Ref": "E"}, "f"]},
    }


def invokes(template: Template) -> set[str]:
    """Resources of the statement that lets functions ask the target's function, and the condition that it is under."""
    roles = of_type(template, "AWS::IAM::Role").values()
    found = [
        each["Fn::If"]
        for role in roles
        for policy in role.get("Policies", ())
        for each in policy["PolicyDocument"]["Statement"]
        if "Fn::If" in each
    ]
    assert {condition for condition, *_ in found} == {"ChecksOut"}
    assert len(found) == 5  # of Intake, Deliver, Step, Fleet and Operate: those that end attempts, and Step starts them
    return {json.dumps(statement["Resource"]) for _, statement, _ in found}


def test_the_function_that_is_asked_before_a_start_is_named_whole_in_the_rights() -> None:
    whole = "arn:aws:lambda:eu-west-1:111122223333:function:licences:live"
    for name, resource in (
        (
            "licences",
            {"Fn::Sub": "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${CheckoutFunction}"},
        ),
        (whole, {"Ref": "CheckoutFunction"}),
    ):
        template = scheduler_stack({**TARGET, "checkout": {"function": name}})
        assert template["Parameters"]["CheckoutFunction"]["Default"] == name
        assert invokes(template) == {json.dumps(resource)}
    assert rendered("scheduler")["Parameters"]["CheckoutFunction"]["Default"] == ""


def test_the_message_of_a_dropped_folder_says_of_the_team_what_the_target_says() -> None:
    """As EventBridge fills the template: a JSON value in place of each <name>."""
    rule = rendered("resources")["Resources"]["DropRule"]["Properties"]["Targets"][0]["InputTransformer"]
    values = {name: str(parameter(rendered("resources"), name)) for name in ("Team", "DropPrefix", "DropSuffix")}
    detail = {"bucket": {"name": "eda-jobs-cpu"}, "object": {"key": 'in/a"b/job.sh', "sequencer": "1"}}
    text = rule["InputTemplate"]["Fn::Sub"].replace("<id>", '"e1"').replace("<detail>", json.dumps(detail))
    for name, told in values.items():
        text = text.replace(f"${{{name}}}", told)
    (found,) = dropped(text) or ()
    assert found == Drop("eda-jobs-cpu", 'in/a"b/job.sh', "1", "cpu-team", "in/", "job.sh")
    assert rule["InputPathsMap"] == {"id": "$.id", "detail": "$.detail"}


def test_a_jobs_user_goes_through_the_work_directory_and_lists_nothing(root: Path, tmp_path: Path) -> None:
    script = (root / "aws" / "templates" / "boot-linux.sh").read_text("utf-8")
    start, end = script.index('mkdir -p "$work_root"'), script.index("install -d -m 0700 /etc/spotbed")
    text = script[start:end].replace("/opt/spotbed", str(tmp_path / "opt"))
    given = {"work_root": str(tmp_path / "a" / "work"), "PATH": "/usr/bin:/bin"}
    subprocess.run(["bash", "-euc", f"umask 022\n{text}"], env=given, check=True)
    assert (tmp_path / "a" / "work").stat().st_mode & 0o777 == 0o711
