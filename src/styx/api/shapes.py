"""The shapes of what the readers of `protocol` take, as JSON Schema, for the OpenAPI document.

They are for people, editors and generators of clients, not for checking: `protocol.document` says far better what is wrong. What
a shape allows may still be refused for a reason that no schema can state (a cycle, a name that is nowhere), and where the readers
take more than one way of writing, the one that people mean stands first.
"""

from __future__ import annotations

from typing import Any

from styx.core.graph import MAX_ARRAY, MAX_NAME
from styx.core.spec import Priority, When
from styx.core.units import MAX_ACCELERATORS, MAX_BYTES, MAX_CPUS, MAX_DOLLARS, MAX_MILLISECONDS
from styx.protocol.requirement import MAX_CHOICES

__all__ = ["DOCUMENT", "PARAMETERS", "SHAPES", "SINGLE"]

Shape = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
SINGLE: Shape = {"$ref": _REFERENCE.format(name="TaskDocument")}
DOCUMENT: Shape = {"anyOf": [SINGLE, {"$ref": _REFERENCE.format(name="JobDocument")}]}

_REF: Shape = {
    "type": "string",
    "pattern": r"^\s*(@latest|[0-9a-fA-F-]{4,36})(\.[0-9]{1,10})?(/[^/]{1,200})?\s*$",
    "description": "an id, at least 4 of its first or last digits, TASKID.INDEX, @latest, or one of these and /NAME or /NAME.INDEX",
}
PARAMETERS: dict[str, Shape] = {
    "ref": _REF,
    "id": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    "python_tag": {"type": "string", "pattern": "^cp3[0-9]{1,2}$"},
    "arch": {"type": "string", "enum": ["x86_64", "aarch64"]},
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "attempt": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    "job": {"anyOf": [_REF, {"const": ""}]},
    "cursor": {
        "type": "string",
        "pattern": r"^([0-9]{1,18}(\.[0-9]{1,18})?)?$",
        "description": "`next` of the page before",
    },
}

