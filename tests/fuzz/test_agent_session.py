"""A server that sends anything at all: the agent's session never breaks, and a right server finds it as sound as before.

Frames go the way of real ones: bytes, `decode_server`, `Session.received_all`; what is no frame ends the link, as in the runner. In
between the owner speaks, time passes and links come and go. All that the session answers must fit into frames itself.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
from frames import labels, noise, numbers, resources, texts
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from styx.agent.output import OutputWindow
from styx.agent.owner.frames import encode as to_owner
from styx.agent.session import LinkState, Out, Profile, Session
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.errors import ProtocolError
from styx.protocol import messages as m
from styx.protocol.codec import decode_server, encode
from styx.protocol.owner import OWNER_VERSION, Configure, OwnerEnded, OwnerHello, OwnerOutput, OwnerStart, OwnerStarted

MORE = int(os.environ.get("STYX_FUZZ", "0"))
EXAMPLES = settings(
    max_examples=250 * max(1, MORE),
    phases=list(Phase) if MORE else [Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

attempts = st.integers(1, 12) | numbers
several = st.lists(attempts, max_size=4).map(tuple)
specs = st.builds(
    m.Spec,
    job=st.integers(1, 3) | numbers,
    task=st.integers(0, 2) | numbers,
    job_id=texts,
    task_id=texts,
    name=texts,
    command=st.lists(texts, max_size=3).map(tuple),
    shell=st.booleans(),
    array=numbers,
    resources=resources,
    env=labels.map(tuple),
    workdir=texts,
    timeout=numbers,
    grace=numbers,
    exclusive=st.booleans(),
    archive=st.sampled_from(["", "", "0" * 64, "../x"]),
)
secrets = st.lists(st.builds(m.Secret, texts, texts), max_size=2).map(tuple)
runs = st.lists(st.builds(m.Run, attempts, numbers, numbers), max_size=4).map(tuple)
welcomes = st.builds(
    m.Welcome,
    version=st.just(1) | numbers,
    incarnation=st.sampled_from(["inc", "inc", "other", ""]),
    node=numbers,
    acked=numbers,
    heartbeat=st.just(10_000) | numbers,
    lease=st.just(300_000) | numbers,
    release=texts,
)
orders = st.one_of(
    welcomes,
    st.builds(m.Refused, texts, numbers),
    st.builds(m.Credential, texts, numbers),
    st.builds(m.HeartbeatAck, numbers),
    st.builds(m.Ack, numbers),
    st.builds(m.OutputAck, attempts, st.integers(1, 2) | numbers, numbers),
    st.builds(m.Start, specs, runs, secrets),
    st.builds(m.Start, specs, runs, secrets),
    st.builds(m.Files, numbers, numbers, st.lists(st.tuples(texts, st.binary(max_size=8)), max_size=2).map(tuple)),
    st.builds(m.Stop, several),
    st.builds(m.Recall, several),
    st.builds(m.Forget, several),
    st.builds(m.Bye, st.booleans(), texts),
)
damage = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 4), st.binary(max_size=4)), max_size=2)
frame = st.tuples(st.lists(orders, min_size=1, max_size=4), st.just([]) | st.just([]) | damage) | noise
what = st.sampled_from(["owner gone", "owner", "starts", "writes", "ends", "cut", "time", "long"])
steps = st.lists(frame | what, min_size=1, max_size=25)


class House:
    """A session, with an owner that does as it is told and a link that is dialled again whenever it ends."""

    def __init__(self) -> None:
        profile = Profile("agent-1", "box", "host", "boot", "session-1", "1.0", Resources(4_000), results="/r")
        self.session = Session(profile, window=OutputWindow(10_000))
        self.now = 1_000_000
        self.given: dict[int, int] = {}  # attempt -> bytes it wrote
        self.refused = False
        self.owner_hello()
        self.take(self.session.connected(self.now))
        self.hear(msgspec.msgpack.encode([m.Welcome(1, "inc", 7, 0, 10_000, 300_000, "1.0")]))

    def take(self, out: Out) -> None:
        encode(out.to_server)
        to_owner(out.to_owner)
        for order in out.to_owner:
            if isinstance(order, Configure):
                continue
            if isinstance(order, OwnerStart):
                self.given.update((run.attempt, 0) for run in order.runs)
        self.refused |= bool(out.refused)
        if out.reopen:
            self.take(self.session.owner_gone(self.now))
            self.owner_hello()
        if out.redial or out.refused:
            assert self.session.state is LinkState.DOWN
            self.redial()

    def redial(self) -> None:
        self.take(self.session.disconnected(self.now))
        self.take(self.session.connected(self.now))

    def owner_hello(self) -> None:
        hello = OwnerHello(OWNER_VERSION, "n1", 42, self.session.incarnation, Resources(4_000), ())
        self.take(self.session.owner_said(hello, self.now))

    def hear(self, data: bytes) -> None:
        try:
            messages = decode_server(data)
        except ProtocolError:
            self.redial()
        else:
            self.take(self.session.received_all(messages, self.now))

    def happens(self, what: str) -> None:
        session, now = self.session, self.now
        some = tuple(self.given)[:3]
        if what == "owner gone":
            self.take(session.owner_gone(now))
        elif what == "owner":
            self.owner_hello()
        elif what == "cut":
            self.redial()
        elif what == "time":
            self.now += 10_000
            self.take(session.tick(self.now))
        elif what == "long":
            self.now += 400_000
            self.take(session.tick(self.now))
        elif not session.owner_ready:
            return
        elif what == "starts":
            self.take(session.owner_said(OwnerStarted(some), now))
        elif what == "writes":
            for attempt in some:
                offset = self.given[attempt]
                self.given[attempt] += 3
                self.take(session.owner_said(OwnerOutput(attempt, 1, offset, b"abc"), now))
        elif what == "ends":
            endings = tuple(AttemptEnding(a, Outcome.EXITED, stdout=self.given[a]) for a in some)
            for attempt in some:
                del self.given[attempt]
            self.take(session.owner_said(OwnerEnded(endings), now))


@EXAMPLES
@given(steps)
def test_anything_that_a_server_says(steps: list[Any]) -> None:
    house = House()
    for step in steps:
        if isinstance(step, str):
            house.happens(step)
        elif isinstance(step, bytes):
            house.hear(step)
        else:
            said, damaged = step
            try:
                data = bytearray(msgspec.msgpack.encode(said))
            except OverflowError:  # no bytes say this
                continue
            for at, taken, put in damaged:
                begin = at % (len(data) + 1)
                data[begin : begin + taken] = put
            house.hear(bytes(data))
    # A right server: the session greets it, agrees, obeys and reports.
    if not house.session.owner_ready:
        house.owner_hello()
    house.redial()
    assert house.session.state is LinkState.GREETED
    house.hear(msgspec.msgpack.encode([m.Welcome(1, "the last", 7, 0, 10_000, 300_000, "1.0")]))
    assert house.session.state is LinkState.WELCOME
    spec = m.Spec(9, 0, "J", "T", "last", ("true",), False, 0, Resources(1), (), "", 0, 1_000)
    house.hear(msgspec.msgpack.encode([m.Start(spec, (m.Run(99, 0, 1),))]))
    assert 99 in house.given
    out = house.session.owner_said(OwnerEnded((AttemptEnding(99, Outcome.EXITED),)), house.now)
    assert any(isinstance(message, m.Report) and message.ended for message in out.to_server)
