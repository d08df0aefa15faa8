"""How many tasks a second through a DAG of 100 layers of 100 different tasks, each needing two of the layer before?"""

from __future__ import annotations

from typing import Any

from kit import Figure, Options, cpu_seconds, interleave, main, served

LAYERS = 100
WIDTH = 100


def layered(layers: int, width: int) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    for layer in range(layers):
        for place in range(width):
            task: dict[str, Any] = {"command": ["true"]}
            if layer:
                task["needs"] = sorted({f"l{layer - 1}-{place}", f"l{layer - 1}-{(place + 1) % width}"})
            tasks[f"l{layer}-{place}"] = task
    return {"name": "layers", "tasks": tasks}


def measure(options: Options) -> list[Figure]:
    layers = options.of(LAYERS, 10)
    job = layered(layers, WIDTH)
    count = layers * WIDTH
    cpu: list[float] = []
    with served(agents=1, cpus=2, no_work=True) as server:
        server.run(layered(10, 20))

        def styx() -> float:
            before = cpu_seconds(server.pid)
            took = server.run(job)
            cpu.append((cpu_seconds(server.pid) - before) / count * 1e6)
            return count / took

        values = interleave({"styx": styx}, options.rounds)
        lag = server.lag()
    return [
        Figure(
            f"DAG of {layers} layers x {WIDTH}, no work, with its submission", "tasks/s", values["styx"],
            target=12_000, work="dag",
        ),
        Figure("CPU of the server for each", "µs", cpu, less=True),
        Figure("longest delay of the server's loop", "ms", [lag["max"]], less=True),
    ]  # fmt: skip


if __name__ == "__main__":
    main("How many tasks a second through a wide DAG?", measure)
