"""What users name is data: on a stack that runs, hostile texts reach neither a shell nor another job's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from test_aws_local import ends_told, local  # noqa: F401 a fixture

from aws.local import cloud, stack

SECRET = "xyzzy-hunter2-xyzzy"
COMMANDS = ['printf "%s" "$SPOTBED_JOB_ID" > out.txt', 'printf "%s|%s" "$SPOTBED_JOB_ID" "$TEXT"']


def hostile(marker: Path) -> list[str]:
    """Texts each of which would make the marker, or leave its place, if a shell or a path took it as it is."""
    touch = f"touch {marker}"
    return [
        f"'; {touch}; echo '", f'"; {touch}; echo "', f"$({touch})", f"`{touch}`", f"one\n{touch}\n", f"| {touch} &",
        "../../neighbour", "/etc/passwd", "..", "{{ssm:/secret}}", "$0 ${PATH} %s %n", "-rf", "--config=/etc/passwd",
        "neighbour", "neighbour/1", "é\u202e\u0001\x7f", "x" * 512,
    ]  # fmt: skip


def job(text: str, number: int) -> dict[str, Any]:
    return {"id": text, "commands": COMMANDS, "env": {"TEXT": text, "PASSWORD": SECRET}, "tenant": text[:64],
            "success_string": text, "outputs": ["*"], "output_prefix": f"{cloud.PREFIX}copies/{number}/",
            "retries": 0}  # fmt: skip


def test_hostile_texts_are_data_everywhere(local: stack.LocalStack, tmp_path: Path) -> None:  # noqa: F811
    marker = tmp_path / "injected"
    texts = hostile(marker)
    (tmp_path / "jobs.json").write_text(json.dumps([job(text, number) for number, text in enumerate(texts)]))
    assert local.submit(tmp_path / "jobs.json") == texts
    local.send({"id": "y" * 10_240, "commands": ["true"]})
    local.send({"id": "bytes", "commands": ["printf '\\377\\376\\000'"]})
    assert local.wait(170)
    lines = {line.job_id: line for line in local.jobs()}
    assert {text: lines[text].phase for text in texts} == dict.fromkeys(texts, "done")
    assert not marker.exists()
    for number, text in enumerate(texts):
        assert local.logs(text).decode() == f"{text}|{text}"
        (fetched,) = local.fetch(text, tmp_path / f"out-{number}")
        assert fetched == tmp_path / f"out-{number}" / "out.txt"
        assert fetched.read_text("utf-8") == text
    assert local.logs("bytes") == b"\377\376\000"
    assert set(lines) == {*texts, "bytes"}, "10 kB are no id: that message is among the dead"
    apart([lines[text].output for text in texts])
    told_nobody(local)


def apart(prefixes: list[str]) -> None:
    """No job's outputs lie below another's, nor outside of what is ours."""
    for prefix in prefixes:
        assert prefix.startswith(f"{cloud.PREFIX}jobs/")
        assert not {"", ".", ".."} & set(prefix.rstrip("/").split("/"))
        assert [other for other in prefixes if other.startswith(prefix)] == [prefix]


def told_nobody(local: stack.LocalStack) -> None:  # noqa: F811
    """What jobs are given as secrets is in no journal, no log of ours, and no message."""
    for path in local.folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path.name
    finished, dead = ends_told(local, "finished"), ends_told(local, "dead")
    assert len(finished) == len(local.jobs())
    assert len(dead) == 1
    assert SECRET not in json.dumps([finished, dead])
