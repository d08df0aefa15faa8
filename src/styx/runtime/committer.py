"""One turn onto the disk, whole or not at all.

When the disk fills up, the store has some room put aside to bring to its end what is under way; nothing new is taken in from then on.
A batch that is refused even so is tried again unchanged, with growing waits, until there is room, and the loop steps nothing. StaleEpoch and SyncFailed are not survived: they go up and stop the process.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from styx.errors import StoreFull
from styx.runtime.clock import Clock
from styx.store.base import Batch, Store
from styx.telemetry.log import get
from styx.telemetry.metrics import Metrics

__all__ = ["Committer"]

log = get("committer")

_FIRST_WAIT = 200  # milliseconds before a refused batch is tried again
_LONGEST_WAIT = 5_000
_SAMPLES = 1_000  # commits whose duration is remembered for the percentiles


class Committer:
    """`changed` is called whenever `full` or `blocked` has.

    `full` says why nothing new may be taken in, while that is so. Commits go through all the same for as long as the store has room put
    aside; when that is used up too, one of them waits, and `blocked` is set.
    """

    def __init__(
        self, store: Store, epoch: int, clock: Clock, metrics: Metrics, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._clock = clock
        self._metrics = metrics
        self._changed = changed
        self.full = store.low
        self.blocked = False
        self.commits = 0
        self._durations: deque[float] = deque(maxlen=_SAMPLES)

    async def commit(self, batch: Batch) -> None:
        """Returns once the batch is on disk, however long that takes. Raises StaleEpoch, SyncFailed or StoreError."""
        started = time.perf_counter()
        wait = _FIRST_WAIT
        while True:
            try:
                await self._store.commit(self._epoch, batch)
            except StoreFull as error:
                self._set(error.message or "there is no room on the disk", blocked=True)
                await self._pause(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
            else:
                break
        took = time.perf_counter() - started
        self.commits += 1
        self._durations.append(took * 1_000)
        self._metrics.commits.observe(took)
        self._metrics.records.observe(len(batch.records))
        self._set(self._store.low)

    async def regain(self) -> None:
        """Look whether there is room again; called every now and then while it is `full` and not `blocked`."""
        if await self._store.regain() and not self.blocked:
            self._set("")

    def percentile(self, share: float) -> float:
        """Milliseconds that this share (0 to 1) of the latest commits stayed below; 0 before the first."""
        ordered = sorted(self._durations)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def _set(self, full: str, *, blocked: bool = False) -> None:
        before = (bool(self.full), self.blocked)
        self.full, self.blocked = full, blocked
        if before == (bool(full), blocked):
            return
        if blocked:
            log.warning("disk full, waiting for room", reason=full)
        elif full:
            log.warning("disk full, taking nothing new", reason=full)
        else:
            log.info("there is room again")
        self._changed()

    async def _pause(self, milliseconds: int) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not over.done():
                over.set_result(None)

        handle = self._clock.call_later(milliseconds, wake)
        try:
            await over
        finally:
            handle.cancel()
