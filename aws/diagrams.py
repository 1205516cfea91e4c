"""Diagrams of the two stacks, drawn from their templates: `python -m aws.diagrams` writes them into docs/deploy.md.

The scheduler's arrows are its rights: who calls, writes and sends what. Those of a team's resources are references.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aws.render import FOLDER, Template, read_template

TARGET = FOLDER.parent / "docs" / "deploy.md"
_SHAPES = {
    "AWS::Serverless::Function": ("[", "]"),
    "AWS::Serverless::StateMachine": ("{{", "}}"),
    "AWS::DynamoDB::Table": ("[(", ")]"),
    "AWS::SQS::Queue": ("([", "])"),
    "AWS::Events::EventBus": ("([", "])"),
    "AWS::Events::Rule": (">", "]"),
    "AWS::S3::Bucket": ("[(", ")]"),
    "AWS::SSM::Document": ("[/", "/]"),
    "AWS::EC2::VPC": ("[", "]"),
    "AWS::EC2::Subnet": ("[", "]"),
    "AWS::EC2::NatGateway": ("[", "]"),
    "AWS::EC2::VPCEndpoint": ("[", "]"),
    "AWS::EC2::SecurityGroup": ("[", "]"),
    "AWS::EC2::LaunchTemplate": ("[", "]"),
    "AWS::AutoScaling::AutoScalingGroup": ("[[", "]]"),
    "AWS::IAM::Role": ("[", "]"),
}
_ROLE = "AWS::IAM::Role"
_REPEATED = {"Machine": "one for each image", "Subnet": "one for each zone", "Pool": "one for each pool"}
# What a right's resource names by its address, and where no logical name stands.
_ADDRESSES = {
    ":stateMachine:": "WorkerMachine",
    ":autoScalingGroup:": "Groups",
    ":document/": "LinuxDocument",
    ":instance/": "Instances",
    ":function:${AWS::StackName}-deliver": "DeliverFunction",
    ":function:${CheckoutFunction}": "Checkout",
}
# Several of a kind get one arrow together.
_TOGETHER = {"tables": ("Jobs", "Workers", "Fleet"), "ends": ("FinishedQueue", "DeadQueue", "Undelivered")}
_UNDRAWN = frozenset({"Log", "Receive"})  # what every function has, and what the arrow of its queue says
_OUTSIDE = {
    "Groups": "Auto Scaling groups of the teams",
    "Instances": "instances with the tag",
    "Checkout": "your function, asked before a start",
}


def scheduler_diagram(template: Template) -> str:
    """Functions, what starts them, and what their roles let them do."""
    resources = template["Resources"]
    nodes = {name: body["Type"] for name, body in resources.items() if body["Type"] in _SHAPES.keys() - {_ROLE}}
    grouped = {name for names in _TOGETHER.values() for name in names}
    lines = ["flowchart LR", *(_node(name, kind) for name, kind in nodes.items() if name not in grouped)]
    for title, names in _TOGETHER.items():
        lines += [f"    subgraph {title}", *(f"    {_node(name, nodes[name])}" for name in names), "    end"]
    lines += [f'    {name}("{text}")' for name, text in _OUTSIDE.items()]
    lines += ['    ec2("EC2 and Auto Scaling events")', '    clock("schedule")']
    return "\n".join([*lines, *_starts(resources), *_rights(resources, {*nodes, *_OUTSIDE})])


def resources_diagram(template: Template) -> str:
    """What refers to what in a team's stack."""
    resources = template["Resources"]
    nodes = {name: body["Type"] for name, body in resources.items() if body["Type"] in _SHAPES}
    lines = ["flowchart LR", *(_node(name, kind) for name, kind in nodes.items())]
    lines.append('    door(["the scheduler\'s JobQueue"])')
    through = {"InstanceProfile": "InstanceRole"}  # a profile is but the envelope of its role
    for name in nodes:
        others = [through.get(other, other) for other in _referred(resources[name]["Properties"])]
        lines += [f"    {name} --> {other}" for other in others if other in nodes and other != name]
    return "\n".join(dict.fromkeys([*lines, "    DropRule --> door"]))


def _node(name: str, kind: str) -> str:
    left, right = _SHAPES[kind]
    what = kind.rpartition("::")[2]
    note = f"<br/>{_REPEATED[name]}" if name in _REPEATED else ""
    return f'    {name}{left}"{name}<br/><small>{what}{note}</small>"{right}'


def _starts(resources: Mapping[str, Any]) -> Iterator[str]:
    for name, body in resources.items():
        heard = []
        for event, how in body.get("Properties", {}).get("Events", {}).items():
            if how["Type"] == "SQS":
                yield f"    {how['Properties']['Queue']['Fn::GetAtt'][0]} --> {name}"
            elif how["Type"] == "Schedule":
                yield f'    clock -- "{event}" --> {name}'
            else:
                heard.append(event)
        if heard:
            yield f'    ec2 -- "{", ".join(heard)}" --> {name}'
    for text in resources["WorkerMachine"]["Properties"]["DefinitionSubstitutions"].values():
        yield f"    WorkerMachine --> {text['Ref'].removesuffix('.Version')}"


def _rights(resources: Mapping[str, Any], nodes: set[str]) -> Iterator[str]:
    for name, body in resources.items():
        if body["Type"] != "AWS::Serverless::Function":
            continue
        role = resources[body["Properties"]["Role"]["Fn::GetAtt"][0]]
        arrows: dict[str, list[str]] = {}
        for each in role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
            statement = each["Fn::If"][1] if "Fn::If" in each else each
            for other in _joined([each for each in _named(statement["Resource"]) if each in nodes]):
                if statement["Sid"] not in _UNDRAWN:
                    arrows.setdefault(other, []).append(statement["Sid"])
        for other, why in arrows.items():
            yield f'    {name} -- "{", ".join(dict.fromkeys(why))}" --> {other}'


def _joined(names: list[str]) -> list[str]:
    """Names of one kind become that of the kind, if there are several."""
    for title, members in _TOGETHER.items():
        if len(set(names).intersection(members)) > 1:
            names = [title, *(name for name in names if name not in members)]
    return names


def _named(value: Any) -> list[str]:
    text = json.dumps(value)
    found = [other for address, other in _ADDRESSES.items() if address in text]
    return found or list(_referred(value))


def _referred(value: Any) -> Iterator[str]:
    """Logical names that stand in properties, in their order."""
    text = json.dumps(value)
    for match in re.finditer(r'"Ref": "(\w+)"|"Fn::GetAtt": \["(\w+)"|\$\{(\w+)(?:\.\w+)?\}', text):
        yield next(name for name in match.groups() if name)


def written(document: str) -> str:
    """The document with its diagrams drawn anew."""
    for name, draw in (("scheduler", scheduler_diagram), ("resources", resources_diagram)):
        template = read_template(FOLDER / "templates" / f"{name}.yaml")
        start = f"<!-- {name}: drawn by python -m aws.diagrams -->\n"
        before, _, after = document.partition(start)
        rest = after.partition("<!-- end -->")[2]
        document = f"{before}{start}```mermaid\n{draw(template)}\n```\n<!-- end -->{rest}"
    return document


def main(arguments: list[str]) -> None:
    """Draw into the document named, or into docs/deploy.md."""
    target = Path(arguments[0]) if arguments else TARGET
    target.write_text(written(target.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
