"""Google's own description of its APIs, as `google-api-python-client` carries it, to hold requests and answers against.

A method is found by its verb and path; every parameter, body and answer is then looked at member by member: unknown names, types,
formats, enumerations, patterns, and what a method requires. What Google marks as output only may not be sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

_INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


class Method:
    def __init__(self, said: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
        self.id: str = said["id"]
        self.verb: str = said["httpMethod"]
        self.parameters: dict[str, Any] = {**shared, **said.get("parameters", {})}
        self.request: str = said.get("request", {}).get("$ref", "")
        self.response: str = said.get("response", {}).get("$ref", "")
        self.path: str = said["path"]
        self._parts = self.path.split("/")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Of a path with `{+name}`, which may hold slashes; of what form it is says the parameter."""
        made = ""
        for text, name in re.findall(r"([^{]+)|\{\+?([a-zA-Z]+)\}", self.path):
            form = str(self.parameters[name].get("pattern", "[^/]+")).strip("^$") if name else ""
            made += f"(?P<{name}>{form})" if name else re.escape(text)
        return re.compile(made)

    def match(self, path: str) -> dict[str, str] | None:
        """The variables in a path; None if it is not this method's."""
        if "{+" in self.path:
            matched = self._pattern.fullmatch(path)
            return matched.groupdict() if matched else None
        given = path.split("/")
        found: dict[str, str] = {}
        for wanted, part in zip(self._parts, given, strict=False):
            if wanted.startswith("{"):
                found[wanted.strip("{}")] = part
            elif wanted != part:
                return None
        return found if all(found.values()) and len(given) == len(self._parts) else None


class Discovery:
    def __init__(self, name: str) -> None:
        text = files("googleapiclient").joinpath(f"discovery_cache/documents/{name}.json").read_text(encoding="utf-8")
        self.document: dict[str, Any] = json.loads(text)
        self._schemas: dict[str, Any] = self.document["schemas"]
        self._methods: dict[tuple[str, int], list[Method]] = {}
        for method in self._walk(self.document):
            self._methods.setdefault((method.verb, method.path.count("/")), []).append(method)

    def _walk(self, part: Mapping[str, Any]) -> Iterable[Method]:
        for said in part.get("methods", {}).values():
            yield Method(said, self.document["parameters"])
        for below in part.get("resources", {}).values():
            yield from self._walk(below)

    def find(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method that a path (below the service's own) belongs to, and the variables in it."""
        # A variable such as `{+parent}` may hold slashes, so a path may be longer than its method's.
        for slashes in range(path.count("/"), 0, -1):
            for method in self._methods.get((verb, slashes), ()):
                found = method.match(path)
                if found is not None:
                    return method, found
        return None

    def wrong_request(
        self, method: Method, variables: Mapping[str, str], query: Iterable[tuple[str, str]], body: Any
    ) -> list[str]:
        problems: list[str] = []
        given = {**variables}
        for name, value in query:
            said = method.parameters.get(name)
            if said is None:
                problems.append(f"{method.id} has no parameter {name}")
            elif name in given and not said.get("repeated"):
                problems.append(f"{method.id}: {name} is given twice")
            given[name] = value
        for name, said in method.parameters.items():
            if name in given:
                problems += self._text(said, given[name], name)
            elif said.get("required"):
                problems.append(f"{method.id} needs {name}")
        if method.request and body is not None:
            problems += self._value({"$ref": method.request}, body, "$", method.id)
        elif body is not None:
            problems.append(f"{method.id} takes no body")
        elif method.request:
            problems.append(f"{method.id} needs a body")
        return problems

    def wrong_answer(self, method: Method, body: Any) -> list[str]:
        return self._value({"$ref": method.response}, body, "$", "") if method.response else []

    def _text(self, said: Mapping[str, Any], value: str, where: str) -> list[str]:
        """A parameter: everything is text there."""
        kind = said["type"]
        if kind == "boolean":
            return [] if value in {"true", "false"} else [f"{where}: {value!r} is no boolean"]
        if kind == "integer":
            return self._integer(said, value, where)
        return self._string(said, value, where)

    def _value(self, said: Mapping[str, Any], value: Any, where: str, sent: str) -> list[str]:
        """`sent` is the method whose request this is part of, "" in an answer."""
        while "$ref" in said:
            said = self._schemas[said["$ref"]]
        kind = said.get("type")
        if kind == "object":
            return self._object(said, value, where, sent)
        if kind == "array":
            if not isinstance(value, list):
                return [f"{where} is no array"]
            return [
                p for at, item in enumerate(value) for p in self._value(said["items"], item, f"{where}[{at}]", sent)
            ]
        if kind == "boolean":
            return [] if isinstance(value, bool) else [f"{where} is no boolean"]
        if kind == "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                return [f"{where}: {value!r} is no integer"]
            return self._integer(said, str(value), where)
        if kind == "number":
            return [] if isinstance(value, (int, float)) and not isinstance(value, bool) else [f"{where} is no number"]
        if kind == "string":
            return self._string(said, value, where)
        return []

    def _object(self, said: Mapping[str, Any], value: Any, where: str, sent: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where} is no object"]
        known = said.get("properties", {})
        rest = said.get("additionalProperties")
        problems: list[str] = []
        for name, item in value.items():
            below = known.get(name, rest)
            if below is None:
                problems.append(f"{where} has no member {name}")
                continue
            if (
                sent
                and name in known
                and str(below.get("description", "")).lstrip().startswith(("[Output Only]", "Output only"))
            ):
                problems.append(f"{where}.{name} is output only")
            problems += self._value(below, item, f"{where}.{name}", sent)
        for name, below in known.items():
            if sent and name not in value and sent in below.get("annotations", {}).get("required", []):
                problems.append(f"{where} needs {name}")
        return problems

    def _string(self, said: Mapping[str, Any], value: Any, where: str) -> list[str]:
        if not isinstance(value, str):
            return [f"{where}: {value!r} is no string"]
        if said.get("format") in _INTEGERS:
            return self._integer(said, value, where)
        if "enum" in said and value not in said["enum"]:
            return [f"{where}: {value!r} is none of {said['enum']}"]
        if "pattern" in said and not re.fullmatch(said["pattern"], value):
            return [f"{where}: {value!r} is not of the form {said['pattern']}"]
        return []

    def _integer(self, said: Mapping[str, Any], value: str, where: str) -> list[str]:
        if not re.fullmatch(r"-?\d+", value):
            return [f"{where}: {value!r} is no integer"]
        low, high = _INTEGERS[said.get("format", "int64")]
        low, high = max(low, int(said.get("minimum", low))), min(high, int(said.get("maximum", high)))
        return [] if low <= int(value) <= high else [f"{where}: {value} is not from {low} to {high}"]


@cache
def compute() -> Discovery:
    return Discovery("compute.v1")


@cache
def billing() -> Discovery:
    return Discovery("cloudbilling.v1")
