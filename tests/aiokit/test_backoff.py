from __future__ import annotations

import pytest

from styx.aiokit import Backoff


def test_grows_to_the_limit_and_begins_anew() -> None:
    backoff = Backoff(1, 10, factor=2, jitter=0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.failures == 6
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next() == 1


def test_jitter_comes_after_the_cap() -> None:
    draws = iter([0.0, 0.5, 0.999])
    backoff = Backoff(10, 10, jitter=0.5, draw=lambda: next(draws))
    assert backoff.next() == 10
    assert backoff.next() == 12.5
    assert backoff.next() == pytest.approx(14.995)


@pytest.mark.parametrize(
    "arguments",
    [
        {"initial": 0},
        {"initial": 2, "limit": 1},
        {"factor": 0.5},
        {"jitter": -1},
    ],
)
def test_nonsense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a backoff needs"):
        Backoff(**arguments)
