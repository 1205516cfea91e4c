"""The two stacks, rendered: templates with the values of a target and the pools of a plan, as one text each.

Pure: the same target, pools and files give the same bytes. What CloudFormation cannot repeat is copied here: a launch
template for each image, a subnet for each zone, a group for each pool. `local` leaves out what only a real account
has: versions, aliases and gradual deployment.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spotbed.errors import InputError, Problem

Template = dict[str, Any]
FOLDER = Path(__file__).resolve().parent
EXAMPLE_CODE = "spotbed-code"
LARGEST_USER_DATA = 16_384  # bytes, before base64 (EC2 user guide, "Run commands at launch")
LARGEST_PARAMETER = 4_096  # bytes (CloudFormation user guide, "Quotas")
_DEVICES = {"windows": "/dev/sda1"}
_ROOT_DEVICE = "/dev/xvda"
MIXED = "mixed"
_GRADUAL = ("AutoPublishAlias", "DeploymentPreference")
_END = "SPOTBED_BOOT_SCRIPT"
# Variables of the boot scripts, and the parameters (or resources) behind them.
_BOOT = {
    "SCHEDULER": "Scheduler",
    "REGION": "AWS::Region",
    "BUCKET": "BucketName",
    "CODE_BUCKET": "CodeBucket",
    "WRAPPER_KEY": "WrapperKey",
    "LEASE_MS": "LeaseMs",
    "WORK_DIRECTORY": "WorkDirectory",
    "INSTANCE_STORE": "InstanceStore",
    "MOUNTS": "Mounts",
    "JOB_CREDENTIALS": "JobCredentials",
}


@dataclass(frozen=True)
class Code:
    """Where the package lies: a bucket, the key of the functions' zip, and that of the wrapper."""

    bucket: str = EXAMPLE_CODE
    functions: str = "spotbed/function.zip"
    wrapper: str = "spotbed/wrapper.py"


@dataclass(frozen=True)
class Limits:
    """What the plan predicted, above which a deployment is rolled back."""

    cost_per_job_usd: float = 1000.0
    dead_letters: float = 10.0
    deadline_misses: float = 10.0


def group_name(stack: str, pool: str, *, delegated: bool = False) -> str:
    """The Auto Scaling group of a pool; where AWS chooses the pools they have one together."""
    return f"{stack}-{MIXED if delegated else pool}"


# the scheduler ------------------------------------------------------------------------------------------------------
def scheduler_stack(
    target: Mapping[str, Any],
    *,
    code: Code = Code(),
    limits: Limits = Limits(),
    local: bool = False,
    folder: Path = FOLDER,
) -> Template:
    """The scheduler's template. `target` is an aws.target.Target as plain values; policy and pools are in the package.
    Raises InputError for what does not fit into a parameter."""
    template = read_template(folder / "templates" / "scheduler.yaml")
    _set(
        template,
        SpendCapUsd=target.get("spend_cap", 0),
        CodeBucket=code.bucket,
        WrapperKey=code.wrapper,
        CostPerJobLimitUsd=limits.cost_per_job_usd,
        DeadLetterLimit=limits.dead_letters,
        DeadlineMissLimit=limits.deadline_misses,
        LaunchStopAfter=target.get("launch_stop_after", 3),
        Transitions=target.get("transitions", "ends"),
        CheckoutFunction=(target.get("checkout") or {}).get("function", ""),
        AlarmEmail=target.get("alarms", {}).get("email", ""),
        LogDays=_days(target.get("retention", {}).get("logs", 30 * 86_400)),
        KeepDays=_days(target.get("retention", {}).get("jobs", 365 * 86_400)),
    )
    template["Globals"]["Function"]["CodeUri"] = {"Bucket": code.bucket, "Key": code.functions}
    for name in ("LinuxDocument", "WindowsDocument"):
        properties = template["Resources"][name]["Properties"]
        path = folder / "documents" / str(properties["Content"]["document"])
        properties["Content"] = yaml.safe_load(path.read_text("utf-8"))
    machine = template["Resources"]["WorkerMachine"]["Properties"]
    del machine["DefinitionUri"]
    machine["Definition"] = json.loads((folder / "worker.asl.json").read_text("utf-8"))
    _check_out(template)
    _govern(template, target)
    return _at_once(template) if local else template


