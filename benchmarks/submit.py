"""How many tasks a second are accepted in bulk, as an array and as different tasks, checked whole and on disk?

100,000 each over HTTP. No agent is connected, so nothing but the submission happens; a small submission beside it shows
what others see meanwhile."""

from __future__ import annotations

import json
import time

from kit import Figure, Options, interleave, main, served

COUNT = 100_000


def measure(options: Options) -> list[Figure]:
    count = options.of(COUNT)
    array = json.dumps({"name": "bulk", "tasks": {"t": {"command": ["true"], "array": count}}}).encode()
    different = json.dumps(
        {"name": "bulk", "tasks": {f"t{number}": {"command": ["echo", str(number)]} for number in range(count)}}
    ).encode()
    with served(agents=0) as server:

        def accepted(body: bytes) -> float:
            begin = time.perf_counter()
            job = server.submit(body)
            took = time.perf_counter() - begin
            server.ask("POST", f"/api/v1/jobs/{job}/cancel", {})
            server.wait(job)
            return count / took

        accepted(array)
        values = interleave(
            {"array": lambda: accepted(array), "different": lambda: accepted(different)}, options.rounds
        )
        lag = server.lag()
    return [
        Figure("accepted as one array", "tasks/s", values["array"], target=80_000),
        Figure("accepted as different tasks", "tasks/s", values["different"], target=40_000),
        Figure("longest delay of the server's loop", "ms", [lag["max"]], less=True),
    ]


if __name__ == "__main__":
    main("How many tasks a second are accepted in bulk?", measure, rounds=3)
