"""MiniStack with what it lacks, run by the Python of its environment; docs/deploy.md lists these patches.

1. CloudFormation knows `AWS::SSM::Document`, and takes an alarm on an expression as one on a metric of that name.
2. `SendCommand` reaches instances without a container, and runs our document: its script, in a shell, with the
   parameters checked and set as the agent sets them (`interpolationType: ENV_VAR`). An instance is a folder, and its
   processes have the rights of the instance's role.
3. IAM judges `SendCommand` by the document and by the tags of each instance, and `SendTaskSuccess` by the state machine
   of the token, as AWS does.
4. Step Functions knows `TimeoutSecondsPath`.
5. Auto Scaling knows `SetInstanceProtection` and `TerminateInstanceInAutoScalingGroup`, and tells EventBridge what it
   has launched; EC2 tells what was terminated. The account's root may tell of more, such as interruptions.
6. EC2 knows `DescribeSpotPriceHistory`, and has none.
7. The account's root may assume any role, in place of the service that would.
"""

from __future__ import annotations

import contextvars
import functools
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.concurrency import spawn_background
from ministack.core.responses import get_account_id, get_region, json_response, new_uuid
from ministack.services import autoscaling, ec2, eventbridge, ssm, stepfunctions
from ministack.services.cloudformation import provisioners

INSTANCES = Path(os.environ["SPOTBED_INSTANCES"])  # a folder for each, with opt, etc and bin
LAUNCH_S = 0.5  # of an instance; no figure of EC2's
documents: dict[str, dict[str, Any]] = {}  # content by name
asked: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("instances of a SendCommand", default=())


