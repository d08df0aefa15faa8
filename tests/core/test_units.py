from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from styx.core.units import accelerator_counts, byte_count, milliseconds, thousandths

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("512MB", 512_000_000), ("1MiB", 1 << 20), ("1.5GiB", 3 << 29), ("2 GB", 2_000_000_000), ("1TB", 10**12), ("4g", 4 * 10**9),
        ("4Gi", 4 << 30), ("0", 0), (1_000, 1_000), (2.0, 2), ("100", 100), ("10b", 10), ("0.1KB", 100), ("1KB", 1_000),
    ],
)  # fmt: skip
def test_a_size_is_counted_in_bytes(value: object, size: int) -> None:
    assert byte_count(value) == size


@pytest.mark.parametrize(
    ("value", "duration"),
    [
        ("10m", 600_000), ("1h30m", 5_400_000), ("90s", 90_000), ("250ms", 250), (90, 90_000), (0.25, 250), ("1d", 86_400_000),
        ("1w", 604_800_000), ("1.5h", 5_400_000), ("90", 90_000), ("1h 30m", 5_400_000), (0, 0), ("2 min", 120_000),
    ],
)  # fmt: skip
def test_a_duration_is_counted_in_milliseconds(value: object, duration: int) -> None:
    assert milliseconds(value) == duration


@pytest.mark.parametrize(
    ("value", "cpus"), [(1, 1_000), (0.5, 500), ("500m", 500), ("2", 2_000), ("0.001", 1), (2.0, 2_000)]
)
def test_cpus_are_counted_in_thousandths(value: object, cpus: int) -> None:
    assert thousandths(value) == cpus


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ("A100", (("A100", 1),)),
        ("A100:2", (("A100", 2),)),
        ("T4:1, A100:2", (("A100", 2), ("T4", 1))),
        ({"A100": 1, "T4": 0}, (("A100", 1),)),
    ],
)
def test_accelerators_are_sorted_by_name(value: object, counts: object) -> None:
    assert accelerator_counts(value) == counts


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (byte_count, "lots"), (byte_count, -1), (byte_count, True), (byte_count, "1XB"), (byte_count, "9999999TB"), (byte_count, "1iB"),
        (milliseconds, "soon"), (milliseconds, ""), (milliseconds, -1), (milliseconds, float("nan")), (milliseconds, True),
        (milliseconds, "1000w1000w"), (thousandths, 0), (thousandths, "-1"), (thousandths, float("inf")), (thousandths, 2_000_000),
        (accelerator_counts, "2"), (accelerator_counts, {"A100": 0.5}), (accelerator_counts, "A100:x"), (accelerator_counts, 3),
        (accelerator_counts, "A100,A100"), (accelerator_counts, "²"),
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused(read, value) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="got"):
        read(value)


@given(anything)
def test_nothing_but_a_value_error_comes_out(value: object) -> None:
    for read in (byte_count, milliseconds, thousandths):
        with contextlib.suppress(ValueError):
            assert 0 <= read(value) <= 1 << 53
    with contextlib.suppress(ValueError):
        accelerator_counts(value)
