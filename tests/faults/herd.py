"""Thousands of agents in one process: `python herd.py URL TOKEN_FILE COUNT REPORT`.

Each is the shipping session and runner over a real websocket, with its own waits and chances; what is missing is the machine
(its owner runs nothing). REPORT is rewritten a few times a second: how many are in now, and when each dial began.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path

import uvloop

from styx.agent.link import dialler
from styx.agent.nowork import NoWorkOwner
from styx.agent.ports import ServerPort
from styx.agent.runner import AgentRunner
from styx.agent.session import LinkState, Profile, Session
from styx.core.resources import Resources


async def main(url: str, token: str, count: int, report: Path) -> None:
    dial = dialler(url, lambda: token)
    dials: list[float] = []

    async def dialled() -> ServerPort:
        dials.append(time.monotonic())
        return await dial()

    sessions = [
        Session(
            Profile(f"herd-{n}", f"herd-{n}", f"host-{n}", f"boot-{n}", f"s{os.getpid()}-{n}", "herd", Resources(1_000))
        )
        for n in range(count)
    ]
    running = [asyncio.create_task(AgentRunner(one, NoWorkOwner().open, dialled).run()) for one in sessions]
    fresh = report.with_suffix(".new")
    while True:
        for task in running:
            if task.done():
                task.result()
        within = sum(session.state is LinkState.WELCOME for session in sessions)
        fresh.write_text(json.dumps({"in": within, "at": time.monotonic(), "dials": dials}))
        fresh.replace(report)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], Path(sys.argv[2]).read_text().strip(), int(sys.argv[3]), Path(sys.argv[4])))
