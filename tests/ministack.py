"""MiniStack, an emulator of AWS in a process of its own: the stacks are deployed on it and their functions run.

It lives in `.venv-ministack` (`make .venv-ministack/.installed`; `make test` does it), because its pins of botocore are
not ours. IAM is enforced: whoever is not the account's root needs a policy for what it calls. It speaks TLS, as our
policies refuse what does not.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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
    certificate: Path
    instances: Path  # a folder for each that has booted
    python: Path = HOME / "bin" / "python"  # its own, which has boto3

    def client(self, service: str, **credentials: str) -> Any:
        """A client of boto3; by default the account's root's."""
        keys = credentials or {"aws_access_key_id": ROOT_KEY, "aws_secret_access_key": ROOT_KEY}
        config = Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=60)
        given: dict[str, Any] = {"region_name": REGION, "config": config, "verify": str(self.certificate), **keys}
        return boto3.client(service, endpoint_url=self.endpoint, **given)

    def environment(self) -> dict[str, str]:
        """What a process of the account's root needs to reach it and nothing else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": str(self.certificate),
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


def certified(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an emulated account")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1)
    )
    for extension in (address, usage, own, issuer):
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(key, hashes.SHA256())
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return paths


@contextlib.contextmanager
def running(folder: Path, **variables: str) -> Iterator[Ministack]:
    """It runs, answers, and is gone afterwards with the processes of its functions."""
    if not Ministack.python.exists():
        pytest.skip("MiniStack is not installed: make .venv-ministack/.installed")
    with tempfile.TemporaryDirectory(prefix="spotbed-instances-") as instances:
        Path(instances).chmod(0o755)  # jobs run as nobody where the tests are root
        with _running(folder, Path(instances), variables) as found:
            yield found


@contextlib.contextmanager
def _running(folder: Path, instances: Path, variables: Mapping[str, str]) -> Iterator[Ministack]:
    port = free_port()
    certificate, key = certified(folder)
    found = Ministack(f"https://127.0.0.1:{port}", folder / "ministack.log", certificate, instances)
    own = {
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(certificate),
        "MINISTACK_SSL_KEY": str(key),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_HOST": "127.0.0.1",
        "AUTH": "true",
        "LOG_LEVEL": "INFO",
        "TMPDIR": str(folder),
        "S3_DATA_DIR": str(folder / "s3"),
        "HOME": str(folder),
        "SPOTBED_INSTANCES": str(found.instances),
    }
    environment = found.environment() | own | variables
    with found.log.open("wb") as log:
        process = subprocess.Popen(
            [found.python, "-P", Path(__file__).with_name("ministack_patched.py")],
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
    trusted = ssl.create_default_context(cafile=str(server.certificate))
    until_s = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until_s and process.poll() is None:
        address = f"{server.endpoint}/_ministack/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5, context=trusted):
            return
        time.sleep(0.05)
    raise AssertionError(f"MiniStack did not start:\n{server.log.read_text(errors='replace')[-3000:]}")
