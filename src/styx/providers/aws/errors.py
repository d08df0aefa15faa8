"""What AWS means by an error: one table, by its code first and by the HTTP status where the code is not known.

Two questions decide. Could anything have been created? A 5xx, a time that was over after sending and a connection that broke leave
that open: Unsure. The exceptions among the 5xx are in the table: EC2 answers a lack of capacity with 500 and throttling with 503,
and both are certain. What never left this machine (no such host, refused, no credentials) is Refused. And what is to be done
about it? That is the Kind.

Codes are those of the EC2 API reference (Error codes for the Amazon EC2 API), of STS, SSM and Lambda.
"""

from __future__ import annotations

from typing import Any

from styx.providers.base import Kind, Refused, Unsure

__all__ = ["CODES", "SPENT", "STALE", "AwsRefused", "AwsUnsure", "raised_by_sdk", "translate"]


class AwsRefused(Refused):
    """With the code that AWS gave, "" for what the SDK said by itself."""

    def __init__(self, kind: Kind, message: str, *, hint: str = "", retry_after: float = 0.0, aws: str = "") -> None:
        super().__init__(kind, message, hint=hint, retry_after=retry_after)
        self.aws = aws


class AwsUnsure(Unsure):
    def __init__(self, message: str, *, hint: str = "", aws: str = "") -> None:
        super().__init__(message, hint=hint, spent=aws in SPENT)
        self.aws = aws


_KEYS = "look at the access key (aws sts get-caller-identity), or run `aws configure`"
_EXPIRED = "get new ones (aws sso login, or whatever gave you these), then try again"
_POLICY = "the policy that Styx needs is in docs/providers/aws.md"
_QUOTA = "ask for more in the Service Quotas console, or use another region"
_SPOT_QUOTA = "ask for a higher spot quota in the Service Quotas console, or use machines on demand"
_OPT_IN = "enable the region, or accept the terms, for this account in the AWS console"
_IMAGE = "set `images` under [providers.aws] to an image of that region"
_NETWORK = "set `subnets` under [providers.aws] to subnets that are there"
_NO_DEFAULT = "the account has no default VPC in that region: set `subnets` under [providers.aws]"

