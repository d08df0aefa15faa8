"""The masks against a plain definition of what they show: in a whole stream, each run of bytes of values becomes `***`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from styx.agent.owner.masking import MASK, Masker, masked, worth_masking


def shown(data: bytes, values: tuple[bytes, ...]) -> bytes:
    """The definition, byte by byte."""
    secret = bytearray(len(data))
    for value in values:
        for at in range(len(data)):
            if data.startswith(value, at):
                secret[at : at + len(value)] = b"\1" * len(value)
    out = bytearray()
    for at, byte in enumerate(data):
        if not secret[at]:
            out.append(byte)
        elif at == 0 or not secret[at - 1]:
            out += MASK
    return bytes(out)


few_letters = st.binary(min_size=2, max_size=7).map(lambda data: bytes(97 + byte % 2 for byte in data))
some_values = st.lists(few_letters, min_size=1, max_size=3, unique=True).map(tuple)
some_pieces = st.lists(st.binary(max_size=9).map(lambda data: bytes(97 + byte % 3 % 2 for byte in data)), max_size=12)


@given(some_values, some_pieces)
def test_however_the_writes_cut_it(values: tuple[bytes, ...], pieces: list[bytes]) -> None:
    masker = Masker(values)
    fed = out = b""
    for piece in pieces:
        fed += piece
        out += masker.feed(piece)
        assert shown(fed, values).startswith(out)
        assert len(masker._tail) < max(map(len, values))  # not much is held back
    assert out + masker.flush() == shown(fed, values)


def test_words_that_are_no_beginning_of_a_secret_are_not_held_back() -> None:
    masker = Masker((b"hunter2!",))
    assert masker.feed(b"password? ") == b"password? "
    assert not masker.holds
    assert masker.feed(b"hunt") == b""
    assert masker.holds
    assert masker.feed(b"ing season\n") == b"hunting season\n"


def test_after_a_pause_what_was_held_is_shown_and_the_rest_of_the_secret_is_not() -> None:
    masker = Masker((b"hunter2!",))
    assert masker.feed(b"it is hun") == b"it is "
    assert masker.flush() == b"hun"
    assert masker.flush() == b""
    assert masker.feed(b"ter2! ok") == b"*** ok"
    assert masker.feed(b"hun") == b""
    assert masker.flush() == b"hun"
    assert masker.feed(b"dred") == b"dred"


def test_a_secret_that_begins_in_another_is_struck_out_too() -> None:
    values = (b"abcdef", b"defghi", b"abcdefgh")
    assert masked(b"x abcdefghi y", values) == b"x *** y"
    assert masked(b"abcdefabcdef.abcdef", values) == b"***.***"


def test_short_values_are_not_looked_for() -> None:
    assert worth_masking(["", "12345", "123456", "123456", "pässwö"]) == (b"123456", "pässwö".encode())
    assert masked(b"12345", worth_masking(["12345"])) == b"12345"