_TEXT: Shape = {"type": "string", "maxLength": 131_071}  # and no NUL
_SCALAR: Shape = {"anyOf": [_TEXT, {"type": "number"}, {"type": "boolean"}]}
_NAME: Shape = {
    "anyOf": [
        {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"},
        {"type": "string", "pattern": rf"^[^./@ \x00-\x1f-][^/\x00-\x1f]{{0,{MAX_NAME - 1}}}$"},
    ]
}
_DURATION: Shape = {
    "anyOf": [
        {"type": "string", "pattern": r"^([1-9][0-9]{0,5}(ms|s|m|min|h))+$"},
        {"type": "number", "minimum": 0, "maximum": MAX_MILLISECONDS // 1_000},
        {"type": "string", "pattern": r"^\s*([0-9]{1,15}(\.[0-9]{1,9})?\s*(ms|min|s|m|h|d|w)?\s*)+$"},
    ],
    "description": "text such as 10m, 1h30m or 250ms, or a number of seconds",
}
_SIZE: Shape = {
    "anyOf": [
        {"type": "string", "pattern": "^[1-9][0-9]{0,3}(kB|MB|GB|KiB|MiB|GiB)[+]?$"},
        {"type": "integer", "minimum": 0, "maximum": MAX_BYTES},
        {"type": "string", "pattern": r"^\s*[0-9]{1,20}(\.[0-9]{1,9})?\s*([kKmMgGtTpP]i?)?[bB]?\s*[+]?\s*$"},
    ],
    "description": "text such as 512MB or 16GB+ (at least so much, which is meant anyway), or a number of bytes",
}
_CPUS: Shape = {
    "anyOf": [
        {"type": "number", "minimum": 0.001, "maximum": MAX_CPUS},
        {"type": "string", "pattern": r"^\s*([0-9]{1,10}m|[0-9]{1,15}(\.[0-9]{1,9})?)\s*[+]?\s*$"},
    ],
    "description": "such as 2, 0.5, 500m or 4+ (at least so many, which is meant anyway)",
}
_KIND = "[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}"
_COUNT: Shape = {"type": "integer", "minimum": 0, "maximum": MAX_ACCELERATORS}
_KINDS: Shape = {
    "anyOf": [
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_KIND}$"},
            "additionalProperties": _COUNT,
            "maxProperties": 64,
        },
        {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_]{0,20}(:[0-9]{1,3})?$"},
        {"type": "string", "pattern": rf"^\s*{_KIND}\s*(:\s*[0-9]{{1,4}})?\s*(,\s*{_KIND}\s*(:\s*[0-9]{{1,4}})?\s*)*$"},
    ],
    "description": "such as {A100: 1} or A100:1",
}
_ACCELERATORS: Shape = {
    "anyOf": [*_KINDS["anyOf"], {"type": "array", "items": _KINDS, "minItems": 1, "maxItems": MAX_CHOICES}],
    "description": "such as {A100: 1} or A100:1; a list is a choice",
}
_MONEY: Shape = {
    "anyOf": [
        {"type": "string", "pattern": r"^[1-9][0-9]{0,5}(\.[0-9]{1,6})? USD$"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_DOLLARS},
        {"type": "string", "pattern": r"^\s*\$?\s*[0-9]{1,12}(\.[0-9]{1,9})?\s*(USD|usd)?\s*$"},
    ],
    "description": "such as 20 USD, or a number of US dollars",
}
_LABEL: Shape = {"type": "string", "maxLength": 256}  # of what can be printed
_LABELS: Shape = {
    "type": "object",
    "propertyNames": {"pattern": r"^[^=\x00-\x1f]{1,256}$"},
    "additionalProperties": {"anyOf": [_LABEL, {"type": "number"}, {"type": "boolean"}]},
}
_ENV: Shape = {
    "type": "object",
    "propertyNames": {"pattern": r"^[^=\x00]+$"},
    "additionalProperties": _SCALAR,
    "maxProperties": 4_096,
}
_SECRET: Shape = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$"}
_SOURCE: Shape = {
    "type": ["object", "null"],
    "properties": {key: {"type": "string", "minLength": 1, "maxLength": 4_096} for key in ("env", "file")},
    "additionalProperties": False,
    "maxProperties": 1,
}
_SECRETS: Shape = {
    "anyOf": [
        {"type": "array", "items": _SECRET, "maxItems": 256},
        _SECRET,
        {"type": "object", "propertyNames": _SECRET, "additionalProperties": _SOURCE, "maxProperties": 256},
    ]
}
_COUNT_TO_1000: Shape = {"type": "integer", "minimum": 0, "maximum": 1_000}
_PLACE: Shape = {"type": "string", "pattern": r"^[^\x00-\x1f]{1,256}$"}
_WAY: dict[str, Shape] = {
    "cpus": _CPUS,
    "memory": _SIZE,
    "disk": _SIZE,
    "accelerators": _ACCELERATORS,
    "labels": _LABELS,
    **dict.fromkeys(("provider", "region", "zone", "instance_type"), _PLACE),
    "spot": {"enum": [True, False, "prefer"]},
    "max_hourly_cost": _MONEY,
}
_RESOURCES: Shape = {
    "type": "object",
    "properties": {
        **_WAY,
        "any_of": {
            "type": "array",
            "items": {"type": "object", "properties": _WAY, "additionalProperties": False},
            "minItems": 1,
            "maxItems": MAX_CHOICES,
            "description": "alternatives, each over what stands around it",
        },
        "ordered": {
            "type": "boolean",
            "description": "alternatives are tried in their order; else the cheapest is taken",
        },
    },
    "additionalProperties": False,
}
_BACKOFF: Shape = {
    "anyOf": [
        _DURATION,
        {
            "type": "object",
            "properties": {
                "initial": _DURATION,
                "factor": {"type": "number", "minimum": 1, "maximum": 100},
                "limit": _DURATION,
            },
            "additionalProperties": False,
        },
    ]
}
_NAMED: Shape = {"type": "string", "pattern": "^[A-Za-z0-9_][!-~]{0,511}$"}
# Of a task; at the top of a document with `tasks`, defaults for all of them.
_SHARED: dict[str, Shape] = {
    "resources": {"$ref": _REFERENCE.format(name="ResourcesDocument")},
    "env": _ENV,
    "secrets": _SECRETS,
    "workdir": {"type": "string", "pattern": r"^[^~\x00][^\x00]{0,4095}$"},
    "retries": _COUNT_TO_1000,
    "timeout": _DURATION,
    "backoff": _BACKOFF,
    "grace": _DURATION,
    "max_lost": _COUNT_TO_1000,
    "image": _NAMED,
}
_OF_A_TASK: dict[str, Shape] = {
    "array": {"type": "integer", "minimum": 1, "maximum": MAX_ARRAY},
    "when": {"enum": [when.name.lower() for when in When]},
    "allow_failure": {"type": "boolean"},
    "exclusive": {"type": "boolean"},
    "archive": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
_NEEDS: Shape = {
    "anyOf": [{"type": "array", "items": _NAME, "maxItems": 10_000}, _NAME],
    "description": "names of tasks",
}
_JOB: dict[str, Shape] = {
    "name": _NAME,
    "priority": {"enum": [priority.name.lower() for priority in Priority]},
    "deadline": _DURATION,
    "budget": _MONEY,
    "labels": _LABELS,
    "host": {"type": "string", "maxLength": 4_096},
    "cwd": {"type": "string", "pattern": r"^(/[^\x00]{0,4095})?$"},
}
_VALUES: Shape = {
    "type": "object",
    "propertyNames": _SECRET,
    "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 32_768},
    "description": "the values of the secrets that the document names; they are shown nowhere",
}
_RUN: Shape = {"type": "string", "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}
_PROGRAM: Shape = {"type": "string", "pattern": r"^[^\s\x00]{1,4096}$"}
_COMMAND: Shape = {
    "anyOf": [{"type": "array", "prefixItems": [_PROGRAM], "items": _SCALAR, "minItems": 1}, _PROGRAM],
}


def _task(more: dict[str, Shape]) -> Shape:
    """A line for the shell, a program with arguments, or a function with its payload."""
    rest = {**_SHARED, **_OF_A_TASK, **more}
    ways: dict[str, dict[str, Shape]] = {
        "run": {"run": _RUN, **rest},
        "command": {"command": _COMMAND, "args": {"type": "array", "items": _SCALAR}, **rest},
        "function": {
            "function": _NAMED,
            "payload": {"description": "what it is called with; {} by default"},
            "idempotent": {"type": "boolean", "description": "it may be called again when nobody knows whether it ran"},
            **{key: shape for key, shape in rest.items() if key != "image"},
        },
    }
    return {
        "anyOf": [
            {"type": "object", "required": [key], "properties": way, "additionalProperties": False}
            for key, way in ways.items()
        ]
    }


def _listed() -> Shape:
    shape = _task({"name": _NAME, "needs": _NEEDS})
    return {"anyOf": [{**way, "required": ["name", *way["required"]]} for way in shape["anyOf"]]}


SHAPES: dict[str, Shape] = {
    "ResourcesDocument": _RESOURCES,
    "TaskOfJobDocument": _task({"needs": _NEEDS}),
    "TaskDocument": {
        **_task({**_JOB, "secret_values": _VALUES}),
        "description": "A task file of one task: a line for the shell under `run`, a program under `command`, or a `function`.",
    },
    "JobDocument": {
        "type": "object",
        "description": "A task file of several tasks.",
        "required": ["tasks"],
        "properties": {
            **_JOB,
            **_SHARED,
            "secret_values": _VALUES,
            "tasks": {
                "anyOf": [
                    {
                        "type": "object",
                        "propertyNames": _NAME,
                        "additionalProperties": {"$ref": _REFERENCE.format(name="TaskOfJobDocument")},
                        "minProperties": 1,
                    },
                    {"type": "array", "items": _listed(), "minItems": 1},
                ]
            },
        },
        "additionalProperties": False,
    },
}
