"""How long does one submission take over HTTP, and how long from a submission to the known end of its task?

One after the other over a kept connection, on an otherwise idle server; the task's end is waited for on the server (no polling)."""

from __future__ import annotations

import time

from kit import Figure, Options, Server, main, quantile, served

COUNT = 500
BODY = b'{"name":"t","command":"true"}'
LATER = b'{"name":"t","command":"true","resources":{"cpus":1}}'


def submissions(server: Server, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        server.ask("POST", "/api/v1/tasks", BODY)
        taken.append((time.perf_counter() - begin) * 1_000)
    return taken


def ends(server: Server, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        task = server.ask("POST", "/api/v1/tasks", BODY)["job_id"]
        server.wait(task)
        taken.append((time.perf_counter() - begin) * 1_000)
    return taken


def measure(options: Options) -> list[Figure]:
    count = options.of(COUNT, 100)
    p50: list[float] = []
    p99: list[float] = []
    with_process: list[float] = []
    without: list[float] = []
    for _ in range(options.rounds):
        with served(agents=0) as server:
            submissions(server, 50)
            taken = submissions(server, count)
            p50.append(quantile(taken, 0.5))
            p99.append(quantile(taken, 0.99))
        with served(agents=1) as server:
            ends(server, 20)
            with_process.append(quantile(ends(server, count // 2), 0.5))
        with served(agents=1, no_work=True) as server:
            ends(server, 20)
            without.append(quantile(ends(server, count // 2), 0.5))
    return [
        Figure("one submission, p50", "ms", p50, less=True, target=1.2, work="submit-p50"),
        Figure("one submission, p99", "ms", p99, less=True, target=5.0, work="submit-p99"),
        Figure(
            "submission to known end with a process, p50", "ms", with_process, less=True, target=4.0,
            work="end-process",
        ),
        Figure(
            "submission to known end without work, p50", "ms", without, less=True, target=2.5, work="end-nothing"
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main("How long does one task take?", measure, rounds=3)
