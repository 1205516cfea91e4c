"""The zip that is deployed: what is in it, that it is the same every time, and that it runs alone."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aws.package import HANDLERS, ROOT, build_package, check_user_source, function_files, stack_files, user_module
from aws.policy import policy_from
from aws.policy_json import policy_document
from scheduler.policies.place import OnDemandFallback
from scheduler.policies.presets import PRESETS
from scheduler.settings import Settings
from spotbed.errors import InputError
from spotbed.policies.compose import compose
from spotbed.provenance import tree_sha256
from spotbed.scenario.models_policies import PolicyEntry

POLICY = {"schema_version": 1}
POOLS: list[dict[str, Any]] = [{"id": "a"}]
ALONE = """\
import importlib, sys, types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

class Stub(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {"__init__": lambda self, *given, **named: None})

class Given(MetaPathFinder, Loader):
    "boto3 and botocore, which Lambda's Python has."
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ("boto3", "botocore") else None
    def create_module(self, spec):
        return Stub(spec.name)
    def exec_module(self, module):
        module.__path__ = []

sys.path[:] = [sys.argv[1], *(path for path in sys.path if "site-packages" not in path)]
sys.meta_path.append(Given())
import zipfile
names = [name for name in zipfile.ZipFile(sys.argv[1]).namelist() if name.endswith(".py")]
for name in names:
    importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
import json
from aws.policy import policy_from
policy = policy_from(json.loads(zipfile.ZipFile(sys.argv[1]).read("policy.json")))
foreign = [name for name, module in sys.modules.items() if "site-packages" in str(getattr(module, "__file__", ""))]
print(json.dumps([len(names), type(policy.place).__name__, policy.place.slack_factor, foreign]))
"""


def packaged(**changes: Any) -> Any:
    return build_package(**{"policy": POLICY, "pools": POOLS, "sources": {}, **changes})


def test_the_same_inputs_give_the_same_bytes() -> None:
    one, two = packaged(), packaged()
    assert one.content == two.content
    assert one.sha256 == hashlib.sha256(one.content).hexdigest() == two.sha256
    assert packaged(pools=[{"id": "b"}]).sha256 != one.sha256
    with zipfile.ZipFile(io.BytesIO(one.content)) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == sorted(info.filename for info in infos)
    assert {(info.date_time, info.compress_type, info.external_attr >> 16) for info in infos} == {
        ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 0o644)
    }


def test_the_zip_holds_the_whole_core_as_it_was_hashed(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packaged().content)) as archive:
        archive.extractall(tmp_path)
    assert tree_sha256(tmp_path / "scheduler", "*.py") == tree_sha256(ROOT / "scheduler", "*.py")
    assert json.loads((tmp_path / "pools.json").read_text()) == POOLS
    assert not list(tmp_path.glob("sim"))
    assert not (tmp_path / "aws" / "plan.py").exists()


def test_it_runs_from_the_zip_alone_with_a_users_policy(tmp_path: Path, root: Path) -> None:
    composed = compose(PolicyEntry.model_validate({"use": "policies/hedge.py:Hedge"}), root)
    source = (root / "policies" / "hedge.py").read_bytes()
    module, path = user_module("hedge.py", source)
    named = {"Hedge": module}
    document = policy_document(
        _bare(composed, Settings(seed=3)), "hedge", lambda kind: named.get(kind.__name__, kind.__module__)
    )
    handlers = [*HANDLERS, "spotbed.journal", "spotbed.errors"]
    package = build_package(document, POOLS, {path: source.decode()}, handlers=handlers)
    file = tmp_path / "package.zip"
    file.write_bytes(package.content)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, str(file)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, kind, slack, foreign = json.loads(done.stdout)
    assert (kind, slack, foreign) == ("Hedge", 1.5, [])
    assert count == sum(each.path.endswith(".py") for each in package.files) > 25


def _bare(composed: Any, settings: Settings) -> Any:
    from scheduler.policy import Policy

    return Policy(**composed.parts, settings=settings, architecture=composed.architecture)


@pytest.mark.parametrize("name", [name for name, (_, kind, _) in PRESETS.items() if kind == "decoupled"])
def test_a_policy_comes_back_from_json_as_it_was(name: str) -> None:
    policy = _bare(compose(PolicyEntry.model_validate({"use": name}), Path()), Settings(seed=9, tick_ms=5_000))
    text = json.dumps(policy_document(policy, name))
    assert policy_from(json.loads(text)) == policy


def test_nested_parts_sequences_and_mappings_come_back() -> None:
    policy = _bare(compose(PolicyEntry.model_validate({"use": "spot-fallback"}), Path()), Settings())
    assert isinstance(policy.place, OnDemandFallback)
    parts = {point: getattr(policy, point) for point in ("order", "scale", "retry", "protect", "move")}
    made = type(policy)(**parts, place=_Listed(("c6i", "m5"), {"a": 1}))
    found = policy_from(json.loads(json.dumps(policy_document(made, "x"))))
    assert found.place == made.place


@dataclass(frozen=True)
class _Listed:
    families: tuple[str, ...] = ()
    numbers: Any = None


def test_what_json_cannot_carry_is_named() -> None:
    policy = _bare(compose(PolicyEntry.model_validate({"use": "spot-only"}), Path()), Settings())
    parts = {point: getattr(policy, point) for point in ("order", "scale", "retry", "protect", "move")}
    with pytest.raises(InputError, match=r"place\.numbers: is a set"):
        policy_document(type(policy)(**parts, place=_Listed(numbers={1})), "x")


def test_a_module_that_lambda_does_not_have_is_refused_with_the_way_to_it(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "aws").mkdir()
    (tmp_path / "aws" / "__init__.py").write_text("")
    (tmp_path / "aws" / "functions.py").write_text("from typing import TYPE_CHECKING\nfrom aws import other\n")
    (tmp_path / "aws" / "other.py").write_text("def work():\n    import pandas\n")
    with pytest.raises(ValueError, match=r"no pandas: aws.functions -> aws.other imports it at other.py:2"):
        function_files(tmp_path, ["aws.functions"])
    (tmp_path / "aws" / "other.py").write_text("from aws.plan import make_plan\n")
    (tmp_path / "aws" / "plan.py").write_text("")
    with pytest.raises(ValueError, match=r"no function may import aws.plan: aws.functions -> aws.other -> aws.plan"):
        function_files(tmp_path, ["aws.functions"])
    (tmp_path / "aws" / "other.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\nelse:\n    import boto3\n"
    )
    assert function_files(tmp_path, ["aws.functions"]) == ["aws/__init__.py", "aws/functions.py", "aws/other.py"]


def test_a_users_policy_that_needs_more_than_the_core_is_refused_at_its_line() -> None:
    check_user_source("mine.py", b"import math\nfrom scheduler.policy import Routing\n")
    with pytest.raises(InputError) as caught:
        check_user_source("mine.py", b"import math\nimport numpy as np\nfrom . import helper\n")
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [("mine.py", 2), ("mine.py", 3)]
    assert "numpy" in caught.value.problems[0].message


def test_what_is_deployed_beside_the_zip_is_no_module_of_it() -> None:
    files = {file.path for file in stack_files()}
    assert all(path.startswith("aws/") for path in files)
    assert not files & set(function_files())
