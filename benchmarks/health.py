"""How a server has fared over a stretch of time, by its own monitor and its use of the CPU.

The monitor is called back every 25 ms and sees how late; `/metrics` shows how often it fell below each of a few bounds. What is said here
of a share of these times is the bound of the bucket it lies in, so never less than it was."""

from __future__ import annotations

import http.client
import re
import time

from kit import Server, cpu_seconds

__all__ = ["Stretch"]

_BUCKET = re.compile(r'^styx_loop_lag_seconds_bucket\{le="([^"]+)"\} ([\d.]+)$', re.MULTILINE)


class Stretch:
    """From its making until one of its figures is asked for."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._buckets()
        self._cpu = cpu_seconds(server.pid)
        self._began = time.perf_counter()

    def lag(self, *shares: float) -> list[float]:
        """Milliseconds that these shares (0 to 1) of the event loop's delays did not exceed."""
        now = self._buckets()
        counts = [(bound, count - self._before[bound]) for bound, count in now.items()]  # each with those below it
        total = counts[-1][1]
        bounds = [bound for bound, _ in counts]
        # Beyond the last bound nothing is known but that.
        return [
            1_000 * next((bound for bound, count in counts[:-1] if count >= share * total), 2 * bounds[-2])
            for share in shares
        ]

    def share(self) -> float:
        """Of one core."""
        return (cpu_seconds(self._server.pid) - self._cpu) / (time.perf_counter() - self._began)

    def _buckets(self) -> dict[float, float]:
        cluster = self._server.cluster
        connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
        token = (cluster.home / "token").read_text().strip()
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
        text = connection.getresponse().read().decode()
        connection.close()
        found = {float(bound): float(count) for bound, count in _BUCKET.findall(text)}
        if not found:
            raise RuntimeError("the server shows no delays of its loop")
        return found
