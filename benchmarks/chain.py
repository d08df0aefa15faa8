"""How many hops a second down a chain of 2,000 tasks, each needing the one before?

The floor of a hop is a websocket round trip and a synchronous=FULL commit, one after the other."""

from __future__ import annotations

from typing import Any

from floors import hop
from kit import Figure, Options, cpu_seconds, interleave, main, served

LENGTH = 2_000


def chain(length: int) -> dict[str, Any]:
    tasks: dict[str, Any] = {"t0": {"command": ["true"]}}
    for number in range(1, length):
        tasks[f"t{number}"] = {"command": ["true"], "needs": [f"t{number - 1}"]}
    return {"name": "chain", "tasks": tasks}


def measure(options: Options) -> list[Figure]:
    length = options.of(LENGTH)
    job = chain(length)
    cpu: dict[str, list[float]] = {"server": [], "agent": []}
    with served(agents=1, cpus=2, no_work=True) as server:
        server.run(chain(100))

        def styx() -> float:
            agents = server.agent_pids()
            before = cpu_seconds(server.pid), cpu_seconds(*agents)
            took = server.run(job)
            cpu["server"].append((cpu_seconds(server.pid) - before[0]) / length * 1e6)
            cpu["agent"].append((cpu_seconds(*agents) - before[1]) / length * 1e6)
            return length / took

        values = interleave({"hop": lambda: hop.hops_a_second(length), "styx": styx}, options.rounds)
    floor = Figure("a round trip and a FULL commit", "hops/s", values["hop"])
    return [
        floor,
        Figure("chain, no work", "hops/s", values["styx"], floor=floor, target=0.5, work="chain"),
        Figure("CPU of the server for each", "µs", cpu["server"], less=True),
        Figure("CPU of the agent for each", "µs", cpu["agent"], less=True),
    ]


if __name__ == "__main__":
    main("How many hops a second down a chain?", measure)
