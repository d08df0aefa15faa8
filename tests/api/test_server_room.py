"""The server's own room: where it listens, what it says of itself, and the local user's token."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from api_fakes import FakePlane

from styx.api.auth import digest_of
from styx.errors import UsageError
from styx.server import local_token, presence
from styx.server.serve import CannotListen, is_loopback, serve, tls_context
from styx.store.base import TokenRow


class Tokens:
    def __init__(self) -> None:
        self.rows: list[TokenRow] = []

    async def tokens(self) -> list[TokenRow]:
        return self.rows

    async def add_token(self, row: TokenRow) -> TokenRow:
        self.rows.append(row)
        return row


def test_the_local_token_is_the_same_over_restarts(tmp_path: Path) -> None:
    store = Tokens()
    first = asyncio.run(local_token.ensure(tmp_path, store))
    file = tmp_path / "token"
    assert file.read_text() == first + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first.startswith("styx_")
    assert len(bytes.fromhex(first.removeprefix("styx_"))) == 32
    assert [(row.role, row.digest) for row in store.rows] == [("admin", digest_of(first))]
    file.chmod(0o644)
    assert asyncio.run(local_token.ensure(tmp_path, store)) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(store.rows) == 1


def test_the_file_wins_over_a_new_database(tmp_path: Path) -> None:
    first = asyncio.run(local_token.ensure(tmp_path, Tokens()))
    fresh = Tokens()
    assert asyncio.run(local_token.ensure(tmp_path, fresh)) == first
    assert fresh.rows[0].digest == digest_of(first)


@pytest.mark.parametrize("content", [b"", b"\n", b"styx_short\n", b"secret\n", b"\xff\xfe"])
def test_what_is_no_secret_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    secret = asyncio.run(local_token.ensure(tmp_path, Tokens()))
    assert len(secret) == 69


def test_a_revoked_token_does_not_come_back(tmp_path: Path) -> None:
    store = Tokens()
    first = asyncio.run(local_token.ensure(tmp_path, store))
    store.rows = [TokenRow(1, "x", "admin", digest_of(first), 1, 0, 5)]
    assert asyncio.run(local_token.ensure(tmp_path, store)) != first


def test_presence(tmp_path: Path) -> None:
    assert presence.find(tmp_path) is None
    presence.announce(tmp_path, "http://127.0.0.1:1", "1.0")
    found = presence.find(tmp_path)
    assert found is not None
    assert (found.pid, found.url) == (os.getpid(), "http://127.0.0.1:1")
    presence.withdraw(tmp_path)
    assert presence.find(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_stale_presence_is_nobodys(tmp_path: Path) -> None:
    presence.announce(tmp_path, "http://127.0.0.1:1", "1.0")
    content = json.loads((tmp_path / "server.json").read_text())
    # the same pid, but of a process that started at another time
    (tmp_path / "server.json").write_text(json.dumps(content | {"started": content["started"] - 100}))
    assert presence.find(tmp_path) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    (tmp_path / "server.json").write_text(json.dumps(content | {"pid": gone.pid}))
    assert presence.find(tmp_path) is None
    presence.withdraw(tmp_path)
    assert (tmp_path / "server.json").exists()  # not ours to remove
    for garbage in ("", "{", "[]", '{"pid": "x"}', '{"pid": -1, "url": "", "started": 0}'):
        (tmp_path / "server.json").write_text(garbage)
        assert presence.find(tmp_path) is None


def test_addresses_that_cannot_be_listened_on() -> None:
    async def main(host: str, port: int) -> None:
        plane = FakePlane()
        await serve(plane, plane.tokens_rows, host=host, port=port)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"port {port} on 127.0.0.1 is in use"):
            asyncio.run(main("127.0.0.1", port))
    with pytest.raises(CannotListen, match="no address of this machine"):
        asyncio.run(main("192.0.2.1", 0))
    with pytest.raises(CannotListen, match="no address"):
        asyncio.run(main("host.invalid", 0))


def test_what_counts_as_loopback() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "a.localhost"):
        assert is_loopback(host), host
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com", "", "localhost.example.com"):
        assert not is_loopback(host), host


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("nonsense")
    for cert in ("c", "absent"):
        with pytest.raises(UsageError, match="cannot be used"):
            tls_context(str(tmp_path / cert), "")
