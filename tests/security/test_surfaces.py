"""Secrets and join tokens at the edges: the command line and HTTP say what is wrong and never repeat a value."""

from __future__ import annotations

import json

import pytest
from security_kit import run, site

from styx.cli.app import App
from styx.cli.main import main
from styx.testing.agents import FakeAgent

VALUE = "correct-horse-battery"


def styx(*words: str, **environ: str) -> int:
    return main(list(words), app=App(environ={"HOME": "/nowhere", "STYX_SERVER_URL": "http://127.0.0.1:1", **environ}))


@pytest.mark.parametrize("given", [f"TOKEN={VALUE}", f"={VALUE}", "TOKEN=", f"TOKEN-X={VALUE}"])
def test_a_value_on_the_command_line_is_not_repeated(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert styx("run", "--secret", given, "--", "true") == 2
    said = capsys.readouterr()
    assert VALUE not in said.out + said.err
    assert "Traceback" not in said.err


def test_a_variable_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    assert styx("run", "--secret", "NO_SUCH_VARIABLE", "--", "true") == 78
    assert "there is no variable 'NO_SUCH_VARIABLE' here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--join",), "--single-use"),
        (("--pool", "p", "x"), "add --join"),
        (("--single-use", "x"), "add --join"),
        (("--join", "--role", "user", "--pool", "p"), "no other role"),
        ((), "say whose the token is"),
        (("x", "--ttl", "soon"), "--ttl must be"),
    ],
)
def test_token_options_that_do_not_go_together(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert styx("token", "create", *words) == 2
    assert said in capsys.readouterr().err


def test_a_body_carries_values_beside_the_document() -> None:
    async def play() -> None:
        async with site() as here:
            agent = FakeAgent(here.plane.shell.hub)
            await agent.connect()
            user = await here.token("user")
            task = {"name": "t", "command": "true", "secrets": ["TOKEN"]}
            async with here.request(
                "POST", "/tasks", user.secret, json=task | {"secret_values": {"TOKEN": VALUE}}
            ) as answer:
                assert answer.status == 201
                made = await answer.text()
            job = json.loads(made)["job_id"]
            assert (await here.plane.wait(job)).ok
            seen = [made]
            for path in (f"/jobs/{job}", f"/tasks/{job}", f"/jobs/{job}/events", "/tasks", "/jobs", f"/jobs/{job}/why"):
                async with here.request("GET", path, user.secret) as answer:
                    assert answer.status == 200
                    seen.append(await answer.text())
            for path, body in (
                ("/tasks", task),
                ("/tasks", task | {"secret_values": VALUE}),
                ("/tasks", task | {"secret_values": {"TOKEN": [VALUE]}}),
                (
                    "/tasks",
                    task | {"secrets": {"TOKEN": {"file": "/etc/hostname"}}},
                ),  # the server reads no files for anybody
                ("/tasks", task | {"secrets": {"TOKEN": {"env": "PATH"}}}),  # nor its own environment
                ("/tasks", task | {"secrets": {"TOKEN": VALUE}, "secret_values": {"TOKEN": VALUE}}),
                ("/jobs", {"tasks": {"a": task}, "secret_values": {"OTHER": VALUE}}),
                ("/plan", task | {"secret_values": {"TOKEN": VALUE}}),
            ):
                async with here.request("POST", path, user.secret, json=body) as answer:
                    assert answer.status == 422, body
                    seen.append(await answer.text())
            assert not [text for text in seen if VALUE in text]
            await agent.disconnect()

    run(play())
