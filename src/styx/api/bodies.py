"""Strict JSON: what two readers could understand differently is refused.

msgspec is strict about numbers, escapes and UTF-8, but of a key that stands twice it takes the last. Finding such keys with
the standard library's hook takes twice as long as decoding. Instead: colons outside strings are exactly the members of
all objects, and a decoded document that is written again has one colon fewer for each member that was lost, while the
colons in strings stay. So the document has a duplicate key if and only if the two counts differ (an escaped colon,
`\\u003a`, is the one thing that could mask one, and sends the body to the slow way). Two passes of `bytes.count` and
one encoding cost a third of the decoding. Only a document known to be wrong is read again to say where.

Bodies above `ASIDE` are read in a thread, and there with the standard library: its hook lets others have the GIL, while
msgspec holds it to the end. For 190,000 tasks in 11 MB the event loop was late by 256 ms with msgspec and by 22 ms with
the hook, for the same time in all; with the garbage collector at work it was 1.1 s, so that pauses meanwhile. The thread lets go
of the GIL by itself once a millisecond (`_Yielding`): whoever has to demand it waits out the switch interval each time, and a commit or an
answer needs it many times over: a read of one task took up to 464 ms beside submissions of 100,000.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from aiohttp import web

from styx.api import limits
from styx.api.problems import HttpProblem
from styx.errors import Problem

__all__ = ["convert", "document", "parse_json", "read", "submission"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ASIDE = 64 << 10  # bytes
_YAML = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
# curl sends `-d` as a form; it is JSON all the same, and tokens in a header leave a cross-site form nothing to steal
_JSON = frozenset({"application/json", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"})

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # of a character beyond 16 bits, if it is not a whole one in two such escapes

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


class _Yielding:
    """Called often by what works in a thread: gives the GIL away when it has had it for a while."""

    __slots__ = ("_until",)

    _TURN, _PAUSE = 0.001, 0.000_05  # seconds; the kernel makes twice as much of such a pause

    def __init__(self) -> None:
        self._until = 0.0

    def __call__(self) -> None:
        if time.perf_counter() >= self._until:
            time.sleep(self._PAUSE)
            self._until = time.perf_counter() + self._TURN


def _nothing() -> None:
    pass


def parse_json(data: bytes, between: Callable[[], None] = _nothing) -> Any:
    """The one meaning of a JSON text. Raises HttpProblem (400) and says where it is wrong. `between` is called now and then while a large
    one is read."""
    if not data.strip():
        raise HttpProblem(400, "the body is empty", hint="send a JSON document")
    if len(data) > ASIDE:
        return _parse_in_turns(data, between)
    try:
        value = _decoder.decode(data)
        members = _encoder.encode(value).count(b":")
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
    except RecursionError:
        raise too_deep() from None
    except msgspec.MsgspecError as error:
        raise _not_json(error) from None
    if members != data.count(b":") or b"\\u003" in data:
        _parse_in_turns(data, _nothing)
    return value


def _parse_in_turns(data: bytes, between: Callable[[], None]) -> Any:
    """The same with the standard library, which calls a hook for each object, and takes half a character for a whole one."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        between()
        return _members(pairs)

    try:
        value = json.loads(data.decode(), object_pairs_hook=members, parse_constant=_no_constant, parse_float=_finite)
        if _HALF.search(data):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
    except UnicodeEncodeError:
        raise HttpProblem(400, "the body is not JSON: an escape such as \\ud800 is half a character") from None
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise _not_json(error) from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise HttpProblem(
                400,
                f"the key {key[:60]!r} stands twice in the same object",
                problems=[Problem(f"$..{key[:60]}", "duplicate key", hint="keep one of them")],
                code="duplicate-key",
            )
        seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number out of range: {text[:40]}")
    return value


def _not_utf8(error: UnicodeDecodeError) -> HttpProblem:
    return HttpProblem(400, f"the body is not UTF-8: {error.reason} at byte {error.start}")


def _not_json(error: Exception) -> HttpProblem:
    return HttpProblem(400, f"the body is not JSON: {error}")


def too_deep() -> HttpProblem:
    return HttpProblem(400, "the body is nested too deeply")


class Reader(Protocol[T_co]):
    """One of protocol.document; it calls `between` between two tasks."""

    def __call__(self, document: object, /, *, between: Callable[[], None]) -> T_co: ...


async def document(request: web.Request, reader: Reader[T]) -> T:
    """The body as `reader` (of protocol.document) understands it; JSON, or YAML where the media type says so."""
    kind = request.content_type
    data = await limits.body(request)
    aside = len(data) > ASIDE
    between = _Yielding() if aside else _nothing
    if kind in _YAML:
        from styx.protocol.yaml12 import parse_yaml

        parse: Callable[[bytes], object] = parse_yaml
    elif kind in _JSON or kind.endswith("+json"):
        parse = partial(parse_json, between=between)
    else:
        raise HttpProblem(415, f"a body of type {kind} is not read", hint="send application/json or application/yaml")

    def work() -> T:
        try:
            return reader(parse(data), between=between)
        except RecursionError:
            raise too_deep() from None

    if not aside:
        return work()
    with _without_collector():
        return await asyncio.to_thread(work)


async def submission(request: web.Request, reader: Reader[T]) -> tuple[T, dict[str, str]]:
    """The body as `reader` understands it, and the values of its secrets, which the reader never sees."""
    from styx.protocol.secrets import take_values

    def read_both(document: object, /, *, between: Callable[[], None]) -> tuple[T, dict[str, str]]:
        values = take_values(document)
        return reader(document, between=between), values

    return await document(request, read_both)


_readings = 0


@contextmanager
def _without_collector() -> Iterator[None]:
    """Documents have no cycles, and while they grow each pass of the collector looks at all of them again."""
    global _readings  # noqa: PLW0603 - the collector is one for the process, and so is this count
    _readings += 1
    gc.disable()
    try:
        yield
    finally:
        _readings -= 1
        if not _readings:
            gc.enable()


async def read(request: web.Request, kind: type[T]) -> T:
    """A small body as a struct; an empty one is `{}`."""
    data = await limits.body(request)
    return convert(parse_json(data) if data.strip() else {}, kind)


def convert(value: object, kind: type[T], *, strict: bool = True, what: str = "the body") -> T:
    """`msgspec.convert` with an answer for whoever sent it."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        problem = Problem(path.rstrip("`") or "$", message)
        raise HttpProblem(400, f"{what} is wrong: {error}", problems=[problem]) from None
