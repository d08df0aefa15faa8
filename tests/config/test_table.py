"""A table of styx.toml is read key by key, and all that is wrong with it is said at once."""

from __future__ import annotations

import re

import pytest

from styx.config.table import Reader, Wrong, byte_size, flag, items, keyed, mapping, read_table, text, url, whole
from styx.core.units import thousandths
from styx.errors import Problem

NAME = re.compile(r"[a-z]+")


def test_what_is_right_is_read_and_what_is_wrong_is_told_with_its_place() -> None:
    readers: dict[str, Reader] = {
        "name": lambda value: text(value, "a name", NAME),
        "cpus": thousandths,
        "images": lambda value: keyed(value, "an image", NAME, {"left": "a", "right": "b"}),
        "external": flag,
    }
    given = {"name": " ada ", "cpus": "many", "images": {"left": 3}, "extrenal": True, "places": [], "zzz": 1}
    problems: list[Problem] = []
    values = read_table(given, readers, "$.providers.x", problems, of="x", beside=("places",))
    assert values == {"name": "ada"}
    told = {problem.path: (problem.message, problem.hint) for problem in problems}
    assert list(told) == [
        "$.providers.x.cpus",
        "$.providers.x.images.left",
        "$.providers.x.extrenal",
        "$.providers.x.zzz",
    ]
    assert told["$.providers.x.cpus"][0].startswith("providers.x.cpus must be ")
    assert told["$.providers.x.images.left"] == ("providers.x.images.left must be an image, got 3", "")
    assert told["$.providers.x.extrenal"] == ("'extrenal' is no setting of x", "did you mean 'external'?")
    assert told["$.providers.x.zzz"][1] == "known are 'name', 'cpus', 'images', 'external' or 'places'"


def test_readers_that_several_tables_want() -> None:
    assert url("https://ada.example/x") == "https://ada.example/x"
    assert whole(7, 7) == 7
    assert byte_size("2GiB", 1 << 30, 1 << 32, "from 1GiB to 4GiB") == 2 << 30
    assert items("a", 2, "a list") == ["a"]
    assert keyed("c", "a letter", NAME, {"left": "a", "right": "b"}) == (("left", "c"), ("right", "c"))
    assert keyed({"right": "d"}, "a letter", NAME, {"left": "a", "right": "b"}) == (("left", "a"), ("right", "d"))


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (url, "ada.example"),
        (flag, 1),
        (lambda value: whole(value, 7), True),
        (lambda value: whole(value, 7), 0),
        (lambda value: whole(value, 7), 8),
        (lambda value: byte_size(value, 1 << 30, 1 << 32, "from 1GiB to 4GiB"), "8GiB"),
        (lambda value: byte_size(value, 1 << 30, 1 << 32, "from 1GiB to 4GiB"), "a lot"),
        (lambda value: items(value, 2, "a list"), []),
        (lambda value: items(value, 2, "a list"), ["a", "b", "c"]),
        (lambda value: mapping(value, "a mapping"), {1: "a"}),
        (lambda value: keyed(value, "a letter", NAME, {"left": "a"}), {"lft": "b"}),
    ],
)
def test_readers_refuse_what_is_something_else(reader: Reader, value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        reader(value)


def test_a_wrong_key_is_told_with_what_it_may_have_been() -> None:
    with pytest.raises(Wrong) as caught:
        keyed({"lfet": "b"}, "a letter", NAME, {"left": "a"})
    assert caught.value.hint == "did you mean 'left'?"
