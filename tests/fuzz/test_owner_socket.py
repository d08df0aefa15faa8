"""Whoever speaks to the owner's socket may send anything at all: the owner lives, what it holds runs on, and the next agent is served.

One real owner for all examples, since what breaks it may take several. While they go on, a program that was started before them
runs; nothing that is sent names it.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from frames import labels, noise, numbers, resources, texts
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from styx.agent.owner import launch
from styx.agent.owner.frames import encode, from_agent, from_owner
from styx.agent.owner.launcher import connect
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.errors import ProtocolError
from styx.protocol import owner as o
from styx.protocol.codec import decode_server
from styx.protocol.messages import Run, Secret, Spec, Start

PATIENCE = 30.0  # seconds until an answer counts as missing
MORE = int(os.environ.get("STYX_FUZZ", "0"))
EXAMPLES = settings(
    max_examples=150 * max(1, MORE),
    phases=list(Phase) if MORE else [Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
KEPT = 1_000_000  # the number of the program that must live

attempts = st.integers(1, 6) | numbers
several = st.lists(attempts, max_size=4).map(tuple)
specs = st.builds(
    Spec,
    job=numbers,
    task=numbers,
    job_id=texts,
    task_id=texts,
    name=texts,
    command=st.sampled_from([("true",), ("sleep", "30"), ("echo", "a\0b"), (), ("",), ("x" * 5_000,), ("/",)]),
    shell=st.booleans(),
    array=numbers,
    resources=resources | st.just(Resources(10)),
    env=labels.map(tuple),
    workdir=texts,
    timeout=numbers,
    grace=st.integers(0, 10) | numbers,
    exclusive=st.booleans(),
)
runs = st.lists(st.builds(Run, attempts, numbers, numbers), max_size=4).map(tuple)
secrets = st.lists(st.builds(Secret, texts, texts), max_size=2).map(tuple)
configure = st.just(o.Configure("one", Resources(4_000)))
orders = st.one_of(
    st.builds(o.OwnerStart, specs, runs, texts, secrets, st.just("") | texts),
    st.builds(o.OwnerStart, specs, runs, st.just(""), secrets, st.just("")),
    st.builds(o.OwnerStop, several),
    st.builds(o.OwnerRecall, several),
    st.builds(o.OwnerForget, several),
    st.builds(o.OwnerRelease, attempts, numbers, numbers),
    st.builds(o.OwnerLease, st.just(60_000) | numbers),
    st.builds(o.Configure, st.just("one"), resources, st.just(())),
)
damage = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=2)
right = st.lists(orders, min_size=1, max_size=4)


@st.composite
def said(draw: Any) -> bytes:
    """What one connection sends: orders, mostly after a Configure, damaged orders, framed noise, noise."""
    parts: list[bytes] = []
    if draw(st.integers(0, 5)):
        parts.append(encode([draw(configure)]))
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.integers(0, 5))
        try:
            body = msgspec.msgpack.encode(draw(right)) if kind < 4 else draw(noise)
        except OverflowError:  # no bytes say this
            continue
        if kind == 3:
            broken = bytearray(body)
            for at, taken, put in draw(damage):
                begin = at % (len(broken) + 1)
                broken[begin : begin + taken] = put
            body = bytes(broken)
        parts.append(body if kind == 5 else len(body).to_bytes(4, "big") + body)
    return b"".join(parts)


def converse(folder: str, data: bytes, until: Any) -> None:
    """One connection: send, and read until `until(message)`, or to the end of it."""
    with connect(folder) as link:
        link.settimeout(PATIENCE)
        try:
            link.sendall(data)
            if until is None:
                link.shutdown(socket.SHUT_WR)
            frames = from_owner()
            while received := link.recv(1 << 16):
                messages = frames.feed(received)  # whatever it says is right
                if until is not None and any(until(message) for message in messages):
                    return
        except ConnectionError:  # it has heard enough
            pass
    assert until is None, "the owner hung up on a right agent"


def clean(folder: str, number: int) -> None:
    """A right agent: what the noise began is stopped, a program is run, and the kept one runs."""
    held: list[o.OwnerWatching] = []

    def hello(message: Any) -> bool:
        held[:] = message.held
        return True

    converse(folder, b"", hello)
    assert any(one.attempt == KEPT and one.state == 1 for one in held), held
    others = tuple(one.attempt for one in held if one.attempt != KEPT)
    messages: list[Any] = [o.Configure("one", Resources(4_000)), o.OwnerLease(60_000)]
    messages += [o.OwnerRecall(others), o.OwnerStop(others), o.OwnerForget(others)]
    program = Spec(1, 0, "J", "T", "right", ("true",), False, 0, Resources(10), (), "", 0, 100)
    messages += [o.OwnerStart(program, (Run(number, 0, 1),))]

    def ended(message: Any) -> bool:
        if not isinstance(message, o.OwnerEnded):
            return False
        return any(one.attempt == number and one.outcome is Outcome.EXITED and one.code == 0 for one in message.ended)

    converse(folder, encode(messages), ended)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_anything_that_is_sent_to_an_owner(tmp_path: Path) -> None:
    folder = str(tmp_path)
    pid = launch(folder, tied=False)
    kept = Spec(1, 0, "J", "T", "kept", ("sleep", "100000"), False, 0, Resources(10), (), "", 0, 100)
    begin = [o.Configure("one", Resources(4_000)), o.OwnerStart(kept, (Run(KEPT, 0, 1),))]
    converse(folder, encode(begin), lambda message: isinstance(message, o.OwnerStarted))
    numbers = iter(range(KEPT + 1, 1 << 40))

    @EXAMPLES
    @given(said())
    def anything(data: bytes) -> None:
        converse(folder, data, None)
        clean(folder, next(numbers))

    try:
        anything()
    finally:
        with connect(folder) as link:
            link.sendall(encode([o.Configure("the end", Resources(0)), o.OwnerShutdown(True)]))
            link.settimeout(PATIENCE)
            try:
                while link.recv(1 << 16):
                    pass
            except ConnectionError:
                pass
    deadline = time.monotonic() + PATIENCE
    while alive(pid):  # it closes the link first, and then goes
        assert time.monotonic() < deadline, "the owner has stayed"
        time.sleep(0.005)


@pytest.mark.parametrize("attempt", [-1, (1 << 62) + 1, (1 << 64) - 1])
def test_an_attempt_whose_end_could_not_be_told_is_not_taken(attempt: int) -> None:
    """Its end would be no right message, for this agent and for each that came after."""
    spec = Spec(1, 0, "J", "T", "name", ("true",), False, 0, Resources(10), (), "", 0, 100)
    with pytest.raises(ProtocolError):
        from_agent().feed(encode([o.OwnerStart(spec, (Run(attempt, 0, 1),))]))
    with pytest.raises(ProtocolError):
        decode_server(msgspec.msgpack.encode([Start(spec, (Run(attempt, 0, 1),))]))