CODES: dict[str, tuple[Kind, str]] = {
    # it has none of these left
    "InsufficientInstanceCapacity": (Kind.CAPACITY, ""),
    "InsufficientCapacity": (Kind.CAPACITY, ""),
    "InsufficientHostCapacity": (Kind.CAPACITY, ""),
    "InsufficientReservedInstanceCapacity": (Kind.CAPACITY, ""),
    "ReservationCapacityExceeded": (Kind.CAPACITY, ""),
    "InsufficientVolumeCapacity": (Kind.CAPACITY, ""),
    "InsufficientAddressCapacity": (Kind.CAPACITY, ""),
    "SpotMaxPriceTooLow": (Kind.CAPACITY, "the spot price is above the price on demand just now"),
    "EC2ThrottledException": (Kind.THROTTLED, ""),
    # this account may have no more
    "InstanceLimitExceeded": (Kind.QUOTA, _QUOTA),
    "VcpuLimitExceeded": (Kind.QUOTA, _QUOTA),
    "MaxSpotInstanceCountExceeded": (Kind.QUOTA, _SPOT_QUOTA),
    "SpotInstanceCountExceeded": (Kind.QUOTA, _SPOT_QUOTA),
    "VolumeLimitExceeded": (Kind.QUOTA, _QUOTA),
    "MaxIOPSLimitExceeded": (Kind.QUOTA, _QUOTA),
    "SecurityGroupLimitExceeded": (Kind.QUOTA, "set `security_group` under [providers.aws] to one that is there"),
    "NetworkInterfaceLimitExceeded": (Kind.QUOTA, _QUOTA),
    "PrivateIpAddressLimitExceeded": (Kind.QUOTA, _QUOTA),
    "InsufficientFreeAddressesInSubnet": (Kind.QUOTA, "the subnet has no free address: use a larger one"),
    "ResourceLimitExceeded": (Kind.QUOTA, _QUOTA),
    "ServiceQuotaExceededException": (Kind.QUOTA, _QUOTA),
    "SubnetIPAddressLimitReachedException": (Kind.QUOTA, "the function's subnet has no free address"),
    "ENILimitReachedException": (Kind.QUOTA, _QUOTA),
    # asked too often
    "RequestLimitExceeded": (Kind.THROTTLED, ""),
    "Throttling": (Kind.THROTTLED, ""),
    "ThrottlingException": (Kind.THROTTLED, ""),
    "ThrottledException": (Kind.THROTTLED, ""),
    "RequestThrottled": (Kind.THROTTLED, ""),
    "RequestThrottledException": (Kind.THROTTLED, ""),
    "TooManyRequestsException": (Kind.THROTTLED, ""),
    "SlowDown": (Kind.THROTTLED, ""),
    "ConcurrentInvocationLimitExceeded": (Kind.THROTTLED, ""),
    # who are you, and may you
    "AuthFailure": (Kind.DENIED, _KEYS),
    "InvalidClientTokenId": (Kind.DENIED, _KEYS),
    "UnrecognizedClientException": (Kind.DENIED, _KEYS),
    "SignatureDoesNotMatch": (Kind.DENIED, "the secret key is wrong, or the clock of this machine is"),
    "InvalidSignatureException": (Kind.DENIED, "the secret key is wrong, or the clock of this machine is"),
    "RequestExpired": (Kind.DENIED, "the clock of this machine is wrong, or the credentials have expired"),
    "IncompleteSignature": (Kind.DENIED, _KEYS),
    "MissingAuthenticationToken": (Kind.DENIED, _KEYS),
    "MissingAuthenticationTokenException": (Kind.DENIED, _KEYS),
    "ExpiredToken": (Kind.DENIED, _EXPIRED),
    "ExpiredTokenException": (Kind.DENIED, _EXPIRED),
    "UnauthorizedOperation": (Kind.DENIED, _POLICY),
    "AccessDenied": (Kind.DENIED, _POLICY),
    "AccessDeniedException": (Kind.DENIED, _POLICY),
    "OperationNotPermitted": (
        Kind.DENIED,
        "the machine is protected against being ended; that has to be taken off in the console",
    ),
    "OptInRequired": (Kind.DENIED, _OPT_IN),
    "SubscriptionRequiredException": (Kind.DENIED, _OPT_IN),
    "Blocked": (Kind.DENIED, "AWS has blocked the account: its support can say why"),
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        Kind.DENIED,
        "make the role that spot machines need once: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
    ),
    "PendingVerification": (
        Kind.DENIED,
        "AWS has yet to verify the account for this region; that takes up to four hours",
    ),
    # it does not exist there
    "Unsupported": (Kind.INVALID, ""),
    "UnsupportedOperation": (Kind.INVALID, ""),
    "InvalidInstanceType": (Kind.INVALID, ""),
    "InvalidAMIID.NotFound": (Kind.INVALID, _IMAGE),
    "InvalidAMIID.Malformed": (Kind.INVALID, _IMAGE),
    "InvalidAMIID.Unavailable": (Kind.INVALID, _IMAGE),
    "ParameterNotFound": (Kind.INVALID, _IMAGE),
    "InvalidSubnetID.NotFound": (Kind.INVALID, _NETWORK),
    "InvalidSubnetId.NotFound": (Kind.INVALID, _NETWORK),
    "InvalidVpcID.NotFound": (Kind.INVALID, _NETWORK),
    "InvalidGroup.NotFound": (Kind.INVALID, "set `security_group` under [providers.aws] to one that is there"),
    "InvalidGroupId.Malformed": (Kind.INVALID, "set `security_group` under [providers.aws] to one that is there"),
    "VPCIdNotSpecified": (Kind.INVALID, _NO_DEFAULT),
    "MissingInput": (Kind.INVALID, _NO_DEFAULT),
    "DefaultVpcDoesNotExist": (Kind.INVALID, _NO_DEFAULT),
    "ResourceNotFoundException": (Kind.INVALID, "there is no function of this name in that region"),
    "RequestTooLargeException": (Kind.INVALID, "a function takes a payload of at most 6 MB"),
    "InvalidRequestContentException": (Kind.INVALID, "the payload has to be JSON"),
    # the function is not ready, and was not run
    "ResourceConflictException": (Kind.THROTTLED, ""),
    "ResourceNotReadyException": (Kind.THROTTLED, ""),
    "SnapStartNotReadyException": (Kind.THROTTLED, ""),
}
"""What is certain by the code alone, whatever the status. The keys are the codes without `Client.` or `Server.` before them."""

SPENT = {"IdempotentParameterMismatch", "IdempotentInstanceTerminated"}
"""Something was made for this token, though not by this very request: only looking can tell. The orders of a server differ from those of
the one before it where it was upgraded or has other settings."""

_UNSURE = SPENT | {"ConcurrentModification"}

STALE = {"InvalidGroup.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSubnetID.NotFound"}
"""What was found once is there no longer: to be looked up anew."""


