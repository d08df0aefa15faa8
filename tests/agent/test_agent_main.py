"""The program styx-agent, as processes, against a fake server in this one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, start

from styx.core.states import Outcome
from styx.protocol.messages import Bye, Heartbeat, Hello, Report

pytestmark = pytest.mark.e2e


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder for agents; owners that are left over are ended."""
    yield tmp_path
    for lock in tmp_path.glob("agents/*/owner.lock"):
        pid = lock.read_text().split()[-1]
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue
        if str(tmp_path).encode() in command:
            os.kill(int(pid), signal.SIGTERM)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await body()

    asyncio.run(limited())


class Agent:
    """A styx-agent process; killed at the end if it still runs."""

    def __init__(self, home: Path, *arguments: str, **env: str) -> None:
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("STYX_", "XDG_"))}
        self._env = {**outside, "STYX_HOME": str(home), "HOME": str(home), **env}
        self._arguments = arguments
        self.stderr = ""

    async def __aenter__(self) -> Agent:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "styx.agent.main", *self._arguments,
            env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()

    async def exit(self) -> int:
        """Wait for its end; the exit code."""
        _, stderr = await self.process.communicate()
        self.stderr = stderr.decode()
        assert "Traceback" not in self.stderr, self.stderr
        assert self.process.returncode is not None
        return self.process.returncode


def test_it_runs_a_program_and_drains_on_sigterm(home: Path) -> None:
    async def body() -> None:
        async with FakeServer(token="s3cret") as server:  # noqa: SIM117
            async with Agent(home, STYX_SERVER_URL=server.url, STYX_TOKEN="s3cret") as agent:
                hello = await server.heard(Hello)
                assert hello.capacity.cpus > 0
                await server.order(start(1, "sh", "-c", "echo out; echo err >&2; echo [$STYX_TOKEN]; exit 3"))
                await server.until(lambda: 1 in server.ended)
                ending = server.ended[1]
                assert (ending.outcome, ending.code, ending.stdout, ending.stderr) == (Outcome.EXITED, 3, 7, 4)
                await server.until(lambda: server.output == {(1, 1): b"out\n[]\n", (1, 2): b"err\n"})
                beat = await server.heard(Heartbeat)
                assert beat.memory > 0
                agent.process.send_signal(signal.SIGTERM)
                assert await agent.exit() == 0
                byes = [message for message in server.said if isinstance(message, Bye)]
                assert [bye.gone for bye in byes] == [False, True]

    run(body)


def test_a_killed_agent_comes_back_as_the_same_and_its_program_has_gone_on(home: Path) -> None:
    async def body() -> None:
        async with FakeServer() as server:
            go = home / "go"
            os.mkfifo(go)
            async with Agent(home, STYX_SERVER_URL=server.url) as agent:
                first = await server.heard(Hello)
                await server.order(start(1, "sh", "-c", f"echo before; cat {go}; exit 4"))
                await server.until(lambda: (1, 1) in server.output)
                await server.until(lambda: any(isinstance(m, Report) and m.started == (1,) for m in server.said))
                agent.process.kill()
                await agent.exit()
            async with Agent(home, STYX_SERVER_URL=server.url):
                second = await server.heard(Hello, 2)
                assert (second.agent, second.boot) == (first.agent, first.boot)
                assert second.session != first.session
                assert [(held.attempt, held.state) for held in second.held] == [(1, 1)]
                assert second.incarnation == "inc"
                go.write_text("after\n")
                await server.until(lambda: 1 in server.ended)
                assert (server.ended[1].code, server.ended[1].stdout) == (4, 13)
                await server.until(lambda: server.output.get((1, 1)) == b"before\nafter\n")

    run(body)


