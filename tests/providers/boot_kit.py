"""A machine for tests: the start-up script, run for real as a local process with a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import psutil

from styx.testing.cluster import eventually


class BootedMachine:
    """`folder` is what /var/lib/styx would be. What ends the machine makes the file `ended` instead."""

    def __init__(self, folder: Path, *, python: str = sys.executable, **env: str) -> None:
        self.folder = folder
        self.ended = folder.parent / f"{folder.name}.ended"
        self.end_command = f"cat /proc/uptime >>{self.ended}"
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("STYX_", "PYTHON"))}
        self.env = {
            **outside,
            "STYX_BOOT_FOLDER": str(folder),
            "STYX_BOOT_PYTHON": python,
            "STYX_BOOT_PAUSE": "0.05",
            "STYX_BOOT_EACH": str(folder.parent / "no-per-boot"),
            **env,
        }

    def __enter__(self) -> BootedMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.power_off()

    def boot(self, script: str) -> str:
        """Run the script as a machine does that starts; what it says on the console."""
        done = subprocess.run(
            ["/bin/sh", "-s"], input=script, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def start(self) -> str:
        """What a boot after the first does."""
        return self._boot("start")

    def stop(self) -> str:
        return self._boot("stop")

    def _boot(self, word: str) -> str:
        command = ["/bin/sh", str(self.folder / "boot"), word]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on the machine."""
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                mine = any(str(self.folder) in word for word in line)
                mine = mine or process.environ().get("STYX_BOOT_FOLDER") == str(self.folder)
                if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def agents(self) -> list[psutil.Process]:
        return [process for process in self.processes() if any("styx.agent.main" in word for word in _line(process))]

    def power_off(self) -> None:
        """As if somebody had pulled the plug."""
        while found := self.processes():
            for process in found:
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(found, timeout=10)

    def until_ended(self) -> None:
        eventually("the machine ends itself", self.ended.exists)


def _line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
