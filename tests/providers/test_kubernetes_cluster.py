"""What clusters do to those who use them, by the fake one: nodes that die, memory that is short, histories that are forgotten, logs that
are turned over, rights that are missing."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from kube_faults import Faults
from kube_world import REAL, World, world

from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.providers.base import Kind, Refused, Unsure
from styx.providers.kubernetes.check import NEEDED
from styx.providers.kubernetes.logs import CUT, LATE
from styx.providers.kubernetes.pod import name_of, pod_of

pytestmark = pytest.mark.skipif(bool(REAL), reason="it needs what only the fake cluster can be told to do")

RIGHTS = {f"{kind}{f'/{part}' if part else ''}/{verb}" for kind, part, verbs in NEEDED for verb in verbs}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.providers.kubernetes.runner.LATE", 0.2)
    monkeypatch.setattr("styx.providers.kubernetes.calls.LATE", 0.2)
    monkeypatch.setattr("styx.providers.kubernetes.reader.PATIENCE", 0.5)
    monkeypatch.setattr("styx.providers.kubernetes.reader.PARTING", 0.3)


def run(folder: Path, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), world(folder) as it:
            await body(it)

    asyncio.run(main())


def waiting_for(path: Path) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.02; done"


def test_what_no_node_can_take_waits_and_says_why(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        it.node.unschedulable = "0/3 nodes are available: 3 Insufficient cpu."
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "true", resources=Resources(64_000)))
        await told.until(lambda: told.reasons.get(1) == f"Unschedulable: {it.node.unschedulable}")
        it.node.unschedulable = ""
        assert (await told.end(1)).code == 0

    run(tmp_path, body)


def test_one_that_waits_is_stopped_at_once(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        it.node.unschedulable = "0/3 nodes are available"
        runner, told, _ = await it.open()
        await runner.start(it.order(1))
        await runner.stop(1, 30.0)
        assert (await told.end(1)).outcome == Outcome.KILLED
        await runner.forget(1)
        await it.until_clean()
        assert not it.node.runs

    run(tmp_path, body)


def test_eviction_and_memory(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        for attempt in (1, 2):
            await runner.start(it.order(attempt, "echo up; sleep 600"))
        await told.until(lambda: told.running == {1, 2})
        await it.node.evict("n", name_of(it.tag, 1))
        it.node.memory[name_of(it.tag, 2)] = "all of it"
        uid = it.api.get("pods", "n", name_of(it.tag, 2))["metadata"]["uid"]
        await it.node._kill(uid, 0)
        first, second = await told.end(1), await told.end(2)
        assert (first.outcome, first.reason) == (
            Outcome.LOST,
            "TerminationByKubelet: The node was low on resource: memory.",
        )
        assert (second.outcome, second.code) == (Outcome.EXITED, 137)
        assert second.reason.startswith("OOMKilled")

    run(tmp_path, body)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_node_that_says_nothing_any_more(tmp_path: Path, exclusive: bool) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open(node_wait="300ms")
        await runner.start(it.order(1, "echo up; sleep 600", grace=1_000, exclusive=exclusive))
        await told.until(lambda: 1 in told.running)
        name = name_of(it.tag, 1)
        it.node.dead.add(it.api.get("pods", "n", name)["metadata"]["uid"])
        it.api.delete("pods", "n", name, {"gracePeriodSeconds": 1})  # the taint manager
        if exclusive:  # it may still run there, so nobody says that it has ended before somebody knows
            await asyncio.sleep(2.0)
            assert 1 not in told.ends
            it.api.delete("pods", "n", name, {"gracePeriodSeconds": 0})  # an administrator knows
        end = await told.end(1)
        assert end.outcome == Outcome.LOST
        await runner.forget(1)
        if not exclusive:  # nothing of ours keeps it any longer
            assert "finalizers" not in it.api.get("pods", "n", name)["metadata"]
            it.api.delete("pods", "n", name, {"gracePeriodSeconds": 0})
        await it.until_clean()

    run(tmp_path, body)


def test_a_forgotten_history_and_small_pages(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        it.api.page = 2
        runner, told, _ = await it.open()
        for attempt in range(1, 6):
            await runner.start(it.order(attempt, waiting_for(tmp_path / "go")))
        await told.until(lambda: len(told.running) == 5)
        it.api.compact()  # the watch has to begin anew, by a list in three pages
        (tmp_path / "go").touch()
        for attempt in range(1, 6):
            assert (await told.end(attempt)).code == 0
        await it.kill()
        _, _, found = await it.open()
        assert sorted(one.attempt for one in found) == [1, 2, 3, 4, 5]

    run(tmp_path, body)


def test_a_pod_that_vanishes_while_nobody_watches(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "echo up; sleep 600"))
        await told.until(lambda: 1 in told.running)
        key = ("n", name_of(it.tag, 1))
        it.node.dead.add(it.api.objects["pods"][key]["metadata"]["uid"])
        del it.api.objects["pods"][key]  # somebody took the finalizer off and forced it away
        it.api.compact()
        assert (await told.end(1)).outcome == Outcome.LOST

    run(tmp_path, body)


def test_logs_over_broken_connections(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        Faults(it.api, random.Random(7), 0.9, most=30)
        for attempt in (1, 2, 3):
            while True:
                try:
                    program = "import time\nfor n in range(60): print(n, flush=True); time.sleep(0.02)"
                    await runner.start(it.order(attempt, ("python3", "-c", program)))
                except (Refused, Unsure):
                    await asyncio.sleep(0.02)
                else:
                    break
        for attempt in (1, 2, 3):
            await told.end(attempt)
            assert told.text[attempt, 1] == b"".join(b"%d\n" % n for n in range(60))

    run(tmp_path, body)


def test_a_log_that_the_node_has_turned_over(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        broken = asyncio.Event()
        broken.set()
        open_logs = []

        async def logs(request, act):  # type: ignore[no-untyped-def]
            if request.path.endswith("/log"):
                open_logs.append(request.transport)
                if not broken.is_set():
                    request.transport.abort()
            return await act()

        it.api.intercept = logs
        runner, told, _ = await it.open()
        program = f"seq 100; {waiting_for(tmp_path / 'more')}; sleep 1.1; seq 200 300; {waiting_for(tmp_path / 'end')}"
        await runner.start(it.order(1, program))
        await told.until(lambda: told.text.get((1, 1), b"").endswith(b"100\n"))
        log = it.node.logs[it.api.get("pods", "n", name_of(it.tag, 1))["metadata"]["uid"]]
        broken.clear()
        for transport in open_logs:
            transport.abort()
        (tmp_path / "more").touch()
        while not log.lines[-1][1].startswith(b"300"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        log.turn_over(50)
        broken.set()
        (tmp_path / "end").touch()
        await told.end(1)
        numbers = [*range(1, 101), "cut", *range(251, 301)]
        assert told.text[1, 1] == b"".join(CUT if n == "cut" else b"%d\n" % n for n in numbers)

    run(tmp_path, body)


def test_a_log_that_was_turned_over_while_no_server_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.providers.kubernetes.reader.LARGE", 100)

    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, f"seq 100; {waiting_for(tmp_path / 'end')}; echo end"))
        await runner.start(it.order(2, f"seq 100; {waiting_for(tmp_path / 'end')}; echo end"))
        await told.until(lambda: all(told.text.get((n, 1), b"").endswith(b"100\n") for n in (1, 2)))
        while len(notes := list((tmp_path / "providers" / "kubernetes-logs").rglob("styx-*"))) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await it.kill()
        it.node.logs[it.api.get("pods", "n", name_of(it.tag, 1))["metadata"]["uid"]].turn_over(10)
        runner, told, _ = await it.open()
        (tmp_path / "end").touch()
        for attempt in (1, 2):
            await told.end(attempt)
            await runner.forget(attempt)
        assert told.text[1, 1] == LATE + b"".join(b"%d\n" % n for n in range(91, 101)) + b"end\n"
        assert told.text[2, 1] == b"".join(b"%d\n" % n for n in range(1, 101)) + b"end\n"
        assert told.cuts == {(1, 1)}
        await it.until_clean()
        assert not [note for note in notes if note.exists()]

    run(tmp_path, body)


def test_few_slots_serve_many_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.providers.kubernetes.reader.TURN", 0.05)

    async def body(it: World) -> None:
        runner, told, _ = await it.open(logs=1)
        for attempt in range(1, 5):
            await runner.start(it.order(attempt, f"echo up; {waiting_for(tmp_path / 'go')}; echo over"))
        await told.until(lambda: all(told.text.get((n, 1)) == b"up\n" for n in range(1, 5)))  # all come on
        (tmp_path / "go").touch()
        for attempt in range(1, 5):
            await told.end(attempt)
            assert told.text[attempt, 1] == b"up\nover\n"

    run(tmp_path, body)


def test_the_rights_that_are_documented_suffice(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        it.api.rights = set(RIGHTS)
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "echo $WORD", secrets={"WORD": "secretword"}))
        await told.end(1)
        await runner.start(it.order(2, "sleep 600"))
        await told.until(lambda: 2 in told.running)
        await it.kill()
        runner, told, found = await it.open()
        assert len(found) == 2
        await runner.stop(2, 1.0)
        for attempt in (1, 2):
            await told.end(attempt)
            await runner.forget(attempt)
        await it.until_clean()
        assert (await it.provider().check()).problems == ()

    run(tmp_path, body)


@pytest.mark.parametrize("right", sorted(RIGHTS))
def test_each_right_that_is_missing_is_named(tmp_path: Path, right: str) -> None:
    async def body(it: World) -> None:
        it.api.rights = RIGHTS - {right}
        check = await it.provider().check()
        kind, _, verb = right.rpartition("/")
        assert not check.usable
        assert check.problems == (f"c/n: it may not {verb} {kind}",)
        assert check.identity == "system:serviceaccount:n:styx in c"
        assert "docs/providers/kubernetes.md" in check.hints[0]

    run(tmp_path, body)


def test_a_secret_that_may_not_be_made_leaves_no_pod(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        it.api.rights = RIGHTS - {"secrets/create"}
        runner, told, _ = await it.open()
        with pytest.raises(Refused, match="cannot create") as refused:
            await runner.start(it.order(1, secrets={"WORD": "secretword"}))
        assert refused.value.kind is Kind.DENIED
        await it.until_clean()
        assert told.ends == {}
        it.api.rights = None
        await runner.start(it.order(1, "exit 3", secrets={"WORD": "secretword"}))
        assert (await told.end(1)).code == 3

    run(tmp_path, body)


def test_a_quota_is_no_failure_of_the_task(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        it.api.quota = 1
        runner, told, _ = await it.open()
        await runner.start(it.order(1))
        with pytest.raises(Refused, match="exceeded quota") as refused:
            await runner.start(it.order(2))
        assert refused.value.kind is Kind.QUOTA
        await told.end(1)
        await runner.forget(1)
        await it.until_clean()
        await runner.start(it.order(2))
        assert (await told.end(2)).code == 0

    run(tmp_path, body)


def test_what_the_api_finds_wrong_with_a_pod_fails_its_task(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, env={"NOT=A NAME": "x"}))
        end = await told.end(1)
        assert (end.outcome, end.code) == (Outcome.EXITED, 126)
        assert "NOT=A NAME" in end.reason
        await runner.start(it.order(2, results={"big": b"x" * 1_000_000}))
        assert "900,000 bytes" in (await told.end(2)).reason
        for attempt in (1, 2):
            await runner.forget(attempt)
        assert await it.leftovers() == []

    run(tmp_path, body)


def test_a_creation_that_is_carried_out_after_all_is_over(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        late: list[asyncio.Task[object]] = []

        async def first_is_late(request, act):  # type: ignore[no-untyped-def]
            if request.method != "POST" or late:
                return await act()
            await request.read()

            async def later() -> None:
                await told.end(1)
                await asyncio.sleep(0.1)
                await act()

            late.append(asyncio.create_task(later()))
            request.transport.abort()
            return web.Response(status=500)

        it.api.intercept = first_is_late
        runner, told, _ = await it.open()
        with pytest.raises(Unsure):
            await runner.start(it.order(1))
        await runner.start(it.order(1))
        await told.end(1)
        await runner.forget(1)
        await asyncio.wait(late)
        await it.until_clean()
        assert set(it.node.runs.values()) == {1}

    run(tmp_path, body)


def test_a_pod_that_somebody_deletes_while_no_server_is_there(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, _, _ = await it.open()
        await runner.start(it.order(1, "sleep 600"))
        await it.kill()
        it.api.delete("pods", "n", name_of(it.tag, 1), {"gracePeriodSeconds": 0})
        runner, told, found = await it.open()
        assert [one.attempt for one in found] == [1]  # it stays until a server has seen it
        await runner.start(it.order(1, "sleep 600"))
        assert (await told.end(1)).outcome == Outcome.LOST
        await runner.forget(1)
        await it.until_clean()
        assert sum(it.node.runs.values()) <= 1

    run(tmp_path, body)


def test_a_pod_without_its_secret_is_given_again(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        order = it.order(1, "echo $WORD", secrets={"WORD": "secretword"})

        async def no_secret(request, act):  # type: ignore[no-untyped-def]
            if request.path.endswith("/secrets") and request.method == "POST":
                request.transport.abort()
                return web.Response(status=500)
            return await act()

        it.api.intercept = no_secret  # the server dies between the two
        runner, told, _ = await it.open()
        with pytest.raises(Unsure):
            await runner.start(order)
        await it.kill()
        it.api.intercept = None
        runner, told, found = await it.open()
        assert found == []
        await runner.start(order)
        await told.end(1)
        assert told.text[1, 1] == b"secretword\n"
        assert set(it.node.runs.values()) == {1}

    run(tmp_path, body)


def test_a_pod_that_nobody_knows_is_removed_and_never_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("styx.providers.kubernetes.strangers.ORPHAN", 0.1)

    async def body(it: World) -> None:
        first, told, _ = await it.open()
        # a request of the server before this one arrives late
        it.api.create("pods", "n", pod_of(it.order(9, "sleep 600"), first._place))
        await it.until_clean()
        await first.start(it.order(9))
        assert (await told.end(9)).outcome == Outcome.LOST

    run(tmp_path, body)


def test_pods_of_another_database_are_removed(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        await runner.start(it.order(1, "sleep 600", secrets={"WORD": "secretword"}))
        await told.until(lambda: 1 in told.running)
        await it.kill()
        before, it.tag = it.tag, "0" * 32  # a backup was restored
        _, _, found = await it.open()
        assert found == []
        it.tag = before
        await it.until_clean()

    run(tmp_path, body)


def test_credentials_that_are_renewed_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.providers.kubernetes.api._RENEW", -1.0)

    async def body(it: World) -> None:
        runner, told, _ = await it.open()
        it.api.tokens = {"another token"}
        with pytest.raises(Refused, match="not accepted") as refused:
            await runner.start(it.order(1))
        assert refused.value.kind is Kind.DENIED
        it.api.kubeconfig(it.folder, token="another token")
        await runner.start(it.order(1))
        assert (await told.end(1)).code == 0

    run(tmp_path, body)


def test_each_way_not_to_be_usable_is_one_line(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        assert (await it.provider().check()).usable
        it.api.tokens = set()
        assert "the credentials are not accepted" in " ".join((await it.provider().check()).problems)
        it.place["context"] = "another"
        (problem,) = (await it.provider().check()).problems
        assert "another" in problem
        it.place["context"] = "c"
        file = it.api.kubeconfig(tmp_path)
        document = json.loads(file.read_text())
        document["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
        file.write_text(json.dumps(document))
        (problem,) = (await it.provider().check()).problems
        assert problem.startswith("c: it cannot be reached")
        it.settings["kubeconfig"] = str(tmp_path / "nowhere")
        (problem,) = (await it.provider().check()).problems
        assert "there is no file" in problem
        with pytest.raises(Refused):
            await it.open()

    run(tmp_path, body)


def test_a_namespace_that_is_not_there(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        runner, _, _ = await it.open(namespace="nowhere")
        with pytest.raises(Refused, match='namespaces "nowhere" not found'):
            await runner.start(it.order(1))

    run(tmp_path, body)