def _check_out(template: Template) -> None:
    """The right to ask the user's function names it whole, where the target does."""
    if str(template["Parameters"]["CheckoutFunction"]["Default"]).startswith("arn:"):
        for body in of_kind(template, "AWS::IAM::Role"):
            for policy in body.get("Policies", ()):
                for each in policy["PolicyDocument"]["Statement"]:
                    if "Fn::If" in each:
                        each["Fn::If"][1]["Resource"] = {"Ref": "CheckoutFunction"}


def of_kind(template: Template, kind: str) -> Iterable[dict[str, Any]]:
    """Properties of every resource of a type."""
    return (body["Properties"] for body in template["Resources"].values() if body["Type"] == kind)


def _days(seconds: float) -> int:
    return round(seconds / 86_400)


def _compact(value: Any) -> str:
    plain = list(value) if isinstance(value, Sequence) else dict(value)
    return json.dumps(plain, separators=(",", ":"), sort_keys=True)


def _set(template: Template, **values: Any) -> None:
    """Parameters get these defaults: the template says all by itself. Raises InputError for what is too long or has
    another form than the template's pattern."""
    for name, value in values.items():
        parameter = template["Parameters"][name]
        text = str(value)
        if len(text.encode()) > LARGEST_PARAMETER:
            message = f"{name} has {len(text.encode()):,} bytes, and CloudFormation takes {LARGEST_PARAMETER:,}."
            raise InputError([Problem(message, hint="Fewer pools, or a policy with fewer parameters.")])
        if "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], text):
            raise InputError([Problem(f"{name}: {text[:80]!r} does not match {parameter['AllowedPattern']}.")])
        parameter["Default"] = value


def _at_once(template: Template) -> Template:
    """The template without versions, aliases and gradual deployment: what emulators know."""
    functions = {name for name, body in template["Resources"].items() if body["Type"] == "AWS::Serverless::Function"}
    kept: Template = _mapped(template, lambda value: _whole(value, functions))
    parts = [kept["Globals"]["Function"], kept["Resources"]["WorkerMachine"]["Properties"]]
    for part in parts:
        for key in _GRADUAL:
            del part[key]
    del kept["Resources"]["CanaryRole"]
    return kept


def _whole(value: Any, functions: set[str]) -> Any:
    """A reference to a version or an alias becomes one to what it is of."""
    if isinstance(value, str) and value.endswith(":live"):
        return value.removesuffix(":live")
    if isinstance(value, dict) and value.keys() == {"Ref"} and str(value["Ref"]).endswith(".Version"):
        name = str(value["Ref"]).removesuffix(".Version")
        return {"Fn::GetAtt": [name, "Arn"]} if name in functions else value
    return value


# the resources of a team --------------------------------------------------------------------------------------------
def resources_stack(
    target: Mapping[str, Any],
    pools: Sequence[Mapping[str, Any]],
    team: Mapping[str, Any],
    *,
    delegated: str = "",
    lease_ms: int = 300_000,
    code: Code = Code(),
    folder: Path = FOLDER,
) -> Template:
    """A team's template: groups for `pools` (with `os` and `arch` as in a plan), or one mixed group under the strategy
    to which the policy delegates; with no pools the team has its bucket only. Raises InputError for values that AWS
    would refuse."""
    template = read_template(folder / "templates" / "resources.yaml")
    instances, network = target.get("instances", {}), target.get("network", {})
    _set(
        template,
        Scheduler=target["stack"],
        Team=team["name"],
        Egress=network.get("out", "nat"),
        Peers=json.dumps(bool(network.get("peers"))),
        VolumeGiB=instances.get("root_gib", 30),
        CodeBucket=code.bucket,
        WrapperKey=code.wrapper,
        LeaseMs=lease_ms,
        WorkDirectory=instances.get("work_directory", "/work"),
        InstanceStore=instances.get("instance_store") or "",
        Mounts="".join(f"{each['kind']} {each['id']} {each['at']} {_share(each)};" for each in _listed(instances)),
        BucketName=team["bucket"],
        DropPrefix=team.get("prefix", ""),
        DropSuffix=team.get("suffix", "job.sh"),
        KeepDays=_days(target.get("retention", {}).get("jobs", 365 * 86_400)),
    )
    images = {_image(pool): str(target["images"][_image(pool)]) for pool in pools}
    zones = sorted({str(pool["az"]) for pool in pools})
    _copy_machines(template, images, instances.get("user_data") or "", folder)
    _copy_zones(template, zones, network)
    if delegated:
        bought = {str(pool["purchase"]) for pool in pools}
        _set(template, AllocationStrategy=delegated, OnDemandPercentage=100 if bought == {"on-demand"} else 0)
    _copy_pools(template, pools, network, delegated=bool(delegated))
    if not pools:
        _only_bucket(template)
    _reach_buckets(template, target, team)
    _govern(template, target)
    return _without_unused(template)


