"""What do 10,000 agents cost that are merely there, and how soon are they back after a restart of the server?

Each has a websocket of its own and sends a heartbeat every 10 s, as shipped; they live in two processes. The server is ended by SIGTERM and
started anew: the time is from its first healthy answer to the last agent being let in."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack

from crowd import crowd, together, until_up
from health import Stretch
from kit import Figure, Options, main, pss, served

COUNT = 10_000
PROCESSES = 2
WATCHED = 30.0  # seconds
PATIENCE = 180.0


def measure(options: Options) -> list[Figure]:
    count = options.of(COUNT)
    rows: list[list[float]] = []
    for _ in range(options.rounds):
        with served(agents=0) as server, ExitStack() as stack:
            token = (server.cluster.home / "token").read_text().strip()
            port, empty = server.cluster.port, pss(server.pid)
            crowds = [stack.enter_context(crowd(port, token, count // PROCESSES)) for _ in range(PROCESSES)]
            first = until_up(crowds, count, within=PATIENCE)
            grown = (pss(server.pid) - empty) * 1_000 / count
            time.sleep(10)  # everybody's second heartbeat
            stretch = Stretch(server)
            time.sleep(WATCHED)
            share = stretch.share()
            (late,) = stretch.lag(0.99)
            assert together(crowds).up == count
            assert server.cluster.server is not None
            server.cluster.server.send_signal(signal.SIGTERM)
            server.cluster.server.wait(30)
            server.cluster.start_server()
            refused = together(crowds).refused
            back = until_up(crowds, count, within=PATIENCE)
            rows.append([share * 100, late, back, first, grown, (together(crowds).refused - refused) / count])
            print(rows[-1], file=sys.stderr)
    share_of, late_by, back_in, first_in, grown_by, refusals = zip(*rows, strict=True)
    return [
        Figure(f"{count:,} agents with heartbeats, share of a core", "%", share_of, less=True, target=10.0),
        Figure("delay of the server's loop meanwhile, p99", "ms", late_by, less=True, target=20.0),
        Figure("all back after a restart of the server", "s", back_in, less=True, target=60.0),
        Figure("all let in for the first time", "s", first_in, less=True),
        Figure("memory of the server for each", "kB", grown_by, less=True),
        Figure("how often each was told to come later", "times", refusals, less=True),
    ]


if __name__ == "__main__":
    main("What do 10,000 agents cost that are merely there?", measure, rounds=1)
