"""How near does the owner come to the floor of starting programs?

Starts `true` N times, two at a time, in turns: plain subprocess.Popen, Popen with pipes read to their ends, bare posix_spawn
without pipes, and the owner, driven over its socket in batches as an agent drives it. Each way runs `--rounds` times, interleaved, and the median counts,
since what else the machine does hits all alike. Prints one JSON document: tasks a second, and the owner's ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable

from styx.agent.owner import frames, launch
from styx.agent.owner.launcher import connect
from styx.core.resources import Resources
from styx.protocol.messages import Run, Spec
from styx.protocol.owner import Configure, OwnerEnded, OwnerForget, OwnerShutdown, OwnerStart

PROGRAM = "/bin/true"


def popen(count: int, pipes: bool) -> None:
    to = subprocess.PIPE if pipes else subprocess.DEVNULL
    running: deque[subprocess.Popen[bytes]] = deque()
    for _ in range(count):
        if len(running) == 2:
            _finish(running.popleft(), pipes)
        running.append(
            subprocess.Popen([PROGRAM], stdin=subprocess.DEVNULL, stdout=to, stderr=to, start_new_session=True)
        )
    while running:
        _finish(running.popleft(), pipes)


def _finish(process: subprocess.Popen[bytes], pipes: bool) -> None:
    if pipes:
        process.communicate()
    process.wait()


def posix_spawn(count: int) -> None:
    running = 0
    for _ in range(count):
        if running == 2:
            os.wait()
            running -= 1
        os.posix_spawn(PROGRAM, [PROGRAM], os.environ, setsid=True)
        running += 1
    for _ in range(running):
        os.wait()


class Owner:
    """An owner with two CPUs, and the attempts of it."""

    def __init__(self, folder: str) -> None:
        self.pid = launch(folder, tied=True)
        self._socket = connect(folder)
        self._frames = frames.from_owner()
        self._next = 1
        self._socket.sendall(frames.encode([Configure("benchmark", Resources(cpus=2_000))]))

    def run(self, count: int, workdir: str) -> None:
        spec = Spec(0, 0, "job", "task", "true", (PROGRAM,), False, 0, Resources(), (), workdir, 0, 1_000)
        runs = tuple(Run(self._next + i, 0, 1) for i in range(count))
        self._next += count
        for at in range(0, count, 500):
            self._socket.sendall(frames.encode([OwnerStart(spec, runs[at : at + 500])]))
        left = count
        while left:
            for message in self._frames.feed(self._socket.recv(1 << 18)):
                if isinstance(message, OwnerEnded):
                    assert all(ending.code == 0 for ending in message.ended)
                    left -= len(message.ended)
                    self._socket.sendall(frames.encode([OwnerForget(tuple(e.attempt for e in message.ended))]))

    def cpu(self) -> float:
        """Seconds of CPU the owner itself has used."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """PSS in kB."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))

    def close(self) -> None:
        self._socket.sendall(frames.encode([OwnerShutdown(True)]))
        self._socket.close()


def measure() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    count: int = arguments.count
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        owner = Owner(f"{folder}/owner")
        started = time.perf_counter() - begin
        idle = owner.memory()
        ways: dict[str, Callable[[], None]] = {
            "popen": lambda: popen(count, False),
            "popen_pipes": lambda: popen(count, True),
            "posix_spawn": lambda: posix_spawn(count),
            "owner": lambda: owner.run(count, "/"),
            "owner_private_folder": lambda: owner.run(count, ""),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        cpu = 0.0
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                begin, cpu_before = time.perf_counter(), owner.cpu()
                way()
                rates[name].append(count / (time.perf_counter() - begin))
                cpu += owner.cpu() - cpu_before if name == "owner" else 0.0
        busy = owner.memory()
        owner.close()
    medians = {name: round(statistics.median(values)) for name, values in rates.items()}
    return {
        "tasks_a_second": medians,
        "owner_to_popen": round(medians["owner"] / medians["popen"], 3),
        "owner_to_popen_pipes": round(medians["owner"] / medians["popen_pipes"], 3),
        "owner_cpu_us_a_task": round(cpu / arguments.rounds / count * 1e6),
        "start_ms": round(started * 1e3, 1),
        "pss_idle_kb": idle,
        "pss_after_kb": busy,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
