"""How many tasks a second when the tasks do nothing: what scheduling, accounting and fsync cost?

One array of 50,000 on an agent with --no-work; every element is assigned, reported and on disk before the job has ended. The
floor writes two rows a task through aiosqlite, synchronous=FULL, and does nothing else."""

from __future__ import annotations

from floors import rows
from kit import Figure, Options, cpu_seconds, interleave, main, served

COUNT = 50_000


def measure(options: Options) -> list[Figure]:
    count = options.of(COUNT)
    cpu: dict[str, list[float]] = {"server": [], "agent": []}
    with served(agents=1, cpus=2, no_work=True) as server:
        server.run({"name": "warm", "tasks": {"t": {"command": ["true"], "array": 2_000}}})

        def styx() -> float:
            agents = server.agent_pids()
            before = cpu_seconds(server.pid), cpu_seconds(*agents)
            took = server.run({"name": "none", "tasks": {"t": {"command": ["true"], "array": count}}})
            cpu["server"].append((cpu_seconds(server.pid) - before[0]) / count * 1e6)
            cpu["agent"].append((cpu_seconds(*agents) - before[1]) / count * 1e6)
            return count / took

        values = interleave({"rows": lambda: rows.rows_a_second(2 * count) / 2, "styx": styx}, options.rounds)
        lag = server.lag()
    floor = Figure("two rows each through aiosqlite, FULL", "tasks/s", values["rows"])
    return [
        floor,
        Figure("no-work tasks, one array", "tasks/s", values["styx"], target=40_000, work="nothing"),
        Figure("the same, of the floor", "tasks/s", values["styx"], floor=floor, work="nothing"),
        Figure("CPU of the server for each", "µs", cpu["server"], less=True),
        Figure("CPU of the agent for each", "µs", cpu["agent"], less=True),
        Figure("longest delay of the server's loop", "ms", [lag["max"]], less=True),
    ]


if __name__ == "__main__":
    main("How many tasks a second that do nothing?", measure)
