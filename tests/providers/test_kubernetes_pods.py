"""Pods as attempts, on the fake cluster with real processes, or on a real one given by STYX_TEST_KUBECONFIG."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from kube_world import REAL, World, world

from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.messages import Secret
from styx.providers.base import Found

LIMIT = 300.0 if REAL else 60.0
only_fake = pytest.mark.skipif(bool(REAL), reason="it needs what only the fake cluster can be told to do")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes late on loopback."""
    monkeypatch.setattr("styx.providers.kubernetes.runner.LATE", 0.2)
    monkeypatch.setattr("styx.providers.kubernetes.calls.LATE", 0.2)


def run(folder: Path, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT), world(folder) as it:
            await body(it)

    asyncio.run(main())


def test_a_program_with_output_exit_code_and_result(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, found = await it.open()
        assert found == []
        await runner.start(it.order(1, "echo hello; echo fine >&2; printf result > $STYX_RESULT; exit 3"))
        end = await told.end(1)
        assert (end.outcome, end.code, end.result) == (Outcome.EXITED, 3, b"result")
        assert told.running == {1}
        assert sorted(told.text[1, 1].split(b"\n")) == [b"", b"fine", b"hello"]
        assert end.stdout == len(told.text[1, 1])
        await runner.forget(1)
        await it.until_clean()

    run(tmp_path, body)


def test_what_a_program_finds_in_its_environment(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        show = "import os; print(*(f'{n}={os.environ[n]}' for n in sorted(os.environ) if n[:4] in ('STYX', 'MINE')), sep='\\n')"
        env = {"MINE": "$(PATH) $$ $HOME ${X} $", "MINE_TOO": "over"}
        secrets = {"MINE_SECRET": "pass$(word) and\nmore", "MINE_TOO": "ridden"}
        order = it.order(
            1, ("python3", "-c", show), env=env, secrets=secrets, results={"one": b"\x00\xff", "two.1": b""}, array=9
        )
        await runner.start(order)
        assert (await told.end(1)).code == 0
        assert told.text[1, 1].decode().split("\n") == [
            "MINE=$(PATH) $$ $HOME ${X} $",
            "MINE_SECRET=pass$(word) and",
            "more",
            "MINE_TOO=ridden",
            "STYX_ARRAY_INDEX=3",
            "STYX_ARRAY_SIZE=9",
            "STYX_ATTEMPT=1",
            "STYX_JOB_ID=job-1",
            *(
                line
                for line in told.text[1, 1].decode().split("\n")
                if line.startswith(("STYX_RESULT=", "STYX_RESULTS="))
            ),
            "STYX_TASK_ID=job-1.0.3",
            "STYX_TASK_NAME=task",
            "",
        ]
        await runner.start(
            it.order(
                2,
                "cat $STYX_RESULTS/one | od -An -tx1; wc -c < $STYX_RESULTS/two.1; echo $$ | wc -l",
                results=dict(order.results),
            )
        )
        await told.end(2)
        assert told.text[2, 1].split() == [b"00", b"ff", b"0", b"1"]

    run(tmp_path, body)


def test_secrets_are_in_no_pod(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "echo $WORD", secrets={"WORD": "hunter2hunter2"}))
        await told.end(1)
        entry = runner._entries[1]
        answer = await runner._calls._cluster.call("GET", f"{runner._calls.pods}/{entry.name}")
        assert b"hunter2" not in answer.body

    run(tmp_path, body)


def test_an_order_repeated_changes_nothing(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        order = it.order(1, "echo once")
        await asyncio.gather(*(runner.start(order) for _ in range(3)))
        await told.end(1)
        await runner.start(order)
        assert told.text == {(1, 1): b"once\n"}

    run(tmp_path, body)


def test_stopping_is_polite_first(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.05; done"))
        await told.until(lambda: told.text.get((1, 1)) == b"up\n")
        await runner.stop(1, 10.0)
        await runner.stop(1, 10.0)
        end = await told.end(1)
        assert (end.outcome, end.code) == (Outcome.KILLED, 7)
        assert told.text[1, 1] == b"up\nasked\n"
        await runner.forget(1)
        await it.until_clean()

    run(tmp_path, body)


def test_what_does_not_listen_is_killed_after_its_grace(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "trap '' TERM; echo up; while :; do sleep 0.05; done"))
        await told.until(lambda: told.text.get((1, 1)) == b"up\n")
        await runner.stop(1, 1.0)
        end = await told.end(1)
        assert (end.outcome, end.code) == (Outcome.KILLED, 137)

    run(tmp_path, body)


def test_one_that_has_ended_is_not_stopped(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "exit 4"))
        await told.end(1)
        await runner.stop(1, 1.0)
        await runner.stop(77, 1.0)  # nobody has it
        assert (told.ends[1].outcome, told.ends[1].code) == (Outcome.EXITED, 4)

    run(tmp_path, body)


def test_a_timeout_counts_from_the_start(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "echo up; sleep 600", timeout=300, grace=1_000))
        end = await told.end(1)
        assert (end.outcome, end.reason) == (Outcome.TIMED_OUT, "timed out after 0.3 s")
        assert told.text[1, 1] == b"up\n"

    run(tmp_path, body)


