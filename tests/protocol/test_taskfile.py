"""Task files: YAML 1.2, and every problem at its line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from styx.core.spec import JobSpec
from styx.errors import UsageError
from styx.protocol.document import parse_yaml
from styx.protocol.taskfile import TaskFileError, is_taskfile, read_taskfile, read_text, shown


def read(text: str) -> JobSpec:
    return read_text(text.encode(), source="file.yaml", cwd="/w")


def wrong(text: str | bytes) -> list[tuple[int, int, str]]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(TaskFileError) as caught:
        read_text(data, source="file.yaml", cwd="/w")
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("no", "no"), ("off", "off"), ("y", "y"), ("true", True), ("FALSE", False), ("~", None), ("null", None),
        ("", None), ("0o17", 15), ("017", 17), ("0x1F", 31), ("1e3", 1000.0), (".5", 0.5), ("1_000", "1_000"), ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"), ("'1'", "1"), ('"true"', "true"), (".inf", float("inf")), ("+1", 1), ("=", "="), ("1.2.3", "1.2.3"),
        ("0b1", "0b1"), ("-", [None]), ("[1, a]", [1, "a"]),
    ],
)  # fmt: skip
def test_scalars_are_resolved_by_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(f"{text}\n") == value
    assert parse_yaml(f"key: {text}\n" if text != "-" else "key:\n- \n") == {"key": value}


def test_numbers_reach_a_program_as_they_were_written() -> None:
    task = read("command: [chmod, 0755, f, 1.10, 1e3]\nenv: {VERSION: 1.10, COUNT: 007, ON: on, YES: true}").tasks[0]
    assert task.command == ("chmod", "0755", "f", "1.10", "1e3")
    assert task.env == (("VERSION", "1.10"), ("COUNT", "007"), ("ON", "on"), ("YES", "true"))


def test_every_problem_has_its_line_and_column() -> None:
    text = """\
name: words
priority: hihg
tasks:
  split: {run: ./split.sh}
  count:
    needs: [splitt]
    retrys: 2
    run: ./count.sh
    env:
      A: [1]
    run: again
  empty: {}
"""
    found = wrong(text)
    assert [(line, column) for line, column, _ in found] == [(2, 11), (6, 13), (7, 5), (10, 7), (11, 5), (12, 3)]
    assert found[2][2] == "unknown key 'retrys' in task 'count'"
    assert found[4][2] == "duplicate key 'run'"


def test_the_text_of_a_problem_is_laid_out_like_a_compilers() -> None:
    with pytest.raises(TaskFileError) as caught:
        read("tasks:\n  count:\n    run: x\n    retrys: 2\n")
    error = caught.value
    assert shown(error.problems, source=error.source, text=error.text).splitlines() == [
        "file.yaml:4:5: unknown key 'retrys' in task 'count'",
        "      4 |     retrys: 2",
        "        |     ^^^^^^",
        "          = did you mean 'retries'?",
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ("tasks:\n  a: {run: x\n", 3, 1, "not YAML"), ("run: a: b\n", 1, 7, "not YAML"), ("\trun: x\n", 1, 1, "not YAML"),
        ("run: !!str x\n", 1, 6, "tag"), ("run: *nobody\n", 1, 6, "refers to nothing"), ("env: &a {b: *a}\nrun: x\n", 1, 13, "itself"),
        ("run: x\n---\nrun: y\n", 2, 1, "second document"), ("? [a]\n: x\n", 1, 3, "key must be plain"), ("", 1, 1, "empty"),
        ("- run: x\n", 1, 1, "mapping"), ("hello\n", 1, 1, "mapping"), ("run: x\nenv:\n  A: 1\n  A: 2\n", 4, 3, "duplicate key 'A'"),
        ("a: " + "[" * 100 + "\n", 1, 35, "deep"), ("run: x\x00\n", 1, 1, "not YAML"), ("run: x\ntimeout: 3 parsecs\n", 2, 10, "timeout"),
    ],
)  # fmt: skip
def test_what_no_task_file_may_hold_is_refused_at_its_place(text: str, line: int, column: int, word: str) -> None:
    found = wrong(text)
    assert len(found) == 1
    assert found[0][:2] == (line, column)
    assert word in found[0][2]


def test_text_that_is_not_utf8_is_refused_at_its_place() -> None:
    assert wrong(b"run: x\nname: \xff\n") == [(2, 7, "the file is not UTF-8 text")]


def test_aliases_work_and_are_bounded() -> None:
    spec = read("tasks:\n  a: {run: x, env: &e {A: 1}}\n  b: {run: y, env: *e}\n")
    assert spec.tasks[0].env == spec.tasks[1].env == (("A", "1"),)
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "aliases repeat" in wrong(bomb)[-1][2]


def test_a_problem_behind_an_alias_is_shown_where_the_alias_stands() -> None:
    found = wrong("tasks:\n  a: {run: x, env: &e {A: [1]}}\n  b: {run: y, env: *e}\n")
    assert [place[:2] for place in found] == [(2, 24), (3, 20)]


def test_a_file_gives_its_name_and_a_missing_one_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "wordcount.yaml"
    assert not is_taskfile(str(path))
    path.write_text("tasks: {a: {run: x}}\n")
    assert is_taskfile(str(path))
    assert read_taskfile(path).name == "wordcount"
    with pytest.raises(UsageError, match="cannot be read"):
        read_taskfile(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_taskfile(tmp_path)


lines = st.sampled_from(
    [
        "run: echo hi", "tasks:", "  a: {run: x}", "  b:", "    run: 'x'", "    needs: [a]", "name: x", "- a", "env: {A: 1, B: ~}", "a: *x",
        "x: &x {a: 1}", "retries: 0x10", "? a", "!t x", "---", "...", "  - b", "\t", "command: [1, 2.0, .nan]", "timeout: 1h", "}", "'", "# c",
        "resources: {cpus: 0.5, memory: 1e3, accelerators: {A100: 1}}", "on: no", "%YAML 1.1", "|", "run: |\n  two\n  lines", "é: ☃",
    ]
)  # fmt: skip


def outcome(data: bytes) -> JobSpec | TaskFileError:
    try:
        return read_text(data, source="f", cwd="/w")
    except TaskFileError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(st.lists(lines | st.text(max_size=12), max_size=12).map("\n".join))
@example("\ufeffrun: x")
@example("%YAML 3.0\n---\nrun: x")
def test_any_text_gives_a_job_or_a_spec_error(text: str) -> None:
    found = outcome(text.encode(errors="surrogatepass"))
    if isinstance(found, TaskFileError):
        assert found.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in found.problems)
        assert shown(found.problems, source=found.source, text=found.text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_give_a_job_or_a_spec_error(data: bytes) -> None:
    assert isinstance(outcome(data), (JobSpec, TaskFileError))
