"""The parcels on this machine: fetched from the server with the agent's own credential, checked, kept by hash, bounded.

A file is under its name only once it is whole and its hash is right, so what is there is good. When more than LIMIT bytes are kept the
ones used longest ago are removed, but never one that an attempt which is held here needs; what was there when this agent
started may be needed by programs that an agent before it passed on, and stays for as long as any attempt is held.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from styx.core.states import Outcome
from styx.errors import Busy, NotAllowed, StyxError, Unreachable

if TYPE_CHECKING:
    import ssl

__all__ = ["ARCHIVES", "LIMIT", "Cellar", "NoParcel", "ParcelSource", "Shelf"]

ARCHIVES = "/api/v1/archives"
LIMIT = 10_000_000_000  # bytes
_STALL = 30.0  # seconds without a byte
_BLOCK = 1 << 20

_HASH = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger("styx.agent")

Token = Callable[[], Awaitable[str]]


class NoParcel(StyxError):
    """It cannot be had, now or ever; `outcome` is that of the attempts that need it."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


class ParcelSource(Protocol):
    """Where parcels come from."""

    async def fetch(self, sha256: str, /) -> str: ...

    def tidy(self, used: Iterable[str], /, *, idle: bool) -> list[str]: ...


class Cellar:
    """`folder` is in the agent's own. `token` is asked for at each fetch, since credentials are renewed."""

    def __init__(
        self, folder: Path, server: str, token: Token, tls: ssl.SSLContext | None = None, *, limit: int = LIMIT
    ) -> None:
        self._folder = folder
        self._server = server
        self._token = token
        self._tls = tls
        self._limit = limit
        self._inherited = {path.name for path in folder.glob("*")} if folder.is_dir() else set()

    async def fetch(self, sha256: str) -> str:
        """The file, from here or from the server. Raises NoParcel, and Unreachable or Busy for what may be tried again."""
        if not _HASH.fullmatch(sha256):
            raise NoParcel(f"{sha256[:80]!r} is no hash of a packed working folder", Outcome.EXITED)
        path = self._folder / sha256
        if not await asyncio.to_thread(_touch, path):
            token = await self._token()
            await asyncio.to_thread(self._fetch, sha256, token)
        return str(path)

    def tidy(self, used: Iterable[str], *, idle: bool) -> list[str]:
        """Remove what is too much, but nothing of `used`; which. `idle`: no attempt is held here."""
        if idle:
            self._inherited.clear()
        keep = {*used, *self._inherited}
        with suppress(FileNotFoundError):
            found = [(entry.stat(), entry) for entry in os.scandir(self._folder) if not entry.name.endswith(".part")]
            total = sum(about.st_size for about, _ in found)
            removed: list[str] = []
            for about, entry in sorted(found, key=lambda one: one[0].st_mtime_ns):
                if total <= self._limit:
                    break
                if entry.name not in keep:
                    os.unlink(entry.path)
                    total -= about.st_size
                    removed.append(entry.name)
            return removed
        return []

    def _fetch(self, sha256: str, token: str) -> None:
        part = self._folder / f"{sha256}.part"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                digest = self._download(sha256, token, file.write)
            if digest != sha256:
                raise NoParcel("the packed working folder that the server sent is damaged", Outcome.REJECTED)
            part.replace(self._folder / sha256)
        except OSError as error:
            raise NoParcel(
                f"there is no room for the packed working folder: {error.strerror or error}", Outcome.REJECTED
            ) from None
        finally:
            part.unlink(missing_ok=True)

    def _download(self, sha256: str, token: str, write: Callable[[bytes], object]) -> str:
        """Its hash as it came. Raises OSError only for what `write` raises."""
        parts = urlsplit(self._server if "://" in self._server else f"http://{self._server}")
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme in {"https", "wss"}:
            connection = http.client.HTTPSConnection(host, parts.port, timeout=_STALL, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=_STALL)
        digest = hashlib.sha256()
        try:
            answer = self._ask(connection, f"{parts.path.rstrip('/')}{ARCHIVES}/{sha256}", token)
            while data := self._read(answer):
                digest.update(data)
                write(data)
            if answer.length:  # what is missing of the length that was promised
                raise Unreachable(f"{self._server} stopped in the middle of a packed working folder")
        finally:
            connection.close()
        return digest.hexdigest()

    def _ask(self, connection: http.client.HTTPConnection, path: str, token: str) -> http.client.HTTPResponse:
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no server answers at {self._server}: {error}") from None
        status = answer.status
        if status == 200:
            return answer
        if status in {404, 410}:
            raise NoParcel("the server does not have the packed working folder any more; submit again", Outcome.EXITED)
        if status == 403:
            raise NoParcel("the server does not give the packed working folder to this agent", Outcome.REJECTED)
        if status == 401:
            raise NotAllowed(f"{self._server} refused the token", status=401)
        raise Busy(f"{self._server} is busy ({status})", retry_after=1.0, status=status)

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._server} stopped in the middle of a packed working folder: {error}") from None


class Shelf:
    """For an agent in the server's own process: the server's files themselves, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(self, sha256: str) -> str:
        """As Cellar does."""
        path = self._folder / f"{sha256}.tar.gz"
        if not _HASH.fullmatch(sha256) or not await asyncio.to_thread(_touch, path):
            raise NoParcel("the packed working folder is not here any more; submit again", Outcome.EXITED)
        return str(path)

    def tidy(self, used: Iterable[str], *, idle: bool) -> list[str]:
        """The server sees to that."""
        return []


def _touch(path: Path) -> bool:
    """Whether it is there; it is used now, and so not the first to go."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True
