"""Floor of running programs: subprocess.Popen of `true`, two at a time, nothing captured, nothing kept."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque


def tasks_a_second(count: int) -> float:
    begin = time.perf_counter()
    running: deque[subprocess.Popen[bytes]] = deque()
    for _ in range(count):
        if len(running) == 2:
            running.popleft().wait()
        running.append(
            subprocess.Popen(
                ["/bin/true"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    while running:
        running.popleft().wait()
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    print(tasks_a_second(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))
