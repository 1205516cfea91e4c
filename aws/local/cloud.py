"""Tables, queues and a bucket on loopback: moto, as a server in this process, with its data for as long as it lives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aws.store import Tables
from aws.tables import make_tables
from spotbed.errors import OutsideError

REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}  # moto asks for some, and checks none
TABLES = Tables("jobs", "workers", "fleet")
BUCKET, PREFIX = "spotbed-local", ""
QUEUES = ("jobs", "finished", "dead-letters")
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Queues:
    """The URLs of the queues."""

    jobs: str
    finished: str
    dead: str


class Cloud:
    """The server; `url` is its endpoint."""

    def __init__(self) -> None:
        try:
            from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
            from werkzeug.serving import WSGIRequestHandler, make_server
        except ImportError as error:
            what = f"The local target needs a package that is not installed: {error.name}."
            raise OutsideError(what, "nothing was started", "install the extra: pip install 'spotbed[local]'") from None

        class Quiet(WSGIRequestHandler):
            def log_request(self, *_: Any) -> None:
                """Nothing: there are thousands."""

        application = _one_at_a_time(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def client(self, service: str) -> Any:
        """A client of one of its services."""
        return client(self.url, service)

    def furnish(self) -> Queues:
        """Make what the template would make."""
        make_tables(self.client("dynamodb"), TABLES)
        self.client("s3").create_bucket(Bucket=BUCKET)
        sqs = self.client("sqs")
        return Queues(*(sqs.create_queue(QueueName=name)["QueueUrl"] for name in QUEUES))


def client(url: str, service: str) -> Any:
    """A boto3 client of a local region."""
    import boto3
    from botocore.config import Config

    make: Any = boto3.client
    return make(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(max_pool_connections=64, retries={"mode": "standard", "max_attempts": 3}),
    )


def _one_at_a_time(application: Application) -> Application:
    """moto's tables are plain dictionaries: a condition and its write must not be parted by another thread."""
    lock = threading.Lock()

    def serialised(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            return list(application(environ, start_response))

    return serialised
