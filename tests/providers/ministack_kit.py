"""A ministack server as its own process on loopback, for Lambda: it really runs functions. Once for a test session."""

from __future__ import annotations

import atexit
import ctypes
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from functools import cache

_PDEATHSIG = 1


def _with_parent() -> None:
    """It ends with the thread that started it (so that has to be the main one), however that ends."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


@cache
def ministack_url() -> str:
    for _ in range(5):  # it cannot be asked for any free port: another may be quicker
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if _started(port):
            return f"http://127.0.0.1:{port}"
    raise AssertionError("ministack did not start")


def _started(port: int) -> bool:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "lambda",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "PYTHONUNBUFFERED": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "ministack"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_with_parent,  # noqa: PLW1509 - no threads of this process matter to it
    )
    atexit.register(server.terminate)
    stream = server.stdout
    assert stream is not None
    for line in stream:
        if f"Running on http://127.0.0.1:{port}" in line:
            threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()
            return True
    return False


def zipped(source: str) -> bytes:
    """The code of a function whose handler is `code_of_it.handler`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("code_of_it.py", source)
    return buffer.getvalue()