def test_the_first_signal_waits_for_programs_and_the_second_leaves_them(home: Path) -> None:
    async def body() -> None:
        async with FakeServer() as server:
            go = home / "go"
            os.mkfifo(go)
            async with Agent(home, STYX_SERVER_URL=server.url) as agent:
                await server.heard(Hello)
                await server.order(start(1, "sh", "-c", f"echo on; cat {go}"))
                await server.until(lambda: (1, 1) in server.output)
                agent.process.send_signal(signal.SIGTERM)
                assert not (await server.heard(Bye)).gone
                await server.order(start(2, "true"))
                await server.until(lambda: 2 in server.ended)
                assert server.ended[2].outcome is Outcome.REJECTED
                assert agent.process.returncode is None
                agent.process.send_signal(signal.SIGTERM)
                assert await agent.exit() == 128 + signal.SIGTERM
                assert "waiting for 1 program to end" in agent.stderr
            async with Agent(home, STYX_SERVER_URL=server.url) as agent:
                assert [held.attempt for held in (await server.heard(Hello, 2)).held] == [1]
                agent.process.send_signal(signal.SIGINT)
                await server.heard(Bye, 2)
                go.write_text("bye\n")
                assert await agent.exit() == 0
            assert server.ended[1].code == 0
            assert server.output[1, 1] == b"on\nbye\n"

    run(body)


def test_it_goes_on_trying_and_finds_a_token_that_comes_later(home: Path) -> None:
    async def body() -> None:
        probe = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await probe.wait_closed()
        async with Agent(home, STYX_SERVER_URL=f"http://127.0.0.1:{port}") as agent:
            assert agent.process.stderr is not None
            seen = b""
            while b"trying on" not in seen:
                seen += await agent.process.stderr.readline()
            assert f"no server answers at http://127.0.0.1:{port}: Connection refused".encode() in seen
            (home / "token").write_text("late\n")
            async with FakeServer(token="late", port=port) as server:
                await server.heard(Hello)

    run(body)


def test_it_dials_again_after_the_link_broke(home: Path) -> None:
    async def body() -> None:
        async with FakeServer() as server, Agent(home, "--no-work", STYX_SERVER_URL=server.url):
            await server.heard(Hello)
            await server.hang_up()
            hello = await server.heard(Hello, 2)
            assert hello.held == ()
            await server.order(start(1, "no-such-program"))
            await server.until(lambda: 1 in server.ended)
            assert server.ended[1].code == 0

    run(body)


def test_two_agents_of_one_host_have_two_identities(home: Path) -> None:
    async def body() -> None:
        async with FakeServer() as server, Agent(home, "--no-work", STYX_SERVER_URL=server.url):
            await server.heard(Hello)
            async with Agent(home, "--no-work", "--label", "zone=b", "--cpus", "0.5", STYX_SERVER_URL=server.url):
                hello = await server.heard(Hello, 2)
                first = await server.heard(Hello)
                assert hello.agent != first.agent
                assert hello.name == f"{first.name}-1"
                assert hello.labels == (("zone", "b"),)
                assert hello.capacity.cpus == 500

    run(body)


def test_a_refused_token_is_77_in_one_line(home: Path) -> None:
    async def body() -> None:
        async with FakeServer(token="right") as server:
            token = home / "t"
            token.write_text("wrong\n")
            async with Agent(home, "--no-work", "--server", server.url, "--token-file", str(token)) as agent:
                assert await agent.exit() == 77
                assert f"styx-agent: {server.url} refused the token (401)" in agent.stderr

    run(body)


@pytest.mark.parametrize(
    ("arguments", "env", "code", "message"),
    [
        (["--server", "ftp://x"], {}, 2, "not a server address"),
        (["--memory", "lots"], {}, 2, "--memory must be a size"),
        (["--cpus", "0"], {}, 2, "--cpus must be"),
        (["--label", "x"], {}, 2, "--label must be KEY=VALUE"),
        (["--token-file", "/no/such/file"], {}, 2, "--token-file /no/such/file: No such file"),
        ([], {"STYX_AGENT_ID": "../up"}, 2, "not an agent id"),
        ([], {"STYX_LOG_LEVEL": "loud"}, 78, "STYX_LOG_LEVEL must be"),
    ],
)
def test_wrong_options_are_said_in_a_line(
    home: Path, arguments: list[str], env: dict[str, Any], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from unittest import mock

    from styx.agent.main import main

    with mock.patch.dict(os.environ, {"STYX_HOME": str(home), **env}):
        assert main(arguments) == code
    assert message in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    from styx.agent.main import main

    for option, expected in (("--version", "styx-agent "), ("--help", "A second one: it goes")):
        with pytest.raises(SystemExit) as caught:
            main([option])
        assert caught.value.code == 0
        assert expected in capsys.readouterr().out
