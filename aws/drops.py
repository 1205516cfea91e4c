"""Folders dropped into a team's bucket: an object whose key ends with the team's suffix submits the folder it lies in.

All files of the folder are inputs of the job, that object is what runs, and the results come back below the folder, in
RESULTS. Nothing below RESULTS, or below the prefix that is ours, is ever a job: so no output submits another one. A
file `spotbed.json` in the folder may say more about the job, with the keys of a message.

Events of S3 over EventBridge carry keys as they are, notifications of S3 itself quote them. The rule of a team's stack
adds {"drop": {"team", "prefix", "suffix"}} to the event; without it the defaults of a target hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

from aws.translate import BadMessage, Submission, from_message, parsed

RESULTS, SETTINGS = "spotbed-output", "spotbed.json"
SUFFIX = "job.sh"  # a target's own default
LARGEST_SETTINGS = 65_536  # bytes
LONGEST_PART = 255  # bytes of a file's name, on most file systems
_LINUX, _WINDOWS = 'exec "./$SPOTBED_RUN"', '& ".\\$env:SPOTBED_RUN"; exit $LASTEXITCODE'  # the file's name is data
_OF_WINDOWS = (".bat", ".cmd", ".exe", ".ps1")
_OURS_ALONE = ("id", "job_id", "commands", "inputs", "bucket", "output_prefix")
_CREATED, _S3 = "Object Created", "aws:s3"
_NOT_OURS_TO_READ = frozenset({"AccessDenied", "NoSuchBucket", "403", "404"})


class Folders(Protocol):
    """The teams' buckets."""

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        """The keys below a prefix."""
        ...

    def text(self, bucket: str, key: str, longest: int) -> bytes:
        """The beginning of an object."""
        ...


class S3Folders:
    """Over boto3."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return (found["Key"] for page in pages for found in page.get("Contents", ()))

    def text(self, bucket: str, key: str, longest: int) -> bytes:
        body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
        read: bytes = body.read(longest)
        return read


@dataclass(frozen=True)
class Drop:
    """An object that has come. `version` tells two drops of the same key apart, and is the same in a repeated event."""

    bucket: str
    key: str
    version: str
    team: str = ""
    prefix: str = ""
    suffix: str = SUFFIX

    @property
    def folder(self) -> str:
        """The prefix of the folder, with its `/`; "" for an object that lies in none."""
        return self.key[: self.key.rfind("/") + 1]

    @property
    def job_id(self) -> str:
        """The folder's name, and what no other drop has."""
        whole = "\0".join((self.bucket, self.key, self.version)).encode("utf-8", "surrogatepass")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.folder.rstrip("/").rpartition("/")[2])[:40].strip("-.")
        return f"{name or 'drop'}-{hashlib.sha256(whole).hexdigest()[:16]}"

    def is_job(self, ours: str) -> bool:
        """Whether the key asks for a job; `ours` is the prefix of what we write."""
        below = self.key.startswith(self.prefix) and not (ours and self.key.startswith(ours))
        return below and self.key.endswith(self.suffix) and RESULTS not in self.key.split("/")


def dropped(text: str) -> list[Drop] | None:
    """The objects that a message tells of, or None for a message that is none of S3's. Raises BadMessage."""
    try:
        message = parsed(text)
    except ValueError:
        return None
    if not isinstance(message, dict):
        return None
    if message.get("source") == "aws.s3":
        return [_of_event(message)] if message.get("detail-type") == _CREATED else []
    if message.get("Service") == "Amazon S3":  # what S3 sends when a notification is configured
        return []
    records = message.get("Records")
    if isinstance(records, list) and records and all(_is_s3(each) for each in records):
        created = (each for each in records if str(each.get("eventName", "")).startswith("ObjectCreated"))
        return [_of_notification(each) for each in created]
    return None


def _is_s3(record: Any) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == _S3


