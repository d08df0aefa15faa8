"""What is kept of the clouds' own answers, over the offers that come with the program."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.errors import StoreError
from styx.providers.catalogs import Catalogs, Known, merged
from styx.providers.fake import FakeCloud, FakeProvider

DAY = 86_400_000
AT = 1_790_000_000_000


class Built(FakeProvider):
    """A provider with a catalog of the test's."""

    def __init__(self, *offers: Offer, source: str = "2026-01-31: a list", name: str = "fake") -> None:
        super().__init__(FakeCloud(lambda: AT, asyncio.sleep, name=name))
        self._built_in = (offers, source)

    def catalog(self) -> tuple[Sequence[Offer], str]:
        return self._built_in


def offer(kind: str, price: int = 5, region: str = "r1", provider: str = "fake") -> Offer:
    return Offer(provider, region, f"{region}a", kind, False, price, Resources(1_000, 1 << 30, 0, (("T4", 1),)))


def test_what_comes_with_the_program_is_dated_by_its_source(tmp_path: Path) -> None:
    known = Catalogs(tmp_path / "offers").load(Built(offer("m")))
    assert known == Known((offer("m"),), 1_769_817_600_000, "fake: 2026-01-31: a list")
    assert Catalogs(None).load(Built(offer("m"), source="somewhere")).at == 0
    assert Catalogs(None).load(Built(offer("m"), source="2026-99-99: no day")).at == 0
    assert not (tmp_path / "offers").exists()


def test_what_a_cloud_said_goes_over_it_region_by_region(tmp_path: Path) -> None:
    provider = Built(offer("old"), offer("other", region="r2"))
    catalogs = Catalogs(tmp_path / "offers")
    catalogs.keep(provider, [offer("new", 7)], AT)
    known = Catalogs(tmp_path / "offers").load(provider)
    assert {(one.region, one.instance_type, one.price) for one in known.offers} == {
        ("r1", "new", 7),
        ("r2", "other", 5),
    }
    assert known.at == 1_769_817_600_000
    assert known.source == "fake: asked 2026-09-21 14:13 UTC; fake: 2026-01-31: a list"
    catalogs.keep(provider, [offer("new", 7), offer("newer", 8, region="r2")], AT)
    known = catalogs.load(provider)
    assert (known.at, known.source, len(known.offers)) == (AT, "fake: asked 2026-09-21 14:13 UTC", 2)
    assert known.offers[0] == offer("new", 7)
    assert [path.name for path in (tmp_path / "offers").iterdir()] == ["fake.json"]


@pytest.mark.parametrize(
    "what", ["cut", "empty", "text", "deep", "other provider", "negative", "no offers", "not UTF-8"]
)
def test_a_damaged_file_is_reported_and_passed_over(what: str, tmp_path: Path) -> None:
    provider = Built(offer("old"))
    catalogs = Catalogs(tmp_path)
    catalogs.keep(provider, [offer("new")], AT)
    path = tmp_path / "fake.json"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-9],
            "empty": b"",
            "text": b"hello",
            "deep": b"[" * 100_000,
            "other provider": whole.replace(b'"fake"', b'"mine"'),
            "negative": msgspec.json.encode(
                {**msgspec.json.decode(whole), "offers": [msgspec.to_builtins(offer("x", -1))]}
            ),
            "no offers": msgspec.json.encode({**msgspec.json.decode(whole), "offers": []}),
            "not UTF-8": whole.replace(b"new", b"\xff\xfe\xff"),
        }[what]
    )
    assert [one.instance_type for one in catalogs.load(provider).offers] == ["old"]
    assert str(path) in catalogs.problems["fake"]
    assert "styx offers --refresh" in catalogs.problems["fake"]
    catalogs.keep(provider, [offer("new")], AT)
    assert [one.instance_type for one in catalogs.load(provider).offers] == ["new"]
    assert catalogs.problems == {}


def test_with_other_settings_what_was_asked_before_is_not_used(tmp_path: Path) -> None:
    """Somebody who leaves a region out of the settings wants nothing brought up there."""
    catalogs = Catalogs(tmp_path)
    catalogs.keep(Built(offer("m"), offer("m", region="r2")), [offer("new"), offer("new", region="r2")], AT)
    narrowed = Built(offer("m"))
    assert [one.region for one in catalogs.load(narrowed).offers] == ["r1"]
    assert "of other settings" in catalogs.problems["fake"]
    one_zone = Built(msgspec.structs.replace(offer("m"), zone="r1b"), offer("m", region="r2"))
    assert [one.zone for one in catalogs.load(one_zone).offers] == ["r1b", "r2a"]


def test_a_file_in_place_of_the_folder_is_an_error_and_harmless(tmp_path: Path) -> None:
    (tmp_path / "offers").write_text("in the way")
    catalogs = Catalogs(tmp_path / "offers")
    assert catalogs.load(Built(offer("m"))).offers == (offer("m"),)
    with pytest.raises(StoreError, match="cannot be written"):
        catalogs.keep(Built(offer("m")), [offer("m")], AT)


def test_a_name_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Catalogs(tmp_path).load(Built(offer("m"), name="../x"))


def test_one_catalog_of_several() -> None:
    known = {
        "a": Known((offer("m"),), 2 * DAY, "a: list"),
        "b": Known((offer("n", provider="b"),), DAY, "b: list"),
        "c": Known(),
    }
    whole = merged(known, frozenset({"a"}), {"b": "no credentials"})
    assert len(whole.offers) == 2
    assert (whole.at, whole.source, whole.barred) == (DAY, "a: list; b: list", (("b", "no credentials"),))
    assert merged({}, frozenset(), {}).at == 0
