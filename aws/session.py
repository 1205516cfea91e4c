"""Who calls AWS, and where: clients of one profile and region, and the account behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from aws.outside import FAILED, outside
from spotbed.errors import OutsideError

READ_TIMEOUT_S = 60
# One layer of retries with an end, as in the functions; a person waits for these.
CONFIG = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5)


@dataclass(frozen=True)
class Identity:
    """Who we are, as STS says."""

    account: str
    arn: str


class Session:
    """Clients in one region. Credentials come as boto3 finds them: environment, profile, SSO, instance."""

    def __init__(self, region: str | None = None, profile: str | None = None) -> None:
        with outside():
            self._session: Any = _made(region, profile)
        if self._session.region_name is None:
            how = "give --region, set AWS_REGION, or give the profile one"
            raise OutsideError("No region of AWS is named.", "everything as it was", how, exit_code=FAILED)

    @property
    def region(self) -> str:
        return str(self._session.region_name)

    @property
    def has_credentials(self) -> bool:
        """Whether there are any; whether AWS takes them, only a call tells."""
        with outside():
            return self._session.get_credentials() is not None

    @cached_property
    def identity(self) -> Identity:
        """Whose credentials these are. Raises OutsideError when there are none, or they are no longer good."""
        with outside():
            found = self.client("sts").get_caller_identity()
        return Identity(str(found["Account"]), str(found["Arn"]))

    def client(self, service: str, read_timeout_s: int = READ_TIMEOUT_S) -> Any:
        """A client of boto3. Who waits for longer answers keeps the connection alive meanwhile."""
        config = Config(read_timeout=read_timeout_s, tcp_keepalive=True)
        with outside():
            return self._session.client(service, config=CONFIG.merge(config))


def _made(region: str | None, profile: str | None) -> Any:
    return boto3.Session(region_name=region, profile_name=profile)
