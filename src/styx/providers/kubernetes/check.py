"""Whether each place can be used, as whom, and what is missing. The cluster is asked what it thinks we may do (SelfSubjectAccessReview);
nothing is made. All is asked side by side.
"""

from __future__ import annotations

import asyncio

import msgspec

from styx.providers.base import Check, Refused, Unsure
from styx.providers.kubernetes.api import Cluster
from styx.providers.kubernetes.errors import RBAC
from styx.providers.kubernetes.settings import Place

__all__ = ["LIMIT", "NEEDED", "check"]

LIMIT = 2.7  # seconds; the contract is three
NEEDED = (
    ("pods", "", ("create", "get", "list", "watch", "delete", "patch")),
    ("pods", "log", ("get",)),
    ("secrets", "", ("create", "list")),
)
_API = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class _Status(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _Self(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _User = _User()


class _SelfReview(msgspec.Struct, frozen=True):
    status: _Self = _Self()


async def check(places: list[tuple[Cluster, Place]]) -> Check:
    asked = [asyncio.ensure_future(_place(cluster, place)) for cluster, place in places]
    _, late = await asyncio.wait(asked, timeout=LIMIT)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    identities: list[str] = []
    problems: list[str] = []
    hints: list[str] = []
    for task, (_, place) in zip(asked, places, strict=True):
        if task in late:
            problems.append(f"{place.name}: no answer within {LIMIT:g} seconds")
            hints.append("look at the network")
            continue
        error = task.exception()
        if isinstance(error, (Refused, Unsure)):
            problems.append(error.message)
            hints.append(error.hint)
        elif error is not None:
            raise error
        else:
            who, missing = task.result()
            identities.append(f"{who} in {place.context}" if who else place.context)
            if missing:
                problems.append(f"{place.name}: it may not {', '.join(missing)}")
                hints.append(RBAC)
    usable = len(problems) < len(places)
    return Check(
        usable, ", ".join(dict.fromkeys(identities)), tuple(problems), tuple(dict.fromkeys(filter(None, hints)))
    )


async def _place(cluster: Cluster, place: Place) -> tuple[str, list[str]]:
    """As whom, and what may not be done there."""
    await cluster.call("GET", "/version", limit=LIMIT)  # of all that can be wrong, first whether anybody is there
    rights = [(kind, part, verb) for kind, part, verbs in NEEDED for verb in verbs]
    who, *may = await asyncio.gather(_who(cluster), *(_may(cluster, place, *right) for right in rights))
    missing = [
        f"{verb} {kind}{f'/{part}' if part else ''}"
        for (kind, part, verb), allowed in zip(rights, may, strict=True)
        if not allowed
    ]
    return str(who), missing


async def _may(cluster: Cluster, place: Place, kind: str, part: str, verb: str) -> bool:
    wanted = {"namespace": place.namespace, "verb": verb, "resource": kind, **({"subresource": part} if part else {})}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": wanted},
    }
    return (await cluster.call("POST", _API, body=body)).read(_Review).status.allowed


async def _who(cluster: Cluster) -> str:
    """ "" where the cluster does not say (before 1.28)."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await cluster.call("POST", _WHO, body=body, allow=(403, 404))
    return answer.read(_SelfReview).status.user_info.username if answer.status < 300 else ""
