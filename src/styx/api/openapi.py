"""The OpenAPI document, generated from the routes and the structs, so that it cannot say what is not so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from aiohttp import web

from styx.api import reply
from styx.api.release import release
from styx.api.shapes import DOCUMENT, PARAMETERS, SHAPES, SINGLE

__all__ = ["describe", "show"]

_REF = "#/components/schemas/{name}"


async def show(request: web.Request) -> web.Response:
    """This API, described."""
    return reply.json(describe())


@lru_cache(maxsize=1)
def describe() -> dict[str, Any]:
    """The document as plain data."""
    from styx.api.routes import ROUTES
    from styx.protocol.http import Created, ProblemDocument

    kinds = [kind for route in ROUTES for kind in (route.gives, route.takes) if kind is not None]
    kinds = [*dict.fromkeys([*kinds, ProblemDocument])]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind)
        if route.gives is Created:
            answer = paths[route.path][route.method.lower()]["responses"][str(route.status)]
            answer["links"] = _links(route.path, ROUTES)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Styx", "version": release()},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, **SHAPES},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Any, by_kind: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    from styx.protocol.http import Created

    one = by_kind.get(route.gives, {"type": "object"})
    whole = one
    if route.items:
        whole = {
            "type": "object",
            "required": ["items", "next"],
            "properties": {"items": {"type": "array", "items": one}, "next": {"type": ["string", "null"]}},
        }
    shapes = {
        "text/plain": {"type": "string"},
        "application/gzip": {"type": "string", "format": "binary"},
        "text/event-stream": _event(one),
        "application/json": whole,
    }
    answer: dict[str, Any] = {"description": "as asked"}
    if route.status not in {101, 204}:
        answer["content"] = {media: {"schema": shapes[media]} for media in route.media}
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(name="ProblemDocument")}}}
    doc = (route.handler.__doc__ or "").strip()
    operation: dict[str, Any] = {
        "operationId": _name(route),
        "summary": doc.partition("\n")[0],
        "x-roles": sorted(route.access.value - {""}),
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query), *_headers(route.creates)],
        "responses": {str(route.status): answer, "default": {"description": "what went wrong", "content": problem}},
    }
    if "" in route.access.value:
        operation["security"] = []
    if route.document:
        kinds = ("application/json", "application/yaml")
        shape = SINGLE if route.gives is Created and route.path.endswith("/tasks") else DOCUMENT
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": shape} for kind in kinds}}
    elif route.takes is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": by_kind[route.takes]}}}
    return operation


def _event(data: dict[str, Any]) -> dict[str, Any]:
    """One event of a stream. The last one is `end`, with nothing in it, or `problem`, with a ProblemDocument."""
    last = [{"$ref": _REF.format(name="ProblemDocument")}, {"type": "object", "maxProperties": 0}]
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": [data, *last]}}
    return {"type": "object", "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": text}}


def _name(route: Any) -> str:
    return f"{route.method.lower()}{re.sub(r'[^A-Za-z0-9]+', '_', route.path).rstrip('_')}"


def _links(path: str, routes: Iterable[Any]) -> dict[str, Any]:
    """What may be asked about a thing that was created there."""
    ident = "$response.body#/task_id" if path.endswith("/tasks") else "$response.body#/job_id"
    about = [route for route in routes if route.path.startswith(path + "/{ref}")]
    return {_name(route): {"operationId": _name(route), "parameters": {"ref": ident}} for route in about}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(kind: Any) -> list[dict[str, Any]]:
    if kind is None:
        return []
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": PARAMETERS.get(name, one)}
        for name, one in schema["properties"].items()
    ]


def _headers(creates: bool) -> list[dict[str, Any]]:
    if not creates:
        return []
    return [
        {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 200}}
    ]
