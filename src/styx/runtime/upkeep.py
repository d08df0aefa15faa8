"""The state of the house: health, figures, and dropping what is old."""

from __future__ import annotations

from styx.core.states import TaskState
from styx.errors import UsageError
from styx.protocol.http import BackupView, Health, Stats
from styx.runtime.backups import target_of
from styx.runtime.shell import Shell
from styx.runtime.views import counts_view

__all__ = ["Upkeep"]

DAY = 86_400_000  # milliseconds
_JOBS = 100  # dropped in one go, so that commits get in between


class Upkeep:
    def __init__(self, shell: Shell, version: str) -> None:
        self._shell = shell
        self._version = version
        self.draining = False

    async def health(self) -> Health:
        shell = self._shell
        full = shell.committer.full or shell.output.full
        status = "draining" if self.draining else "full" if full else "healthy"
        reason = full
        if shell.fatal.done() and not shell.fatal.cancelled() and (crash := shell.fatal.exception()) is not None:
            status, reason = "draining", str(crash)
        uptime = (shell.clock.now() - shell.started) / 1_000
        provisions = shell.engine.places.provisions
        return Health(status, self._version, shell.incarnation, uptime, reason, provisions)

    async def stats(self) -> Stats:
        import psutil

        shell = self._shell
        await shell.loop.settled()
        world, now = shell.engine.world, shell.clock.now()
        live = {TaskState(state).name for state in TaskState if not state.ended}
        counts = {name: count for name, count in counts_view(world.counts).items() if name in live}
        figures = shell.figures
        jobs, nodes, attempts, elements = len(world.jobs), len(world.nodes), len(world.attempts), world.live
        disk = await shell.store.size() + await shell.output.size()
        return Stats(
            uptime=(now - shell.started) / 1_000,
            jobs_live=jobs,
            elements_live=elements,
            counts=counts,
            nodes=nodes,
            attempts_live=attempts,
            submitted=figures.submitted,
            ended=figures.ended,
            rate=figures.rate(now),
            commits=shell.committer.commits,
            commit_ms_p50=shell.committer.percentile(0.5),
            commit_ms_p99=shell.committer.percentile(0.99),
            loop_lag_ms_p99=shell.metrics.lag.quantile(0.99) * 1_000,
            loop_lag_ms_max=shell.lag.longest * 1_000,
            queue=shell.loop.waiting,
            memory=psutil.Process().memory_info().rss,
            disk=disk,
        )

    async def metrics(self) -> bytes:
        """All figures in the text format of Prometheus."""
        shell = self._shell
        disk = await shell.store.size() + await shell.output.size()
        shell.metrics.disk.read = lambda: disk
        return shell.metrics.render()

    async def backup(self, path: str) -> BackupView:
        """Raises UsageError when the copy cannot go there, StoreError when it cannot be made."""
        from asyncio import to_thread

        target = await to_thread(target_of, path)
        taken = self._shell.clock.now()
        await self._shell.store.backup(str(target))
        size = (await to_thread(target.stat)).st_size
        return BackupView(str(target), size, taken / 1_000)

    async def gc(self, *, days: float, keep_bytes: int) -> dict[str, int]:
        """Drop jobs that ended longer ago than `days`, and the oldest beyond `keep_bytes` of output. Raises UsageError."""
        if not 0 <= days < 1e6 or keep_bytes < 0:
            raise UsageError("days and keep_bytes cannot be negative")
        shell = self._shell
        before = shell.clock.now() - int(days * DAY)
        dropped = {"jobs": 0, "segments": 0, "bytes": 0}
        await shell.output.roll()
        while True:
            jobs, segments = await shell.store.prune(ended_before=before, keep_bytes=keep_bytes, limit=_JOBS)
            dropped["jobs"] += jobs
            dropped["segments"] += len(segments)
            dropped["bytes"] += await shell.output.drop(segments)
            if jobs < _JOBS:
                return dropped
