"""What a task file says of places: alternatives, spot, prices, images and functions; and what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from styx.client.document import document_of
from styx.core.offers import Spot
from styx.core.resources import Resources
from styx.core.spec import Choice, JobSpec, TaskSpec
from styx.errors import Problem, SpecError
from styx.protocol.document import read_job, read_task
from styx.protocol.taskfile import read_text

GB = 10**9
SPOT = ("spot", "true")


def task(resources: Any, **more: Any) -> TaskSpec:
    return read_job({"run": "x", "resources": resources, **more}).tasks[0]


def problems(document: object) -> dict[str, Problem]:
    with pytest.raises(SpecError) as caught:
        read_job(document)
    return {problem.path: problem for problem in caught.value.problems}


def test_a_request_is_a_minimum_with_or_without_a_plus() -> None:
    assert task({"cpus": "4+", "memory": "16GB+", "disk": "1TB +"}) == task(
        {"cpus": 4, "memory": "16GB", "disk": "1TB"}
    )
    assert task({"cpus": "4+"}).resources == Resources(4_000)


def test_places_and_prices() -> None:
    found = task({
        "accelerators": {"A100": 8}, "spot": "prefer", "provider": "aws", "region": "us-east-1", "zone": "us-east-1a",
        "instance_type": "p4d.24xlarge", "max_hourly_cost": "30.5 USD",
    })  # fmt: skip
    assert found.resources == Resources(1_000, 0, 0, (("A100", 8),))
    assert found.labels == (
        ("instance_type", "p4d.24xlarge"), ("provider", "aws"), ("region", "us-east-1"), SPOT, ("zone", "us-east-1a"),
    )  # fmt: skip
    assert (found.spot, found.max_hourly, found.others) == (Spot.PREFER, 30_500_000, ())
    assert task({"spot": False}) == task({})
    assert (task({"spot": True}).spot, task({"spot": True}).labels) == (Spot.YES, (SPOT,))
    assert task({"max_hourly_cost": 2}).max_hourly == 2_000_000


def test_a_list_of_accelerators_is_a_choice() -> None:
    found = task({"cpus": 2, "accelerators": ["A100:8", {"H100": 4}, "T4:1,L4:1"]})
    assert [choice.resources.accelerators for choice in found.choices] == [
        (("A100", 8),), (("H100", 4),), (("L4", 1), ("T4", 1)),
    ]  # fmt: skip
    assert {choice.resources.cpus for choice in found.choices} == {2_000}


def test_each_alternative_goes_over_what_stands_around_it() -> None:
    found = task({
        "cpus": 4, "accelerators": ["A100", "H100"], "region": "r1", "max_hourly_cost": 3, "ordered": True,
        "any_of": [
            {"spot": True, "max_hourly_cost": "1 USD"},
            {"region": "r2", "cpus": 8, "accelerators": "L4:2"},
        ],
    })  # fmt: skip
    r1, r2 = ("region", "r1"), ("region", "r2")
    assert found.ordered
    assert found.choices == (
        Choice(Resources(4_000, 0, 0, (("A100", 1),)), (r1, SPOT), Spot.YES, 1_000_000),
        Choice(Resources(4_000, 0, 0, (("H100", 1),)), (r1, SPOT), Spot.YES, 1_000_000),
        Choice(Resources(8_000, 0, 0, (("L4", 2),)), (r2,), Spot.NO, 3_000_000),
    )


def test_what_a_task_says_goes_over_the_top_of_the_file() -> None:
    spec = read_job({
        "image": "base",
        "budget": "20 USD",
        "resources": {"cpus": 2, "spot": True, "accelerators": ["A100", "H100"], "any_of": [{"zone": "a"}, {"zone": "b"}]},
        "tasks": {
            "same": {"run": "x"},
            "demand": {"run": "x", "resources": {"spot": False, "accelerators": "T4"}},
            "ways": {"run": "x", "image": "mine", "resources": {"any_of": [{"memory": "1GB"}]}},
            "called": {"function": "f"},
        },
    })  # fmt: skip
    same, demand, ways, called = spec.tasks
    assert spec.budget == 20_000_000
    image = ("runs", "image")
    assert [(c.labels, c.resources.accelerators[0][0]) for c in same.choices] == [
        ((image, SPOT, ("zone", zone)), kind) for zone in "ab" for kind in ("A100", "H100")
    ]
    assert [(c.labels, c.spot, c.resources.accelerators) for c in demand.choices] == [
        ((image, ("zone", zone)), Spot.NO, (("T4", 1),)) for zone in "ab"
    ]
    assert (ways.image, [c.resources.memory for c in ways.choices]) == ("mine", [GB, GB])
    assert (called.image, called.function) == ("", "f")
    assert all(("runs", "function") in choice.labels for choice in called.choices)


def test_a_function_and_its_payload() -> None:
    found = read_task({"function": "thumbs", "payload": {"b": [1, 2.5, None, True, "é"], "a": {}}, "idempotent": True})
    assert found.name == "thumbs"
    one = found.tasks[0]
    assert (one.function, one.idempotent, one.shell, one.labels) == ("thumbs", True, False, (("runs", "function"),))
    assert one.command == ('{"b":[1,2.5,null,true,"é"],"a":{}}',)
    assert read_task({"function": "f"}).tasks[0].command == ("{}",)
    assert read_task({"function": "f", "payload": None}).tasks[0].command == ("null",)
    named = read_task({"function": "arn:aws:lambda:us-east-1:123456789012:function:thumbs:7"})
    assert (named.name, named.tasks[0].function[-1]) == ("task", "7") or named.name


def test_numbers_of_a_payload_are_numbers_in_yaml_too() -> None:
    spec = read_text(b"function: f\npayload: {version: 1.10, count: 0x10, on: yes, 7: x}\n", source="f.yaml")
    assert json.loads(spec.tasks[0].command[0]) == {"version": 1.1, "count": 16, "on": "yes", "7": "x"}


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        ({"run": "x", "resources": {"spot": "yes"}}, "$.resources.spot", "true, false or 'prefer'"),
        ({"run": "x", "resources": {"spot": 1}}, "$.resources.spot", "true, false or 'prefer'"),
        ({"run": "x", "resources": {"cpus": "+"}}, "$.resources.cpus", "a number of CPUs"),
        ({"run": "x", "resources": {"cpus": "4++"}}, "$.resources.cpus", "a number of CPUs"),
        ({"run": "x", "resources": {"memory": "lots+"}}, "$.resources.memory", "a size"),
        ({"run": "x", "resources": {"max_hourly_cost": "cheap"}}, "$.resources.max_hourly_cost", "an amount such as"),
        ({"run": "x", "resources": {"max_hourly_cost": 0}}, "$.resources.max_hourly_cost", "more than nothing"),
        ({"run": "x", "resources": {"max_hourly_cost": True}}, "$.resources.max_hourly_cost", "an amount such as"),
        ({"run": "x", "resources": {"any_of": []}}, "$.resources.any_of", "a list of 1 to 64"),
        ({"run": "x", "resources": {"any_of": {"cpus": 1}}}, "$.resources.any_of", "got a mapping"),
        ({"run": "x", "resources": {"any_of": [1]}}, "$.resources.any_of[0]", "a mapping"),
        ({"run": "x", "resources": {"any_of": [{"cpu": 1}]}}, "$.resources.any_of[0].cpu", "in an alternative"),
        ({"run": "x", "resources": {"any_of": [{"any_of": []}]}}, "$.resources.any_of[0].any_of", "does not stand inside"),
        ({"run": "x", "resources": {"any_of": [{"cpus": 1}] * 65}}, "$.resources.any_of", "1 to 64"),
        ({"run": "x", "resources": {"accelerators": []}}, "$.resources.accelerators", "1 to 64 choices"),
        ({"run": "x", "resources": {"accelerators": ["8"]}}, "$.resources.accelerators[0]", "named by kind"),
        ({"run": "x", "resources": {"ordered": 1}}, "$.resources.ordered", "true or false"),
        ({"run": "x", "resources": {"region": ["a"]}}, "$.resources.region", "printable text"),
        ({"run": "x", "resources": {"zone": "a", "labels": {"zone": "b"}}}, "$.resources.labels.zone", "'a' and 'b'"),
        ({"run": "x", "resources": {"regoin": "a"}}, "$.resources.regoin", "unknown key"),
        ({"run": "x", "image": ""}, "$.image", "got nothing"),
        ({"run": "x", "image": "a b"}, "$.image", "the name of an image"),
        ({"run": "x", "image": "-x"}, "$.image", "the name of an image"),
        ({"run": "x", "image": "x" * 600}, "$.image", "the name of an image"),
        ({"run": "x", "payload": 1}, "$.payload", "belongs to a 'function'"),
        ({"run": "x", "idempotent": True}, "$.idempotent", "belongs to a 'function'"),
        ({"run": "x", "function": "f"}, "$.run", "exclude each other"),
        ({"command": "x", "function": "f"}, "$.command", "exclude each other"),
        ({"function": "f", "image": "i"}, "$.image", "exclude each other"),
        ({"function": 3}, "$.function", "the name of a function"),
        ({"function": "f", "payload": {"a": [float("nan")]}}, "$.payload.a[0]", "a number that JSON has"),
        ({"function": "f", "payload": {"a": 1 << 64}}, "$.payload.a", "64 bits"),
        ({"function": "f", "payload": {"a": "\ud800"}}, "$.payload.a", "lone surrogates"),
        ({"function": "f", "payload": {1: "a", "1": "b"}}, "$.payload[1]", "cannot be the name"),
        ({"function": "f", "payload": "x" * 300_000}, "$.payload", "bytes"),
        ({"function": "f", "payload": ["x" * 200_000, "y" * 100_000]}, "$.payload", "262,144 bytes of JSON"),
        ({"run": "x", "budget": "lots"}, "$.budget", "an amount such as 20 USD"),
        ({"run": "x", "budget": 0}, "$.budget", "more than nothing"),
        ({"run": "x", "budget": "1e9 USD"}, "$.budget", "an amount such as"),
        ({"budget": 10**10, "tasks": {"a": {"run": "x"}}}, "$.budget", "at most"),
        ({"payload": 1, "tasks": {"a": {"run": "x"}}}, "$.payload", "makes a document one task"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(document: dict[str, Any], path: str, words: str) -> None:
    found = {key.replace("['1']", "[1]"): problem for key, problem in problems(document).items()}
    assert words in found[path].message


def test_the_hints() -> None:
    found = problems({"run": "x", "resources": {"spot": "prefered", "regoin": "a"}, "payload": {}})
    assert found["$.resources.spot"].hint == "did you mean 'prefer'?"
    assert found["$.resources.regoin"].hint == "did you mean 'region'?"
    assert "'args' and 'env'" in found["$.payload"].hint


def test_choices_of_choices_are_bounded() -> None:
    kinds = [f"K{n}" for n in range(33)]
    found = problems({"run": "x", "resources": {"accelerators": kinds, "any_of": [{"zone": "a"}, {"zone": "b"}]}})
    assert "at most 64 alternatives" in found["$.resources.any_of"].message
    many = [{"zone": str(n)} for n in range(40)]
    found = problems({
        "resources": {"accelerators": kinds},
        "tasks": {"a": {"run": "x", "resources": {"any_of": many}}},
    })  # fmt: skip
    assert "at most 64 alternatives" in found["$.tasks.a.resources.any_of"].message
    # a short document must not become a large one
    tasks = {f"t{n}": {"run": "x", "resources": {"cpus": n + 1}} for n in range(3_300)}
    found = problems({"resources": {"any_of": [{"zone": str(n)} for n in range(64)]}, "tasks": tasks})
    assert "200,000 alternatives" in found["$.tasks.t3174"].message


def test_a_deep_payload_is_refused() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    assert any("nested at most" in one.message for one in problems({"function": "f", "payload": deep}).values())


def test_lines_and_columns(tmp_path: Any) -> None:
    text = b"run: x\nresources:\n  any_of:\n    - {zone: a}\n    - {zoen: b}\n  spot: maybe\nbudget: none\n"
    with pytest.raises(SpecError) as caught:
        read_text(text, source="f.yaml")
    assert [(one.line, one.column) for one in caught.value.problems] == [(5, 8), (6, 9), (7, 9)]


def _choice() -> st.SearchStrategy[Choice]:
    resources = st.builds(
        Resources,
        st.integers(1, 10**6),
        st.integers(0, 1 << 40),
        st.integers(0, 1 << 40),
        st.sampled_from([(), (("A100", 8),), (("H100", 1), ("T4", 2))]),
    )
    labels = st.sampled_from([(), (("pool", "x"),), (("region", "r"), ("zone", "z"))])

    def made(resources: Resources, labels: tuple[tuple[str, str], ...], spot: Spot, cost: int) -> Choice:
        return Choice(resources, tuple(sorted((*labels, *([SPOT] if spot else [])))), spot, cost)

    return st.builds(made, resources, labels, st.sampled_from(Spot), st.sampled_from([0, 1, 1_234_567, 10**14 + 1]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_choice(), min_size=1, max_size=4), st.booleans(), st.sampled_from(["", "image", "function"]), st.data()
)
def test_a_spec_comes_back_from_its_document(
    choices: list[Choice], ordered: bool, runs: str, data: st.DataObject
) -> None:
    if runs:
        choices = [
            Choice(c.resources, tuple(sorted((*c.labels, ("runs", runs)))), c.spot, c.max_hourly) for c in choices
        ]
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\n\"é", max_size=3), inner, max_size=3),
        max_leaves=8,
    )  # fmt: skip
    payload = json.dumps(data.draw(json_values), ensure_ascii=False, separators=(",", ":"))
    first, *others = choices
    one = TaskSpec(
        "t", (payload,) if runs == "function" else ("true", "-x"), resources=first.resources, labels=first.labels, spot=first.spot,
        max_hourly=first.max_hourly, others=tuple(others), ordered=ordered, image="i:1" if runs == "image" else "",
        function="f" if runs == "function" else "", idempotent=runs == "function",
    )  # fmt: skip
    for single in (True, False):
        spec = JobSpec("j", (one,), single=single, budget=data.draw(st.sampled_from([0, 1, 123_456_789])))
        if single:
            spec = JobSpec("t", (one,), single=True, budget=spec.budget)
        document = json.loads(json.dumps(document_of(spec)))
        assert (read_task if single else read_job)(document) == spec
