"""What a failed AWS call means: botocore's errors, by code *and* text, as the project's error tree.

The question that matters is whether the request may have been executed. Refusals (4xx) were not;
connections that never came up were not; everything else (5xx, a reply that did not arrive or could
not be read) may have been, and is ``OutcomeUnknown``. The codes and texts are those of the ECS API
reference, "API failure reasons", and of the public reports named below.

An answer speaks for the last attempt only: a client that retries by itself may have been executed
in an attempt before. Operations that are not idempotent therefore go through a client with a single
attempt (:mod:`fractal_helpers.aws.session`).
"""

import re
from typing import Any

from botocore.exceptions import (
    BaseEndpointResolverError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    MetadataRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    TokenRetrievalError,
    ValidationError,
)

from fractal_models.errors import (
    AccessDenied,
    FractalError,
    OutcomeUnknown,
    QuotaReached,
    Rejected,
    Throttled,
    TokenConflict,
    Unavailable,
)

_THROTTLES = re.compile(r"Throttl|RequestLimitExceeded|TooManyRequests|SlowDown|BandwidthLimit")
# "Rate exceeded" of another service arrives inside ECS's InvalidParameterException (dagster#33439);
# concurrent registrations of one family collide with a ClientException (prefect#16485).
_THROTTLE_TEXT = re.compile(
    r"Rate exceeded|Throttling|Too many concurrent attempts to create a new revision", re.IGNORECASE
)
_QUOTA_TEXT = re.compile(r"reached the limit on the number of", re.IGNORECASE)
_UNCERTAIN = {"ServerException", "RequestTimeout", "RequestTimeoutException"}
_DENIED = re.compile(
    r"AccessDenied|UnauthorizedOperation|UnrecognizedClient|InvalidClientTokenId|ExpiredToken"
    r"|InvalidSignature|SignatureDoesNotMatch|IncompleteSignature|MissingAuthenticationToken"
    r"|AuthFailure|NotAuthorized|OptInRequired|RequestExpired|BlockedException|^40[13]$"
)


def code_of(error: Exception) -> str:
    """The vendor's error code, or the exception's class where there was no answer."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "") or "Unknown")
    return type(error).__name__


def is_throttle_code(code: str) -> bool:
    """Whether a vendor's error code says by itself that calls come too fast."""
    return _THROTTLES.search(code) is not None


def classify(error: Exception, operation: str) -> FractalError:
    """Translate what boto3 raised for ``operation`` (``RunTask``) into one error of the tree.

    The message names the operation, the code and AWS's text; never a parameter's value.
    """
    code = code_of(error)
    message = f"{operation}: {code}: {_text_of(error)}"
    match error:
        case ClientError():
            return _of_answer(error, operation, code, message)
        case EndpointConnectionError() | ConnectTimeoutError() | ProxyConnectionError():
            return Unavailable(message)
        case SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Unavailable(message)  # the handshake comes before the request
        case CredentialRetrievalError() | MetadataRetrievalError():
            return Unavailable(message)
        case (
            NoCredentialsError()
            | PartialCredentialsError()
            | NoAuthTokenError()
            | TokenRetrievalError()
        ):
            return AccessDenied(message, code=code)
        case ParamValidationError() | ValidationError() | BaseEndpointResolverError():
            return Rejected(message, code=code)  # botocore refused to send it
        case _:
            return OutcomeUnknown(message)


def _of_answer(error: ClientError, operation: str, code: str, message: str) -> FractalError:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = _text_of(error)
    if _THROTTLES.search(code) or status == 429:  # EC2 throttles with status 503
        return Throttled(message)
    if error.operation_name != operation:
        # A call for credentials (AssumeRoleWithWebIdentity) failed: ours was never sent.
        return Unavailable(message) if status >= 500 else AccessDenied(message, code=code)
    if status >= 500 or code in _UNCERTAIN:
        return OutcomeUnknown(message)
    if _THROTTLE_TEXT.search(text):
        return Throttled(message)
    if code == "ConflictException":
        bound: Any = error.response.get("resourceIds") or ()
        return TokenConflict(message, code=code, resource_ids=tuple(str(arn) for arn in bound))
    if _is_quota(code, text):
        return QuotaReached(message)
    # iam:PassRole depends on the role that one object names: it says nothing of the credentials.
    if _DENIED.search(code) and "iam:PassRole" not in text:
        return AccessDenied(message, code=code)
    return Rejected(message, code=code)


def _is_quota(code: str, text: str) -> bool:
    """Whether the account or cluster holds as many things as it may (not: calls too fast)."""
    if code == "LimitExceededException" or _QUOTA_TEXT.search(text):
        return True
    # Managed scaling caps the tasks in PROVISIONING (ECS service quotas); there is no code for it.
    return code == "ClientException" and "PROVISIONING" in text


def _text_of(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Message", ""))
    if isinstance(error, ParamValidationError):
        # botocore quotes the offending values, which may be a user's environment.
        return re.sub(r"value: .*?, (?=type:|valid )", "", str(error), flags=re.DOTALL)
    return str(error)
