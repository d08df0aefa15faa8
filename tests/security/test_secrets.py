"""Secrets from a submission to a program, with a real store and a real agent: where they are, and where they must not be."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from security_kit import found_in, run

import styx
from styx.core.spec import JobSpec
from styx.errors import Conflict, SpecError, StoreError
from styx.protocol.document import read_job
from styx.protocol.messages import Start
from styx.protocol.secrets import VALUES, gathered, take_values
from styx.runtime.vault import KEY, Vault
from styx.testing.agents import Act, FakeAgent

VALUE = "correct-horse-battery-staple"
OTHER = "tr0ub4dor&3"


def spec(**tasks: Any) -> JobSpec:
    return read_job({"name": "j", "tasks": tasks})


async def text(verbs: Any, ref: str) -> dict[str, str]:
    """What each stream of a job's only task holds."""
    said = {"stdout": b"", "stderr": b""}
    async for chunk in verbs.logs(ref):
        said[chunk.stream] += chunk.data
    return {name: data.decode() for name, data in said.items()}


def test_a_value_is_in_the_program_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The program copies its own argv and environment to a place of its own, so that the test can look."""
    seen, outside = tmp_path / "seen", tmp_path / "home"
    monkeypatch.setenv("DEPLOY_TOKEN", VALUE)
    line = f'tr "\\0" "\\n" < /proc/$$/cmdline > {seen}.argv; printf %s "$TOKEN" > {seen}; echo "token $TOKEN"; echo $TOKEN >&2; exit 4'

    async def main() -> None:
        async with styx.ControlPlane.open(outside) as plane:
            handle = await plane.submit(
                styx.Task("t", run=line, secrets={"TOKEN": {"env": "DEPLOY_TOKEN"}}, retries=1, backoff=0)
            )
            events = [event async for event in handle.events()]
            answers = [
                await handle.wait(), await handle.status(), await plane.task(handle.task_id), await handle.why(), await plane.tasks(),
                await plane.metrics(),
            ]  # fmt: skip
            assert await text(plane, handle.id) == {"stdout": "token ***\n" * 2, "stderr": "***\n" * 2}
            assert found_in(outside, VALUE) == []
            await plane.shell.store.backup(str(tmp_path / "backup.db"))
        assert seen.read_text() == VALUE
        assert VALUE not in seen.with_suffix(".argv").read_text()
        assert VALUE not in msgspec.json.encode([events, [a for a in answers if not isinstance(a, bytes)]]).decode()
        assert VALUE not in caplog.text
        assert found_in(outside, VALUE) == []  # and after the close
        assert VALUE.encode() not in (tmp_path / "backup.db").read_bytes()
        assert (outside / KEY).stat().st_mode & 0o777 == 0o600
        key = (outside / KEY).read_text().strip()
        assert bytes.fromhex(key) not in (tmp_path / "backup.db").read_bytes()
        assert key.encode() not in (tmp_path / "backup.db").read_bytes()

    with caplog.at_level(logging.DEBUG):
        run(main())


def test_each_task_gets_those_it_names(tmp_path: Path) -> None:
    tasks = spec(
        a={"run": 'test "$A" = one-one-one && test -z "$B"', "secrets": ["A"]},
        b={"run": 'test -z "$A" && test "$B" = two-two-two', "secrets": ["B"]},
        c={"run": 'test -z "$A$B"'},
        d={"run": 'test "$A$B" = one-one-onetwo-two-two', "secrets": ["A", "B"], "array": 3},
    )

    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path) as plane:
            made = await plane.submit_spec(tasks, secrets={"A": "one-one-one", "B": "two-two-two", "C": "not-wanted"})
            assert (await plane.wait(made.job_id)).ok

    run(main())


def test_they_outlast_a_restart_and_a_retry_and_go_with_the_job(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    tasks = spec(t={"run": f'test -e {gate} && test "$A" = {VALUE}', "secrets": ["A"]})

    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path / "h", agent=False) as plane:
            waiting = await plane.submit_spec(tasks, secrets={"A": VALUE})
        async with styx.ControlPlane.open(tmp_path / "h") as plane:
            assert not (await plane.wait(waiting.job_id)).ok  # no gate yet
        async with styx.ControlPlane.open(tmp_path / "h") as plane:
            gate.touch()
            await plane.retry(waiting.job_id, failed=True)
            assert (await plane.wait(waiting.job_id)).ok
            await plane.gc(days=0)
        with sqlite3.connect(tmp_path / "h" / "styx.db") as database:
            assert database.execute("SELECT count(*) FROM secrets").fetchone() == (0,)

    run(main())


def test_without_the_key_tasks_that_want_secrets_fail_and_say_why(tmp_path: Path) -> None:
    tasks = spec(t={"run": "true", "secrets": ["A"]}, u={"run": "true"})

    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path, agent=False) as plane:
            made = await plane.submit_spec(tasks, secrets={"A": VALUE})
        (tmp_path / KEY).unlink()
        async with styx.ControlPlane.open(tmp_path) as plane:
            result = await plane.wait(made.job_id)
            assert [task.name for task in result.failed] == ["t"]
            assert f"{KEY} is missing" in result.failed[0].reason
            assert (await plane.job(made.job_id)).graph[1].status == "SUCCEEDED"

    run(main())


def test_only_the_node_that_runs_the_task_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with styx.ControlPlane.open(agent=False) as plane:
            mine = FakeAgent(
                plane.shell.hub, name="mine", labels=[("for", "me")], script=lambda spec, run: Act(hold=True)
            )
            other = FakeAgent(plane.shell.hub, name="other")
            await mine.connect()
            await other.connect()
            where = {"resources": {"labels": {"for": "me"}}}
            await plane.submit_spec(spec(t={"run": "x", "secrets": ["A"], **where}), secrets={"A": VALUE})
            await plane.submit_spec(spec(u={"run": "x", **where}))
            await mine.until(lambda: mine.held)
            (start,) = [m for m in mine.received if isinstance(m, Start)]
            assert [(secret.name, secret.value) for secret in start.secrets] == [("A", VALUE)]
            assert not [m for m in other.received if isinstance(m, Start)]
            await mine.disconnect()
            await other.disconnect()

    run(main())


def test_a_key_with_other_values_is_another_submission(tmp_path: Path) -> None:
    tasks = spec(t={"run": "true", "secrets": ["A"]})

    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path, agent=False) as plane:
            first = await plane.submit_spec(tasks, key="k", secrets={"A": VALUE})
            # where a submitter takes them from is kept nowhere and makes no difference
            elsewhere = spec(t={"run": "true", "secrets": {"A": {"env": "B"}}})
            again = await plane.submit_spec(elsewhere, key="k", secrets={"A": VALUE})
            row = await plane.shell.store.job_by_key("k")
            assert row is not None
            assert row.spec.secrets == ()
            assert (again.job_id, again.again) == (first.job_id, True)
            with pytest.raises(Conflict) as caught:
                await plane.submit_spec(tasks, key="k", secrets={"A": OTHER})
            assert OTHER not in str(caught.value)

    run(main())


def test_what_is_missing_or_wrong_is_said_without_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with styx.ControlPlane.open(agent=False) as plane:
            with pytest.raises(SpecError, match="'A' of task 't' came without its value"):
                await plane.submit_spec(spec(t={"run": "x", "secrets": ["A"]}), secrets={"B": VALUE})
            many = {f"S{n}": "x" * 32_000 for n in range(40)}
            with pytest.raises(SpecError, match="together are longer"):
                await plane.submit_spec(spec(t={"run": "x", "secrets": list(many)}), secrets=many)

    run(main())
    monkeypatch.delenv("NOT_THERE", raising=False)
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe" + OTHER.encode())
    sources = {
        "A": {"env": "NOT_THERE"},
        "B": {"file": str(tmp_path / "nothing")},
        "C": {"file": str(tmp_path / "bytes")},
        "D": {"env": "EMPTY"},
    }
    with pytest.raises(SpecError) as caught:
        gathered(spec(t={"run": "x", "secrets": sources}))
    said = [problem.message for problem in caught.value.problems]
    assert [message.split("'")[1] for message in said] == ["A", "B", "C", "D"]
    assert OTHER not in json.dumps(said)


@pytest.mark.parametrize(
    "wrong",
    [
        {"A": VALUE}, {"A": {"value": VALUE}}, {"A": {"env": "X", "file": "/y"}}, {"A": {"env": 5}}, {"A": [VALUE]}, [VALUE], VALUE, 7,
        ["STYX_TOKEN_" + VALUE], ["STYX_JOB_ID"], {"A": {"file": "~/x"}}, {"A": {"file": "x"}},
    ],
)  # fmt: skip
def test_a_document_has_names_and_places_only(wrong: object) -> None:
    for document in ({"run": "x", "secrets": wrong}, {"tasks": {"t": {"run": "x"}}, "secrets": wrong}):
        with pytest.raises(SpecError) as caught:
            read_job(document)
        assert VALUE not in json.dumps(msgspec.to_builtins([caught.value.problems, str(caught.value)]))


def test_one_name_is_one_value_in_a_job(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="two places"):
        spec(a={"run": "x", "secrets": {"A": {"env": "X"}}}, b={"run": "x", "secrets": {"A": {"env": "Y"}}})
    with pytest.raises(SpecError, match="a variable and a secret"):
        spec(a={"run": "x", "secrets": ["A"], "env": {"A": "1"}})
    (tmp_path / "pw").write_text(f"{VALUE}\r\n")
    shared = read_job(
        {"tasks": {"a": {"run": "x"}, "b": {"run": "x", "secrets": ["A", "B"]}}, "secrets": {"A": {"file": "pw"}}},
        cwd=str(tmp_path),
    )
    assert [task.secrets for task in shared.tasks] == [("A",), ("A", "B")]
    assert gathered(shared, {"B": "b"}) == {"A": VALUE, "B": "b"}


@pytest.mark.parametrize(
    "wrong", [5, [VALUE], {"A": 5}, {"A": ""}, {"A": "x\0" + VALUE}, {"A": "x" * 40_000}, {VALUE + "!": "x"}]
)
def test_values_beside_a_document_are_checked(wrong: object) -> None:
    with pytest.raises(SpecError) as caught:
        take_values({"run": "x", VALUES: wrong})
    assert VALUE not in json.dumps(msgspec.to_builtins(caught.value.problems))


def test_a_vault_opens_for_one_job_and_with_one_key(tmp_path: Path) -> None:
    async def main() -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        one.mkdir()
        other.mkdir()
        vault = Vault(one)
        sealed = await vault.seal(styx_id(1), {"A": VALUE})
        assert VALUE.encode() not in sealed
        assert await Vault(one).open(styx_id(1), sealed) == {"A": VALUE}
        assert sealed != await vault.seal(styx_id(1), {"A": VALUE})
        for job, what in (
            (2, sealed), (1, sealed[:-1]), (1, b"\x02" + sealed[1:]), (1, b""),
            (1, sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:]),
        ):  # fmt: skip
            with pytest.raises(StoreError, match="another key"):
                await vault.open(styx_id(job), what)
        with pytest.raises(StoreError, match="missing"):
            await Vault(other).open(styx_id(1), sealed)
        assert not (other / KEY).exists()  # reading never makes a key
        await Vault(other).seal(styx_id(1), {})
        with pytest.raises(StoreError, match="another key"):
            await Vault(other).open(styx_id(1), sealed)
        shutil.copy(one / KEY, other / KEY)
        assert await Vault(other).open(styx_id(1), sealed) == {"A": VALUE}
        (other / KEY).write_text("nonsense")
        with pytest.raises(StoreError, match="holds no key"):
            await Vault(other).seal(styx_id(1), {"A": VALUE})
        mark = await vault.fingerprint({"A": VALUE})
        assert mark == await Vault(one).fingerprint({"A": VALUE}) != await Vault().fingerprint({"A": VALUE})

    run(main())


def styx_id(number: int) -> Any:
    return number