def _of_event(message: Mapping[str, Any]) -> Drop:
    """Over EventBridge: the key is as it is."""
    detail, given = message.get("detail"), message.get("drop") or {}
    try:
        found = detail["object"]  # type: ignore[index]
        return Drop(
            str(detail["bucket"]["name"]),  # type: ignore[index]
            str(found["key"]),
            _version(found),
            str(given.get("team", "")),
            str(given.get("prefix", "")),
            str(given.get("suffix") or SUFFIX),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadMessage(f"is no event of S3: {type(error).__name__} {error}") from error


def _of_notification(record: Mapping[str, Any]) -> Drop:
    """From S3 itself: the key is quoted as in a form."""
    try:
        found = record["s3"]["object"]
        return Drop(str(record["s3"]["bucket"]["name"]), unquote_plus(found["key"], errors="strict"), _version(found))
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise BadMessage(f"is no notification of S3: {type(error).__name__} {error}") from error


def _version(found: Mapping[str, Any]) -> str:
    """`sequencer` differs between two puts of the same content; the others stand in where it is missing."""
    names = ("sequencer", "version-id", "versionId", "etag", "eTag")
    return next((str(found[name]) for name in names if found.get(name)), "")


def submission(drop: Drop, folders: Folders | None, now_ms: int) -> Submission:
    """The job of a dropped folder. Raises BadMessage."""
    where = f"s3://{drop.bucket}/{drop.key}"
    if folders is None:
        raise BadMessage(f"{where}: this stack reads no buckets")
    if drop.folder in ("", drop.prefix):
        raise BadMessage(f"{where} lies in no folder of its own: drop a folder")
    _check(drop.key, where)
    try:
        keys = list(folders.keys(drop.bucket, drop.folder))
        settings = _settings(drop, folders) if drop.folder + SETTINGS in keys else {}
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code not in _NOT_OURS_TO_READ:
            raise
        raise BadMessage(f"{where} cannot be read: {code}") from error
    _check_folder(drop, keys, where)
    return from_message(json.dumps(_message(drop, settings)), now_ms)


def _check(key: str, where: str) -> None:
    """Each part of a key becomes the name of a file."""
    for part in key.removesuffix("/").split("/"):
        if part in ("", ".", "..") or "\0" in part:
            raise BadMessage(f"{where} is no path below a work directory")
        try:
            size = len(part.encode())
        except UnicodeEncodeError:
            raise BadMessage(f"{where!r} is no Unicode text") from None
        if size > LONGEST_PART:
            raise BadMessage(f"{where} has a part longer than {LONGEST_PART} bytes")


def _check_folder(drop: Drop, keys: Sequence[str], where: str) -> None:
    names = [key[len(drop.folder) :] for key in keys]
    programs = sorted(name for name in names if "/" not in name and name.endswith(drop.suffix))
    if len(programs) > 1:
        shown = ", ".join(programs[:5])
        raise BadMessage(f"s3://{drop.bucket}/{drop.folder} has {len(programs)} executables ({shown}): one is run")
    if drop.key not in keys:
        raise BadMessage(f"{where} is not there any more")
    for key, name in zip(keys, names, strict=True):
        if not name.startswith(f"{RESULTS}/"):
            _check(key, f"s3://{drop.bucket}/{key}")


def _settings(drop: Drop, folders: Folders) -> dict[str, Any]:
    """What the folder says of its job. Raises BadMessage."""
    where = f"s3://{drop.bucket}/{drop.folder}{SETTINGS}"
    raw = folders.text(drop.bucket, drop.folder + SETTINGS, LARGEST_SETTINGS + 1)
    if len(raw) > LARGEST_SETTINGS:
        raise BadMessage(f"{where} has more than {LARGEST_SETTINGS:,} bytes")
    try:
        found = parsed(raw)
    except ValueError as error:
        raise BadMessage(f"{where} is no JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("env", {}), dict):
        raise BadMessage(f"{where} is no object of a job's keys")
    for name in _OURS_ALONE:
        if name in found:
            raise BadMessage(f"{where}: {name} is said by the folder itself")
    return found


def _message(drop: Drop, settings: Mapping[str, Any]) -> dict[str, Any]:
    program = drop.key[len(drop.folder) :]
    team = {"tenant": drop.team} if drop.team else {}
    return {
        **team,
        "outputs": ["*"],
        **settings,
        "id": drop.job_id,
        "commands": [_WINDOWS if program.lower().endswith(_OF_WINDOWS) else _LINUX],
        "env": {**settings.get("env", {}), "SPOTBED_RUN": program},
        "inputs": [drop.folder, {"key": drop.key, "to": program, "executable": True}],
        "bucket": drop.bucket,
        "output_prefix": f"{drop.folder}{RESULTS}/{drop.job_id}/",
    }