def _share(mount: Mapping[str, Any]) -> str:
    return str(mount.get("share") or "/")


def _listed(instances: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    mounts: Iterable[Mapping[str, Any]] = instances.get("mounts") or ()
    return mounts


def _image(pool: Mapping[str, Any]) -> str:
    return "windows" if pool.get("os") == "windows" else str(pool.get("arch", "x86_64"))


def logical(prefix: str, name: str) -> str:
    """A logical name: letters and digits only, and different for different names."""
    plain = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))
    if not re.fullmatch("[a-z0-9]+", name):
        plain += hashlib.sha256(name.encode()).hexdigest()[:6]
    return prefix + plain


def _copy_machines(template: Template, images: Mapping[str, str], user_data: str, folder: Path) -> None:
    prototype = template["Resources"].pop("Machine")
    mapping = template["Mappings"]["Images"] = {}
    for name, image in sorted(images.items()):
        copied = _copied(prototype, Machine=logical("Machine", name))
        copied["Properties"]["LaunchTemplateData"]["UserData"] = boot(name, user_data, folder)
        template["Resources"][logical("Machine", name)] = copied
        mapping[logical("Machine", name)] = {
            "Name": name,
            "Image": image,
            "Device": _DEVICES.get(name, _ROOT_DEVICE),
        }


def boot(image: str, user_data: str, folder: Path = FOLDER) -> Any:
    """The user data of a launch template: variables from parameters, the team's own script, then ours."""
    windows = image == "windows"
    script = (folder / "templates" / ("boot-windows.ps1" if windows else "boot-linux.sh")).read_text("utf-8")
    if len((script + user_data).encode()) > LARGEST_USER_DATA - 1_500:  # what the variables take at most
        raise InputError([Problem(f"user_data: with ours it has more than {LARGEST_USER_DATA:,} bytes.")])
    if _END in user_data or "'@" in user_data:
        raise InputError([Problem(f"user_data: may contain neither {_END} nor '@.")])
    lines = "".join(f"{'$' if windows else ''}{name}='${{{value}}}'\n" for name, value in _BOOT.items())
    parts = ["<powershell>\n", {"Fn::Sub": lines}] if windows else ["#!/bin/bash\n", {"Fn::Sub": lines}]
    if user_data:
        parts.append(_own_script(user_data, windows=windows))
    return {"Fn::Base64": {"Fn::Join": ["", [*parts, script, *(["</powershell>\n"] if windows else [])]]}}


def _own_script(text: str, *, windows: bool) -> str:
    if windows:
        path = r"C:\ProgramData\spotbed"
        make = f"New-Item -ItemType Directory -Force -Path {path} | Out-Null"
        return f"{make}\n@'\n{text}\n'@ | Set-Content {path}\\boot.ps1\n"
    start = "" if text.startswith("#!") else "#!/bin/bash\n"
    make = f"mkdir -p /opt/spotbed\ncat >/opt/spotbed/boot <<'{_END}'"
    return f"{make}\n{start}{text}\n{_END}\nchmod 0700 /opt/spotbed/boot\n"


