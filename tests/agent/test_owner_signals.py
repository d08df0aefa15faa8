"""A signal goes to the process that was looked at, and never to another that has its pid by now."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from styx.agent.owner.proc import Process, find, send

STRANGER = 1  # a parent that is not us: the process is no child, and nothing pins its pid


@contextmanager
def sleeper() -> Iterator[tuple[subprocess.Popen[bytes], Process]]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as program:
        try:
            found = find(program.pid)
            assert found is not None
            yield program, found._replace(parent=STRANGER)
        finally:
            program.kill()


def test_who_was_found_is_signalled() -> None:
    with sleeper() as (program, found):
        send([found], signal.SIGTERM, os.getpid())
        assert program.wait(60) == -signal.SIGTERM


def test_another_that_has_the_pid_by_now_is_not() -> None:
    with sleeper() as (program, found):
        send([found._replace(start=found.start - 1)], signal.SIGKILL, os.getpid())
        send([found], signal.SIGTERM, os.getpid())  # had the first one come, this would be too late
        assert program.wait(60) == -signal.SIGTERM


def test_who_is_gone_is_no_error() -> None:
    with sleeper() as (program, found):
        program.kill()
        program.wait(60)
        send([found], signal.SIGTERM, os.getpid())
