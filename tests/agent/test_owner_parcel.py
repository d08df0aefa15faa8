"""A program whose private folder is filled from a parcel before it starts."""

from __future__ import annotations

import io
import signal
from pathlib import Path

from owner_talk import Talk, configured, spec

from styx.core.states import Outcome
from styx.protocol.messages import Run, Spec
from styx.protocol.owner import OwnerStart
from styx.protocol.parcel import Writer


def parcel(path: Path, **files: str) -> str:
    with path.open("wb") as file:
        writer = Writer(file)
        for name, content in sorted(files.items()):
            writer.file(name, len(content), True, io.BytesIO(content.encode()))
        writer.close()
    return str(path)


def start(talk: Talk, what: Spec, path: str, *attempts: int) -> None:
    talk.send(OwnerStart(what, tuple(Run(a, i, 1) for i, a in enumerate(attempts)), "", (), path))


def test_it_finds_its_files_and_is_the_program_itself(tmp_path: Path) -> None:
    path = parcel(tmp_path / "p", hello="#!/bin/sh\necho hello from $0 $STYX_ARRAY_INDEX; echo >&2 careful; exit 7\n")
    with configured(tmp_path / "owner") as talk:
        start(talk, spec("./hello", array=2), path, 1, 2)
        assert [ending.code for ending in talk.ends(1, 2)] == [7, 7]
        assert [talk.text(1), talk.text(2)] == ["hello from ./hello 0\n", "hello from ./hello 1\n"]
        assert talk.text(1, 2) == "careful\n"
        # each has its own: what one writes another never sees
        start(talk, spec("ls; echo x >left; sleep 0.1", shell=True), path, 3)
        start(talk, spec("ls; echo y >left; sleep 0.1", shell=True), path, 4)
        talk.ends(3, 4)
        assert {talk.text(3), talk.text(4)} == {"hello\n"}


def test_signals_reach_the_program_and_are_as_it_expects(tmp_path: Path) -> None:
    path = parcel(tmp_path / "p", x="")
    with configured(tmp_path / "owner") as talk:
        start(talk, spec("trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done", shell=True), path, 1)
        talk.said(1, b"up")
        talk.stop(1)
        (ending,) = talk.ends(1)
        assert (ending.outcome, ending.code) == (Outcome.KILLED, 9)
        start(talk, spec("yes | head -1; grep SigIgn /proc/self/status", shell=True), path, 2)
        talk.ends(2)
        ignored = int(talk.text(2).split()[-1], 16)
        assert not ignored & (1 << (signal.SIGPIPE - 1)), talk.text(2)


def test_what_cannot_be_unpacked_or_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"no parcel")
    with configured(tmp_path / "owner") as talk:
        start(talk, spec("true"), str(tmp_path / "bad"), 1)
        start(talk, spec("true"), str(tmp_path / "gone"), 2)
        start(talk, spec("no-such-program"), parcel(tmp_path / "p", x=""), 3)
        ended = talk.ends(1, 2, 3)
        assert [(ending.outcome, ending.code) for ending in ended] == [
            (Outcome.EXITED, code) for code in (126, 126, 127)
        ]
        assert "the working folder cannot be unpacked: it is no packed folder" in talk.text(1, 2)
        assert "cannot be unpacked: No such file" in talk.text(2, 2)
        assert talk.text(3, 2) == "styx: no-such-program: command not found\n"


def test_a_folder_that_is_named_is_left_alone(tmp_path: Path) -> None:
    with configured(tmp_path / "owner") as talk:
        start(talk, spec("ls", workdir=str(tmp_path)), str(tmp_path / "gone"), 1)
        assert talk.ends(1)[0].code == 0
        assert talk.text(1) == "owner\n"
