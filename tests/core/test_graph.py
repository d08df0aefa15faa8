"""The check of a job's graph: what it finds, how it names it, and that it stays linear."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from styx.core.graph import check, check_in_slices, descendants, levels, name_problem
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import Problem


def spec(*tasks: tuple[str, ...] | TaskSpec) -> JobSpec:
    """Tasks as (name, need, need...)."""
    return JobSpec("j", tuple(t if isinstance(t, TaskSpec) else TaskSpec(t[0], ("x",), needs=t[1:]) for t in tasks))


def problems(*tasks: tuple[str, ...] | TaskSpec) -> list[tuple[str, str, str]]:
    return [(p.path, p.message, p.hint) for p in check(spec(*tasks))[1]]


def test_names_become_ordinals_in_any_order() -> None:
    assert check(spec(("c", "a", "b"), ("a",), ("b", "a"))) == ([(1, 2), (), (1,)], [])


def test_an_empty_job_is_refused() -> None:
    assert problems() == [("$.tasks", "the job has no tasks", "give it at least one task")]


def test_everything_is_said_at_once_with_its_place() -> None:
    found = problems(
        ("count",),
        ("merge", "cuont", "merge", "count", "count"),
        ("count",),
        TaskSpec("big", ("x",), array=10_000_001),
        ("a", "b"),
        ("b", "a"),
    )
    assert found == [
        ("$.tasks.count", "two tasks are named 'count': tasks 1 and 3 of the list", "give one another name"),
        ("$.tasks.big.array", "an array has 1 to 10,000,000 elements, task 'big' asks for 10,000,001", ""),
        (
            "$.tasks.merge.needs[0]",
            "task 'merge' needs 'cuont', and there is no such task",
            "did you mean 'count'?",
        ),
        ("$.tasks.merge.needs[1]", "task 'merge' needs itself", "leave it out"),
        ("$.tasks.merge.needs[3]", "task 'merge' names 'count' twice", "name it once"),
        ("$.tasks.a.needs[0]", "these tasks wait for one another: a -> b -> a", "take one of these needs out"),
    ]


def test_each_circle_is_named_and_only_what_is_in_it() -> None:
    found = problems(("a", "b"), ("b", "c"), ("c", "a"), ("x", "y"), ("y", "x"), ("after", "a", "free"), ("free",))
    assert [message for _, message, _ in found] == [
        "these tasks wait for one another: a -> b -> c -> a",
        "these tasks wait for one another: x -> y -> x",
    ]
    assert [path for path, _, _ in found] == ["$.tasks.a.needs[0]", "$.tasks.x.needs[0]"]


def test_a_long_circle_is_shown_by_its_ends() -> None:
    count = 30_000
    (found,) = problems(*[(f"t{n}", f"t{(n + 1) % count}") for n in range(count)])
    assert found[1].startswith("these tasks wait for one another: t0 -> t1 -> ")
    assert found[1].endswith(" -> t29999 -> t0")
    assert "29,989 more" in found[1]
    assert len(found[1]) < 300


@pytest.mark.parametrize("name", ["a", "train-1", "g++", "x.y", "v1.2b", "größe", "a b", "7"])
def test_good_names(name: str) -> None:
    assert name_problem(name) == ""
    assert problems((name,)) == []


@pytest.mark.parametrize(
    "name", ["", ".x", "-x", "@latest", " x", "x ", "a/b", "x.3", "a\nb", "n" * 129, "\0", "\ud800"]
)
def test_bad_names(name: str) -> None:
    ((path, message, _),) = problems((name,))
    assert name_problem(name)
    assert path.startswith("$.tasks")
    assert message.startswith("the name of task ")


def test_many_problems_end_with_a_word_that_there_are_more() -> None:
    found = problems(*[(f"t{n}", f"nothing{n}") for n in range(5_000)])
    assert len(found) == 1_001
    assert found[-1][1] == "more is wrong; the first 1,000 problems are shown"


def test_a_large_graph_is_checked_in_many_small_slices() -> None:
    count = 20_000
    tasks = [(f"t{n}", *{f"t{n // 2}", f"t{n // 3}"}) if n > 1 else (f"t{n}",) for n in range(count)]
    slices = list(check_in_slices(spec(*tasks)))
    assert len(slices) >= 3 * count // 1_000
    assert max(len(needs) for needs, _ in slices) <= 1_000
    needs = [some for part, _ in slices for some in part]
    assert len(needs) == count
    assert not [problem for _, part in slices for problem in part]
    assert needs == check(spec(*tasks))[0]


def test_levels_and_descendants() -> None:
    needs, _ = check(spec(("a",), ("b", "a"), ("c", "a"), ("d", "b", "c"), ("e",), ("f", "e", "d")))
    assert levels(needs) == [0, 1, 1, 2, 0, 3]
    assert descendants(needs, 0) == [1, 2, 3, 5]
    assert descendants(needs, 4) == [5]
    assert descendants(needs, 5) == []


graphs = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.sets(st.integers(0, n - 1), max_size=3), min_size=n, max_size=n)
)


@settings(max_examples=300, deadline=None)
@given(graphs)
def test_a_circle_is_found_exactly_when_there_is_one(graph: list[set[int]]) -> None:
    reach = [set(needs) for needs in graph]
    for _ in graph:
        reach = [near.union(*(reach[need] for need in near)) for near in reach]
    circular = {n for n, far in enumerate(reach) if n in far}
    tasks = [(f"t{n}", *(f"t{need}" for need in sorted(needs))) for n, needs in enumerate(graph)]
    needs, found = check(spec(*tasks))
    assert bool(found) == bool(circular)
    for problem in found:
        if " wait for one another: " in problem.message:
            names = problem.message.partition(": ")[2].split(" -> ")
            assert names[0] == names[-1]
            for one, other in pairwise(names):
                assert int(other[1:]) in graph[int(one[1:])]
            assert {int(name[1:]) for name in names} <= circular
    if not found:
        assert levels(needs) == longest(graph)
        for start in range(len(graph)):
            assert descendants(needs, start) == [n for n, far in enumerate(reach) if start in far]


def longest(graph: list[set[int]]) -> list[int]:
    def chain(n: int) -> int:
        return max((chain(need) + 1 for need in graph[n]), default=0)

    return [chain(n) for n in range(len(graph))]


def test_problems_are_the_public_kind() -> None:
    assert all(isinstance(problem, Problem) for problem in check(spec(("a", "a")))[1])