def test_an_image_that_is_not_there_fails_the_attempt_after_a_while(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open(image_wait="1s")
        await runner.start(it.order(1, image="missing.invalid/image:1"))
        await runner.start(it.order(2, image="Not An Image"))
        for attempt in (1, 2):
            end = await told.end(attempt)
            assert (end.outcome, end.code) == (Outcome.EXITED, 127 if attempt == 1 else end.code), end
            assert end.code in {126, 127}
            assert "mage" in end.reason
            assert told.text[attempt, 2].startswith(b"styx: ")
            await runner.forget(attempt)
        await it.until_clean()

    run(tmp_path, body)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, ("/no/such/program",)))
        end = await told.end(1)
        assert (end.outcome, end.code) == (Outcome.EXITED, 127)
        assert "/no/such/program" in end.reason

    run(tmp_path, body)


def test_without_any_image_it_fails_and_says_so(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        del it.settings["image"]
        runner, told, _ = await it.open()
        await runner.start(it.order(1, image=""))
        end = await told.end(1)
        assert (end.outcome, end.code) == (Outcome.EXITED, 126)
        assert "image" in end.reason
        await runner.forget(1)

    run(tmp_path, body)


def test_a_server_that_starts_anew_finds_what_it_had(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        run_on = "echo one; while [ ! -e /tmp/styx-go ]; do sleep 0.05; done; echo $WORD"
        if not REAL:
            run_on = run_on.replace("/tmp/styx-go", str(tmp_path / "go"))
        await runner.start(
            it.order(1, run_on, secrets={"WORD": "secretword"}, resources=Resources(250, 1 << 20), grace=7_000)
        )
        await runner.start(it.order(2, "echo done; exit 5"))
        await told.until(lambda: told.text.get((1, 1)) == b"one\n")
        await told.end(2)
        await it.kill()
        runner, told, found = await it.open()
        first, second = sorted(found, key=lambda one: one.attempt)
        assert first == Found(1, 1, first.ran, Resources(250, 1 << 20), (Secret("env-0", "secretword"),), 7.0)
        assert (second.attempt, second.state) == (2, 2)
        end = await told.end(2)
        assert (end.outcome, end.code, told.text[2, 1]) == (Outcome.EXITED, 5, b"done\n")
        await told.until(lambda: told.text.get((1, 1)) == b"one\n")
        if REAL:
            await runner.stop(1, 0.0)
        else:
            (tmp_path / "go").touch()
            assert (await told.end(1)).code == 0
            assert told.text[1, 1] == b"one\nsecretword\n"

    run(tmp_path, body)


def test_a_pod_that_others_delete_is_lost(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "echo up; sleep 600", grace=1_000))
        await told.until(lambda: (1, 1) in told.text)
        pod = runner._entries[1].pod
        assert pod is not None
        await runner._calls.delete(pod, 1.0)  # as kubectl does it: the runner does not know
        end = await told.end(1)
        assert end.outcome == Outcome.LOST
        assert "deleted by somebody else" in end.reason
        await runner.forget(1)
        await it.until_clean()

    run(tmp_path, body)


def test_much_output_comes_whole(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(
            it.order(1, ("python3", "-c", "for n in range(20_000): print(n, 'x' * 90)\nprint('y' * 50_000, end='')"))
        )
        await told.end(1)
        expected = "".join(f"{n} {'x' * 90}\n" for n in range(20_000)) + "y" * 50_000
        assert told.text[1, 1] == expected.encode()

    run(tmp_path, body)
