"""The offers of a provider: those that came with the program, and over them those that its cloud was asked for (`styx offers --refresh`),
which are kept in DIR/offers/PROVIDER.json.

A file says when its prices were asked and of whom, and which zones the settings led to then: with other settings it is not used, so
that nothing is brought up where it is not wanted any more. It is written beside itself and renamed, and one that cannot be read as it
was written is reported and passed over. What it has no offers of (a region that did not answer) stays as it came with the program.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from styx.core.offers import Catalog, Offer
from styx.errors import StoreError
from styx.providers.base import Provider

__all__ = ["FOLDER", "Catalogs", "Known", "merged"]

FOLDER = "offers"
MAX_FILE = 256 << 20  # bytes; EC2 in all regions is a twentieth of it
_ANEW = "`styx offers --refresh` writes it anew"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")


class Known(msgspec.Struct, frozen=True):
    """The offers of one provider; `at` is the age of the oldest price (milliseconds since the epoch, 0: not known)."""

    offers: tuple[Offer, ...] = ()
    at: int = 0
    source: str = ""


class _File(msgspec.Struct, frozen=True):
    provider: str
    at: int
    source: str
    places: tuple[str, ...]  # zones that the built-in catalog had at that time, which follow from the settings
    offers: tuple[Offer, ...]
    format: int = 1


class Catalogs:
    """Offers by provider, read when they are asked for and not kept in memory. `problems` says by provider why a file was passed over.
    All methods read or write files: in a thread, please."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.problems: dict[str, str] = {}

    def load(self, provider: Provider) -> Known:
        """What is known of a provider's offers."""
        offers, source = provider.catalog()
        built_in = Known(tuple(offers), _date(source), f"{provider.name}: {source}" if source else "")
        asked = self._read(provider.name, _places(offers))
        if asked is None:
            return built_in
        answered = {offer.region for offer in asked.offers}
        rest = tuple(offer for offer in built_in.offers if offer.region not in answered)
        if not rest:
            return Known(asked.offers, asked.at, asked.source)
        oldest = min(asked.at, built_in.at) if built_in.at else asked.at
        return Known((*asked.offers, *rest), oldest, f"{asked.source}; {built_in.source}")

    def keep(self, provider: Provider, offers: Sequence[Offer], at: int) -> None:
        """Keep what the cloud said. Raises StoreError when it cannot be written."""
        if self.folder is None:
            return
        name = provider.name
        when = datetime.fromtimestamp(at / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        file = _File(name, at, f"{name}: asked {when}", _places(provider.catalog()[0]), tuple(offers))
        path = self._path(name)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with fresh.open("wb") as out:
                out.write(msgspec.json.encode(file))
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
        self.problems.pop(name, None)

    def _read(self, name: str, places: tuple[str, ...]) -> _File | None:
        if self.folder is None:
            return None
        self.problems.pop(name, None)
        try:
            return _parsed(self._path(name), name, places)
        except ValueError as error:
            self.problems[name] = str(error)
            return None

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        if not _NAME.fullmatch(name):
            raise StoreError(f"a provider named {name!r} cannot have a file")
        return self.folder / f"{name}.json"


def _parsed(path: Path, name: str, places: tuple[str, ...]) -> _File | None:
    """What is in a file, None when there is none; raises ValueError for one that is not to be used."""
    try:
        with path.open("rb") as stored:
            data = stored.read(MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError(f"{path} is damaged; {_ANEW}") from None
    if (
        file.format != 1
        or file.provider != name
        or not file.offers
        or not all(_sound(one, name) for one in file.offers)
    ):
        raise ValueError(f"{path} is not a list of offers; {_ANEW}")
    if file.places != places:
        raise ValueError(f"{path} is of other settings; {_ANEW}")
    return file


def merged(known: Mapping[str, Known], usable: frozenset[str], barred: Mapping[str, str]) -> Catalog:
    """The offers of several providers as one catalog."""
    ages = [one.at for one in known.values() if one.at]
    return Catalog(
        tuple(offer for one in known.values() for offer in one.offers),
        usable,
        tuple(barred.items()),
        min(ages, default=0),
        "; ".join(one.source for one in known.values() if one.source),
    )


def _places(offers: Sequence[Offer]) -> tuple[str, ...]:
    return tuple(sorted({offer.zone or offer.region for offer in offers}))


def _sound(offer: Offer, provider: str) -> bool:
    return (
        offer.provider == provider and offer.price >= 0 and offer.minimum >= 0 and offer.resources.cpus > 0
        and offer.resources.memory >= 0 and offer.resources.disk >= 0
        and all(count > 0 for _, count in offer.resources.accelerators)
    )  # fmt: skip


def _date(source: str) -> int:
    """Milliseconds since the epoch of the day that stands in front of a source."""
    found = _DATE.match(source)
    if found is None:
        return 0
    try:
        return int(datetime(*map(int, found.groups()), tzinfo=UTC).timestamp() * 1_000)  # type: ignore[misc, arg-type]
    except ValueError:
        return 0
