"""Whether the server accepts work, what it is, and its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aiohttp import web

from styx.api import reply
from styx.api.release import release
from styx.api.reply import plane
from styx.protocol.http import Stats, VersionView
from styx.protocol.messages import OLDEST, VERSION

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["health", "metrics", "stats", "versions"]


async def health(request: web.Request) -> web.Response:
    """200 once it accepts work; 503 with the reason while it does not."""
    state = await plane(request).health()
    return reply.json(state, status=200 if state.status == "healthy" else 503)


async def versions(request: web.Request) -> web.Response:
    """The release, and the versions of the agents' protocol that it speaks."""
    return reply.json(VersionView(release(), VERSION, OLDEST))


async def stats(request: web.Request) -> web.Response:
    """What the server is busy with."""
    return reply.json(await plane(request).stats())


async def metrics(request: web.Request) -> web.Response:
    """The figures in the text format of Prometheus, read when they are asked for. None is labelled by job, task or agent: their
    number has no bound."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(await plane(request).stats()))
    content_type = "text/plain; version=0.0.4; charset=utf-8"
    return web.Response(body=generate_latest(registry), headers={"Content-Type": content_type})


_COUNTERS = {
    "styx_elements_submitted": ("submitted", "Elements of accepted jobs since the start."),
    "styx_elements_ended": ("ended", "Elements that have ended since the start."),
    "styx_commits": ("commits", "Batches put on disk since the start."),
}
_GAUGES = {
    "styx_uptime_seconds": ("uptime", "Time since the start."),
    "styx_jobs_live": ("jobs_live", "Jobs that have not ended."),
    "styx_attempts_live": ("attempts_live", "Attempts under way."),
    "styx_nodes": ("nodes", "Nodes that are known."),
    "styx_events_waiting": ("queue", "Events that wait for the core."),
    "styx_resident_bytes": ("memory", "Resident memory of the server."),
    "styx_disk_bytes": ("disk", "Bytes of database and output."),
    "styx_commit_milliseconds_p50": ("commit_ms_p50", "Half of the recent commits took no longer."),
    "styx_commit_milliseconds_p99": ("commit_ms_p99", "99 of 100 recent commits took no longer."),
    "styx_loop_lag_milliseconds_p99": (
        "loop_lag_ms_p99",
        "99 of 100 recent callbacks of the event loop were no later.",
    ),
    "styx_loop_lag_milliseconds_max": ("loop_lag_ms_max", "The latest of the recent callbacks of the event loop."),
}


class _Figures:
    """A collector for one answer."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, (field, text) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, value=getattr(self._stats, field))
        for name, (field, text) in _GAUGES.items():
            yield GaugeMetricFamily(name, text, value=getattr(self._stats, field))
        live = GaugeMetricFamily("styx_elements_live", "Elements that have not ended.", labels=("state",))
        for state, count in sorted(self._stats.counts.items()):
            live.add_metric((state,), count)
        yield live
