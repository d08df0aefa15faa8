"""Frames that an agent might send: right ones, right ones with impossible numbers, broken ones, and noise. Strategies of Hypothesis."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from styx.core.events import AttemptEnding, Held
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.codec import encode
from styx.protocol.messages import Bye, Heartbeat, Hello, Output, Report

__all__ = ["AGENTS", "Frame", "frames", "noise", "numbers", "texts", "trees"]

AGENTS = [str(uuid.UUID(int=number)) for number in range(1, 6)]  # a few, so that they meet again
SERIALS = 30  # up to here, numbers stand for attempts that the agent was given

_edges = [0, 1, 2, -1, 255, 256, 1 << 31, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63)]
numbers = st.integers(-2, SERIALS) | st.sampled_from(_edges)
serials = st.integers(1, SERIALS) | numbers
texts = st.sampled_from(["", "a", "boot-1", "boot-2", "x" * 5_000, "a\0b", "é\U0001f600", "../..", "\n"]) | st.text(
    max_size=8
)
resources = st.builds(
    Resources,
    cpus=numbers,
    memory=numbers,
    disk=numbers,
    accelerators=st.lists(st.tuples(texts, numbers), max_size=3).map(tuple),
) | st.just(Resources(4_000, 8 << 30))
labels = st.lists(st.tuples(texts, texts), max_size=3).map(lambda more: (("pool", "fuzz"), *more))

hellos = st.builds(
    Hello,
    agent=st.sampled_from(AGENTS) | texts,
    name=texts,
    host=texts,
    boot=st.sampled_from(["boot-1", "boot-2"]) | texts,
    session=st.sampled_from(["s-1", "s-2"]) | texts,
    oldest=st.just(1) | numbers,
    newest=st.just(1) | numbers,
    release=texts,
    capacity=resources,
    labels=labels,
    incarnation=st.sampled_from(["", "of another database"]),
    held=st.lists(st.builds(Held, attempt=serials, state=st.integers(0, 2) | numbers, ran=numbers), max_size=4).map(
        tuple
    ),
    draining=st.booleans(),
)
good_hellos = st.builds(
    Hello,
    agent=st.sampled_from(AGENTS),
    name=st.just("fuzz"),
    host=st.just("h"),
    boot=st.sampled_from(["boot-1", "boot-1", "boot-2"]),
    session=st.sampled_from(["s-1", "s-2"]),
    oldest=st.just(1),
    newest=st.just(1),
    release=st.just("1"),
    capacity=st.just(Resources(4_000, 8 << 30)),
    labels=st.just((("pool", "fuzz"),)),
    incarnation=st.just(""),
    held=st.lists(st.builds(Held, attempt=st.integers(1, SERIALS), state=st.integers(0, 2)), max_size=4).map(tuple),
)
endings = st.builds(
    AttemptEnding,
    attempt=serials,
    outcome=st.sampled_from(Outcome),
    code=numbers,
    ran=numbers,
    ago=numbers,
    reason=texts,
    result=st.binary(max_size=20) | st.just(bytes(70_000)),
    stdout=numbers,
    stderr=numbers,
    pid=numbers,
)
reports = st.builds(
    Report,
    number=st.integers(1, 40) | numbers,
    started=st.lists(serials, max_size=4).map(tuple),
    ended=st.lists(endings, max_size=3).map(tuple),
)
outputs = st.builds(
    Output,
    attempt=serials,
    stream=st.sampled_from([1, 2]) | numbers,
    offset=st.integers(0, 10) | numbers,
    data=st.binary(max_size=30) | st.just(bytes(300_000)),
)
beats = st.builds(
    Heartbeat, number=numbers, cpu=numbers, memory=numbers, load=numbers, running=numbers, waiting=numbers
)
byes = st.builds(Bye, gone=st.booleans(), reason=texts)
agent_messages = st.one_of(reports, reports, outputs, beats, byes, hellos)

trees = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False) | texts | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
_tags = st.sampled_from(
    ["hello", "beat", "report", "out", "bye", "start", "welcome", "files", "stop", "ack", "refused", "nothing"]
)
shaped = st.lists(st.builds(lambda tag, rest: [tag, *rest], _tags, st.lists(trees, max_size=13)), max_size=3)
noise = st.binary(max_size=60) | trees.map(msgspec.msgpack.encode) | shaped.map(msgspec.msgpack.encode)


class Frame(msgspec.Struct, frozen=True):
    """What one frame is made of: messages and what is done to their bytes, or bytes that never were any."""

    messages: tuple[Any, ...] = ()
    damage: tuple[tuple[int, int, bytes], ...] = ()  # at which byte, how many are taken out, what is put in
    noise: bytes = b""

    def encoded(self, attempts: Sequence[int]) -> bytes:
        """The bytes, where low numbers of attempts stand for these."""
        if not self.messages:
            return self.noise
        data = bytearray(encode([_about(message, attempts) for message in self.messages]))
        for at, out, new in self.damage:
            begin = at % (len(data) + 1)
            data[begin : begin + out] = new
        return bytes(data)


def _about(message: Any, attempts: Sequence[int]) -> Any:
    """The same message about attempts that are there."""

    def meant(serial: int) -> int:
        return attempts[serial % len(attempts)] if attempts and 0 < serial <= SERIALS else serial

    replace = msgspec.structs.replace
    if isinstance(message, Report):
        ended = tuple(replace(ending, attempt=meant(ending.attempt)) for ending in message.ended)
        return replace(message, started=tuple(map(meant, message.started)), ended=ended)
    if isinstance(message, Output):
        return replace(message, attempt=meant(message.attempt))
    if isinstance(message, Hello):
        return replace(message, held=tuple(replace(held, attempt=meant(held.attempt)) for held in message.held))
    return message


right = st.lists(agent_messages, min_size=1, max_size=4).map(lambda messages: Frame(tuple(messages)))
greetings = st.one_of(good_hellos, good_hellos, good_hellos, hellos).map(lambda hello: Frame((hello,)))
damage = st.tuples(st.integers(0, 400), st.integers(0, 6), st.binary(max_size=6))
damaged = st.builds(
    Frame,
    messages=st.lists(agent_messages | hellos, min_size=1, max_size=2).map(tuple),
    damage=st.lists(damage, min_size=1, max_size=3).map(tuple),
)


@st.composite
def frames(draw: Any) -> list[Frame]:
    """What one connection sends."""
    said = [draw(greetings)] if draw(st.integers(0, 7)) else []
    rest = st.one_of(right, right, right, damaged, noise.map(lambda data: Frame(noise=data)), greetings)
    return said + draw(st.lists(rest, max_size=5))
