"""How many programs a second, as a share of what bare Popen starts two at a time in the same round?

The programs are `true`, as one array; each has its session, environment and folder, its output captured and its end on the
server's disk before the job counts as ended."""

from __future__ import annotations

from floors import popen
from kit import Figure, Options, cpu_seconds, interleave, main, served

COUNT = 10_000


def measure(options: Options) -> list[Figure]:
    count = options.of(COUNT)
    cpu: dict[str, list[float]] = {"server": [], "agent": []}
    with served(agents=1, cpus=2) as server:
        server.run({"name": "warm", "tasks": {"t": {"command": ["true"], "array": 200}}})

        def styx() -> float:
            before = cpu_seconds(server.pid), cpu_seconds(*server.agent_pids())
            took = server.run({"name": "true", "tasks": {"t": {"command": ["true"], "array": count}}})
            cpu["server"].append((cpu_seconds(server.pid) - before[0]) / count * 1e6)
            cpu["agent"].append((cpu_seconds(*server.agent_pids()) - before[1]) / count * 1e6)
            return count / took

        values = interleave({"popen": lambda: popen.tasks_a_second(count // 2), "styx": styx}, options.rounds)
        lag = server.lag()
    floor = Figure("Popen of true, two at a time", "tasks/s", values["popen"])
    return [
        floor,
        Figure("true through Styx, two slots", "tasks/s", values["styx"], floor=floor, target=0.8, work="processes"),
        Figure("CPU of the server for each", "µs", cpu["server"], less=True),
        Figure("CPU of the agent and its owner for each", "µs", cpu["agent"], less=True),
        Figure("longest delay of the server's loop", "ms", [lag["max"]], less=True),
    ]


if __name__ == "__main__":
    main("How many programs a second?", measure, rounds=3)