def _copy_zones(template: Template, zones: Sequence[str], network: Mapping[str, Any]) -> None:
    """A private subnet for each zone; or the network that the team has."""
    resources = template["Resources"]
    subnet, routes = resources.pop("Subnet"), resources.pop("SubnetRoutes")
    mapping = template["Mappings"]["Zones"] = {}
    if "vpc" in network:
        _own_network(template, network, zones)
        return
    for number, zone in enumerate(zones):
        name = logical("Subnet", zone)
        resources[name] = _copied(subnet, Subnet=name)
        resources[f"{name}Routes"] = _copied(routes, Subnet=name)
        mapping[name] = {"Name": zone, "Number": str(number)}
    _replace_in(template, {"Ref": "Subnet"}, [{"Ref": logical("Subnet", zone)} for zone in zones])


_GIVEN_NETWORK = {
    f"AWS::EC2::{kind}"
    for kind in (
        *("VPC", "Subnet", "RouteTable", "Route", "SubnetRouteTableAssociation"),
        *("InternetGateway", "VPCGatewayAttachment", "EIP", "NatGateway"),
    )
}


def _own_network(template: Template, network: Mapping[str, Any], zones: Sequence[str]) -> None:
    """The team's VPC has its routes, and its gateways to S3 and DynamoDB; interface endpoints are made if asked for."""
    for name, body in list(template["Resources"].items()):
        if body["Type"] in _GIVEN_NETWORK or body["Properties"].get("VpcEndpointType") == "Gateway":
            del template["Resources"][name]
    _replace_in(template, {"Ref": "Subnet"}, [network["subnets"][zone] for zone in zones])
    replaced = _mapped(template, lambda value: network["vpc"] if value == {"Ref": "Network"} else value)
    template.clear()
    template.update(replaced)
    for group in of_kind(template, "AWS::EC2::SecurityGroup"):
        for side in ("SecurityGroupIngress", "SecurityGroupEgress"):
            if side in group:
                group[side] = [wide for rule in group[side] for wide in _private(rule)]


# A target names its VPC, and not its addresses: those that a VPC without public ones may have (RFC 1918, RFC 6598).
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")


