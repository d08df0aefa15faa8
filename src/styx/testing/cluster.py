"""A real server and real agents as processes in a folder of their own, for end-to-end tests.

    with Cluster(tmp_path) as cluster:
        cluster.start_server()
        cluster.start_agent("a", cpus=2)
        assert cluster.styx("run", "--", "sh", "-c", "exit 7").returncode == 7

Everything listens on loopback; leaving the block ends every process that was started, owners and programs included.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

__all__ = ["Cluster", "eventually"]

PATIENCE = 60.0  # seconds until a thing that must happen counts as one that does not


def eventually(what: str, condition: Any, *, within: float = PATIENCE) -> Any:
    """The first true value that `condition()` returns; fails, naming `what`, when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Processes under one STYX_HOME. `env` is added to the environment of each."""

    def __init__(self, folder: Path, *, env: dict[str, str] | None = None) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server: subprocess.Popen[bytes] | None = None
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        outside = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
        self.env = {**outside, "STYX_HOME": str(self.home), "NO_COLOR": "1", **(env or {})}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spawn(self, program: str, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        with (self.home.parent / f"{log}.log").open("ab") as out:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name(program)), *arguments],
                env={**self.env, "STYX_SERVER_URL": self.url},
                cwd=self.home.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def start_server(self, *arguments: str, healthy: bool = True, program: tuple[str, ...] = ("styx-server",)) -> None:
        """`program` is what to run instead, such as a Python that does something to the server before it starts."""
        self.server = self._spawn(*program, "--port", str(self.port), *arguments, log="server")
        if healthy:
            eventually("the server answers /health", self.healthy)

    def healthy(self) -> bool:
        if self.server is not None and self.server.poll() is not None:
            raise AssertionError(f"the server has exited:\n{self.log('server')}")
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(json.load(answer)["status"] == "healthy")
        except (urllib.error.URLError, OSError):
            return False

    def start_agent(self, name: str, *arguments: str, cpus: float = 2) -> None:
        self.agents[name] = self._spawn(
            "styx-agent", "--name", name, "--cpus", str(cpus), *arguments, log=f"agent-{name}"
        )

    def kill_server(self) -> None:
        """kill -9, as a crash would."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def kill_agent(self, name: str) -> None:
        self.agents[name].kill()
        self.agents[name].wait()

    def styx(self, *arguments: str, timeout: float = 120.0, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line against this server; its output is captured as text."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("styx")), *arguments],
            env={**self.env, "STYX_SERVER_URL": self.url, **more.pop("env", {})},
            cwd=more.pop("cwd", self.home.parent),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **more,
        )

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request with the local user's token; the status and the decoded body."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        token = (self.home / "token").read_text().strip()
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=data,
            method=method,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def job(self, job_id: str) -> Any:
        status, view = self.api("GET", f"/api/v1/jobs/{job_id}")
        assert status == 200, view
        return view

    def agents_up(self, count: int) -> bool:
        status, view = self.api("GET", "/api/v1/agents")
        return status == 200 and sum(agent["state"] == "UP" for agent in view["items"]) >= count

    def log(self, name: str) -> str:
        return (self.home.parent / f"{name}.log").read_text(errors="replace")

    def owners(self) -> list[psutil.Process]:
        """The owner processes of this cluster's agents."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if all(any(mark in part for part in line) for mark in ("styx.agent.owner", f"{self.home}/agents/")):
                found.append(process)
        return found

    def programs(self) -> list[psutil.Process]:
        """What runs below the owners."""
        found: list[psutil.Process] = []
        for owner in self.owners():
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                found += owner.children(recursive=True)
        return found

    def close(self) -> None:
        for process in [*self.agents.values(), *([self.server] if self.server else [])]:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        doomed = [*self.programs(), *self.owners()]
        for victim in doomed:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(doomed, timeout=10)
