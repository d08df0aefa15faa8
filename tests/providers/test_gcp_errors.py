"""What Google's errors mean: the table, and what stands beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from styx.providers.base import Kind, Refused, Unsure
from styx.providers.gcp.errors import CODES, answered, came_to, unanswered


def answer(status: int, reason: str = "", message: str = "it says why", detail: str = "") -> dict[str, Any]:
    """An error as Google answers it."""
    error: dict[str, Any] = {"code": status, "message": message, "errors": [{"reason": reason, "domain": "global"}]}
    if detail:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": detail}]
    return {"error": error}


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "quotaExceeded", Kind.QUOTA),
        (403, "limitExceeded", Kind.QUOTA),
        (403, "rateLimitExceeded", Kind.THROTTLED),
        (403, "userRateLimitExceeded", Kind.THROTTLED),
        (403, "dailyLimitExceeded", Kind.THROTTLED),
        (429, "rateLimitExceeded", Kind.THROTTLED),
        (429, "", Kind.THROTTLED),
        (503, "ZONE_RESOURCE_POOL_EXHAUSTED", Kind.CAPACITY),
        (401, "authError", Kind.DENIED),
        (401, "required", Kind.DENIED),
        (403, "forbidden", Kind.DENIED),
        (403, "accessNotConfigured", Kind.DENIED),
        (403, "", Kind.DENIED),
        (404, "notFound", Kind.INVALID),
        (400, "invalid", Kind.INVALID),
        (400, "required", Kind.INVALID),
        (400, "resourceNotReady", Kind.THROTTLED),
        (409, "alreadyExists", Kind.INVALID),
        (412, "conditionNotMet", Kind.INVALID),
        (413, "uploadTooLarge", Kind.INVALID),
    ],
)
def test_a_no_is_told_by_its_reason_first(status: int, reason: str, kind: Kind) -> None:
    error = answered(status, answer(status, reason), "Compute Engine, instances.insert")
    assert isinstance(error, Refused)
    assert error.kind is kind
    assert "it says why" in error.message
    assert error.message.startswith("Compute Engine, instances.insert: ")
    assert not error.over


@pytest.mark.parametrize("status", [302, 408, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [{}, answer(500, "backendError"), {"error": "odd"}, {"error": {"errors": ["odd"]}}])
def test_what_a_gateway_or_a_fault_of_googles_says_leaves_it_open(status: int, body: dict[str, Any]) -> None:
    assert isinstance(answered(status, body, "x"), Unsure)


def test_newer_services_say_it_more_precisely() -> None:
    disabled = answered(403, answer(403, "forbidden", detail="SERVICE_DISABLED"), "x")
    assert isinstance(disabled, Refused)
    assert (disabled.kind, disabled.reason) == (Kind.DENIED, "SERVICE_DISABLED")
    assert "gcloud services enable" in disabled.hint
    limited = answered(429, answer(429, "", detail="RATE_LIMIT_EXCEEDED"), "x", "12")
    assert isinstance(limited, Refused)
    assert (limited.kind, limited.retry_after) == (Kind.THROTTLED, 12)
    unknown = answered(403, answer(403, "", detail="SOMETHING_NEW"), "x")
    assert isinstance(unknown, Refused)
    assert unknown.reason == "SOMETHING_NEW"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("The resource 'projects/p/zones/z/machineTypes/n9' was not found", "machine type"),
        ("The resource 'projects/p/zones/z/acceleratorTypes/nvidia-x' was not found", "accelerator"),
        ("The resource 'projects/debian-cloud/global/images/family/debian-3' was not found", "`images`"),
        ("The resource 'projects/p/global/networks/n' was not found", "`network`"),
        ("The resource 'projects/p/regions/r/subnetworks/s' was not found", "`subnetworks`"),
        ("The resource 'projects/p/zones/nowhere' was not found", "`zones`"),
        ("The resource 'projects/nobodys' was not found", "`project`"),
        ("The resource 'projects/p/zones/z/instances/i' was not found", ""),
    ],
)
def test_a_404_says_what_to_set(message: str, words: str) -> None:
    error = answered(404, answer(404, "notFound", message), "x")
    assert isinstance(error, Refused)
    assert words in error.hint if words else not error.hint


def test_an_organizations_policy_is_a_denial() -> None:
    said = answer(412, "conditionNotMet", "Constraint constraints/compute.vmExternalIpAccess violated for project p.")
    error = answered(412, said, "x")
    assert isinstance(error, Refused)
    assert error.kind is Kind.DENIED
    assert "policy" in error.hint


def test_an_operation_may_have_several_errors_and_no_status() -> None:
    faults = [{"code": "NEW_ONE", "message": "a"}, {"code": "QUOTA_EXCEEDED", "message": "b"}, {"message": "a"}]
    error = came_to({"errors": faults}, 0, "x")
    assert isinstance(error, Refused)
    assert (error.kind, error.over) == (Kind.QUOTA, True)
    assert "a; b" in error.message
    odd = came_to({"errors": [{"code": "INTERNAL_ERROR", "message": "oops"}]}, 0, "x")
    assert isinstance(odd, Unsure)
    assert odd.over


def test_the_table_knows_each_reason_once_in_either_spelling() -> None:
    keys = [code.replace("_", "").lower() for code in CODES]
    assert len(set(keys)) == len(keys)


def test_a_message_is_one_line_and_not_endless() -> None:
    error = answered(400, answer(400, "invalid", "a\nb " + "c" * 9_000), "x")
    assert "\n" not in error.message
    assert len(error.message) < 1_100


@pytest.mark.parametrize(("after", "seconds"), [("7", 7.0), ("", 0.0), ("Wed, 21 Oct", 0.0), ("99999", 3_600.0)])
def test_how_long_to_wait_is_taken_from_a_number_alone(after: str, seconds: float) -> None:
    error = answered(429, {}, "x", after)
    assert isinstance(error, Refused)
    assert error.retry_after == seconds


def test_only_what_never_left_is_unreachable() -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError) as refused:
                await session.get("http://127.0.0.1:1/")
            with pytest.raises(aiohttp.InvalidURL) as invalid:
                await session.get("nowhere")
        for error in (refused.value, invalid.value, aiohttp.ConnectionTimeoutError()):
            told = unanswered(error, "x")
            assert isinstance(told, Refused)
            assert told.kind is Kind.UNREACHABLE
        for late in (
            aiohttp.ServerDisconnectedError(),
            aiohttp.ClientPayloadError("half"),
            aiohttp.SocketTimeoutError(),
            ConnectionResetError(),
            TimeoutError(),
            ValueError("no JSON"),
        ):
            assert isinstance(unanswered(late, "x"), Unsure)
            assert unanswered(late, "x").message.strip(": ") != "x"

    asyncio.run(scenario())
