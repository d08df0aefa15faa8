"""How many tasks a second are accepted in bulk, as an array and as different tasks, checked whole and on disk?

100,000 over HTTP, and a tenth and ten times as many, since the cost of one must not grow. Different tasks come at most 100,000 to a
request, which is the most that the limit of a body lets through. No agent is connected, so nothing but the submission
happens; what was accepted is cancelled before the next.
"""

from __future__ import annotations

import json
import time
from functools import partial

from kit import Figure, Options, Server, interleave, main, served

COUNT = 100_000
BODY = 100_000  # different tasks in one request
FORMS = {"one array": "array", "different tasks": "bulk"}
TARGETS = {"one array": 80_000, "different tasks": 40_000}


def bodies(form: str, count: int) -> list[bytes]:
    """The requests that submit so many tasks."""
    if form == "one array":
        return [json.dumps({"name": "bulk", "tasks": {"t": {"command": ["true"], "array": count}}}).encode()]
    return [
        json.dumps(
            {
                "name": "bulk",
                "tasks": {f"t{n}": {"command": ["echo", str(n)]} for n in range(first, min(first + BODY, count))},
            }
        ).encode()
        for first in range(0, count, BODY)
    ]


def accepted(server: Server, some: list[bytes], count: int) -> float:
    """Tasks a second until the last request was answered."""
    begin = time.perf_counter()
    jobs = [server.submit(body) for body in some]
    took = time.perf_counter() - begin
    for job in jobs:
        server.ask("POST", f"/api/v1/jobs/{job}/cancel", {})
    for job in jobs:
        server.wait(job)
    return count / took


def measure(options: Options) -> list[Figure]:
    found: list[Figure] = []
    with served(agents=0) as server:
        accepted(server, bodies("one array", 1_000), 1_000)
        for share in (0.1, 1, 10):
            count = options.of(round(COUNT * share))
            ways = {form: partial(accepted, server, bodies(form, count), count) for form in FORMS}
            values = interleave(ways, 1 if share > 1 else options.rounds)
            found += [
                Figure(
                    f"{count:,} accepted as {form}", "tasks/s", values[form],
                    target=TARGETS[form] if share == 1 else None,
                    work=key if share == 1 else "",
                    curve=("accepted over HTTP", form, count) if key == "bulk" else None,  # an array is one row
                )
                for form, key in FORMS.items()
            ]  # fmt: skip
        lag = server.lag()
    return [*found, Figure("longest delay of the server's loop", "ms", [lag["max"]], less=True)]


if __name__ == "__main__":
    main("How many tasks a second are accepted in bulk?", measure, rounds=3)
