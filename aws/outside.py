"""What AWS and the way to it refuse, as a user reads it: what happened, what is kept, and how to go on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from spotbed.errors import OutsideError

FAILED = 4  # exit code
NOTHING = "everything as it was; nothing was changed"
_AGAIN = "give the same command again"
_NO_CREDENTIALS = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound)
_STALE_LOGIN = (boto.SSOError, boto.TokenRetrievalError, boto.CredentialRetrievalError)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_NOT_TAKEN = frozenset(
    {
        *("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId"),
        *("AuthFailure", "InvalidSignatureException", "IncompleteSignature", "OptInRequired"),
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403"})
_THROTTLED = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
        *("RequestLimitExceeded", "TooManyRequestsException", "ProvisionedThroughputExceededException", "SlowDown"),
    }
)
_ACTION = re.compile(r"not authorized to perform:? ([\w-]+:\w+)")
_RESOURCE = re.compile(r"on resource:? (\S+)")


def code_of(error: ClientError) -> str:
    """AWS's own code of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def outside(kept: str = NOTHING) -> Iterator[None]:
    """What AWS refuses within becomes an OutsideError, with exit code 4."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise told(error, kept) from error


def told(error: ClientError | BotoCoreError, kept: str = NOTHING) -> OutsideError:
    """The error in a user's words."""
    what, how = _of_answer(error) if isinstance(error, ClientError) else _of_way(error)
    return OutsideError(what, kept, how, exit_code=FAILED)


def told_any(error: BaseException) -> OutsideError:
    """The same of whatever boto3 raises; its transfers wrap what has happened."""
    inner = error if isinstance(error, ClientError | BotoCoreError) else error.__context__
    if isinstance(inner, ClientError | BotoCoreError):
        return told(inner)
    return OutsideError(f"The call of AWS failed: {error}", NOTHING, f"mend that, and {_AGAIN}", exit_code=FAILED)


def _of_answer(error: ClientError) -> tuple[str, str]:
    """(what, how to go on) of what AWS has answered."""
    code, message = code_of(error), str(error.response.get("Error", {}).get("Message", "")).strip()
    if code in _EXPIRED:
        return "The credentials of AWS have expired.", f"log in again (aws sso login, or new keys), and {_AGAIN}"
    if code in _NOT_TAKEN:
        how = "look who you are: aws sts get-caller-identity; a region may have to be enabled for the account first"
        return f"AWS does not take these credentials ({code}).", how
    if code in _DENIED:
        return _denied(error, message)
    if code in _THROTTLED:
        what = f"AWS answers {error.operation_name} with {code}: there are too many calls, and the retries are used up."
        return what, f"wait a minute, and {_AGAIN}"
    return f"AWS refuses {error.operation_name}: {code}: {message}", f"mend that, and {_AGAIN}"


def _denied(error: ClientError, message: str) -> tuple[str, str]:
    action, resource = _ACTION.search(message), _RESOURCE.search(message)
    name = action[1] if action else error.operation_name
    on = f" on {resource[1].rstrip('.')}" if resource else ""
    how = f"let somebody allow {name}{on} to you; deploy/iam-policy.json has all that spotbed needs"
    return f"You may not call {name}{on}.", how


def _of_way(error: BotoCoreError) -> tuple[str, str]:
    """(what, how to go on) when no answer came."""
    if isinstance(error, boto.ProfileNotFound):
        return f"{error}.", "give --profile one of those in ~/.aws/config"
    if isinstance(error, _NO_CREDENTIALS):
        how = "log in (aws configure sso, then aws sso login), give --profile, or set AWS_ACCESS_KEY_ID and its like"
        return "There are no credentials of AWS.", how
    if isinstance(error, _STALE_LOGIN):
        return f"The login to AWS is no longer good: {error}", f"aws sso login, and {_AGAIN}"
    if isinstance(error, boto.NoRegionError):
        return "No region is named.", "give --region, or set AWS_REGION"
    if isinstance(error, boto.InvalidRegionError):
        return f"{error}", "give --region one such as us-east-1"
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError):
        address = getattr(error, "kwargs", {}).get("endpoint_url", "AWS")
        how = f"look at the network, the region's name and AWS_ENDPOINT_URL, and {_AGAIN}"
        return f"{address} does not answer ({type(error).__name__}).", how
    return f"The call of AWS failed: {error}", f"mend that, and {_AGAIN}"
