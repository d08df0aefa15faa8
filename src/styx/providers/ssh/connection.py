"""One SSH connection: opened with the host's key checked, used for commands and files, its errors told in words.

A host whose key is not known is refused, with the command that would add it: to believe a key unseen would give whoever sits in between
the machine, and a token for the server. Commands go through `sh`, whatever the user's own shell is.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from styx.providers.base import Kind, Refused, Unsure
from styx.providers.ssh.settings import Target

if TYPE_CHECKING:
    import asyncssh

__all__ = ["LIMIT", "Connection", "connect"]

LIMIT = 15.0  # seconds to connect and log in
_ALIVE = 15.0  # seconds between two questions whether the other side is there; three without an answer end it


class Connection:
    """An open one. Errors: Unsure when it breaks in the middle of something."""

    def __init__(self, opened: asyncssh.SSHClientConnection, target: Target) -> None:
        self.opened = opened
        self.target = target

    async def run(
        self, script: str, *arguments: str, content: bytes = b"", limit: float = 120.0
    ) -> tuple[int, str, str]:
        """`sh -c SCRIPT` with arguments ($1...) and `content` as its input: exit code, stdout, stderr."""
        import asyncssh

        words = " ".join(shlex.quote(word) for word in ("sh", "-c", script, "styx", *arguments))
        try:
            async with asyncio.timeout(limit):
                done = await self.opened.run(words, input=content, encoding=None, check=False)
        except TimeoutError:
            raise Unsure(f"{self.target} did not answer within {limit:g} s") from None
        except (asyncssh.Error, OSError) as error:
            raise Unsure(f"the connection to {self.target} broke: {error}") from None
        if done.exit_status is None or done.exit_status < 0:
            # The connection, or the command, was ended in the middle: how far it had come is not known.
            raise Unsure(f"{self.target} broke off before it had answered")
        return done.exit_status, _text(done.stdout), _text(done.stderr)

    async def write(self, path: str, content: bytes) -> None:
        """A file, whole or not at all, for its owner only. Raises Refused when it cannot be written."""
        script = 'umask 077; cat >"$1.new" && mv "$1.new" "$1"'
        code, _, said = await self.run(script, path, content=content, limit=600.0)
        if code:
            raise Refused(
                Kind.INVALID, f"{self.target}: {path} cannot be written: {said.strip() or f'exit code {code}'}"
            )


@asynccontextmanager
async def connect(target: Target, *, identity: str = "", known_hosts: str = "") -> AsyncIterator[Connection]:
    """Raises Refused: UNREACHABLE, DENIED (a key that is not known or another one, a login that fails), INVALID (settings)."""
    opened = await _open(target, identity, known_hosts)
    try:
        yield Connection(opened, target)
    finally:
        opened.close()
        await opened.wait_closed()


async def _open(target: Target, identity: str, known_hosts: str) -> asyncssh.SSHClientConnection:
    try:
        import asyncssh
    except ImportError:
        raise Refused(
            Kind.INVALID, "asyncssh is not installed here", hint="pip install 'styx-orchestrator[ssh]'"
        ) from None
    hosts = _hosts(known_hosts)
    if not hosts.is_file():
        raise _unknown(target, hosts)
    options: dict[str, Any] = {"known_hosts": str(hosts), "login_timeout": LIMIT, "keepalive_interval": _ALIVE}
    if target.user:
        options["username"] = target.user
    if identity:
        options |= {"client_keys": [identity], "agent_path": None}
    try:
        async with asyncio.timeout(LIMIT + 1):
            return await asyncssh.connect(target.host, target.port or (), connect_timeout=LIMIT, **options)
    except asyncssh.HostKeyNotVerifiable:
        raise _unknown(target, hosts) from None
    except asyncssh.PermissionDenied as error:
        who = f"{target.user or 'this user'} at {target.host}"
        hint = "add the public key there: ssh-copy-id, or name another one with --identity"
        raise Refused(Kind.DENIED, f"the login of {who} was refused: {error.reason}", hint=hint) from None
    except (asyncssh.KeyImportError, asyncssh.ConfigParseError) as error:
        raise Refused(Kind.INVALID, f"{identity or '~/.ssh'} cannot be used: {error}") from None
    except TimeoutError:
        raise Refused(Kind.UNREACHABLE, f"{target} does not answer within {LIMIT:g} s") from None
    except (asyncssh.Error, OSError) as error:
        words = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno and error.errno > 0 else str(error)
        )
        raise Refused(Kind.UNREACHABLE, f"{target} cannot be reached: {words}") from None


def _hosts(given: str) -> Path:
    return Path(given) if given else Path.home() / ".ssh" / "known_hosts"


def _unknown(target: Target, hosts: Path) -> Refused:
    port = f"-p {target.port} " * bool(target.port)
    return Refused(
        Kind.DENIED,
        f"the key of {target.host} is not known, or is another one than {hosts} says",
        hint=f"see that it is the right one, then: ssh-keyscan {port}{target.host} >> {hosts}",
    )


def _text(data: object) -> str:
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data or "")
