"""Output is complete, in order, and told again until it is released, whatever becomes of the agent."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from owner_talk import alive, configured, eventually, owner, spec

from styx.agent.owner.spool import Budget, Spool
from styx.core.states import Outcome
from styx.protocol.owner import OwnerForget, OwnerRelease

PYTHON = sys.executable
PATTERN = (
    "import sys, hashlib\n"
    "block = bytes(range(251)) * 400\n"
    "for i in range({blocks}): sys.stdout.buffer.write(i.to_bytes(4, 'big') + block)\n"
)


def pattern(blocks: int) -> bytes:
    block = bytes(range(251)) * 400
    return b"".join(i.to_bytes(4, "big") + block for i in range(blocks))


def test_both_streams_come_apart_and_whole(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        ending = talk.run(spec("for i in 1 2 3; do echo out$i; echo err$i >&2; done; printf end", shell=True))
        assert talk.text(1, 1) == "out1\nout2\nout3\nend"
        assert talk.text(1, 2) == "err1\nerr2\nerr3\n"
        assert (ending.stdout, ending.stderr) == (18, 15)


def test_a_line_is_passed_on_while_the_program_runs(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        talk.start(spec("echo first; sleep 1000", shell=True), 1)
        talk.said(1, b"first\n")
        assert 1 not in talk.ended


def test_much_output_comes_whole(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        ending = talk.run(spec(PYTHON, "-c", PATTERN.format(blocks=300)))
        assert ending.stdout == 300 * (4 + 251 * 400)
        assert bytes(talk.output[1, 1]) == pattern(300)


def test_two_loud_programs_share(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        talk.start(spec("yes | head -c 3000000", shell=True), 1, 2)
        talk.start(spec("echo quiet", shell=True), 3)
        talk.ends(1, 2, 3)
        for attempt in (1, 2):
            assert hashlib.sha1(talk.output[attempt, 1]).digest() == hashlib.sha1(b"y\n" * 1_500_000).digest()


def test_output_is_told_again_until_it_is_released(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        talk = it.talk(release=False, forget=False).configure()
        talk.run(spec("echo out; echo err >&2; exit 3", shell=True))
        talk.close()
        talk = it.talk(release=False, forget=False).configure()
        assert talk.hello is not None
        assert [(held.attempt, held.state) for held in talk.hello.held] == [(1, 2)]
        assert talk.ends(1)[0].code == 3
        assert (talk.text(1, 1), talk.text(1, 2)) == ("out\n", "err\n")
        talk.send(OwnerRelease(1, 1, 2))
        talk.close()
        talk = it.talk(release=False, forget=False).configure()
        talk.ends(1)
        assert talk.begins[1, 1] == 2
        assert (talk.text(1, 1), talk.text(1, 2)) == ("t\n", "err\n")
        talk.send(OwnerForget((1,)))  # its end is on a disk; its output is still owed
        talk.close()
        talk = it.talk(release=True).configure()
        assert talk.hello is not None
        assert talk.hello.held == ()
        talk.until(lambda: talk.text(1, 1) == "t\n" and talk.text(1, 2) == "err\n")
        talk.run(spec("true"), 2)  # so the releases have been heard
        assert 1 not in talk.ended
        talk.close()
        talk = it.talk().configure()
        talk.run(spec("true"), 3)
        assert (1, 1) not in talk.output
        talk.close()


def test_output_is_whole_across_many_connections(tmp_path: Path) -> None:
    """Each connection takes some, releases it and breaks off. A release may be lost with its connection, so some may come
    again, but nothing is missing."""
    blocks = 60
    with owner(tmp_path) as it:
        talk = it.talk(forget=False).configure()
        talk.start(spec(PYTHON, "-c", PATTERN.format(blocks=blocks)), 1)
        kept = bytearray()

        def keep() -> None:
            begin = talk.begins.get((1, 1), len(kept))
            assert begin <= len(kept), "something is missing"
            assert kept[begin:] == talk.output[1, 1][: len(kept) - begin]
            kept.extend(talk.output[1, 1][len(kept) - begin :])

        connections = 1
        while 1 not in talk.ended:
            talk.listen()
            if len(talk.output.get((1, 1), b"")) > 500_000:
                keep()
                talk.close()
                talk = it.talk(forget=False).configure()
                connections += 1
        if (1, 1) in talk.output:
            keep()
        assert connections > 5
        assert bytes(kept) == pattern(blocks)
        talk.close()


def test_without_releases_only_a_window_is_sent_and_the_end_waits(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        talk = it.talk(release=False).configure()
        talk.start(spec("head -c 3000000 /dev/zero", shell=True), 1)
        talk.until(lambda: len(talk.output.get((1, 1), b"")) == 1 << 20)
        assert talk.run(spec("echo other", shell=True), 2).code == 0  # others are not held up
        assert talk.text(2) == "other\n"
        assert 1 not in talk.ended
        assert len(talk.output[1, 1]) == 1 << 20
        talk.release = True
        talk.send(OwnerRelease(1, 1, 1 << 20))
        assert talk.ends(1)[0].stdout == 3_000_000
        talk.close()


def test_what_memory_does_not_hold_goes_to_disk_and_is_removed(tmp_path: Path) -> None:
    with owner(tmp_path, "--output-memory", "65536") as it:
        talk = it.talk(release=False).configure()
        talk.start(spec(PYTHON, "-c", PATTERN.format(blocks=50)), 1)
        eventually(lambda: sum(f.stat().st_size for f in (tmp_path / "spool").iterdir()) > 4_000_000)
        talk.close()
        talk = it.talk().configure()
        talk.ends(1)
        assert bytes(talk.output[1, 1]) == pattern(50)
        talk.run(spec("true"), 2)
        assert list((tmp_path / "spool").iterdir()) == []
        talk.close()


def test_a_program_waits_when_the_disk_allowed_is_full(tmp_path: Path) -> None:
    with owner(tmp_path, "--output-memory", "65536", "--output-disk", "300000") as it:
        talk = it.talk(release=False).configure()
        talk.start(spec("echo $$; exec head -c 5000000 /dev/zero", shell=True), 1)
        talk.until(lambda: len(talk.output.get((1, 1), b"")) > 300_000)
        pid = int(talk.output[1, 1].split(b"\n", 1)[0])
        talk.run(spec("true"), 2)
        assert alive(pid)
        assert len(talk.output[1, 1]) < 600_000
        talk.release = True
        talk.send(OwnerRelease(1, 1, len(talk.output[1, 1])))
        assert talk.ends(1)[0].stdout == 5_000_000 + len(str(pid)) + 1
        talk.close()


def test_a_full_disk_does_not_keep_a_program_from_being_stopped(tmp_path: Path) -> None:
    with owner(tmp_path, "--output-memory", "65536", "--output-disk", "300000") as it:
        talk = it.talk(release=False).configure(cpus=1_000)
        talk.start(spec("exec yes", shell=True), 1)
        talk.until(lambda: len(talk.output.get((1, 1), b"")) > 300_000)
        talk.stop(1)
        talk.run(spec("true"), 2)  # it has left, so there is room
        talk.release = True
        talk.send(OwnerRelease(1, 1, len(talk.output[1, 1])))
        assert talk.ends(1)[0].outcome is Outcome.KILLED
        talk.close()


def test_output_held_open_from_outside_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A pipe can be handed to a process that is not the task's; the end does not wait for that one."""
    with owner(tmp_path / "a") as it, owner(tmp_path / "b") as other:
        talk, beside = it.talk().configure(), other.talk().configure()
        talk.start(spec("echo $$; exec sleep 1000", shell=True), 1)
        talk.said(1, b"\n")
        pid = int(talk.text(1))
        beside.start(spec(f"exec 3> /proc/{pid}/fd/1; echo open; sleep 1000", shell=True), 1)
        beside.said(1, b"open\n")
        talk.stop(1)
        assert talk.ends(1)[0].stdout == len(f"{pid}\n")
        assert 1 not in beside.ended
        talk.close()
        beside.close()


