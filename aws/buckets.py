"""Buckets that are ours to make, fill and empty: the one of the code, and those that a stack leaves full."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from aws.formation import TAG
from aws.outside import FAILED, code_of
from spotbed.errors import InputError, OutsideError, Problem

_LONGEST_NAME = 63  # of a bucket (S3 user guide, "General purpose bucket naming rules")
_HOME = "us-east-1"  # the region that a new bucket's place may not name
_ABSENT = frozenset({"404", "NoSuchBucket", "NotFound"})
_UNTAGGED = "NoSuchTagSet"


def code_bucket(stack: str, account: str, region: str) -> str:
    """The name of the bucket that holds a stack's code. Raises InputError when it would be too long."""
    name = f"{stack}-code-{account}-{region}"
    if len(name) > _LONGEST_NAME:
        most = _LONGEST_NAME - len(name) + len(stack)
        message = f"the bucket {name} would have {len(name)} characters, and S3 takes {_LONGEST_NAME}."
        raise InputError(Problem(message, path="stack", value=stack, hint=f"Here it has {most} characters at most."))
    return name


@dataclass(frozen=True)
class Buckets:
    """Buckets of one account and region, through an S3 client. Others' buckets are never touched: every call names the
    account that must own it."""

    client: Any
    account: str
    region: str

    def is_there(self, bucket: str) -> bool:
        """Raises OutsideError for a bucket of somebody else."""
        try:
            self.client.head_bucket(Bucket=bucket, ExpectedBucketOwner=self.account)
        except ClientError as error:
            if code_of(error) in _ABSENT:
                return False
            if code_of(error) == "403":
                what = (
                    f"The bucket {bucket} may not be used: it belongs to another account, or you have no right to it."
                )
                how = "give the stack another name, or let somebody allow s3:ListBucket on it"
                raise OutsideError(what, "everything as it was", how, exit_code=FAILED) from None
            raise
        return True

    def owner_of(self, bucket: str) -> str | None:
        """The stack that a bucket is tagged with; None for one without our tag."""
        try:
            found = self.client.get_bucket_tagging(Bucket=bucket, ExpectedBucketOwner=self.account)["TagSet"]
        except ClientError as error:
            if code_of(error) == _UNTAGGED:
                return None
            raise
        return {each["Key"]: str(each["Value"]) for each in found}.get(TAG)

    def provide(self, bucket: str, stack: str, tags: Mapping[str, str]) -> None:
        """The bucket of a stack's code: made if it is missing, and closed to all but TLS in any case.

        Raises OutsideError for one that is not ours.
        """
        if not self.is_there(bucket):
            place = {} if self.region == _HOME else {"LocationConstraint": self.region}
            self.client.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": place} if place else {}))
        elif self.owner_of(bucket) != stack:
            what = f"The bucket {bucket} is there, and was not made by spotbed for the stack {stack}."
            how = f"give the stack another name; or, if the bucket may be used, tag it: {TAG}={stack}"
            raise OutsideError(what, "everything as it was", how, exit_code=FAILED)
        self._close(bucket, {**tags, TAG: stack})

    def _close(self, bucket: str, tags: Mapping[str, str]) -> None:
        mine: dict[str, Any] = {"Bucket": bucket, "ExpectedBucketOwner": self.account}
        tag_set = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.client.put_bucket_tagging(**mine, Tagging={"TagSet": tag_set})
        walls = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        self.client.put_public_access_block(**mine, PublicAccessBlockConfiguration=dict.fromkeys(walls, True))
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
        self.client.put_bucket_encryption(**mine, ServerSideEncryptionConfiguration={"Rules": [rule]})
        self.client.put_bucket_policy(**mine, Policy=json.dumps(_only_tls(bucket, self.region)))

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Upload what is named by its content, unless it is there."""
        try:
            self.client.head_object(Bucket=bucket, Key=key, ExpectedBucketOwner=self.account)
        except ClientError as error:
            if code_of(error) not in (*_ABSENT, "NoSuchKey"):
                raise
            self.client.put_object(Bucket=bucket, Key=key, Body=content, ExpectedBucketOwner=self.account)

    def empty(self, bucket: str) -> int:
        """Delete every version of every object; how many there were."""
        count = 0
        for batch in self._versions(bucket):
            self.client.delete_objects(
                Bucket=bucket, Delete={"Objects": batch, "Quiet": True}, ExpectedBucketOwner=self.account
            )
            count += len(batch)
        return count

    def _versions(self, bucket: str) -> Iterator[list[dict[str, str]]]:
        pages = self.client.get_paginator("list_object_versions").paginate(
            Bucket=bucket, ExpectedBucketOwner=self.account
        )
        for page in pages:
            listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if listed:
                yield [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]

    def remove(self, bucket: str) -> int:
        """Empty and delete a bucket; how many objects it held."""
        count = self.empty(bucket)
        self.client.delete_bucket(Bucket=bucket, ExpectedBucketOwner=self.account)
        return count


def _only_tls(bucket: str, region: str) -> dict[str, Any]:
    arn = f"arn:{_partition(region)}:s3:::{bucket}"
    statement = {
        "Sid": "OnlyEncrypted",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _partition(region: str) -> str:
    import boto3

    return str(boto3.Session().get_partition_for_region(region))
