"""Putting an agent on a machine of one's own, and taking it away: what `styx nodes add` and `remove` do.

What was added is noted in DIR/ssh/NAME.added.json, so that it can be removed later, also when the machine has another server by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from styx.cli.app import App
from styx.cli.emit import note
from styx.errors import NotFound, Unreachable, UsageError

if TYPE_CHECKING:
    import ssl

    from styx.protocol.verbs import Verbs
    from styx.providers.ssh.connection import Connection
    from styx.providers.ssh.install import Probe
    from styx.providers.ssh.settings import Target

__all__ = ["Added", "Adding"]

_FOREVER = 365 * 86_400  # seconds without a word of a server: a machine of one's own does not end itself before
_JOIN = 3_600.0  # seconds that the join token is good
_PATIENCE = 60.0  # seconds until the agent must have come


class Added(msgspec.Struct, frozen=True):
    machine: str
    agent: str
    folder: str  # of the agent, on the machine
    server: str  # as the agent names it
    tunnel: int = 0  # the port on the machine that leads to the server


class Adding:
    """One machine. Raises StyxError, Refused and Unsure among them, with what is wrong and what would help."""

    def __init__(self, app: App, target: Target, identity: str, known_hosts: str) -> None:
        self._app = app
        self._target = target
        self._identity = identity
        self._known_hosts = known_hosts
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", str(target)).strip("-")
        self._noted = app.home / "ssh" / f"{name}.added.json"
        self._tunnel = app.home / "ssh" / f"{name}.json"

    async def add(self, labels: tuple[tuple[str, str], ...], public_url: str, folder: str) -> Added:
        from styx.providers.bootstrap import BootstrapOrder, user_data
        from styx.providers.ssh import install
        from styx.providers.ssh.connection import connect

        url = self._app.address()
        if not url:
            raise Unreachable("no server is named, and none of yours is running", hint="start one with `styx up`")
        async with (
            self._app.connect(url) as verbs,
            connect(self._target, identity=self._identity, known_hosts=self._known_hosts) as connection,
        ):
            about = await install.probe(connection)
            incarnation = (await verbs.health()).incarnation
            where = folder or f"{about.home}/.styx/{incarnation[:12]}"
            agent = "ssh-" + hashlib.sha256(f"{incarnation} {self._target} {where}".encode()).hexdigest()[:12]
            tag, python, archive = await self._archive(url, about)
            server, port = await self._way(url, public_url)
            secret = (
                await verbs.add_token(f"ssh {self._target}"[:100], role="join", ttl=_JOIN, single_use=True)
            ).secret
            digest = hashlib.sha256(archive).hexdigest()
            order = BootstrapOrder(
                server_url=server,
                join_token=secret,
                archives=((tag, about.arch, digest),),
                token=agent,
                ca=await self._ca(server),
                labels=(("host", self._target.host), ("provider", "ssh"), *labels),
                idle_seconds=_FOREVER,
                busy_seconds=_FOREVER,
            )
            await install.start(connection, where, user_data(order), python, archive, digest)
            added = Added(str(self._target), agent, where, server, port)
            await asyncio.to_thread(_write, self._noted, added)
            await self._came(verbs, connection, added)
            return added

    async def remove(self) -> Added:
        from styx.providers.ssh import install, tunnel
        from styx.providers.ssh.connection import connect

        added = await asyncio.to_thread(_read, self._noted)
        if added is None:
            raise NotFound(
                f"{self._target} was not added from here", hint="name it as it was added; STYX_HOME may be another one"
            )
        async with connect(self._target, identity=self._identity, known_hosts=self._known_hosts) as connection:
            await install.remove(connection, added.folder)
        await asyncio.to_thread(tunnel.end, self._tunnel)
        url = self._app.address()
        if url:
            async with self._app.connect(url) as verbs:
                for token in await verbs.tokens():
                    if token.agent == added.agent and not token.revoked:
                        await verbs.revoke_token(token.token_id)
        await asyncio.to_thread(self._noted.unlink, True)
        return added

    async def _archive(self, url: str, about: Probe) -> tuple[str, str, bytes]:
        """(tag, Python there, archive), for the first Python there that the server has one for."""
        from styx.client.bundles import bundle

        for tag, python in about.pythons:
            try:
                return tag, python, await bundle(url, tag, about.arch, tls=self._tls())
            except NotFound:
                continue
        tag = about.pythons[0][0]
        raise NotFound(
            f"the server has no archive for Python {tag[2]}.{tag[3:]} on {about.arch}, which {self._target} has",
            hint=f"on the server's host: styx bootstrap fetch --python {tag[2]}.{tag[3:]} --arch {about.arch}",
        )

    async def _way(self, url: str, public_url: str) -> tuple[str, int]:
        """How the machine finds the server: (URL, port of the tunnel or 0)."""
        from styx.client.credentials import is_local
        from styx.providers.ssh import tunnel

        if public_url:
            return public_url, 0
        if not is_local(url):
            return url, 0
        before = await asyncio.to_thread(_read, self._noted)
        opened = await asyncio.to_thread(
            tunnel.open_tunnel,
            self._tunnel,
            self._target,
            url,
            port=before.tunnel if before is not None else 0,  # an agent that is there already knows this one
            identity=self._identity,
            known_hosts=self._known_hosts,
        )
        note(f"process {opened.pid} keeps a way from {self._target} to {url}; it ends with this machine")
        scheme = urlsplit(url).scheme
        return f"{scheme}://127.0.0.1:{opened.port}", opened.port

    async def _came(self, verbs: Verbs, connection: Connection, added: Added) -> None:
        from styx.providers.ssh import install

        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    if any(agent.agent_id == added.agent and agent.state == "UP" for agent in await verbs.agents()):
                        return
                    await asyncio.sleep(0.2)
        except TimeoutError:
            state, log = await install.state(connection, added.folder)
            last = log.strip().splitlines()[-1:] or ["it has said nothing"]
            raise Unreachable(
                f"the agent on {self._target} is {state}, and has not come within {_PATIENCE:g} s: {last[0]}",
                hint=f"see {added.folder}/log there; can it reach {added.server}?",
            ) from None

    def _tls(self) -> ssl.SSLContext | None:
        from styx.config.tls import trusting

        ca = self._app.ca or self._app.settings.ca
        return trusting(ca) if ca else None

    async def _ca(self, server: str) -> str:
        ca = self._app.ca or self._app.settings.ca
        if not ca or not server.startswith("https"):
            return ""
        try:
            return await asyncio.to_thread(Path(ca).read_text, "ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{ca} cannot be read: {error}") from None


def _write(path: Path, added: Added) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(added))


def _read(path: Path) -> Added | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Added)
    except (OSError, msgspec.MsgspecError):
        return None
