"""Logs over connections that break anywhere: the same bytes come out, and what is missing is marked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from styx.providers.kubernetes.logs import CUT, LogPosition

Line = tuple[int, bytes]  # when, in tenths of a second; text without its end


def stamp(at: int) -> str:
    return f"2026-11-25T10:{at // 600 % 60:02}:{at // 10 % 60:02}.{at % 10}00000000Z"


def log(lines: list[Line], since: str, *, kept: int = 1_000) -> bytes:
    """As the API gives it: of the lines the node has kept those since a second."""
    shown = [f"{stamp(at)} ".encode() + text + b"\n" for at, text in lines[-kept:] if f"{stamp(at)[:19]}Z" >= since]
    return b"".join(shown)


texts = st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"/"))
lines_of = st.lists(st.tuples(st.integers(0, 15), texts), max_size=12).map(
    lambda found: [(sum(gap for gap, _ in found[: at + 1]), text) for at, (_, text) in enumerate(found)]
)


@settings(max_examples=400, deadline=None)
@given(lines_of, st.lists(st.integers(0, 300), max_size=6), st.integers(1, 40))
def test_breaks_anywhere_change_nothing(lines: list[Line], breaks: list[int], piece: int) -> None:
    position, out = LogPosition(), b""
    for end in [*breaks, 100_000]:
        position.resume()
        data = log(lines, position.since)[:end]
        for at in range(0, len(data), piece):
            out += b"".join(position.feed(data[at : at + piece]))
    assert out == b"".join(text + b"\n" for _, text in lines)
    assert position.total == len(out)


def test_a_log_that_was_turned_over_is_marked() -> None:
    lines = [(at, b"line %d" % at) for at in range(0, 200, 4)]
    position, out = LogPosition(), b""
    out += b"".join(position.feed(log(lines[:20], position.since)))
    position.resume()
    out += b"".join(position.feed(log(lines, position.since, kept=10)))
    expected = [*lines[:20], *lines[-10:]]
    assert out.replace(CUT, b"") == b"".join(text + b"\n" for _, text in expected)
    assert out.index(CUT) == out.index(b"line %d\n" % lines[-10][0]) - len(CUT)
    position.resume()
    out += b"".join(position.feed(log([*lines, (900, b"more")], position.since)))
    assert out.count(CUT) == 1
    assert out.endswith(b"more\n")


def test_the_last_line_needs_no_end() -> None:
    position = LogPosition()
    data = f"{stamp(1)} one\n{stamp(2)} tw".encode()
    assert b"".join(position.feed(data)) == b"one\ntw"
    position.resume()
    assert b"".join(position.feed(f"{stamp(1)} one\n{stamp(2)} two".encode())) == b"o"


def test_words_of_the_node_have_no_time() -> None:
    position = LogPosition()
    assert b"".join(position.feed(b"failed to open log file\n")) == b"failed to open log file\n"
