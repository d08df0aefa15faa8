"""A hundred wrong bodies: each is answered 4xx problem+json, and nothing reaches the plane."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import msgspec
import pytest
from api_fakes import FakePlane, served

from styx.protocol.http import ProblemDocument

WRONG: list[tuple[str, str, bytes, dict[str, str]]] = []  # (route, what, body, headers)


def wrong(route: str, what: str, body: Any, **headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    WRONG.append((route, what, data, {name.replace("_", "-"): value for name, value in headers.items()}))


GOOD = {"name": "t", "command": "echo", "args": ["Hello"]}
DAG = {"name": "j", "tasks": {"a": {"run": "true"}, "b": {"run": "true", "needs": ["a"]}}}

for route in ("tasks", "jobs"):
    wrong(route, "empty", b"")
    wrong(route, "blanks", b" \n\t ")
    wrong(route, "no JSON", b"hello")
    wrong(route, "cut off", b'{"name": "t", "command": ')
    wrong(route, "trailing", b'{"name":"t","command":"echo"} {}')
    wrong(route, "comment", b'{"name":"t", /* x */ "command":"echo"}')
    wrong(route, "single quotes", b"{'name':'t'}")
    wrong(route, "NaN", b'{"name":"t","command":"echo","retries":NaN}')
    wrong(route, "infinite", b'{"name":"t","command":"echo","timeout":1e999}')
    wrong(route, "a very long number", b'{"name":"t","command":"echo","retries":' + b"9" * 5_000 + b"}")
    wrong(route, "raw NUL", b'{"name":"t","command":"ec\x00ho"}')
    wrong(route, "only NUL", b"\x00")
    wrong(route, "escaped NUL in the command", b'{"name":"t","command":["echo","a\\u0000b"]}')
    wrong(route, "escaped NUL in a shell line", b'{"name":"t","run":"echo a\\u0000b"}')
    wrong(route, "escaped NUL in a name", b'{"name":"t\\u0000","run":"true"}')
    wrong(route, "escaped NUL in a variable", b'{"name":"t","run":"true","env":{"A":"\\u0000"}}')
    wrong(route, "escaped NUL in a variable's name", b'{"name":"t","run":"true","env":{"A\\u0000":"x"}}')
    wrong(route, "not UTF-8", b'{"name":"\xff\xfe","command":"echo"}')
    wrong(route, "UTF-16", '{"name":"t","command":"echo"}'.encode("utf-16"))
    wrong(route, "lone surrogate", b'{"name":"\\ud800","command":"echo"}')
    wrong(route, "20 MB", b'{"name":"' + b"x" * 20_000_000 + b'"}')
    wrong(route, "20 MB of blanks", b" " * 20_000_000)
    wrong(route, "deep lists", b"[" * 100_000 + b"]" * 100_000)
    wrong(route, "deep objects", b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    wrong(route, "deep, never closed", b"[" * 500_000)
    wrong(route, "deep where a value belongs", b'{"name":"t","command":' + b"[" * 400 + b"]" * 400 + b"}")
    wrong(route, "duplicate key", b'{"name":"t","command":"echo","name":"u"}')
    wrong(route, "duplicate key, escaped", b'{"name":"t","command":"echo","n\\u0061me":"u"}')
    wrong(route, "duplicate key below", b'{"name":"t","command":"echo","env":{"A":"1","A":"2"}}')
    wrong(route, "duplicate key, masked", b'{"name":"t","command":"echo","env":{"A":"1","A":"\\u003a"}}')
    wrong(route, "a list", [])
    wrong(route, "a list of tasks", [GOOD])
    wrong(route, "a string", "echo")
    wrong(route, "a number", 7)
    wrong(route, "null", None)
    wrong(route, "true", True)
    wrong(route, "an empty object", {})
    wrong(route, "unknown key", {**GOOD, "comand": "x"})
    wrong(route, "a number as the name", {**GOOD, "name": {}})
    wrong(route, "an empty name", {**GOOD, "name": ""})
    wrong(route, "a path as the name", {**GOOD, "name": "../../etc/passwd"})
    wrong(route, "no command", {"name": "t"})
    wrong(route, "null as the command", {"name": "t", "command": None})
    wrong(route, "an object as the command", {"name": "t", "command": {"a": 1}})
    wrong(route, "an empty list as the command", {"name": "t", "command": []})
    wrong(route, "args that are text", {**GOOD, "args": "Hello"})
    wrong(route, "args that are lists", {**GOOD, "args": [["Hello"]]})
    wrong(route, "args that are null", {**GOOD, "args": [None]})
    wrong(route, "run and command", {**GOOD, "run": "true"})
    wrong(route, "retries below zero", {**GOOD, "retries": -1})
    wrong(route, "retries as text", {**GOOD, "retries": "many"})
    wrong(route, "retries as a fraction", {**GOOD, "retries": 1.5})
    wrong(route, "an array of none", {**GOOD, "array": 0})
    wrong(route, "an array below none", {**GOOD, "array": -5})
    wrong(route, "an array too large", {**GOOD, "array": 10**18})
    wrong(route, "an array of true", {**GOOD, "array": True})
    wrong(route, "a timeout of lots", {**GOOD, "timeout": "lots"})
    wrong(route, "a timeout below zero", {**GOOD, "timeout": -1})
    wrong(route, "no CPUs", {**GOOD, "resources": {"cpus": 0}})
    wrong(route, "CPUs below zero", {**GOOD, "resources": {"cpus": -1}})
    wrong(route, "memory of lots", {**GOOD, "resources": {"memory": "lots"}})
    wrong(route, "resources as a list", {**GOOD, "resources": []})
    wrong(route, "spot of yes", {**GOOD, "resources": {"spot": "yes"}})
    wrong(route, "spot as a number", {**GOOD, "resources": {"spot": 1}})
    wrong(route, "no alternatives", {**GOOD, "resources": {"any_of": []}})
    wrong(route, "alternatives as an object", {**GOOD, "resources": {"any_of": {}}})
    wrong(route, "alternatives in an alternative", {**GOOD, "resources": {"any_of": [{"any_of": [{}]}]}})
    wrong(route, "too many alternatives", {**GOOD, "resources": {"any_of": [{}] * 65}})
    wrong(route, "a choice of nothing", {**GOOD, "resources": {"accelerators": []}})
    wrong(route, "ordered as text", {**GOOD, "resources": {"ordered": "yes"}})
    wrong(route, "a price of lots", {**GOOD, "resources": {"max_hourly_cost": "lots"}})
    wrong(route, "a price below zero", {**GOOD, "resources": {"max_hourly_cost": -1}})
    wrong(route, "a budget of nothing", {**GOOD, "budget": 0})
    wrong(route, "a budget as an object", {**GOOD, "budget": {"USD": 20}})
    wrong(route, "an image with blanks", {**GOOD, "image": "a b"})
    wrong(route, "an image that looks like an option", {**GOOD, "image": "--privileged"})
    wrong(route, "a function and a command", {**GOOD, "function": "f"})
    wrong(route, "a payload without a function", {**GOOD, "payload": {}})
    wrong(route, "idempotent without a function", {**GOOD, "idempotent": True})
    wrong(route, "a number beyond 64 bits", {"name": "t", "function": "f", "payload": 10**30})
    wrong(route, "a long payload", {"name": "t", "function": "f", "payload": "x" * 300_000})
    wrong(route, "half a character in a payload", b'{"name": "t", "function": "f", "payload": "\\ud800"}')
    wrong(route, "env as a list", {**GOOD, "env": ["A=1"]})
    wrong(route, "env with a null", {**GOOD, "env": {"A": None}})
    wrong(route, "env with =", {**GOOD, "env": {"A=B": "1"}})
    wrong(route, "a relative folder", {**GOOD, "workdir": "../x"})
    wrong(route, "an unknown priority", {**GOOD, "priority": "urgent"})
    wrong(route, "an unknown when", {**GOOD, "when": "never"})
    wrong(route, "compressed", b"\x1f\x8b\x08\x00", Content_Encoding="gzip")
    wrong(route, "compressed with br", b"\x00", Content_Encoding="br")
    wrong(route, "a picture", json.dumps(GOOD).encode(), Content_Type="image/png")
    wrong(route, "a form with parts", b"--x\r\n\r\n--x--", Content_Type="multipart/form-data; boundary=x")
    wrong(route, "a long key", json.dumps(GOOD).encode(), Idempotency_Key="k" * 1_000)
    wrong(route, "a broken key", json.dumps(GOOD).encode(), Idempotency_Key="k\tk")
    wrong(route, "wrong YAML", b"name: [", Content_Type="application/yaml")
    wrong(route, "YAML, duplicate key", b"name: t\nrun: a\nrun: b\n", Content_Type="application/yaml")
    wrong(route, "YAML, bombs", b"a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\nrun: x\n", Content_Type="application/yaml")
    wrong(route, "YAML, not UTF-8", b"name: \xff\n", Content_Type="application/yaml")
    wrong(route, "YAML, objects", b"!!python/object/apply:os.system ['true']", Content_Type="application/yaml")

wrong("jobs", "a cycle", {"name": "j", "tasks": {"a": {"run": "x", "needs": ["b"]}, "b": {"run": "x", "needs": ["a"]}}})
wrong("jobs", "a task that needs itself", {"name": "j", "tasks": {"a": {"run": "x", "needs": ["a"]}}})
wrong("jobs", "an unknown name", {"name": "j", "tasks": {"a": {"run": "x", "needs": ["z"]}}})
wrong("jobs", "the same name twice", {"name": "j", "tasks": [{"name": "a", "run": "x"}, {"name": "a", "run": "y"}]})
wrong("jobs", "no tasks", {"name": "j", "tasks": {}})
wrong("jobs", "tasks as text", {"name": "j", "tasks": "a, b"})
wrong("jobs", "a task as text", {"name": "j", "tasks": {"a": "true"}})
wrong("jobs", "a task as null", {"name": "j", "tasks": {"a": None}})
wrong("jobs", "needs as a number", {"name": "j", "tasks": {"a": {"run": "x", "needs": 3}}})
wrong("jobs", "needs as an object", {"name": "j", "tasks": {"a": {"run": "x", "needs": {}}}})
wrong("jobs", "a deadline of lots", {**DAG, "deadline": "lots"})
wrong("tasks", "a DAG", DAG)
wrong("tasks", "needs", {**GOOD, "needs": ["a"]})


for route, bodies in {
    "tokens": [b"[]", b"{}", b'{"name":""}', b'{"name":7}', b'{"name":"a","role":"root"}', b'{"name":"a","ttl":-1}',
               b'{"name":"a","ttl":"1"}', b'{"name":"a","x":1}', b'{"name":"a","name":"b"}', b"\xff", b"{" * 100_000],
    "gc": [b"[]", b'{"days":-1}', b'{"days":"x"}', b'{"days":1e999}', b'{"keep_bytes":-1}', b'{"keep":1}', b"nul"],
    "backup": [b"[]", b"{}", b'{"path":7}', b'{"path":""}', b'{"path":"/a","x":1}', b'{"path":"' + b"a" * 5_000 + b'"}'],
    "tasks/t/cancel": [b"[]", b'{"reason":7}', b'{"reason":"' + b"x" * 2_000 + b'"}', b'{"why":"x"}', b"[" * 100_000],
    "tasks/t/retry": [b"[]", b'{"failed":"yes"}', b'{"failed":1}', b'{"start":null}', b'{"from":"x"}', b"\x00"],
}.items():  # fmt: skip
    for body in bodies:
        wrong(route, body[:30].decode(errors="replace"), body)


def test_there_are_at_least_a_hundred() -> None:
    assert len(WRONG) >= 100


@pytest.mark.parametrize("part", range(4))
def test_each_is_a_problem(part: int) -> None:
    async def main() -> list[str]:
        plane, bad = FakePlane(), []
        async with served(plane) as server, aiohttp.ClientSession(headers=server.headers()) as session:
            for route, what, body, headers in WRONG[part::4]:
                kind = {"Content-Type": "application/json"} | headers
                async with session.post(f"{server.url}/api/v1/{route}", data=body, headers=kind) as answer:
                    content = await answer.read()
                    if not (400 <= answer.status < 500 and answer.content_type == "application/problem+json"):
                        bad.append(f"{route}: {what}: {answer.status} {content[:200]!r}")
                        continue
                    problem = msgspec.json.decode(content, type=ProblemDocument)
                    if problem.status != answer.status or not problem.detail or "Traceback" in content.decode():
                        bad.append(f"{route}: {what}: {content[:200]!r}")
        bad += [f"reached the plane: {call}" for call in plane.calls]
        return bad

    assert asyncio.run(main()) == []


def test_what_is_right_passes() -> None:
    """So that the list above fails for its own reasons."""

    async def main() -> None:
        plane = FakePlane()
        async with served(plane) as server, aiohttp.ClientSession(headers=server.headers()) as session:
            for route, body in (("tasks", GOOD), ("jobs", DAG)):
                async with session.post(f"{server.url}/api/v1/{route}", json=body) as answer:
                    assert answer.status == 201, await answer.text()
            colons = {"name": "a:b", "command": ["echo", "x:y", 'z":"'], "env": {"A:B": ":::"}}
            async with session.post(f"{server.url}/api/v1/tasks", json=colons) as answer:
                assert answer.status == 201, await answer.text()
            # an escaped colon is read the slow way, and is as good as a plain one
            async with session.post(
                f"{server.url}/api/v1/tasks", data=b'{"name":"t","command":["a\\u003ab"]}'
            ) as answer:
                assert answer.status == 201, await answer.text()
        assert plane.calls[-1][1].tasks[0].command == ("a:b",)

    asyncio.run(main())