def raised_by_sdk() -> tuple[type[Exception], ...]:
    """What a call through the SDK raises, to be caught and translated. Imports it."""
    import aiohttp
    from botocore.exceptions import BotoCoreError, ClientError

    return (ClientError, BotoCoreError, aiohttp.ClientError, TimeoutError, OSError)


def translate(error: Exception, doing: str) -> AwsRefused | AwsUnsure:
    """What is to be raised instead. `doing` reads on from "AWS": `EC2 RunInstances in us-east-1`."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _answered(error.response, doing)
    return _unanswered(error, doing)


def _answered(response: Any, doing: str) -> AwsRefused | AwsUnsure:
    said = response.get("Error") or {}
    code = str(said.get("Code") or "")
    for side in ("Client.", "Server."):
        code = code.removeprefix(side)
    meta = response.get("ResponseMetadata") or {}
    status = int(meta.get("HTTPStatusCode") or 0)
    text = f"{doing}: {_sentence(str(said.get('Message') or ''), code, status)}"
    known = CODES.get(code)
    if code == "Unsupported" and "Availability Zone" in text:
        known = (Kind.CAPACITY, "")  # this zone has none of that type; the region may well have some elsewhere
    if known is not None:
        kind, hint = known
        return AwsRefused(kind, text, hint=hint, retry_after=_retry_after(meta), aws=code)
    if code in _UNSURE:
        return AwsUnsure(text, aws=code)
    if status == 429:
        return AwsRefused(Kind.THROTTLED, text, retry_after=_retry_after(meta), aws=code)
    if status in {401, 403}:
        return AwsRefused(Kind.DENIED, text, hint=_POLICY, aws=code)
    if 400 <= status < 500 and status != 408:
        return AwsRefused(Kind.INVALID, text, aws=code)
    # 3xx, 408, 5xx, and a 200 that carries an error: whoever stands in between may not know what happened behind it.
    return AwsUnsure(text, aws=code)


def _sentence(message: str, code: str, status: int) -> str:
    # An encoded authorization failure is a kilobyte of base64 that only `aws sts decode-authorization-message` can read.
    message = message.partition(" Encoded authorization failure message")[0].strip()[:1_000]
    if code and message:
        return f"{message} ({code})"
    return message or code or f"HTTP status {status}"


def _retry_after(meta: Any) -> float:
    given = str((meta.get("HTTPHeaders") or {}).get("retry-after") or "")
    return min(float(given), 3_600.0) if given.replace(".", "", 1).isdecimal() else 0.0


def _unanswered(error: Exception, doing: str) -> AwsRefused | AwsUnsure:
    from botocore import exceptions as sdk

    text = f"{doing}: {_plain(error)}"
    if isinstance(error, sdk.NoCredentialsError):
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
        return AwsRefused(Kind.DENIED, f"{doing}: no credentials were found", hint=hint)
    if isinstance(error, (sdk.PartialCredentialsError, sdk.CredentialRetrievalError, sdk.InvalidConfigError)):
        return AwsRefused(Kind.DENIED, text, hint=_KEYS)
    if isinstance(error, (sdk.SSOError, sdk.TokenRetrievalError, sdk.UnauthorizedSSOTokenError)):
        return AwsRefused(Kind.DENIED, text, hint=_EXPIRED)
    if isinstance(error, (sdk.ProfileNotFound, sdk.ConfigParseError, sdk.ConfigNotFound)):
        return AwsRefused(Kind.DENIED, text, hint="look at `profile` under [providers.aws] and at ~/.aws/config")
    if isinstance(
        error, (sdk.NoRegionError, sdk.InvalidRegionError, sdk.UnknownServiceError, sdk.ParamValidationError)
    ):
        return AwsRefused(Kind.INVALID, text)
    if _never_sent(error):
        return AwsRefused(Kind.UNREACHABLE, text, hint="look at the network, and at the name of the region")
    return AwsUnsure(text)


def _never_sent(error: Exception) -> bool:
    """Whether it is certain that no byte of the request reached AWS. The SDK calls a connection that was reset after sending an
    EndpointConnectionError too; only the error underneath tells them apart."""
    import socket

    import aiohttp
    from botocore import exceptions as sdk

    if isinstance(error, (sdk.ConnectTimeoutError, sdk.ProxyConnectionError, sdk.SSLError, sdk.EndpointProviderError)):
        return True
    cause = error.kwargs.get("error") if isinstance(error, sdk.BotoCoreError) else error
    return isinstance(cause, (aiohttp.ClientConnectorError, socket.gaierror, ConnectionRefusedError))


def _plain(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:500] if text else type(error).__name__
