"""What Google means by an error: one table, by its reason first and by the HTTP status where the reason is not known.

An error comes in two ways: as the answer to a request (`error.errors[].reason`, and `error.details[].reason` of newer services), or
as what an operation has come to that was accepted before (`error.errors[].code`). Both speak of the same things in two spellings
(`quotaExceeded`, `QUOTA_EXCEEDED`), so the table is looked up without case and underscores.

Two questions decide. Could anything have been created? A 5xx, a time that was over after sending and a connection that broke leave
that open: Unsure. What never left this machine (no such host, refused) is Refused. And what is to be done about it? That is the Kind.

Reasons are those of "Troubleshooting resource availability errors", "API error messages" and google.api.ErrorReason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from styx.providers.base import Kind, Refused, Unsure

__all__ = ["CODES", "GcpRefused", "GcpUnsure", "answered", "came_to", "raised_by_http", "unanswered"]


class GcpRefused(Refused):
    """With the reason that Google gave, "" for none, and the HTTP status, 0 for none. `over`: it was accepted at first, and is what an
    operation has come to."""

    over = False

    def __init__(
        self, kind: Kind, message: str, *, hint: str = "", retry_after: float = 0.0, reason: str = "", status: int = 0
    ) -> None:
        super().__init__(kind, message, hint=hint, retry_after=retry_after)
        self.reason = reason
        self.status = status


class GcpUnsure(Unsure):
    """See GcpRefused. `over`: the operation has ended, so what it was to make is there by now or never will be."""

    over = False

    def __init__(self, message: str, *, hint: str = "", reason: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.status = status


_QUOTA = "ask for more under IAM & Admin > Quotas in the console, or use another region"
_LOGIN = "look at the key file, or run `gcloud auth application-default login`"
_ROLE = "the role that Styx needs is in docs/providers/gcp.md"
_ENABLE = "run `gcloud services enable compute.googleapis.com`, and wait a minute"
_BILLING = "link a billing account to the project in the console"
_ADDRESSES = "the subnetwork has no free address: use a larger one"

CODES: dict[str, tuple[Kind, str, float]] = {
    # it has none of these left in this zone
    "ZONE_RESOURCE_POOL_EXHAUSTED": (Kind.CAPACITY, "", 0),
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": (Kind.CAPACITY, "", 0),
    "RESOURCE_POOL_EXHAUSTED": (Kind.CAPACITY, "", 0),
    "STOCKOUT": (Kind.CAPACITY, "", 0),
    "VM_MIN_COUNT_NOT_REACHED": (Kind.CAPACITY, "", 0),
    # this project may have no more
    "QUOTA_EXCEEDED": (Kind.QUOTA, _QUOTA, 0),
    "LIMIT_EXCEEDED": (Kind.QUOTA, _QUOTA, 0),
    "IP_SPACE_EXHAUSTED": (Kind.QUOTA, _ADDRESSES, 0),
    "IP_SPACE_EXHAUSTED_WITH_DETAILS": (Kind.QUOTA, _ADDRESSES, 0),
    # asked too often
    "RATE_LIMIT_EXCEEDED": (Kind.THROTTLED, "", 0),
    "USER_RATE_LIMIT_EXCEEDED": (Kind.THROTTLED, "", 0),
    "CONCURRENT_LIMIT_EXCEEDED": (Kind.THROTTLED, "", 0),
    "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED": (Kind.THROTTLED, "", 10),
    "RESOURCE_OPERATION_RATE_EXCEEDED": (Kind.THROTTLED, "", 10),
    "OPERATION_RATE_EXCEEDED": (Kind.THROTTLED, "", 10),
    "DAILY_LIMIT_EXCEEDED": (Kind.THROTTLED, "the project's requests for today are used up", 3_600),
    # another operation on the same machine goes on; the same call is right once that has ended
    "RESOURCE_NOT_READY": (Kind.THROTTLED, "", 5),
    "RESOURCE_BEING_USED": (Kind.THROTTLED, "", 5),
    # who are you, and may you
    "AUTH_ERROR": (Kind.DENIED, _LOGIN, 0),
    "ACCESS_TOKEN_EXPIRED": (Kind.DENIED, _LOGIN, 0),
    "CREDENTIALS_MISSING": (Kind.DENIED, _LOGIN, 0),
    "ACCOUNT_STATE_INVALID": (Kind.DENIED, "the service account is disabled, or was deleted", 0),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (Kind.DENIED, "the machine's own account lacks the scope cloud-platform", 0),
    "FORBIDDEN": (Kind.DENIED, _ROLE, 0),
    "INSUFFICIENT_PERMISSIONS": (Kind.DENIED, _ROLE, 0),
    "PERMISSION_DENIED": (Kind.DENIED, _ROLE, 0),
    "PERMISSIONS_ERROR": (Kind.DENIED, _ROLE, 0),
    "IAM_PERMISSION_DENIED": (Kind.DENIED, _ROLE, 0),
    "ACCESS_NOT_CONFIGURED": (Kind.DENIED, _ENABLE, 0),
    "SERVICE_DISABLED": (Kind.DENIED, _ENABLE, 0),
    "BILLING_DISABLED": (Kind.DENIED, _BILLING, 0),
    "BILLING_NOT_ENABLED": (Kind.DENIED, _BILLING, 0),
    "CONSUMER_SUSPENDED": (Kind.DENIED, "Google has suspended the project: its support can say why", 0),
    "CONSUMER_INVALID": (Kind.DENIED, "set `project` under [providers.gcp] to the id of one that is there", 0),
    "USER_PROJECT_DENIED": (Kind.DENIED, _ROLE, 0),
    "ORG_POLICY_VIOLATED": (Kind.DENIED, "a policy of the organization forbids it", 0),
    # it does not exist there
    "NOT_FOUND": (Kind.INVALID, "", 0),
    "RESOURCE_NOT_FOUND": (Kind.INVALID, "", 0),
    "INVALID": (Kind.INVALID, "", 0),
    "BAD_REQUEST": (Kind.INVALID, "", 0),
    "INVALID_USAGE": (Kind.INVALID, "", 0),
    "UNSUPPORTED_OPERATION": (Kind.INVALID, "", 0),
}
"""What is certain by the reason alone, whatever the status: the kind, what would help, and seconds to wait if Google does not say."""


def _key(reason: str) -> str:
    return reason.replace("_", "").lower()


_BY_KEY = {_key(code): meaning for code, meaning in CODES.items()}
_MISSING = {
    "/instances/": "",
    "/machineTypes/": "the zone does not have this machine type",
    "/acceleratorTypes/": "the zone does not have this accelerator",
    "/images/": "set `images` under [providers.gcp] to images that are there",
    "/networks/": "set `network` under [providers.gcp] to one that is there",
    "/subnetworks/": "set `subnetworks` under [providers.gcp] to those that are there",
    "/zones/": "set `zones` under [providers.gcp] to zones that are there",
    "'projects/": "set `project` under [providers.gcp] to the id of one that is there",
}
"""What a 404 is about stands in its message alone, as the path of what is missing; the first that is in it counts."""


def answered(status: int, body: Mapping[str, Any], doing: str, retry_after: str = "") -> GcpRefused | GcpUnsure:
    """Of an answer that is no success. `doing` reads on from "Google": `Compute instances.insert in europe-west4-a`."""
    error = body.get("error")
    error = error if isinstance(error, Mapping) else {}
    message = str(error.get("message") or "").strip()
    reasons = list(_reasons(error))
    return _told(status, reasons, message, doing, _seconds(retry_after))


def came_to(error: Mapping[str, Any], status: int, doing: str) -> GcpRefused | GcpUnsure:
    """Of an operation that has ended with an error; `status` is what the request would have been answered with at once."""
    faults = [fault for fault in error.get("errors") or [] if isinstance(fault, Mapping)]
    reasons = [str(fault.get("code") or "") for fault in faults]
    message = "; ".join(dict.fromkeys(str(fault.get("message") or "") for fault in faults if fault.get("message")))
    told = _told(status, reasons, message, doing, 0.0)
    told.over = True
    return told


def _reasons(error: Mapping[str, Any]) -> Iterator[str]:
    """The most precise first."""
    for detail in error.get("details") or []:
        if isinstance(detail, Mapping) and detail.get("reason"):
            yield str(detail["reason"])
    for fault in error.get("errors") or []:
        if isinstance(fault, Mapping) and fault.get("reason"):
            yield str(fault["reason"])


def _told(status: int, reasons: list[str], message: str, doing: str, wait: float) -> GcpRefused | GcpUnsure:
    known = next((reason for reason in reasons if _key(reason) in _BY_KEY), "")
    reason = known or next(iter(reasons), "")
    text = f"{doing}: {_sentence(message, reason, status)}"
    if known and status not in {401, 404} and not (status == 412 and _key(known) != _key("ORG_POLICY_VIOLATED")):
        kind, hint, usual = _BY_KEY[_key(known)]
        return GcpRefused(kind, text, hint=hint, retry_after=wait or usual, reason=reason, status=status)
    if status == 401:
        return GcpRefused(Kind.DENIED, text, hint=_LOGIN, reason=reason, status=status)
    if status == 403:
        return GcpRefused(Kind.DENIED, text, hint=_ROLE, reason=reason, status=status)
    if status == 404:
        hint = next((hint for path, hint in _MISSING.items() if path in message), "")
        return GcpRefused(Kind.INVALID, text, hint=hint, reason=reason, status=status)
    if status == 412 and "constraints/" in message:
        hint = "a policy of the organization forbids it"
        return GcpRefused(Kind.DENIED, text, hint=hint, reason=reason, status=status)
    if status == 429:
        return GcpRefused(Kind.THROTTLED, text, retry_after=wait, reason=reason, status=status)
    if 400 <= status < 500 and status != 408:
        return GcpRefused(Kind.INVALID, text, reason=reason, status=status)
    # 3xx, 408, 5xx: whoever stands in between may not know what happened behind it.
    return GcpUnsure(text, reason=reason, status=status)


def _sentence(message: str, reason: str, status: int) -> str:
    message = " ".join(message.split())[:1_000]
    if reason and message:
        return f"{message} ({reason})"
    return message or reason or f"HTTP status {status}"


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), 3_600.0) if retry_after.replace(".", "", 1).isdecimal() else 0.0


def raised_by_http() -> tuple[type[Exception], ...]:
    """What a request over aiohttp raises, to be caught and translated."""
    import aiohttp

    return (aiohttp.ClientError, TimeoutError, OSError, ValueError)


def unanswered(error: Exception, doing: str) -> GcpRefused | GcpUnsure:
    """Of a request that got no answer, or half of one."""
    import aiohttp

    text = f"{doing}: {_plain(error)}"
    # Only these are raised before the first byte is sent; a reset connection is a ClientOSError like the first of them.
    before = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
    )
    if isinstance(error, before):
        return GcpRefused(Kind.UNREACHABLE, text, hint="look at the network, and at the proxy if there is one")
    return GcpUnsure(text)


def _plain(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:500] if text else type(error).__name__
