"""Both stacks by `sam deploy`, as somebody with the SAM CLI would make them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from deployed import CAPABILITIES, eventually, prepare
from ministack import HOME, REGION, Ministack

from aws.render import EXAMPLE_CODE, as_yaml

SAM = HOME.with_name(".venv-sam") / "bin" / "sam"


@pytest.mark.slow
def test_sam_deploys_both_stacks_and_a_message_becomes_a_job(ministack: Ministack, tmp_path: Path) -> None:
    if not SAM.exists():
        pytest.skip("the SAM CLI is not installed: make .venv-sam/.installed")
    made, templates = prepare(ministack, "eda-sam")
    for name, template in templates.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(as_yaml(template), "utf-8")
        given = ["--template-file", path, "--stack-name", name, "--s3-bucket", EXAMPLE_CODE, "--region", REGION]
        done = subprocess.run(
            [SAM, "deploy", *given, "--no-confirm-changeset", "--capabilities", *CAPABILITIES],
            env=ministack.environment() | {"SAM_CLI_TELEMETRY": "0", "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Successfully created/updated stack - {name} in {REGION}" in done.stdout
    made.submit("hello", "echo Hello World")
    eventually(lambda: made.job("hello").get("phase") == "queued")
