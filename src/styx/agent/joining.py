"""An agent that joined: its key and its credential, in its own folder, and which of what it has it dials with.

A join token is good for one thing: to be given a credential. The credential lies in the folder (0600) beside the name of the server
that gave it, since no other has any use for it but a bad one, and is replaced whenever the server sends the next. When it is
refused, and the join token is still at hand, the agent joins again with the key that it drew the first time.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from styx.errors import Busy, NotAllowed, Revoked, StyxError, Unreachable
from styx.protocol.joining import ENROL, JOIN, Enrol, Enrolled

if TYPE_CHECKING:
    import ssl

__all__ = ["Joined", "was_revoked"]

LIMIT = 10.0  # seconds for the server's answer


class _Kept(msgspec.Struct, frozen=True):
    server: str
    secret: str


class Joined:
    """What one agent dials with. `given` is the token from outside, read anew each time."""

    def __init__(
        self, folder: Path, agent: str, server: str, given: Callable[[], str], tls: ssl.SSLContext | None = None
    ) -> None:
        self._folder = folder
        self._agent = agent
        self._server = server
        self._given = given
        self._tls = tls

    async def token(self) -> tuple[str, bool]:
        """A token that was given for keeps, or the credential (and whether it may be an old one), or "" when there is nothing."""
        given = self._given()
        if given and not given.startswith(JOIN):
            return given, False
        kept = self._credential()
        if kept:
            return kept, bool(given)
        return await self.join() if given else "", False

    def keep(self, secret: str) -> None:
        """Put a credential on the disk, whole or not at all. Raises StyxError."""
        _write(self._folder / "credential", msgspec.json.encode(_Kept(self._server, secret)))

    async def join(self) -> str:
        """Raises NotAllowed when the server does not have this agent (Revoked when it took back what it gave), Unreachable, Busy,
        StyxError."""
        body = msgspec.json.encode(Enrol(self._agent, self._key()))
        status, answer = await asyncio.to_thread(self._ask, self._given(), body)
        if status == 201:
            try:
                secret = msgspec.json.decode(answer, type=Enrolled).secret
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise Unreachable(f"{self._server} answers, but not as a Styx server does") from None
            self.keep(secret)
            return secret
        if status in {429, 503, 507}:
            raise Busy(f"{self._server} is busy ({status})", retry_after=1.0, status=status)
        if status in {400, 401, 403}:
            kind = Revoked if was_revoked(answer) else NotAllowed
            raise kind(f"{self._server} did not let this agent join: {_detail(answer)}", status=status)
        raise Unreachable(f"{self._server} answers, but takes no agents that join ({status})")

    def _ask(self, token: str, body: bytes) -> tuple[int, bytes]:
        import http.client

        parts = urlsplit(self._server if "://" in self._server else f"http://{self._server}")
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme in {"https", "wss"}:
            connection = http.client.HTTPSConnection(host, parts.port, timeout=LIMIT, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=LIMIT)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", parts.path.rstrip("/") + ENROL, body, headers)
            response = connection.getresponse()
            return response.status, response.read(64 << 10)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no server answers at {self._server}: {error}") from None
        finally:
            connection.close()

    def _credential(self) -> str:
        try:
            kept = msgspec.json.decode((self._folder / "credential").read_bytes(), type=_Kept)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return ""
        return kept.secret if kept.server == self._server else ""

    def _key(self) -> str:
        """Drawn, and put on the disk, the first time."""
        path = self._folder / "join.key"
        try:
            found = path.read_text("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            found = ""
        except OSError as error:
            raise StyxError(f"{path} cannot be read: {error.strerror or error}") from None
        if len(found) < 32:
            found = secrets.token_hex(32)
            _write(path, f"{found}\n".encode())
        return found


def was_revoked(answer: bytes) -> bool:
    """Whether a server's refusal says that what was shown is revoked: others may be withdrawn by whoever made them."""
    return _problem(answer).get("code") == Revoked.code


def _problem(answer: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(answer, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def _detail(answer: bytes) -> str:
    problem = _problem(answer)
    return "; ".join(str(problem[name]) for name in ("detail", "hint") if problem.get(name)) or "it did not say why"


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise StyxError(f"{path} cannot be written: {error.strerror or error}") from None
