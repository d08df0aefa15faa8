"""Pods that nobody here knows.

One that carries our cluster's tag and no known attempt was made by a request that arrived late. Its order may be on its way again, so it is left
alone for a while; then it is removed, and its attempt is never made again. And when the server's database is another one than last time
(restored, or begun anew), the pods of the old one are nobody's: which that was is kept in a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

from styx.providers.base import Context
from styx.providers.kubernetes.background import insist
from styx.providers.kubernetes.calls import Calls
from styx.providers.kubernetes.objects import Pod
from styx.telemetry.log import get

__all__ = ["Strangers"]

log = get("kubernetes")

ORPHAN = 120.0  # seconds that one is left alone
_REMEMBERED = 10_000


class Strangers:
    """`known` says whether an attempt is known by now; `begin` runs something in the background."""

    def __init__(
        self,
        calls: Calls,
        context: Context,
        known: Callable[[int], bool],
        begin: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        self._calls = calls
        self._context = context
        self._known = known
        self._begin = begin
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._let_go: dict[str, None] = {}  # uids of pods whose last events may still come
        self.late: set[int] = set()  # attempts whose pods were removed as unknown

    def seen(self, attempt: int, pod: Pod) -> None:
        if attempt < 0 or pod.metadata.uid in self._let_go or attempt in self._timers:
            return
        self._timers[attempt] = asyncio.get_running_loop().call_later(ORPHAN, self._expel, attempt, pod)

    def settled(self, attempt: int) -> None:
        """It has become known, or is gone."""
        timer = self._timers.pop(attempt, None)
        if timer is not None:
            timer.cancel()

    def let_go(self, uid: str) -> None:
        """This one was known, and is not any more."""
        self._let_go[uid] = None
        while len(self._let_go) > _REMEMBERED:
            del self._let_go[next(iter(self._let_go))]

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _expel(self, attempt: int, pod: Pod) -> None:
        self._timers.pop(attempt, None)
        if not self._known(attempt):
            self.late.add(attempt)
            log.warning("pod that nobody knows is removed", pod=pod.metadata.name)
            self._begin("stranger", insist("a strange pod", lambda: self._calls.remove(pod), self._context))

    async def of_another_database(self, tag: str) -> None:
        async def clear() -> None:
            for pod in await self._calls.tagged(tag):
                await self._calls.remove(pod)

        await insist("pods of another database", clear, self._context)

    def remember(self, place: str, tag: str) -> str | None:
        """Keep the tag, and say what it was the last time: "" for the first, None when nobody knows."""
        file = Path(self._context.home) / "providers" / "kubernetes" / quote(place, safe="")
        try:
            before = file.read_text("utf-8").strip() if file.exists() else ""
            if before != tag:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(tag, "utf-8")
        except OSError as error:
            log.warning("whose pods these are cannot be noted", file=str(file), reason=str(error))
            return None
        return before
