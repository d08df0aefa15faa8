"""Loaded by schemathesis: what is made up is led to things that are there, and kept away from the token that it runs with.

Half of the references name something that exists, else nearly every request would end at "there is no such job". Most keys of
idempotency are left out, else all but the first of many bodies would be a conflict. Arrays are short, since a server that is busy with ten million elements answers slowly and proves nothing. A copy of the database is written
only into the folder of this run.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis

KNOWN = os.environ["FUZZ_KNOWN"].split(",")
FOLDER = os.environ["FUZZ_FOLDER"]
SHORT = 20  # elements of an array


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    if path_parameters and isinstance(path_parameters.get("ref"), str):
        number = sum(path_parameters["ref"].encode(errors="replace"))
        if number % 2:
            path_parameters["ref"] = KNOWN[number // 2 % len(KNOWN)]
    if path_parameters and str(path_parameters.get("id")).lstrip("0") in {"1", "2"}:
        path_parameters["id"] = "3"
    return path_parameters


@schemathesis.hook
def map_headers(context: Any, headers: dict[str, Any] | None) -> dict[str, Any] | None:
    key = (headers or {}).get("Idempotency-Key")
    if headers and isinstance(key, str) and sum(key.encode(errors="replace")) % 4:
        del headers["Idempotency-Key"]
    return headers


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    _shorten(body)
    if isinstance(body, dict) and isinstance(body.get("path"), str):
        body["path"] = f"{FOLDER}/{body['path'].replace('/', '_')}"
    return body


def _shorten(value: Any) -> None:
    if isinstance(value, dict):
        array = value.get("array")
        if isinstance(array, int) and array > SHORT:
            value["array"] = SHORT
        for part in value.values():
            _shorten(part)
    elif isinstance(value, list):
        for part in value:
            _shorten(part)
