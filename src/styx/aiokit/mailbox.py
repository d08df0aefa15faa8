"""A bounded queue for one reader who takes everything there is in one go.

`asyncio.Queue` hands out one item a call, and each call is a turn of the event loop; a reader that works in batches wants
all that has gathered since it last looked. Belongs to one event loop; not for threads.

Writers that must not wait use `offer` and get told no, writers that may wait use `put`, and what must never be refused
(liveness, answers to what was asked) uses `push`, which ignores the bound.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Mailbox", "MailboxClosed"]

T = TypeVar("T")


class MailboxClosed(Exception):
    """The mailbox was closed: nothing more goes in, and what was in it has been taken."""


class Mailbox(Generic[T]):
    """At most `limit` items through `offer` and `put`."""

    __slots__ = ("_closed", "_items", "_limit", "_putters", "_reader")

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("a mailbox holds at least one item")
        self._limit = limit
        self._items: list[T] = []
        self._putters: deque[tuple[asyncio.Future[None], T]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._items) + len(self._putters)

    @property
    def closed(self) -> bool:
        return self._closed

    def push(self, item: T) -> None:
        """Put it in whether there is room or not. Raises MailboxClosed."""
        if self._closed:
            raise MailboxClosed
        self._items.append(item)
        self._wake()

    def offer(self, item: T) -> bool:
        """Put it in if there is room, and say whether there was. Raises MailboxClosed."""
        if self._closed:
            raise MailboxClosed
        if self._putters or len(self._items) >= self._limit:
            return False
        self._items.append(item)
        self._wake()
        return True

    async def put(self, item: T) -> None:
        """Wait for room, in order of arrival, and put it in. Raises MailboxClosed.

        A writer that is cancelled while it waits takes its item back, unless the item had just been let in."""
        if self.offer(item):
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._putters.append((admitted, item))
        await admitted

    async def drain(self) -> list[T]:
        """Everything there is, oldest first; waits until there is something. Raises MailboxClosed when there is nothing and
        never will be. One reader at a time."""
        while not self._items:
            if self._closed:
                raise MailboxClosed
            if self._reader is not None:
                raise RuntimeError("a mailbox has one reader")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self.drain_now()

    def drain_now(self) -> list[T]:
        """Everything there is at this moment, perhaps nothing."""
        items, self._items = self._items, []
        while self._putters and len(self._items) < self._limit:
            admitted, item = self._putters.popleft()
            if not admitted.done():
                admitted.set_result(None)
                self._items.append(item)
        return items

    def close(self) -> None:
        """Refuse what comes from now on; what is in can still be taken, who waits to put is refused."""
        self._closed = True
        while self._putters:
            admitted, _ = self._putters.popleft()
            if not admitted.done():
                admitted.set_exception(MailboxClosed())
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
