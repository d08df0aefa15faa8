"""What do 100,000 tasks cost that run at once?

One array, on 100 agents with 1,000 CPUs each that hold what they are given; when all run, the server is watched, and then all end. Every start and
every end is reported, on the server's disk and acknowledged."""

from __future__ import annotations

import sys
import time

from crowd import crowd, until_up
from health import Stretch
from kit import Figure, Options, main, pss, served

from styx.testing.cluster import eventually

COUNT = 100_000
EACH = 1_000
WATCHED = 20.0  # seconds
PATIENCE = 180.0


def measure(options: Options) -> list[Figure]:
    agents = max(1, options.of(COUNT) // EACH)
    count = agents * EACH
    rows: list[list[float]] = []
    for _ in range(options.rounds):
        with served(agents=0) as server:
            token = (server.cluster.home / "token").read_text().strip()
            with crowd(server.cluster.port, token, agents, EACH) as some:
                until_up([some], agents, within=PATIENCE)
                empty, busy, begin = pss(server.pid), Stretch(server), time.perf_counter()
                job = server.submit({"name": "many", "tasks": {"t": {"command": ["true"], "array": count}}})
                eventually("all run", lambda: server.stats()["counts"].get("RUNNING", 0) >= count, within=PATIENCE)
                started = count / (time.perf_counter() - begin)
                grown = (pss(server.pid) - empty) * 1e6 / count
                (late_starting,) = busy.lag(0.999)
                stretch = Stretch(server)
                time.sleep(WATCHED)
                share = stretch.share()
                (late,) = stretch.lag(0.99)
                busy, begin = Stretch(server), time.perf_counter()
                some.say("end")
                assert server.wait(job)["status"] == "SUCCEEDED"
                ended = count / (time.perf_counter() - begin)
                (late_ending,) = busy.lag(0.999)
            rows.append([share * 100, late, started, ended, grown, late_starting, late_ending])
            print(rows[-1], file=sys.stderr)
    columns = list(zip(*rows, strict=True))
    return [
        Figure(f"{count:,} tasks running at once, share of a core", "%", columns[0], less=True, target=10.0),
        Figure("delay of the server's loop meanwhile, p99", "ms", columns[1], less=True, target=20.0),
        Figure("started", "tasks/s", columns[2]),
        Figure("ended", "tasks/s", columns[3]),
        Figure("memory of the server for each", "bytes", columns[4], less=True),
        Figure("delay of the server's loop as they start, p99.9", "ms", columns[5], less=True, target=20.0),
        Figure("delay of the server's loop as they end, p99.9", "ms", columns[6], less=True, target=20.0),
    ]


if __name__ == "__main__":
    main("What do 100,000 tasks cost that run at once?", measure, rounds=1)
