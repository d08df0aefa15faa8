"""What AWS means by an error: the table, and what is not in it."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as sdk
from hypothesis import given
from hypothesis import strategies as st

from styx.providers.aws.errors import CODES, raised_by_sdk, translate
from styx.providers.base import Kind, Refused, Unsure

DOING = "EC2 RunInstances in us-east-1"


def answered(code: str, status: int, message: str = "no", headers: dict[str, str] | None = None) -> sdk.ClientError:
    meta: dict[str, Any] = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    return sdk.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}, "RunInstances")


def refused(error: Exception) -> Refused:
    translated = translate(error, DOING)
    assert isinstance(translated, Refused)
    return translated


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InsufficientInstanceCapacity", 500, Kind.CAPACITY),
        ("Server.InsufficientInstanceCapacity", 500, Kind.CAPACITY),
        ("SpotMaxPriceTooLow", 400, Kind.CAPACITY),
        ("InsufficientHostCapacity", 500, Kind.CAPACITY),
        ("InstanceLimitExceeded", 400, Kind.QUOTA),
        ("VcpuLimitExceeded", 400, Kind.QUOTA),
        ("MaxSpotInstanceCountExceeded", 400, Kind.QUOTA),
        ("RequestLimitExceeded", 503, Kind.THROTTLED),
        ("Client.RequestLimitExceeded", 503, Kind.THROTTLED),
        ("Throttling", 400, Kind.THROTTLED),
        ("TooManyRequestsException", 429, Kind.THROTTLED),
        ("SomethingNew", 429, Kind.THROTTLED),
        ("UnauthorizedOperation", 403, Kind.DENIED),
        ("AuthFailure", 401, Kind.DENIED),
        ("ExpiredToken", 403, Kind.DENIED),
        ("ExpiredTokenException", 400, Kind.DENIED),
        ("InvalidClientTokenId", 403, Kind.DENIED),
        ("OptInRequired", 401, Kind.DENIED),
        ("PendingVerification", 400, Kind.DENIED),
        ("SomethingNew", 403, Kind.DENIED),
        ("Unsupported", 400, Kind.INVALID),
        ("InvalidAMIID.NotFound", 400, Kind.INVALID),
        ("InvalidSubnetID.NotFound", 400, Kind.INVALID),
        ("InvalidParameterValue", 400, Kind.INVALID),
        ("SomethingNew", 400, Kind.INVALID),
    ],
)
def test_a_certain_no(code: str, status: int, kind: Kind) -> None:
    error = refused(answered(code, status))
    assert error.kind is kind
    assert error.message.startswith(DOING)
    assert code.rpartition(".")[2] in error.message or code in error.message


@pytest.mark.parametrize("code", ["IdempotentParameterMismatch", "IdempotentInstanceTerminated"])
def test_a_token_that_is_spent(code: str) -> None:
    error = translate(answered(code, 400), DOING)
    assert isinstance(error, Unsure)
    assert error.spent
    other = translate(answered("InternalError", 500), DOING)
    assert isinstance(other, Unsure)
    assert not other.spent


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InternalError", 500),
        ("InternalFailure", 500),
        ("Unavailable", 503),
        ("ServiceUnavailable", 503),
        ("502", 502),
        ("", 504),
        ("RequestTimeout", 408),
        ("IdempotentParameterMismatch", 400),
        ("SomethingNew", 500),
        ("", 200),
        ("", 301),
        ("", 0),
    ],
)
def test_a_doubt(code: str, status: int) -> None:
    assert isinstance(translate(answered(code, status), DOING), Unsure)


def endpoint(cause: Exception) -> Exception:
    return sdk.EndpointConnectionError(endpoint_url="https://ec2", error=cause)


def connector() -> aiohttp.ClientConnectorError:
    from aiohttp.client_reqrep import ConnectionKey

    key = ConnectionKey("ec2", 443, True, True, None, None, None)
    return aiohttp.ClientConnectorError(key, OSError(111, "Connect call failed"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (endpoint(connector()), Kind.UNREACHABLE),
        (endpoint(socket.gaierror(-2, "Name or service not known")), Kind.UNREACHABLE),
        (sdk.ConnectTimeoutError(endpoint_url="https://ec2"), Kind.UNREACHABLE),
        (sdk.SSLError(endpoint_url="https://ec2", error="certificate verify failed"), Kind.UNREACHABLE),
        (sdk.ProxyConnectionError(proxy_url="http://proxy"), Kind.UNREACHABLE),
        (sdk.NoCredentialsError(), Kind.DENIED),
        (sdk.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), Kind.DENIED),
        (sdk.CredentialRetrievalError(provider="process", error_msg="exit 1"), Kind.DENIED),
        (sdk.TokenRetrievalError(provider="sso", error_msg="Token has expired"), Kind.DENIED),
        (sdk.SSOTokenLoadError(error_msg="no token"), Kind.DENIED),
        (sdk.ProfileNotFound(profile="work"), Kind.DENIED),
        (sdk.NoRegionError(), Kind.INVALID),
        (sdk.ParamValidationError(report="bad"), Kind.INVALID),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_was_never_sent_created_nothing(error: Exception, kind: Kind) -> None:
    assert isinstance(error, raised_by_sdk())
    said = refused(error)
    assert said.kind is kind
    assert said.hint or kind is Kind.INVALID
    assert "\n" not in said.message


@pytest.mark.parametrize(
    "error",
    [
        endpoint(aiohttp.ClientOSError(104, "Connection reset by peer")),  # after sending, and named as if before
        sdk.ConnectionClosedError(endpoint_url="https://ec2"),
        sdk.ReadTimeoutError(endpoint_url="https://ec2"),
        sdk.HTTPClientError(error="odd"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError("cut"),
        TimeoutError(),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_broke_after_sending_is_a_doubt(error: Exception) -> None:
    assert isinstance(error, raised_by_sdk())
    translated = translate(error, DOING)
    assert isinstance(translated, Unsure)
    assert translated.message.startswith(DOING)


def test_when_to_ask_again_is_passed_on() -> None:
    assert refused(answered("Throttling", 400, headers={"retry-after": "12"})).retry_after == 12
    assert refused(answered("Throttling", 400, headers={"retry-after": "soon"})).retry_after == 0
    assert refused(answered("Throttling", 400)).retry_after == 0


def test_a_type_that_one_zone_does_not_have_is_a_matter_of_that_zone() -> None:
    text = (
        "Your requested instance type (p5.48xlarge) is not supported in your requested Availability Zone (us-east-1a)."
    )
    assert refused(answered("Unsupported", 400, text)).kind is Kind.CAPACITY
    assert refused(answered("Unsupported", 400, "The operation is not supported.")).kind is Kind.INVALID


def test_an_encoded_message_is_left_out() -> None:
    text = "You are not authorized to perform this operation. Encoded authorization failure message: " + "QUJD" * 400
    said = refused(answered("UnauthorizedOperation", 403, text))
    assert "QUJD" not in said.message
    assert "aws.md" in said.hint


@given(st.one_of(st.sampled_from(sorted(CODES)), st.text(max_size=40)), st.integers(0, 599), st.text(max_size=50))
def test_every_answer_is_one_of_the_two(code: str, status: int, message: str) -> None:
    """And nothing that may have been carried out is ever called a refusal, unless AWS says so by a code that is known."""
    said = translate(answered(code, status, message), DOING)
    plain = code.removeprefix("Client.").removeprefix("Server.")
    if plain not in CODES and (status >= 500 or status < 400):
        assert isinstance(said, Unsure)
    if plain in CODES:
        assert isinstance(said, Refused)
    assert said.message
