"""How fast does output come through to the disk, and are submissions slower for it?

50 programs write at once, 20 readers follow one each over HTTP, and every byte is synced and acknowledged before a task has ended. What the programs
cost themselves is in the figure: they, agent, owner, server and readers share the cores. Submissions are small ones, one after the other; the
first p99 is of the same server at rest.

The floor pours the same programs through as many processes by hand, and knows nothing of what it pours (`floors/pour.py`). A rate hangs on
what else the machine does; seconds of CPU for each GB do so much less, and say in which process a byte costs what."""

from __future__ import annotations

import http.client
import sys
import threading
import time

import psutil
from floors.pour import pours
from health import Stretch
from kit import Figure, Options, Server, cpu_seconds, main, quantile, served

TASKS = 50
READERS = 20
EACH = 40 << 20  # bytes that each program writes
SMALL = b'{"name":"small","command":"true","resources":{"cpus":50}}'  # as large as the node: it only waits
PAUSE = 0.01


def submissions(server: Server, over: threading.Event, least: int = 200) -> list[float]:
    taken: list[float] = []
    while not over.wait(PAUSE) or len(taken) < least:
        begin = time.perf_counter()
        server.ask("POST", "/api/v1/tasks", SMALL)
        taken.append((time.perf_counter() - begin) * 1_000)
    return taken


def follow(server: Server, task: str, read: list[int]) -> None:
    token = (server.cluster.home / "token").read_text().strip()
    connection = http.client.HTTPConnection("127.0.0.1", server.cluster.port, timeout=600)
    connection.request(
        "GET",
        f"/api/v1/tasks/{task}/logs?follow=1",
        headers={"Authorization": f"Bearer {token}", "Accept": "text/plain"},
    )
    answer, buffer, size = connection.getresponse(), bytearray(1 << 18), 0
    while got := answer.readinto(buffer):
        size += got
    read.append(size)


def speaks(each: int) -> str:
    # Lines of 64 bytes, so that it is text like any other.
    return f"yes 'a line of output as long as programs write them, more or less.' | head -c {each}"


def floor(each: int) -> list[float]:
    size = TASKS * each / 1e6
    took, cpu = pours(speaks(each), TASKS, READERS)
    return [size / took, cpu / size * 1e3]


def programs(owners: list[int]) -> float:
    """Seconds of CPU of all programs of these owners that have ended."""
    return sum(sum(psutil.Process(pid).cpu_times()[2:4]) for pid in owners)


def through(each: int) -> list[float]:
    command = speaks(each)
    with served(agents=1, cpus=TASKS) as server:
        done = threading.Event()
        done.set()
        at_rest = quantile(submissions(server, done), 0.99)
        over, during = threading.Event(), list[float]()
        agents = [agent.pid for agent in server.cluster.agents.values()]
        owners = [owner.pid for owner in server.cluster.owners()]

        def used() -> list[float]:
            return [
                cpu_seconds(server.pid),
                cpu_seconds(*agents),
                cpu_seconds(*owners),
                programs(owners),
                time.process_time(),
            ]

        measuring = threading.Thread(target=lambda: during.extend(submissions(Server(server.cluster), over)))
        stretch, before, begin = Stretch(server), used(), time.perf_counter()
        submitted = server.submit(
            {"name": "loud", "tasks": {f"t{number}": {"run": command} for number in range(TASKS)}}
        )
        tasks = [task["task_id"] for task in server.ask("GET", f"/api/v1/jobs/{submitted}")["graph"]]
        read: list[int] = []
        readers = [threading.Thread(target=follow, args=(server, task, read)) for task in tasks[:READERS]]
        for thread in (measuring, *readers):
            thread.start()
        result = server.wait(submitted)
        took = time.perf_counter() - begin
        over.set()
        for thread in (measuring, *readers):
            thread.join()
        (late,) = stretch.lag(0.999)
        cpu = [after - early for after, early in zip(used(), before, strict=True)]
    if result["status"] != "SUCCEEDED" or read != [each] * READERS:
        raise RuntimeError(f"the output did not come through: {result['status']}, read {read}")
    size = TASKS * each / 1e6
    print(f"{size / took:.0f} MB/s", file=sys.stderr)
    costs = [seconds / size * 1e3 for seconds in (sum(cpu), *cpu[:4])]
    return [size / took, quantile(during, 0.99), at_rest, late, *costs]


def measure(options: Options) -> list[Figure]:
    each = options.of(EACH, 1 << 20)
    rounds = [(*floor(each), *through(each)) for _ in range(options.rounds)]
    least_rate, least_cpu, rate, during, rest, late, whole, server, agent, owner, written = zip(*rounds, strict=True)
    fastest = Figure("the same poured through as many processes by hand", "MB/s", least_rate)
    cheapest = Figure("CPU of all for each GB, poured by hand", "s", least_cpu, less=True)
    at_rest = Figure("small submission at rest, p99", "ms", rest, less=True)
    return [
        Figure(f"output of {TASKS} tasks through to disk, {READERS} readers", "MB/s", rate, target=200.0),
        fastest,
        at_rest,
        Figure("small submission meanwhile, p99", "ms", during, less=True),
        Figure("delay of the server's loop, p99.9", "ms", late, less=True, target=20.0),
        Figure("CPU of all for each GB", "s", whole, less=True),
        cheapest,
        Figure("of it the server's", "s", server, less=True),
        Figure("of it the agent's", "s", agent, less=True),
        Figure("of it the owner's", "s", owner, less=True),
        Figure("of it the programs'", "s", written, less=True),
    ]


if __name__ == "__main__":
    main("How fast does output come through?", measure, rounds=3)
