"""What people ask of jobs that were accepted: cancel, retry."""

from __future__ import annotations

from styx.core.events import CancelRequested, RetryRequested
from styx.core.records import Record
from styx.errors import UsageError
from styx.runtime.loop import Loop
from styx.runtime.refs import Refs
from styx.runtime.results import Results
from styx.store.base import Store

__all__ = ["Wishes"]

MAX_REASON = 1_000  # characters


class Wishes:
    def __init__(self, loop: Loop, store: Store, refs: Refs, results: Results) -> None:
        self._loop = loop
        self._store = store
        self._refs = refs
        self._results = results

    async def cancel(self, text: str, reason: str) -> bool:
        """Returns once the wish is on disk; False when nothing was live any more."""
        if len(reason) > MAX_REASON:
            raise UsageError(f"a reason has at most {MAX_REASON:,} characters, this one has {len(reason):,}")
        ref = await self._refs.resolve(text)
        event = CancelRequested(ref.job, ref.task, ref.index, reason or "cancelled by the user")
        return bool(await self._loop.ask(event))

    async def retry(self, text: str, *, failed: bool, start: str) -> int:
        """How many elements will run again: those that did not succeed (`failed`), the task `start` with all that follows it (a
        reference to a task means the same), or all that have ended."""
        ref = await self._refs.resolve(text)
        if start:
            if ref.task >= 0:
                raise UsageError(f"{text!r} is a task already, so there is nothing to start from in it")
            ref = await self._refs.resolve(f"{text}/{start}")
        if ref.index >= 0:
            raise UsageError("single elements are not retried", hint="retry the whole task, or what failed of the job")
        history: list[Record] = []
        await self._loop.settled()
        if self._refs.live(ref) is None:
            history = await self._store.history(ref.job)
            self._results.note(history)
        answer = await self._loop.ask(RetryRequested(ref.job, failed, ref.task, tuple(history)))
        return int(answer) if isinstance(answer, int) else 0