# the spool by itself


def chunks(total: int, size: int) -> list[bytes]:
    data = bytes(i * 7 % 256 for i in range(total))
    return [data[i : i + size] for i in range(0, total, size)]


@pytest.mark.parametrize("lag", [0, 1, 5, 100])
def test_a_stream_gives_back_what_it_got(tmp_path: Path, lag: int) -> None:
    """A reader that lags behind by some chunks, through memory, files and back."""
    budget = Budget(limit=1_000, per_attempt_memory=300, per_attempt_disk=1 << 20, segment=512)
    spool = Spool(budget, str(tmp_path / "spool" / "1"))
    stream = spool.streams[0]
    pieces = chunks(5_000, 130)
    got = bytearray()

    def read(until: int) -> None:
        while stream.sent < until:
            data = b"".join(stream.read(stream.sent, 100))
            assert data
            got.extend(data)
            stream.sent += len(data)
            stream.release(stream.sent)

    for number, piece in enumerate(pieces):
        stream.append(piece)
        read(max(0, (number - lag) * 130))
        assert spool.memory <= 300
        assert spool.on_disk <= (lag + 6) * 130 + 2 * 512
    read(stream.total)
    assert bytes(got) == b"".join(pieces)
    assert (spool.memory, spool.on_disk, budget.used, stream.held) == (0, 0, 0, 0)
    assert not (tmp_path / "spool").exists() or list((tmp_path / "spool").iterdir()) == []


def test_the_memory_of_all_is_bounded(tmp_path: Path) -> None:
    budget = Budget(limit=500, per_attempt_memory=300, per_attempt_disk=1 << 20)
    spools = [Spool(budget, str(tmp_path / str(i))) for i in range(5)]
    for spool in spools:
        spool.streams[1].append(b"x" * 250)
    assert budget.used <= 500
    assert sum(s.on_disk for s in spools) == 250 * 3
    for spool in spools:
        assert b"".join(spool.streams[1].read(0, 1_000)) == b"x" * 250
        spool.close()
    assert budget.used == 0
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_refuses_is_kept_and_the_pipe_stalls(tmp_path: Path) -> None:
    blocked = tmp_path / "spool"
    blocked.write_text("not a folder")
    budget = Budget(limit=10, per_attempt_memory=10, per_attempt_disk=1 << 20)
    spool = Spool(budget, str(blocked / "1"))
    stream = spool.streams[0]
    stream.append(b"0123456789")
    stream.append(b"abcdef")
    assert spool.full
    assert b"".join(stream.read(10, 100)) == b"abcdef"
    stream.release(12)
    assert b"".join(stream.read(12, 100)) == b"cdef"
    blocked.unlink()
    assert stream.settle()
    assert not spool.full
    assert b"".join(stream.read(12, 100)) == b"cdef"
    stream.append(b"ghi")
    assert b"".join(stream.read(12, 100)) == b"cdefghi"
    stream.release(15)
    assert b"".join(stream.read(15, 3)) == b"fgh"
    spool.close()
    assert (spool.memory, spool.on_disk) == (0, 0)