def _private(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A rule about our own network as rules about any network of a team's own."""
    if rule["CidrIp"] != {"Ref": "VpcCidr"}:
        return [dict(rule)]
    return [{**rule, "CidrIp": each} for each in _PRIVATE]


def _copy_pools(
    template: Template, pools: Sequence[Mapping[str, Any]], network: Mapping[str, Any], *, delegated: bool
) -> None:
    resources = template["Resources"]
    pool, mixed = resources.pop("Pool"), resources.pop("Mixed")
    mapping = template["Mappings"]["Pools"] = {}
    if delegated and pools:
        resources["Mixed"] = _mixed(mixed, pools)
        return
    for each in pools:
        name, zone = logical("Pool", str(each["id"])), str(each["az"])
        copied = _copied(pool, Pool=name, Machine=logical("Machine", _image(each)))
        subnet = network["subnets"][zone] if "vpc" in network else {"Ref": logical("Subnet", zone)}
        copied["Properties"]["VPCZoneIdentifier"] = [subnet]
        tag = {"Key": "spotbed:pool", "Value": str(each["id"]), "PropagateAtLaunch": True}
        copied["Properties"]["Tags"].append(tag)
        resources[name] = copied
        mapping[name] = {
            "Name": str(each["id"]),
            "InstanceType": str(each["instance_type"]),
            "Max": str(each["max"]),
            "OnDemandPercentage": "0" if each["purchase"] == "spot" else "100",
        }


def _mixed(prototype: Template, pools: Sequence[Mapping[str, Any]]) -> Template:
    """One group over all types and zones; each type with the launch template of its image."""
    copied = copy.deepcopy(prototype)
    properties = copied["Properties"]
    properties["MaxSize"] = str(sum(int(pool["max"]) for pool in pools))
    policy = properties["MixedInstancesPolicy"]["LaunchTemplate"]
    first = logical("Machine", _image(pools[0]))
    types = {str(pool["instance_type"]): logical("Machine", _image(pool)) for pool in pools}
    specification = policy["LaunchTemplateSpecification"]
    policy["LaunchTemplateSpecification"] = _copied(specification, Machine=first)
    policy["Overrides"] = [
        {"InstanceType": kind, "LaunchTemplateSpecification": _copied(specification, Machine=machine)}
        for kind, machine in types.items()
    ]
    return copied


_OF_BUCKET = ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::Events::Rule")


def _only_bucket(template: Template) -> None:
    kept = {name: body for name, body in template["Resources"].items() if body["Type"] in _OF_BUCKET}
    template["Resources"] = kept
    del template["Outputs"]["InstanceRole"]


def _reach_buckets(template: Template, target: Mapping[str, Any], team: Mapping[str, Any]) -> None:
    """Instances serve every team of the target: they work in the buckets of the others too."""
    role = template["Resources"].get("InstanceRole")
    if role is None:
        return
    others = [str(each["bucket"]) for each in target.get("teams", ()) if each["bucket"] != team["bucket"]]
    objects, names = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    for bucket in dict.fromkeys(others):
        arn = f"arn:${{AWS::Partition}}:s3:::{bucket}"
        objects["Resource"].append({"Fn::Sub": f"{arn}/*"})
        names["Resource"].append({"Fn::Sub": arn})
    profile = target.get("instances", {}).get("profile", {})
    role["Properties"]["ManagedPolicyArns"] += [str(arn) for arn in profile.get("policies") or ()]


# both ---------------------------------------------------------------------------------------------------------------
def _govern(template: Template, target: Mapping[str, Any]) -> None:
    """The account's tags on everything that has ours, and its boundary on every role."""
    tags = [{"Key": str(key), "Value": str(value)} for key, value in sorted(dict(target.get("tags", {})).items())]
    boundary = target.get("instances", {}).get("profile", {}).get("boundary")
    for body in template["Resources"].values():
        if boundary and body["Type"] == "AWS::IAM::Role":
            body["Properties"]["PermissionsBoundary"] = boundary
    _tag(template, tags)


def _tag(value: Any, tags: Sequence[Mapping[str, str]]) -> None:
    if isinstance(value, dict):
        own = value.get("Tags")
        if isinstance(own, dict):
            own.update({tag["Key"]: tag["Value"] for tag in tags})
        elif isinstance(own, list):
            propagates = {"PropagateAtLaunch": True} if own and "PropagateAtLaunch" in own[0] else {}
            own += [{**tag, **propagates} for tag in tags]
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _tag(each, tags)


def _without_unused(template: Template) -> Template:
    """Conditions, mappings and parameters that nothing refers to any more are left out."""
    kept = dict(template)
    for section in ("Conditions", "Mappings", "Parameters"):
        used = json.dumps([kept["Resources"], kept["Outputs"], kept.get("Conditions")])
        own = kept.get(section, {})
        ways = ('"Condition": "%s"', '"Fn::If": ["%s"', '"Fn::FindInMap": ["%s"', '"Ref": "%s"', "${%s}")
        kept[section] = {name: own[name] for name in own if any(way % name in used for way in ways)}
        if not kept[section]:
            del kept[section]
    return kept


def _copied(prototype: Any, **names: str) -> Any:
    """A copy in which each of these words, where it stands alone, is another."""
    return _mapped(prototype, lambda value: names.get(value, value) if isinstance(value, str) else value)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A deep copy of plain values, changed from the inside out; keys stay."""
    if isinstance(value, dict):
        return change({key: _mapped(each, change) for key, each in value.items()})
    if isinstance(value, list):
        return change([_mapped(each, change) for each in value])
    return change(value)


def _replace_in(value: Any, old: Any, new: Sequence[Any]) -> None:
    """In every list, one member becomes several."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _replace_in(each, old, new)
    if isinstance(value, list) and old in value:
        at = value.index(old)
        value[at : at + 1] = copy.deepcopy(list(new))


# text ---------------------------------------------------------------------------------------------------------------
class _Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as the long ones."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def read_template(path: Path) -> Template:
    """A template as plain values: long forms, and no anchors shared."""
    found = yaml.load(path.read_text("utf-8"), Loader=_Loader)  # noqa: S506 a safe loader with functions
    plain: Template = json.loads(json.dumps(found))
    return plain


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: CloudFormation refuses them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(template: Mapping[str, Any]) -> str:
    """The template as canonical YAML: the same values, the same text."""
    return yaml.dump(dict(template), Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True)


def as_json(template: Mapping[str, Any]) -> str:
    """The template as canonical JSON."""
    return json.dumps(template, sort_keys=True, indent=1) + "\n"
