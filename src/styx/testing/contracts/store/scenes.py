"""How the suite comes to a store: one that is named by whoever derives, opened in an empty folder, closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from styx.store.base import Store

__all__ = ["Scenes"]


class Scenes:
    def make(self, folder: Path) -> Store:
        """A store that keeps what it has in that folder, if anywhere; not open yet."""
        raise NotImplementedError

    def run(self, folder: Path, scene: Callable[[Store, int], Awaitable[None]]) -> None:
        """Play a scene on an open store and its epoch."""

        async def play() -> None:
            store = self.make(folder)
            opened = await store.open()
            try:
                await scene(store, opened.epoch)
            finally:
                await store.close()

        asyncio.run(play())
