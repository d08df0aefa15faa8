"""Answers: structs as JSON, pages, and where created things are."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from aiohttp import web

from styx.protocol.http import Created
from styx.protocol.verbs import Verbs

__all__ = ["PLANE", "created", "json", "page", "plane"]

PLANE: web.AppKey[Verbs] = web.AppKey("plane", Verbs)

_encoder = msgspec.json.Encoder()


def plane(request: web.Request) -> Verbs:
    return request.app[PLANE]


def json(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json", headers=headers)


def page(found: tuple[Sequence[object], str]) -> web.Response:
    """One page of a list: `next` is null at its end."""
    items, cursor = found
    return json({"items": items, "next": cursor or None})


def created(answer: Created) -> web.Response:
    """201, and where to look for it from now on. A repeated request (Idempotency-Key) gets the same answer again."""
    where = f"tasks/{quote(answer.task_id)}" if answer.task_id else f"jobs/{quote(answer.job_id)}"
    return json(answer, status=201, headers={"Location": f"/api/v1/{where}"})
