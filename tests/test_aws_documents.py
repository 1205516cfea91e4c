"""The SSM documents: typed parameters, nothing made from data, and what the Linux script really passes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

DOCUMENTS = ("run-job-linux", "run-job-windows")
EVIL = [
    "a b",
    "it's",
    'say "no"',
    "$(touch /tmp/evil); `id` | cat & #",
    "${HOME}",
    "{{ssm:secret}}",
    "../../other",
    "--order=checkpoint",
    "line\nbreak\n",
    "%41",
    "Grüße, 夜",
]
MANAGER = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\necho detached\nexec "$@"\n'
# Says which arguments the wrapper was given.
RECORDER = "import json, os, sys\nopen(os.environ['SEEN'], 'w').write(json.dumps(sys.argv[1:]))\n"


@pytest.fixture(params=DOCUMENTS)
def document(root: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(root, request.param)


def load(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / "aws" / "documents" / f"{name}.yaml").read_text("utf-8"))
    return found


def script(document: dict[str, Any]) -> str:
    (step,) = document["mainSteps"]
    (text,) = step["inputs"]["runCommand"]
    return str(text)


def test_every_parameter_is_typed_bounded_and_an_environment_variable(document: dict[str, Any]) -> None:
    assert list(document["parameters"]) == ["Action", "Job", "Epoch", "Worker", "CheckpointEveryMs"]
    for parameter in document["parameters"].values():
        assert parameter["type"] == "String"
        assert parameter["interpolationType"] == "ENV_VAR"
        if "allowedPattern" in parameter:
            assert re.fullmatch(r"\^.*\{1,\d+\}.*\$", parameter["allowedPattern"])
        else:
            assert parameter["allowedValues"] == ["run", "checkpoint"]


def test_nothing_is_interpolated_into_the_script(document: dict[str, Any]) -> None:
    assert "{{" not in json.dumps(document)
    assert "eval" not in script(document)
    assert "Invoke-Expression" not in script(document)


def test_both_documents_take_the_same_parameters(root: Path) -> None:
    linux, windows = (load(root, name) for name in DOCUMENTS)
    assert linux["parameters"] == windows["parameters"]


def test_a_document_is_for_its_platform(root: Path) -> None:
    platforms = {name: load(root, name)["mainSteps"][0]["precondition"]["StringEquals"][1] for name in DOCUMENTS}
    assert platforms == {"run-job-linux": "Linux", "run-job-windows": "Windows"}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda text: quote(text, safe="")))
def test_any_id_is_allowed_once_it_is_quoted(quoted: str) -> None:
    root = Path(__file__).resolve().parent.parent
    pattern = load(root, "run-job-linux")["parameters"]["Job"]["allowedPattern"]
    assert (re.match(pattern, quoted) is not None) == (len(quoted) <= 2048)


@pytest.mark.parametrize(
    "text", ["", "a b", "a;b", "$(id)", "`id`", "{{ssm:secret}}", "a'b", 'a"b', "a\nb", "a/b", "a|b"]
)
def test_what_is_not_quoted_is_refused_by_the_service(document: dict[str, Any], text: str) -> None:
    pattern = document["parameters"]["Job"]["allowedPattern"].removesuffix("$") + r"\Z"
    assert re.match(pattern, text) is None


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Epoch", ["0", "12"], ["", "-1", "1 2", "1;"]),
        ("Worker", ["i-0123456789abcdef0", "i-0123456789abcdef0#3"], ["", "i 1", "i-1#", "i-1#1;x", "$x"]),
        ("CheckpointEveryMs", ["0", "600000"], ["-1", "1.5", ""]),
    ],
)
def test_patterns(document: dict[str, Any], name: str, good: list[str], bad: list[str]) -> None:
    pattern = document["parameters"][name]["allowedPattern"].removesuffix("$") + r"\Z"
    assert [text for text in good + bad if re.match(pattern, text)] == good


# the script, run --------------------------------------------------------------------------------------------------
class Instance:
    """A folder with a wrapper that only says how it was called, and a `systemd-run` that runs what it is given."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.seen = folder, folder / "seen.json"
        self.text = script(load(root, "run-job-linux")).replace("/opt/spotbed", str(folder))
        (folder / "wrapper.py").write_text(RECORDER, "utf-8")
        manager = folder / "systemd-run"
        manager.write_text(
            '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\necho detached\nexec "$@"\n', "utf-8"
        )
        manager.chmod(0o755)

    def run(self, **parameters: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {f"SSM_{name}": value for name, value in parameters.items()}
        return subprocess.run(
            ["sh", "-c", self.text],
            env={"PATH": path, "SEEN": str(self.seen), **given},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def arguments(self) -> list[str]:
        found: list[str] = json.loads(self.seen.read_text("utf-8"))
        return found


@pytest.fixture
def instance(root: Path, tmp_path: Path) -> Instance:
    return Instance(root, tmp_path)


@pytest.mark.parametrize("job", EVIL)
def test_the_wrapper_gets_the_very_id(instance: Instance, job: str) -> None:
    done = instance.run(Action="run", Job=quote(job, safe=""), Epoch="3", Worker="i-1#2", CheckpointEveryMs="600000")
    assert (done.returncode, done.stdout, done.stderr) == (0, "detached\n", "")
    assert instance.arguments() == [
        f"--job={job}",
        "--epoch=3",
        "--worker=i-1#2",
        "--config=/etc/spotbed/config.json",
        "--checkpoint-every-ms=600000",
    ]
    assert sorted(path.name for path in instance.folder.iterdir()) == ["seen.json", "systemd-run", "wrapper.py"]


@pytest.mark.parametrize("name", ["Job", "Worker", "Epoch"])
def test_even_what_the_patterns_forbid_reaches_no_shell(instance: Instance, name: str) -> None:
    given = {"Action": "run", "Job": "j", "Epoch": "1", "Worker": "i-1", "CheckpointEveryMs": "0"}
    done = instance.run(**{**given, name: "$(touch evil); `touch evil` ' \" \n touch evil"})
    assert done.returncode == 0
    assert not (instance.folder / "evil").exists()
    assert len(instance.arguments()) == 5


def test_an_order_to_leave_is_given_at_once(instance: Instance) -> None:
    done = instance.run(Action="checkpoint", Job="j", Epoch="3", Worker="i-1", CheckpointEveryMs="0")
    assert (done.returncode, done.stdout) == (0, "")
    assert instance.arguments()[-1] == "--order=checkpoint"


@pytest.mark.parametrize("missing", ["Action", "Job", "Epoch", "Worker", "CheckpointEveryMs"])
def test_an_agent_that_does_not_know_the_variables_is_refused(instance: Instance, missing: str) -> None:
    given = {"Action": "run", "Job": "j", "Epoch": "1", "Worker": "i-1", "CheckpointEveryMs": "0"}
    del given[missing]
    done = instance.run(**given)
    assert (done.returncode, done.stderr) == (
        69,
        f"SSM_{missing} is not set: the SSM agent is older than 3.3.2746.0\n",
    )
    assert not instance.seen.exists()


def test_the_wrapper_knows_every_argument(root: Path) -> None:
    asked = [sys.executable, str(root / "aws" / "wrapper.py"), "--help"]
    text = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"--[a-z-]+", text))
    for name in DOCUMENTS:
        used = set(re.findall(r"--(?:job|epoch|worker|config|order|checkpoint)[a-z-]*(?==)", script(load(root, name))))
        assert used == {"--job", "--epoch", "--worker", "--config", "--order", "--checkpoint-every-ms"}
        assert used <= options
