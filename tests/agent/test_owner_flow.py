"""When a program waits for the link, and when it writes ahead onto the disk; and what lies between pipe and socket without a copy."""

from __future__ import annotations

import os
import select
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from owner_talk import spec

from styx.agent.owner.attempt import Attempt
from styx.agent.owner.chunks import Chunks
from styx.agent.owner.flow import SPAN, Flow
from styx.agent.owner.frames import Gathered, encode, from_owner
from styx.agent.owner.outlet import Outlet
from styx.agent.owner.pipes import CHUNK, Pipes
from styx.agent.owner.spool import Budget, Spool
from styx.protocol.messages import Run
from styx.protocol.owner import OwnerOutput, OwnerStarted

MUCH = 16 << 20


class Loud:
    """A pipe that always has more, and the attempt it belongs to. It is noon at first."""

    def __init__(self, folder: Path) -> None:
        self.epoll = select.epoll()
        self.pipes = Pipes(self.epoll)
        self.attempt = Attempt(1, spec("yes"), Run(1, 0, 1), "")
        self.attempt.spool = Spool(Budget(), str(folder / "spool"))
        self.stream = self.attempt.spool.streams[0]
        mine, self.end = os.pipe2(os.O_NONBLOCK)
        silent, self.silent = os.pipe2(os.O_NONBLOCK)
        self.attempt.fds = [mine, silent]
        self.pipes.watch(self.attempt)
        self.noon = 1_000 * SPAN

    def read_on(self, now: int, most: int = 100) -> int:
        """Write and read for as long as the pipe is armed; the bytes that were read."""
        before = self.stream.total
        for _ in range(most):
            os.write(self.end, bytes(CHUNK - self._waits()))
            if not self.epoll.poll(0):
                break
            self.pipes.ready(self.attempt.fds[0], now)
        return self.stream.total - before

    def _waits(self) -> int:
        import fcntl
        import termios

        return int.from_bytes(fcntl.ioctl(self.end, termios.FIONREAD, bytes(4)), "little")

    def close(self) -> None:
        self.pipes.close(self.attempt)
        self.attempt.spool.close()
        os.close(self.end)
        os.close(self.silent)
        self.epoll.close()


def test_what_has_piled_up_waits_in_the_pipe_until_some_is_sent(tmp_path: Path) -> None:
    loud = Loud(tmp_path)
    read = loud.read_on(loud.noon)
    assert 256 << 10 <= read <= 384 << 10
    assert loud.read_on(loud.noon) == 0
    loud.stream.sent = loud.stream.total
    loud.pipes.moved(loud.attempt)
    assert loud.read_on(loud.noon) == read
    assert loud.attempt.spool.on_disk == 0
    loud.close()


def test_a_program_does_not_wait_for_an_agent_that_takes_nothing(tmp_path: Path) -> None:
    loud = Loud(tmp_path)
    read = loud.read_on(loud.noon)
    due = loud.pipes.wake_at()
    assert due == loud.noon + SPAN
    loud.pipes.tick(due - 1)
    assert loud.read_on(due - 1) == 0
    loud.pipes.tick(due)
    assert loud.read_on(due) == 100 * CHUNK > read
    assert loud.attempt.spool.on_disk > 0
    assert loud.pipes.wake_at() is None
    loud.close()


def test_a_line_that_is_thin_is_not_waited_for_until_it_is_fast() -> None:
    flow = Flow()
    assert flow.begin(SPAN)
    flow.took(1 << 20, SPAN + SPAN // 2)
    assert flow.good(2 * SPAN - 1)
    assert not flow.good(2 * SPAN)
    assert not flow.begin(2 * SPAN)
    flow.took(MUCH, 2 * SPAN + 1)
    flow.took(1, 3 * SPAN)
    assert flow.begin(3 * SPAN)
    assert flow.begin(9 * SPAN), "nobody waited for long: that says nothing"
    assert flow.good(9 * SPAN + 1)
    assert not flow.good(10 * SPAN)


@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=40_000), st.integers(0, 60_000), st.tuples(st.integers(0, 90_000))),
        max_size=30,
    )
)
def test_chunks_are_a_queue_of_bytes(steps: list[bytes | int | tuple[int]]) -> None:
    """Against a bytearray: append, hand out, drop."""
    chunks, model, handed = Chunks(), bytearray(), 0
    views: list[tuple[list[memoryview], bytes]] = []
    for step in steps:
        if isinstance(step, bytes):
            chunks.append(step, len(model) - handed)
            model += step
        elif isinstance(step, int):
            parts = chunks.parts(min(handed, len(model)), step)
            wanted = bytes(model[handed : handed + step])
            assert b"".join(parts) == wanted
            views.append((parts, wanted))
            handed += len(wanted)
        else:
            size = min(step[0], handed)
            chunks.drop(size)
            del model[:size]
            handed -= size
        assert chunks.size == len(model)
    assert b"".join(chunks.parts(0, 1 << 30)) == model
    assert all(b"".join(parts) == wanted for parts, wanted in views), "what was handed out has changed"


@given(st.lists(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4), max_size=40))
def test_a_gathered_frame_is_what_the_messages_would_be(outputs: list[list[bytes]]) -> None:
    frame, messages = Gathered(), []
    for number, pieces in enumerate(outputs):
        frame.output(number, 1, 1 << number, pieces, sum(map(len, pieces)))
        messages.append(OwnerOutput(number, 1, 1 << number, b"".join(pieces)))
    frame.add(OwnerStarted((1, 2)))
    messages.append(OwnerStarted((1, 2)))
    parts, length = frame.parts()
    whole = b"".join(parts)
    assert len(whole) == length
    assert from_owner().feed(whole) == from_owner().feed(encode(messages)) == messages


def test_much_output_does_not_wait_for_ends_that_are_gathered_and_little_does(tmp_path: Path) -> None:
    outlet, attempt = Outlet(), Attempt(1, spec("yes"), Run(1, 0, 1), "")
    attempt.spool = Spool(Budget(), str(tmp_path / "spool"))
    for size, pressing in ((1_000, False), (60_000, False), (10_000, True)):
        attempt.spool.streams[0].append(bytes(size))
        outlet.due(attempt)
        assert outlet.pressing is pressing
    outlet.flush(0)
    assert not outlet.pressing
    attempt.spool.close()
