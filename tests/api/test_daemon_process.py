"""`styx-server` as a process: how it starts, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = str(Path(sys.executable).with_name("styx-server"))

# Of nobody but this test: localhost, from 2020 until 2120.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMODP97EWuN4W/8q2
fpzb2men8bTrHknsgm5Np98N7ayhRANCAAR0UtDf9YnIPTdNlPFj0MPL/Jf7TNK0
eY7pIjSBF/f8kei38/4rth17fpIAD2ueMkqubod+1Z0xQAMPrKtvHNi1
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBdjCCAR2gAwIBAgIUfJBE2pq456WMipn/6qmNNT5W9mwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAx
MDAwMDAwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR0UtDf9YnIPTdNlPFj0MPL/Jf7TNK0eY7pIjSBF/f8kei38/4rth17
fpIAD2ueMkqubod+1Z0xQAMPrKtvHNi1o0swSTAaBgNVHREEEzARgglsb2NhbGhv
c3SHBH8AAAEwDAYDVR0TBAUwAwEB/zAdBgNVHQ4EFgQUOd3mF8j6X8uCqECKs6JB
VYoyPJ0wCgYIKoZIzj0EAwIDRwAwRAIgH8qONAWgQ5aaOyWYyyJn62SQsMvoysYA
EP8YnutR2kUCIGPys6H9Tc7kab0FkxvDXJnKmadechM93lh1y/XHz0Lf
-----END CERTIFICATE-----
"""


def environment(home: Path, **more: str) -> dict[str, str]:
    outside = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
    return {**outside, "STYX_HOME": str(home), "STYX_CONFIG": "", **more}


@contextmanager
def server(home: Path, *arguments: str, scheme: str = "http") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that is healthy, and its URL."""
    with subprocess.Popen(
        [PROGRAM, "--port", "0", *arguments],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert f"healthy at {scheme}://" in line, (line, process.stderr.read() if process.stderr else "")
            yield process, line.split()[-1]
        finally:
            if process.poll() is None:
                process.kill()


def refused(home: Path, *arguments: str, **more: str) -> tuple[int, str]:
    done = subprocess.run(
        [PROGRAM, *arguments], env=environment(home, **more), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def get(url: str, path: str, token: str = "", context: ssl.SSLContext | None = None) -> Any:
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        return json.load(answer)


def test_from_the_start_to_a_signal(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with server(home) as (process, url):
        token = (home / "token").read_text().strip()  # there before the first healthy answer
        assert get(url, "/health")["status"] == "healthy"
        assert get(url, "/api/v1/jobs", token) == {"items": [], "next": None}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(url, "/api/v1/jobs")
        assert json.loads((home / "server.json").read_text())["url"] == url
        # whoever reads a stream does not hold it up
        request = urllib.request.Request(f"{url}/api/v1/events", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as stream:
            assert stream.readline() == b": styx\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        assert not (home / "server.json").exists()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    with server(home) as (process, url):
        assert (home / "token").read_text().strip() == token
        assert get(url, "/api/v1/jobs", token) == {"items": [], "next": None}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    with server(tmp_path) as (process, _):
        code, said = refused(tmp_path, "--port", "0")
        assert code == 1
        assert f"in use by process {process.pid}" in said
        process.kill()
    with server(tmp_path) as (process, _):  # a lock does not outlive its holder
        pass


def test_a_port_has_one_server(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = refused(tmp_path, "--port", port)
        assert code == 1
        assert said.startswith(f"styx-server: port {port} on 127.0.0.1 is in use")
        code, _ = refused(tmp_path, STYX_SERVER_PORT=port)
        assert code == 1


def test_what_it_does_not_start_with(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "in the clear" in said
    assert refused(tmp_path, "--host", "0.0.0.0", "--port", "0", "--insecure")[0] == 2
    assert refused(tmp_path, "--port", "70000")[0] == 2
    assert refused(tmp_path, "--nonsense")[0] == 2
    assert refused(tmp_path, "--tls-key", "x")[0] == 2
    assert refused(tmp_path, STYX_SERVER_PORT="many")[0] == 78
    (tmp_path / "file").write_text("")
    code, said = refused(tmp_path / "file", "--port", "0")
    assert code == 1
    assert "styx-server: " in said


def test_off_loopback_when_told_twice(tmp_path: Path) -> None:
    with server(tmp_path, "--host", "0.0.0.0", "--insecure", "--insecure") as (_, url):
        assert get(url, "/health")["status"] == "healthy"


def test_tls(tmp_path: Path) -> None:
    certificate = tmp_path / "both.pem"
    certificate.write_text(CERTIFICATE)
    with server(tmp_path / "home", "--tls-cert", str(certificate), scheme="https") as (_, url):
        context = ssl.create_default_context(cafile=str(certificate))
        assert get(url, "/health", context=context)["status"] == "healthy"