# 1. documents ---------------------------------------------------------------------------------------------------------
def _made(logical_id: str, props: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
    documents[props["Name"]] = props["Content"]
    return props["Name"], {}


def _changed(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
    return _made("", new, stack)


def _removed(physical_id: str, props: dict[str, Any]) -> None:
    documents.pop(physical_id, None)


def _alarm(create: Any, logical_id: str, props: dict[str, Any], stack: str) -> Any:
    if "Metrics" in props:
        plain = {name: value for name, value in props.items() if name != "Metrics"}
        props = {**plain, "Namespace": "expressions", "MetricName": logical_id, "Period": 60, "Statistic": "Sum"}
    return create(logical_id, props, stack)


# 2. commands ----------------------------------------------------------------------------------------------------------
def groups() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from autoscaling._asgs.items()


def group_of(instance: str) -> dict[str, Any] | None:
    return next((group for _, group in groups() if any(e["InstanceId"] == instance for e in group["Instances"])), None)


def _managed() -> set[str]:
    """Instances whose folder is there: their agent has registered."""
    known = {each["InstanceId"] for _, group in groups() for each in group["Instances"]} | set(ec2._instances)
    return {each for each in known if (INSTANCES / each).is_dir()}


def tags_of(instance: str) -> dict[str, str]:
    group = group_of(instance)
    if group is not None:
        return {tag["Key"]: tag["Value"] for tag in group["Tags"] if tag["PropagateAtLaunch"]}
    return {tag["Key"]: tag["Value"] for tag in ec2._tags.get(instance, ())}


def _sent(data: dict[str, Any]) -> Any:
    document = documents.get(data.get("DocumentName", ""))
    if document is None:
        return ssm.error_response_json("InvalidDocument", "no such document", 400)
    instances = data.get("InstanceIds") or []
    if not instances or set(instances) - _managed():
        return ssm.error_response_json("InvalidInstanceId", f"{instances} are not in a valid state", 400)
    given = {name: values[0] for name, values in data.get("Parameters", {}).items()}
    values = {}
    for name, described in document["parameters"].items():
        value = given.pop(name, described.get("default"))
        allowed = described.get("allowedValues")
        is_odd = value is None or (allowed and value not in allowed)
        if is_odd or not re.search(described.get("allowedPattern", ""), value):
            return ssm.error_response_json("InvalidParameters", f"{name}: {value!r}", 400)
        values[f"SSM_{name}"] = value
    if given:
        return ssm.error_response_json("InvalidParameters", f"unknown: {sorted(given)}", 400)
    for instance in instances:
        _run(instance, document, values)
    return json_response({"Command": {"CommandId": new_uuid(), "Status": "Pending", "InstanceIds": instances}})


def _run(instance: str, document: dict[str, Any], values: dict[str, str]) -> None:
    folder = INSTANCES / instance
    script = "\n".join(document["mainSteps"][0]["inputs"]["runCommand"])
    for place in ("/opt/spotbed", "/etc/spotbed"):
        script = script.replace(place, f"{folder}{place}")
    role = (folder / "role").read_text().strip()
    arn = f"arn:aws:lambda:{get_region()}:{get_account_id()}:function:{instance}"  # whose role it is does not matter
    of_role = {"Role": role, "FunctionArn": arn, "FunctionName": instance}
    keys = lambda_runtime.execution_credentials(of_role)
    environment = {**os.environ, **keys, **values, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    with (folder / "command.log").open("ab") as log:
        subprocess.Popen(["/bin/sh", "-c", script], env=environment, cwd=folder, stdout=log, stderr=log)


# 3. rights ------------------------------------------------------------------------------------------------------------
machines: dict[str, str] = {}  # by task token
executing: contextvars.ContextVar[str] = contextvars.ContextVar("the state machine of this thread", default="*")
_extract, _enforce = iam_actions.extract_resource_arn, iam_evaluator.enforce


def _resource(service: str, method: str, path: str, headers: Any, body: bytes, query: Any, *place: str) -> str:
    arn: str = _extract(service, method, path, headers, body, query, *place)
    region, account = place
    if service == "ssm" and str(headers.get("x-amz-target", "")).endswith(".SendCommand"):
        data = json.loads(body)
        asked.set(tuple(data.get("InstanceIds", ())))
        return f"arn:aws:ssm:{region}:{account}:document/{data['DocumentName']}"
    if service == "states" and arn == "*":
        return machines.get(json.loads(body).get("taskToken", ""), arn)
    if service == "autoscaling" and arn == "*":
        group = group_of(iam_actions._query_param(query, "InstanceId"))
        name = group["AutoScalingGroupName"] if group else "none"
        return (
            f"arn:aws:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{name}" if group else arn
        )
    return arn


# 4. executions --------------------------------------------------------------------------------------------------------
def _task(state: Any, given: Any, execution: dict[str, Any], context: Any) -> Any:
    executing.set(execution["stateMachineArn"])
    if "TimeoutSecondsPath" in state:
        state = {**state, "TimeoutSeconds": given[state["TimeoutSecondsPath"].removeprefix("$.")]}
    return _do(state, given, execution, context)


def _parked(resource: str, given: Any, token: str, state: Any) -> Any:
    machines[token] = executing.get()
    return _park(resource, given, token, state)


_do, _park = stepfunctions._execute_task, stepfunctions._invoke_with_callback


def _judged(key: str, action: str, service: str, region: str, *more: Any, **named: Any) -> Any:
    denied = _enforce(key, action, service, region, *more, **named)
    if denied is not None or action != "ssm:SendCommand":
        return denied
    for instance in asked.get():
        tags = {f"ssm:resourceTag/{key}": value for key, value in tags_of(instance).items()}
        arn = f"arn:aws:ec2:{get_region()}:{get_account_id()}:instance/{instance}"
        denied = denied or _enforce(key, action, service, region, resource_arn=arn, service_context=tags)
    return denied


# 5. instances of groups -----------------------------------------------------------------------------------------------
_resize, _put = autoscaling._set_desired_capacity, eventbridge._put_events


def _protected(given: dict[str, Any]) -> Any:
    wanted = autoscaling._parse_member_list(given, "InstanceIds")
    for _, group in groups():
        for each in group["Instances"]:
            if each["InstanceId"] in wanted:
                each["ProtectedFromScaleIn"] = autoscaling._p(given, "ProtectedFromScaleIn") == "true"
    return autoscaling._xml(200, "SetInstanceProtectionResponse", "<SetInstanceProtectionResult/>")


def _resized(given: dict[str, Any]) -> Any:
    name = autoscaling._p(given, "AutoScalingGroupName")
    before = {each["InstanceId"] for each in autoscaling._asgs[name]["Instances"]}
    answer = _resize(given)
    for each in autoscaling._asgs[name]["Instances"]:
        if each["InstanceId"] not in before:
            detail = {"EC2InstanceId": each["InstanceId"], "AutoScalingGroupName": name}
            spawn_background(_tell, "aws.autoscaling", "EC2 Instance Launch Successful", detail)
    return answer


def _tell(source: str, kind: str, detail: dict[str, str]) -> None:
    time.sleep(LAUNCH_S)
    _put({"Entries": [{"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}]}, allow_aws_source=True)


def _terminated(given: dict[str, Any]) -> Any:
    instance = autoscaling._p(given, "InstanceId")
    group = group_of(instance)
    if group is None:
        return autoscaling._error("ValidationError", f"Instance Id not found - No managed instance {instance}")
    group["Instances"] = [each for each in group["Instances"] if each["InstanceId"] != instance]
    if autoscaling._p(given, "ShouldDecrementDesiredCapacity") == "true":
        group["DesiredCapacity"] -= 1
    gone = {"instance-id": instance, "state": "terminated"}
    spawn_background(_tell, "aws.ec2", "EC2 Instance State-change Notification", gone)
    found = "<TerminateInstanceInAutoScalingGroupResult/>"
    return autoscaling._xml(200, "TerminateInstanceInAutoScalingGroupResponse", found)


# 6. prices ------------------------------------------------------------------------------------------------------------
def _prices(given: dict[str, Any]) -> Any:
    return ec2._xml(200, "DescribeSpotPriceHistoryResponse", "<spotPriceHistorySet/>")


# 7. roles -------------------------------------------------------------------------------------------------------------
_trusts = iam_evaluator.evaluate_trust_policy


def _trusted(document: Any, caller: str, context: Any = None) -> bool:
    return caller.endswith(":root") or bool(_trusts(document, caller, context))


def patch() -> None:
    provisioners._RESOURCE_HANDLERS["AWS::SSM::Document"] = {"create": _made, "update": _changed, "delete": _removed}
    alarms = provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"]
    alarms["create"] = functools.partial(_alarm, alarms["create"])
    ssm._send_command = _sent
    iam_actions.extract_resource_arn, iam_evaluator.enforce = _resource, _judged
    stepfunctions._execute_task, stepfunctions._invoke_with_callback = _task, _parked
    iam_evaluator.evaluate_trust_policy = _trusted
    autoscaling._ACTION_MAP["SetDesiredCapacity"] = _resized
    eventbridge._put_events = functools.partial(_put, allow_aws_source=True)
    ec2._ACTION_MAP["DescribeSpotPriceHistory"] = _prices
    autoscaling._ACTION_MAP["SetInstanceProtection"] = _protected
    autoscaling._ACTION_MAP["TerminateInstanceInAutoScalingGroup"] = _terminated
    app._port_is_bindable = lambda *_: False  # it would also listen on 443


if __name__ == "__main__":
    patch()
    app.main()
