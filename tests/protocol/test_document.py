"""What a document means, and that everything wrong with it is said at once, each with its path and a hint."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from styx.client.document import document_of
from styx.core.resources import Resources
from styx.core.spec import Backoff, JobSpec, Priority, TaskSpec, When
from styx.errors import Problem, SpecError
from styx.protocol.document import read_job, read_task
from styx.protocol.findings import MAX_PROBLEMS

WORDCOUNT = {
    "name": "wordcount",
    "resources": {"cpus": 1, "memory": "512MB"},
    "env": {"LANG": "C"},
    "workdir": ".",
    "tasks": {
        "split": {"run": "./split.sh corpus"},
        "count": {"needs": ["split"], "array": 8, "run": "./count.sh", "retries": 2, "timeout": "10m"},
        "report": {
            "needs": "count",
            "command": ["./merge.sh", 3, 1.5, True],
            "when": "always",
            "env": {"LANG": "de", "N": 1},
        },
    },
}


def problems(document: object, read: Any = read_job, **options: str) -> dict[str, Problem]:
    with pytest.raises(SpecError) as caught:
        read(document, **options)
    return {problem.path: problem for problem in caught.value.problems}


def test_a_task_file_becomes_a_spec() -> None:
    shared = Resources(1_000, 512_000_000)
    assert read_job(WORDCOUNT, host="h", cwd="/home/me") == JobSpec(
        "wordcount",
        (
            TaskSpec("split", ("./split.sh corpus",), True, resources=shared, env=(("LANG", "C"),), workdir="/home/me"),
            TaskSpec(
                "count", ("./count.sh",), True, ("split",), 8, shared, env=(("LANG", "C"),), workdir="/home/me",
                retries=2, timeout=600_000,
            ),
            TaskSpec(
                "report", ("./merge.sh", "3", "1.5", "true"), False, ("count",), resources=shared,
                env=(("LANG", "de"), ("N", "1")), workdir="/home/me", when=When.ALWAYS,
            ),
        ),
        host="h",
        cwd="/home/me",
    )  # fmt: skip


def test_one_task_is_a_command_with_arguments() -> None:
    spec = read_task({"name": "t", "command": "echo", "args": ["Hello"], "priority": "high", "deadline": "1h"})
    task = TaskSpec("t", ("echo", "Hello"))
    assert spec == JobSpec("t", (task,), priority=Priority.HIGH, deadline=3_600_000, single=True)


def test_a_file_with_run_at_its_top_is_one_task() -> None:
    assert read_job({"run": "/bin/echo hi"}) == JobSpec(
        "echo", (TaskSpec("echo", ("/bin/echo hi",), True),), single=True
    )


def test_resources_of_a_task_go_over_the_shared_ones_key_by_key() -> None:
    spec = read_job(
        {
            "resources": {"cpus": 2, "memory": "1GiB", "labels": {"disk": "ssd"}},
            "tasks": {"a": {"run": "x", "resources": {"cpus": "500m", "accelerators": "A100:2", "zone": "b"}}},
        }
    )
    assert spec.tasks[0].resources == Resources(500, 1 << 30, 0, (("A100", 2),))
    assert spec.tasks[0].labels == (("disk", "ssd"), ("zone", "b"))


def test_backoff_is_a_mapping_or_the_first_wait() -> None:
    spec = read_job({"tasks": {"a": {"run": "x", "backoff": {"initial": "2s", "factor": 3, "limit": "1m"}}}})
    assert spec.tasks[0].backoff == Backoff(2_000, 3.0, 60_000)
    assert read_job({"run": "x", "backoff": "10m"}).tasks[0].backoff == Backoff(600_000, 2.0, 600_000)


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = problems(
        {
            "nme": "x",
            "priority": "hi",
            "tasks": {
                "a": {
                    "run": "x",
                    "retrys": 2,
                    "retries": -1,
                    "timeout": "soon",
                    "resources": {"cpu": 1, "memory": "lots", "spot": "perhaps", "any_of": [], "labels": 3},
                    "env": {"A": None, "B=": 1, "C": [1], "STYX_ATTEMPT": "1"},
                    "needs": ["nobody"],
                },
                "b": {},
                "c": None,
                "d/": {"run": 3},
                "e": {"run": "x", "command": ["y"]},
                "f": {"command": "echo hi"},
                "g": {"command": ["a\0b", {}]},
                "h": {
                    "run": "x",
                    "workdir": "here",
                    "when": "allways",
                    "allow_failure": "yes",
                    "array": 0,
                    "grace": -1,
                },
            },
        }
    )
    assert set(found) == {
        "$.nme", "$.priority", "$.tasks.a.retrys", "$.tasks.a.retries", "$.tasks.a.timeout", "$.tasks.a.resources.cpu",
        "$.tasks.a.resources.memory", "$.tasks.a.resources.spot", "$.tasks.a.resources.any_of", "$.tasks.a.resources.labels",
        "$.tasks.a.env.A", "$.tasks.a.env['B=']", "$.tasks.a.env.C", "$.tasks.a.env.STYX_ATTEMPT", "$.tasks.a.needs[0]",
        "$.tasks.b", "$.tasks.c", "$.tasks['d/']", "$.tasks['d/'].run", "$.tasks.e.command", "$.tasks.f.command",
        "$.tasks.g.command[0]", "$.tasks.g.command[1]", "$.tasks.h.workdir", "$.tasks.h.when", "$.tasks.h.allow_failure",
        "$.tasks.h.array", "$.tasks.h.grace",
    }  # fmt: skip
    assert found["$.nme"].hint == "did you mean 'name'?"
    assert found["$.tasks.a.retrys"].message == "unknown key 'retrys' in task 'a'"
    assert found["$.tasks.a.retrys"].hint == "did you mean 'retries'?"
    assert found["$.tasks.h.when"].hint == "did you mean 'always'?"
    assert found["$.tasks.a.resources.spot"].message == "spot must be true, false or 'prefer', got 'perhaps'"
    assert "run: 'echo hi'" in found["$.tasks.f.command"].hint


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], "$"), (None, "$"), ("x", "$"), ({}, "$"), ({"tasks": {}}, "$.tasks"), ({"tasks": 1}, "$.tasks"), ({"run": ""}, "$.run"),
        ({"tasks": [1]}, "$.tasks[0]"), ({"tasks": [{"run": "x"}]}, "$.tasks[0]"), ({"run": "x", "args": []}, "$.args"),
        ({"tasks": [{"name": "a.1", "run": "x"}]}, "$.tasks[0]"), ({"command": []}, "$.command"), ({"command": 1}, "$.command"),
        ({"run": ["ls"]}, "$.run"), ({"run": "x\0"}, "$.run"), ({"run": "\ud800"}, "$.run"), ({"run": "x" * 200_000}, "$.run"),
        ({"command": ["x"] + ["y" * 100_000] * 11}, "$"), ({"name": "a\nb", "run": "x"}, "$.name"), ({"command": ["x", ["y"]]}, "$.command[1]"),
        ({"run": "x", "backoff": {"factor": 0}}, "$.backoff.factor"), ({"run": "x", "needs": []}, "$.needs"),
        ({"run": "x", "timeout": 0}, "$.timeout"), ({"run": "x", "env": {"A": float("inf")}}, "$.env.A"),
        ({"run": "x", "tasks": {"a": {"run": "x"}}}, "$.run"), ({"array": 2, "tasks": {"a": {"run": "x"}}}, "$.array"),
        ({"run": "x", "name": "../x"}, "$.name"), ({"run": "x", "labels": {"": 1}}, "$.labels['']"),
    ],
)  # fmt: skip
def test_each_of_these_is_one_problem(document: object, path: str) -> None:
    assert list(problems(document)) == [path]


def test_a_graph_that_does_not_hang_together_is_refused() -> None:
    found = problems({"tasks": {"a": {"run": "x", "needs": ["b"]}, "b": {"run": "x", "needs": ["a"]}}})
    assert any("wait for one another" in problem.message for problem in found.values())
    found = problems({"tasks": [{"name": "a", "run": "x"}, {"name": "a", "run": "x"}]})
    assert len(found) == 1
    found = problems({"tasks": {"split": {"run": "x"}, "b": {"run": "x", "needs": ["splitt"]}}})
    assert "split" in found["$.tasks.b.needs[0]"].hint


def test_the_graph_is_checked_along_with_tasks_that_are_wrong() -> None:
    found = problems(
        {"tasks": {"a": {"run": ""}, "b": {"run": "x", "needs": ["a"]}, "c": {"run": "x", "needs": ["d"]}}}
    )
    assert set(found) == {"$.tasks.a.run", "$.tasks.c.needs[0]"}


def test_the_number_of_problems_is_bounded() -> None:
    with pytest.raises(SpecError) as caught:
        read_job({"tasks": {f"t{n}": {"rum": "x"} for n in range(1_000)}})
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert "more than 100" in caught.value.problems[-1].message


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=4),
    max_leaves=8,
)
words = st.sampled_from(
    [
        "name", "tasks", "run", "command", "args", "needs", "array", "resources", "env", "workdir", "retries", "timeout", "when",
        "backoff", "priority", "deadline", "labels", "allow_failure", "cpus", "memory", "accelerators", "initial", "a", "grace",
    ]
)  # fmt: skip
near_documents = st.recursive(
    json_like,
    lambda inner: st.dictionaries(words, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=25,
)


def outcome(read: Any, document: object) -> JobSpec | list[Problem]:
    try:
        return read(document, cwd="/w")
    except SpecError as error:
        return error.problems


@settings(max_examples=300, deadline=None)
@given(near_documents)
def test_any_document_gives_a_spec_or_a_spec_error(document: object) -> None:
    for read in (read_job, read_task):
        found = outcome(read, document)
        if isinstance(found, JobSpec):
            assert found.tasks
        else:
            assert found
            assert all(problem.message and problem.path.startswith("$") for problem in found)


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=10).map(
    lambda text: "n" + text.replace("/", "").replace(".", "")
)
plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
resources = st.builds(
    Resources,
    st.integers(1, 1_000_000_000),
    st.integers(0, 1 << 53),
    st.integers(0, 1 << 53),
    st.dictionaries(st.sampled_from(["A100", "T4"]), st.integers(1, 8)).map(lambda found: tuple(sorted(found.items()))),
)
waits = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)).map(sorted)
pairs = st.dictionaries(names, plain, max_size=3).map(lambda found: tuple(sorted(found.items())))
labels = st.dictionaries(names.map(lambda n: n.replace("=", "")), names, max_size=3).map(
    lambda f: tuple(sorted(f.items()))
)
task_fields = {
    "array": st.integers(0, 10_000),
    "resources": resources,
    "labels": labels,
    "env": pairs.map(lambda found: tuple((key.replace("=", ""), value) for key, value in found)),
    "workdir": st.sampled_from(["", "/a/b"]),
    "retries": st.integers(0, 1_000),
    "backoff": st.builds(lambda w, f: Backoff(w[0], f, w[1]), waits, st.floats(1, 100)),
    "timeout": st.integers(0, 10**10),
    "grace": st.integers(0, 10**6),
    "max_lost": st.integers(0, 1_000),
    "when": st.sampled_from(list(When)),
    "allow_failure": st.booleans(),
}


@st.composite
def job_specs(draw: st.DrawFn) -> JobSpec:
    def task(name: str, earlier: list[str]) -> TaskSpec:
        shell = draw(st.booleans())
        command = ("x" + draw(plain),) if shell else ("x" + draw(plain), *draw(st.lists(plain, max_size=3)))
        needs = tuple(sorted(draw(st.sets(st.sampled_from(earlier), max_size=3)))) if earlier else ()
        fields = draw(st.fixed_dictionaries({}, optional=task_fields))
        if "env" in fields:
            fields["env"] = tuple(sorted(dict(fields["env"]).items()))
        return TaskSpec(name, command, shell, needs, **fields)

    single = draw(st.booleans())
    chosen = [draw(names)] if single else draw(st.lists(names, min_size=1, max_size=4, unique=True))
    tasks = tuple(task(name, chosen[:position]) for position, name in enumerate(chosen))
    return JobSpec(
        chosen[0] if single else draw(names),
        tasks,
        draw(st.sampled_from(list(Priority))),
        draw(st.integers(0, 10**10)),
        draw(st.sampled_from(["", "host"])),
        draw(st.sampled_from(["", "/a"])),
        draw(labels),
        single,
    )


@settings(max_examples=200, deadline=None)
@given(job_specs())
def test_what_is_written_reads_as_the_same(spec: JobSpec) -> None:
    assert read_job(document_of(spec)) == spec


@pytest.mark.parametrize("listed", [False, True])
def test_who_reads_a_large_document_lets_others_work_between_its_tasks_and_slices(listed: bool) -> None:
    """So that a thread that reads one can give the GIL away; the graph is checked in slices of a thousand, twice over."""
    tasks: Any = {f"t{n}": {"command": ["true"]} for n in range(2_500)}
    if listed:
        tasks = [{"name": name, **task} for name, task in tasks.items()]
    calls = []
    spec = read_job({"tasks": tasks}, between=lambda: calls.append(1))
    assert len(spec.tasks) == 2_500
    assert len(calls) >= 2_500 + 2 * 3
