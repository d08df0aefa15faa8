"""An owner that does no work: every attempt succeeds at once. For measuring everything else (`styx-agent --no-work`).

What instantly ends needs no queue in front of it: at any moment nothing runs, so whatever comes next fits.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.owner import (
    OWNER_VERSION,
    AgentToOwner,
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerHello,
    OwnerStart,
    OwnerToAgent,
    OwnerWatching,
)

__all__ = ["NoWorkOwner"]


class NoWorkOwner:
    """An OwnerPort. Like the real owner it keeps ends until they are forgotten; `open` connects to it (again)."""

    def __init__(self) -> None:
        self._nonce = uuid.uuid4().hex
        self._incarnation = ""
        self._kept: dict[int, AttemptEnding] = {}
        self._said: deque[OwnerToAgent] = deque()
        self._wake = asyncio.Event()
        self._told = False  # this connection knows what is kept
        self._closed = True
        self._handlers: dict[type, Callable[[Any], None]] = {
            Configure: self._configure,
            OwnerStart: self._start,
            OwnerForget: self._forget,
        }

    async def open(self) -> NoWorkOwner:
        self._closed = False
        self._told = False
        self._said.clear()
        held = tuple(OwnerWatching(attempt, 2, 0) for attempt in self._kept)
        self._say(OwnerHello(OWNER_VERSION, self._nonce, os.getpid(), self._incarnation, Resources(0), held))
        return self

    async def send(self, messages: list[AgentToOwner], /) -> None:
        for message in messages:
            handler = self._handlers.get(type(message))
            if handler is not None:  # there is never anything to stop, to recall or to release
                handler(message)

    async def recv(self) -> list[OwnerToAgent]:
        while not self._said:
            if self._closed:
                raise ConnectionResetError("the no-work owner was closed")
            self._wake.clear()
            await self._wake.wait()
        said = list(self._said)
        self._said.clear()
        return said

    async def close(self) -> None:
        self._closed = True
        self._wake.set()

    def _say(self, message: OwnerToAgent) -> None:
        self._said.append(message)
        self._wake.set()

    def _configure(self, message: Configure) -> None:
        if message.incarnation != self._incarnation:
            self._kept.clear()
            self._incarnation = message.incarnation
        if not self._told and self._kept:
            self._say(OwnerEnded(tuple(self._kept.values())))
        self._told = True

    def _start(self, message: OwnerStart) -> None:
        endings = tuple(AttemptEnding(run.attempt, Outcome.EXITED) for run in message.runs)
        self._kept.update(zip((run.attempt for run in message.runs), endings, strict=True))
        self._say(OwnerEnded(endings))

    def _forget(self, message: OwnerForget) -> None:
        for attempt in message.attempts:
            self._kept.pop(attempt, None)
