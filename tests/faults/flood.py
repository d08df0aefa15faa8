"""Submits without regard to the answers: `python flood.py URL TOKEN_FILE REQUESTS_A_SECOND CONNECTIONS SECONDS ELEMENTS`.

Requests go out at the given rate as long as a connection is free, whatever was answered to those before; at the end one line
of JSON counts the answers by status, with the Retry-After that refusals carried.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp
import uvloop


async def main(url: str, token: str, rate: float, connections: int, seconds: float, elements: int) -> None:
    body = json.dumps({"name": "flood", "command": ["true"], "array": elements, "resources": {"cpus": 0.5}}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    statuses: Counter[str] = Counter()
    told: Counter[str] = Counter()
    began = time.monotonic()
    sent = 0

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal sent
        while (now := time.monotonic()) < began + seconds:
            due = began + sent / rate
            sent += 1
            if due > now:
                await asyncio.sleep(due - now)
            try:
                async with session.post(f"{url}/api/v1/jobs", data=body, headers=headers) as answer:
                    await answer.read()
                    statuses[str(answer.status)] += 1
                    if answer.status in {429, 503}:
                        told[answer.headers.get("Retry-After", "none")] += 1
            except (aiohttp.ClientError, OSError) as error:
                statuses[type(error).__name__] += 1

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), timeout=timeout) as session:
        await asyncio.gather(*(one(session) for _ in range(connections)))
    took = time.monotonic() - began
    print(json.dumps({"seconds": took, "statuses": statuses, "retry_after": told}))


if __name__ == "__main__":
    _, url, token_file, rate, connections, seconds, elements = sys.argv
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            main(
                url,
                Path(token_file).read_text().strip(),
                float(rate),
                int(connections),
                float(seconds),
                int(elements),
            )
        )
