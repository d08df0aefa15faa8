"""What the API server means by an error, in one place.

401, 403   the credentials; a 403 that names a quota is QUOTA, one by a rule about the object itself (limit ranges, pod security,
           a webhook) is INVALID as is 400 and 422
404        the namespace is not there (of a pod, the caller asks for 404 by name)
409        somebody else wrote at the same moment: again
410        the place in the history is gone: list again
429        asked too often; Retry-After says when
5xx        of what changes something nobody knows whether it happened
no answer  nothing was sent when no connection came about, else nobody knows
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from styx.errors import StyxError
from styx.providers.base import Kind, Refused, Unsure
from styx.providers.kubernetes.objects import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Absent", "Gone", "translated", "unconnected"]

RBAC = "see docs/providers/kubernetes.md for the rights it needs"


class Gone(StyxError):
    """410: what was asked from is no longer in the history."""


class Absent(Refused):
    """404."""


def translated(where: str, status: int, body: bytes, headers: Mapping[str, str]) -> StyxError:
    """The error of an answer that is none of 2xx: Refused, Unsure or Gone."""
    said = _said(body)
    words = said.message or f"it answers {status}"
    if status == 401:
        return Refused(Kind.DENIED, f"{where}: the credentials are not accepted ({words})", hint="log in again")
    if status == 403:
        return _forbidden(where, words)
    if status == 404:
        return Absent(Kind.DENIED, f"{where}: {words}", hint="look at `contexts` in the settings")
    if status == 410 or said.code == 410:
        return Gone(f"{where}: {words}")
    if status == 409:
        return Refused(Kind.THROTTLED, f"{where}: {words}")
    if status == 429:
        return Refused(Kind.THROTTLED, f"{where}: it is asked too often", retry_after=_retry_after(said, headers))
    if status >= 500:
        return Unsure(f"{where}: it failed with {status} ({words})")
    return Refused(Kind.INVALID, f"{where}: {words}")


def _forbidden(where: str, words: str) -> Refused:
    if "exceeded quota" in words:
        return Refused(Kind.QUOTA, f"{where}: {words}")
    if "cannot" in words and "resource" in words:
        return Refused(Kind.DENIED, f"{where}: {words}", hint=RBAC)
    if "being terminated" in words:
        return Refused(Kind.DENIED, f"{where}: {words}")
    return Refused(Kind.INVALID, f"{where}: {words}")


def _said(body: bytes) -> Status:
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Status(message=body[:300].decode(errors="replace").strip())


def _retry_after(said: Status, headers: Mapping[str, str]) -> float:
    if said.details is not None and said.details.retry_after_seconds > 0:
        return float(said.details.retry_after_seconds)
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 1.0


def unconnected(where: str, error: Exception) -> Refused:
    """No connection came about."""
    said = str(error) or type(error).__name__
    certificate = "certificate" in said.lower()
    hint = (
        "the kubeconfig's certificate authority is another" if certificate else "look at the network and the kubeconfig"
    )
    return Refused(Kind.UNREACHABLE, f"{where}: it cannot be reached ({said})", hint=hint)
