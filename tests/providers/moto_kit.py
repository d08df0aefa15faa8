"""A moto server as its own process on loopback, started once for a test session and ended with it."""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import signal
import subprocess
import sys
from functools import cache

_RUNNING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
_PDEATHSIG = 1


def _with_parent() -> None:
    """The server ends with the thread that started it (so that has to be the main one), however that ends."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


@cache
def moto_url() -> str:
    """Where it answers. Instance types and images are checked as AWS would."""
    environ = {
        **os.environ,
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
        "MOTO_ENABLE_AMI_VALIDATION": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_with_parent,  # noqa: PLW1509 - no threads of this process matter to it
    )
    atexit.register(server.kill)
    assert server.stderr is not None
    said = ""
    for line in server.stderr:
        said += line
        if found := _RUNNING.search(line):
            _drain(server)
            return found[1]
    raise AssertionError(f"moto did not start:\n{said}")


def _drain(server: subprocess.Popen[str]) -> None:
    """It logs every request; a full pipe would stop it."""
    import threading

    assert server.stderr is not None
    stream = server.stderr
    threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()
