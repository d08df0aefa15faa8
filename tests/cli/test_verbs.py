"""Each verb against a scripted plane: what is printed where, in each format, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from cli_fakes import JOB, TASK, FakeVerbs, job_view, run, task_view

from styx.errors import NoFit, Problem, Unreachable
from styx.protocol.http import JobResult, LogChunk

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def chunk(data: bytes, stream: str = "stdout", task: str = "t", index: int | None = None, **more: object) -> LogChunk:
    return LogChunk(task, TASK, index, 1, stream, 0, data, **more)  # type: ignore[arg-type]


def test_run_passes_on_both_streams_and_the_exit_code(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.chunks = [chunk(b"out\n"), chunk(b"err", "stderr")]
    verbs.result = JobResult(JOB, "t", "FAILED", 7, "program", {"FAILED": 1}, [])
    assert run(verbs, "run", "--name", "task", "echo", "-n", "--name", "Hello") == 7
    out, err = capfd.readouterr()
    assert (out, err) == ("out\n", "err")
    spec = verbs.specs[0]
    assert (spec.name, spec.tasks[0].command, spec.single) == ("task", ("echo", "-n", "--name", "Hello"), True)


def test_options_end_at_the_first_word_or_at_two_dashes(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "run", "--cpus", "500m", "-e", "A=1", "--label", "zone=b", "--", "--odd", "-d") == 0
    task = verbs.specs[0].tasks[0]
    assert task.command == ("--odd", "-d")
    assert (task.resources.cpus, task.env, task.labels) == (500, (("A", "1"),), (("zone", "b"),))


def test_json_of_run_is_one_document_and_output_goes_to_stderr(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.chunks = [chunk(b"out\n")]
    assert run(verbs, "run", "-o", "json", "true") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["by"] == "program"
    assert err == "out\n"


def test_detached_prints_the_id_alone(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.again = True
    assert run(verbs, "run", "-d", "-o", "name", "--key", "k", "true") == 0
    out, err = capfd.readouterr()
    assert out == f"{TASK}\n"
    assert "used before" in err
    assert verbs.asked == [("submit", "k")]


def test_a_dag_is_followed_under_the_names_of_its_tasks(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "two.yaml").write_text("tasks: {a: {run: x}, b: {run: y, needs: [a]}}")
    verbs = FakeVerbs()
    graph = [task_view("a"), task_view("b", "FAILED", exit_code=3, counts={"FAILED": 1})]
    verbs.view = job_view("FAILED", single=False, tasks=2, elements=2, graph=graph)
    verbs.chunks = [chunk(b"one\ntw", task="a"), chunk(b"o\nrest", task="a"), chunk(b"", task="a", end=True)]
    verbs.result = JobResult(JOB, "two", "FAILED", 3, "program", {"SUCCEEDED": 1, "FAILED": 1}, [graph[1]])
    assert run(verbs, "run", str(tmp_path / "two.yaml")) == 3
    out, err = capfd.readouterr()
    assert out == "a | one\na | two\na | rest\n"
    assert "two failed" in err
    assert "b failed: exit code 3" in err


def test_a_wrong_file_is_shown_whole_and_json_says_who_spoke(tmp_path: Path, capfd: Capture) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("tasks:\n  a:\n    run: x\n    retrys: 2\n  b: {needs: [aa], run: y}\n")
    assert run(FakeVerbs(), "run", "-o", "json", str(path)) == 78
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert (document["by"], document["exit_code"], len(document["problems"])) == ("styx", 78, 2)
    assert f"{path}:4:5: unknown key 'retrys' in task 'a'" in err
    assert "did you mean 'retries'?" in err
    assert f"{path}:5:" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "nothing to run"),
        (("run", "--cpus", "lots", "true"), "--cpus must be a number of CPUs"),
        (("run", "--retries", "-1", "true"), "--retries must be a whole number"),
        (("run", "--label", "zone", "true"), "--label must be NAME=VALUE"),
        (("run", "--env", "NO_SUCH_VARIABLE_HERE", "true"), "no such variable"),
        (("run", "nothing.yaml"), "nothing.yaml does not exist"),
        (("run", "--nme", "x", "true"), "--nme"),
        (("statsu",), "no verb 'statsu'"),
        (("status", "nothing"), "there is no 'nothing'"),
        (("status", "-o", "xml"), "xml"),
        (("retry", "--failed", "--from", "a", "x"), "exclude each other"),
        (("wait", "--timeout", "soon", "x"), "--timeout must be a duration"),
        (("logs", "-o", "name", "x"), "logs are printed"),
        (("status", "--watch", "-o", "name"), "--watch draws a table"),
    ],
)
def test_wrong_usage_is_a_message_and_exit_code_2(arguments: tuple[str, ...], words: str, capfd: Capture) -> None:
    assert run(FakeVerbs(), *arguments) == 2
    out, err = capfd.readouterr()
    assert words in err
    assert err.startswith("styx: ")
    assert out == ""


def test_an_unknown_verb_is_asked_about(capfd: Capture) -> None:
    run(FakeVerbs(), "statsu")
    assert "did you mean 'stat" in capfd.readouterr().err
    run(FakeVerbs(), "echo", "hello")
    assert "styx run -- echo hello" in capfd.readouterr().err


def test_errors_of_the_server_keep_their_exit_codes(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.error = NoFit([Problem("$.tasks.t", "task 't' asks for 99 CPUs; the largest place has 2", "ask for less")])
    assert run(verbs, "run", "true") == 75
    assert run(verbs, "plan", "true") == 75
    verbs.error = Unreachable("no Styx server answers")
    assert run(verbs, "run", "-o", "yaml", "true") == 69
    out, err = capfd.readouterr()
    assert "ask for less" in err
    assert yaml.safe_load(out)["error"] == "unreachable"


def test_status_of_one_job_in_every_format(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "status", "@latest", "-o", "json") == 0
    assert json.loads(capfd.readouterr().out)["job_id"] == JOB
    assert run(verbs, "status", "@latest", "-o", "yaml") == 0
    assert yaml.safe_load(capfd.readouterr().out)["status"] == "SUCCEEDED"
    assert run(verbs, "status", "@latest", "-o", "name") == 0
    assert capfd.readouterr().out == f"{JOB}\n"
    assert run(verbs, "status", "@latest") == 0
    text = capfd.readouterr().out
    assert TASK in text
    assert "EXITED" in text


def test_the_list_of_jobs_lines_up_and_filters_are_passed_on(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "status", "--status", "failed", "--name", "x", "--limit", "3") == 0
    head, row = capfd.readouterr().out.splitlines()
    assert head.index("NAME") == row.index("j ")
    assert row.startswith("0000000000aa")
    assert verbs.asked == [("jobs", {"limit": 3, "cursor": "", "status": "FAILED", "name": "x"})]


def test_status_of_an_array_shows_the_elements_that_matter(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.view = job_view(graph=[task_view(array=4, counts={"SUCCEEDED": 3, "FAILED": 1}, attempts=[])])
    assert run(verbs, "status", f"{JOB}/t") == 0
    lines = capfd.readouterr().out.splitlines()
    assert "1 failed, 3 succeeded" in "\n".join(lines)
    assert lines[-1].split()[:2] == ["2", "FAILED"]


def test_wait_exits_with_the_programs_code(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.result = JobResult(JOB, "j", "FAILED", 9, "program", {}, [])
    assert run(verbs, "wait", JOB) == 9
    assert capfd.readouterr().out == "j failed, exit code 9\n"
    verbs.view = job_view(graph=[task_view(status="FAILED", exit_code=4)])
    assert run(verbs, "wait", TASK, "-o", "name") == 4
    assert capfd.readouterr().out == f"{TASK}\n"


def test_following_logs_ends_with_the_exit_code(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.chunks = [chunk(b"a\0b", gap=5)]
    verbs.result = JobResult(JOB, "j", "FAILED", 9, "program", {}, [])
    assert run(verbs, "logs", "-f", "--tail", "1KB", JOB) == 9
    assert capfd.readouterr().out == "[5 bytes of t are missing here]\na\0b"
    assert ("logs", JOB, True, 1_000) in verbs.asked
    assert run(verbs, "logs", "-o", "json", JOB) == 0
    assert json.loads(capfd.readouterr().out)["data"] == "YQBi"


def test_wishes_are_passed_on(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "cancel", "@latest", "--reason", "enough") == 0
    assert run(verbs, "retry", "--from", "a", "@latest") == 0
    assert verbs.asked == [("cancel", "@latest", "enough"), ("retry", "@latest", False, "a")]
    out = capfd.readouterr().out
    assert "is being cancelled" in out
    assert "3 elements will run again" in out


def test_why_and_agents_are_readable(capfd: Capture) -> None:
    assert run(FakeVerbs(), "why", "@latest") == 0
    out = capfd.readouterr().out
    assert "every place is full" in out
    assert "- a: 0 of 2 CPUs are free" in out
    assert run(FakeVerbs(), "agents") == 0
    assert "1.5/2" in capfd.readouterr().out
    assert run(FakeVerbs(), "agents", "-o", "json") == 0
    assert json.loads(capfd.readouterr().out)[0]["capacity"]["accelerators"] == {"A100": 1}


def test_plan_shows_levels(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "two.yaml").write_text("tasks: {a: {run: x}, b: {run: y, needs: [a]}}")
    assert run(FakeVerbs(), "plan", str(tmp_path / "two.yaml")) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("two: 2 tasks")
    assert [line.split()[:2] for line in lines[3:]] == [["0", "a"], ["1", "b"]]


def test_a_token_is_printed_alone(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "token", "create", "ci", "--role", "agent", "--ttl", "1d") == 0
    assert capfd.readouterr().out == "styx_secret\n"
    assert verbs.asked == [("token", "ci", "agent", 86_400.0)]


def test_version_names_the_server_too(capfd: Capture) -> None:
    assert run(FakeVerbs(), "version") == 0
    assert "server 0.1.0 at http://fake (healthy)" in capfd.readouterr().out


def test_options_of_one_command_are_refused_for_a_file_but_those_of_a_job_hold(tmp_path: Path, capfd: Capture) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("run: x")
    assert run(FakeVerbs(), "run", "--cpus", "2", str(path)) == 2
    assert run(FakeVerbs(), "run", str(path), "-d") == 2
    assert "options go before the file" in capfd.readouterr().err
    verbs = FakeVerbs()
    assert run(verbs, "run", "--name", "other", "--priority", "high", "--deadline", "1h", str(path)) == 0
    spec = verbs.specs[0]
    assert (spec.name, spec.tasks[0].name, spec.priority, spec.deadline) == ("other", "other", 2, 3_600_000)


def test_without_a_verb_the_help_is_shown(capfd: Capture) -> None:
    run(FakeVerbs())
    out, err = capfd.readouterr()
    assert "Run a command or a task file." in out + err
    assert "styx: " not in out + err


def test_backup_names_a_path_on_the_servers_disk(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "backup", "/backups/monday.db") == 0
    assert "/backups/monday.db" in capfd.readouterr().out
    assert run(verbs, "backup", "/backups", "-o", "json") == 0
    assert json.loads(capfd.readouterr().out) == {"path": "/backups", "bytes": 8192, "taken_at": 1.0}
    assert verbs.asked == [("backup", "/backups/monday.db"), ("backup", "/backups")]
    assert run(verbs, "backup", "monday.db") == 2
    assert "another host" in capfd.readouterr().err
    assert len(verbs.asked) == 2
