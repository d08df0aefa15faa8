"""A whole control plane on a free port of loopback, and an agent that says exactly what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

import styx
from styx.core.events import Held
from styx.core.resources import Resources
from styx.protocol.codec import decode_server, encode
from styx.protocol.http import TokenView
from styx.protocol.messages import OLDEST, VERSION, AgentMessage, Credential, Hello, Refused, ServerMessage, Welcome
from styx.runtime.shell import ShellSettings
from styx.server.serve import Serving, serve_plane


def run(main: Coroutine[Any, Any, None], seconds: float = 60) -> None:
    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await main

    asyncio.run(limited())


def found_in(folder: Path, value: str) -> list[str]:
    """The files below a folder that have a value in them."""
    return [
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and value.encode() in file.read_bytes()
    ]


def hello(agent: str, *, held: tuple[Held, ...] = (), incarnation: str = "", **labels: str) -> Hello:
    return Hello(
        agent, f"name-of-{agent}", "host", "boot", f"session-of-{agent}", OLDEST, VERSION, "test", Resources(4_000, 1 << 30),
        tuple(labels.items()), incarnation, held,
    )  # fmt: skip


class Site:
    """The plane, where it is served, and a session to ask with."""

    def __init__(self, plane: styx.ControlPlane, serving: Serving, session: aiohttp.ClientSession) -> None:
        self.plane = plane
        self.serving = serving
        self.url = serving.url
        self.session = session

    async def token(self, role: str, **options: Any) -> TokenView:
        made = await self.plane.add_token(f"a {role}", role=role, **options)
        self.forget()
        return made

    def forget(self) -> None:
        """Tokens made behind the API's back are known to it at once."""
        from styx.api.auth import TOKENS

        self.serving.app[TOKENS].forget()

    def request(self, method: str, path: str, secret: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {secret}", **options.pop("headers", {})}
        return self.session.request(method, f"{self.url}/api/v1{path}", headers=headers, **options)

    async def enrol(self, secret: str, agent: str, key: str) -> tuple[int, Any]:
        async with self.request("POST", "/agents/enrol", secret, json={"agent": agent, "key": key}) as answer:
            return answer.status, await answer.json()

    async def revoke(self, admin: str, token: int) -> None:
        async with self.request("DELETE", f"/tokens/{token}", admin) as answer:
            assert answer.status == 200


@asynccontextmanager
async def site(folder: Path | None = None, **settings: Any) -> AsyncIterator[Site]:
    async with styx.ControlPlane.open(folder, agent=False, settings=ShellSettings(**settings)) as plane:
        serving = await serve_plane(plane, port=0, grace=0.1)
        try:
            async with aiohttp.ClientSession() as session:
                yield Site(plane, serving, session)
        finally:
            await serving.stop()


class Agent:
    """A websocket that speaks the agents' protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.credentials: list[Credential] = []
        self.code: int | None = None

    async def say(self, *messages: AgentMessage) -> None:
        await self.socket.send_bytes(encode(messages))

    async def hear(self) -> list[ServerMessage] | None:
        """What comes next; None when the link was closed."""
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            self.code = self.socket.close_code
            return None
        return decode_server(message.data, self.credentials.append)

    async def answer(self) -> Welcome | Refused | None:
        """What the server says to a hello."""
        while (heard := await self.hear()) is not None:
            for message in heard:
                if isinstance(message, Welcome | Refused):
                    return message
        return None

    async def closed(self) -> int | None:
        """Until the link is closed; with which code."""
        while await self.hear() is not None:
            pass
        return self.code


@asynccontextmanager
async def dialled(site: Site, secret: str) -> AsyncIterator[Agent]:
    async with site.session.ws_connect(
        f"{site.url}/api/v1/agents/connect", headers={"Authorization": f"Bearer {secret}"}
    ) as socket:
        yield Agent(socket)


async def refusal(site: Site, secret: str, *said: AgentMessage) -> str:
    """Why an agent is not let in, for good; "" when it is."""
    async with dialled(site, secret) as agent:
        await agent.say(*said)
        answer = await agent.answer()
        if isinstance(answer, Refused):
            assert answer.retry == 0, answer
            return answer.reason
        assert isinstance(answer, Welcome)
        return ""
