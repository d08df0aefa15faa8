"""One process beside the server: an agent, in a session of its own, so that a Ctrl-C in the terminal does not reach it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["PATIENCE", "Child", "born"]

PATIENCE = 10.0  # seconds for a process to go that was asked to


class Child:
    """Started at once. It is reaped by `wait`, `poll` or `stop`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, log: Path | None = None) -> None:
        """`log` takes what it says; by default that goes where this process's own words go. Raises OSError."""
        out = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        finally:
            if out is not None:
                os.close(out)
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Blocks until it ends; its exit code."""
        return self._process.wait()

    def stop(self, *, grace: float = 0.5, patience: float = PATIENCE) -> None:
        """The first signal asks an agent to wait for its programs, the second to leave them to their owner and go. Blocks for `grace`
        and `patience` seconds at most, and kills what is there then."""
        process = self._process
        if process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def born(pid: int) -> float:
    """When a living process was started, so that it is not taken for a later one with its number; 0 when there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0.0
