"""MiniStack, an emulator of AWS in a process of its own: the stacks are deployed on it and their functions run.

It lives in `.venv-ministack` (`make .venv-ministack/.installed`; `make test` does it), because its pins of botocore are
not ours. IAM is enforced: whoever is not the account's root needs a policy for what it calls.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

HOME = Path(__file__).resolve().parent.parent / ".venv-ministack"
REGION = "us-east-1"
ACCOUNT = "000000000000"
ROOT_KEY = "test"  # the account's root, to MiniStack
_STARTS_WITHIN_S = 60


@dataclass(frozen=True)
class Ministack:
    """Where it answers, and what it has written."""

    endpoint: str
    log: Path

    def client(self, service: str, **credentials: str) -> Any:
        """A client of boto3; by default the account's root's."""
        keys = credentials or {"aws_access_key_id": ROOT_KEY, "aws_secret_access_key": ROOT_KEY}
        config = Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=60)
        given: dict[str, Any] = {"endpoint_url": self.endpoint, "region_name": REGION, "config": config, **keys}
        return boto3.client(service, **given)

    def environment(self) -> dict[str, str]:
        """What a process of the account's root needs to reach it and nothing else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path, **variables: str) -> Iterator[Ministack]:
    """It runs, answers, and is gone afterwards with the processes of its functions."""
    python = HOME / "bin" / "python"
    if not python.exists():
        pytest.skip("MiniStack is not installed: make .venv-ministack/.installed")
    port = free_port()
    found = Ministack(f"http://127.0.0.1:{port}", folder / "ministack.log")
    own = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "AUTH": "true",
        "LOG_LEVEL": "INFO",
        "TMPDIR": str(folder),
        "S3_DATA_DIR": str(folder / "s3"),
        "HOME": str(folder),
    }
    environment = found.environment() | own | variables
    with found.log.open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "ministack"],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await(found, process)
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _await(server: Ministack, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until_s and process.poll() is None:
        address = f"{server.endpoint}/_ministack/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError(f"MiniStack did not start:\n{server.log.read_text(errors='replace')[-3000:]}")
