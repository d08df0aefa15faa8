"""What do an idle server, and an idle agent with its owner, hold in memory (PSS, shared pages split among those who share)?"""

from __future__ import annotations

import time

from kit import Figure, Options, main, pss, served


def measure(options: Options) -> list[Figure]:
    server_mb, agent_mb, after_mb = [], [], []
    for _ in range(options.rounds):
        with served(agents=1) as server:
            server.run({"name": "warm", "tasks": {"warm": {"command": ["true"]}}})
            time.sleep(1.0)  # idle: nothing is waited for, it is the state that is measured
            server_mb.append(pss(server.pid))
            agent_mb.append(pss(*server.agent_pids()))
            server.run({"name": "work", "tasks": {"work": {"command": ["true"], "array": options.of(5_000)}}})
            time.sleep(1.0)
            after_mb.append(pss(server.pid))
    return [
        Figure("server, idle", "MB", server_mb, less=True, target=45, work="pss-server"),
        Figure("agent with its owner, idle", "MB", agent_mb, less=True, target=36, work="pss-worker"),
        Figure("server, idle again after 5,000 tasks", "MB", after_mb, less=True),
    ]


if __name__ == "__main__":
    main("What does an idle house hold in memory?", measure, rounds=2)
