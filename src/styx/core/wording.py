"""Resources in the words of a person: `4 CPUs`, `1.5 GiB`, `2 x A100`."""

from __future__ import annotations

from collections.abc import Iterable

from styx.core.offers import Offer
from styx.core.resources import Resources

__all__ = ["bytes_text", "count_text", "cpus_text", "listed", "offer_text", "parts", "resources_text", "time_text"]

_UNITS = (
    ("TB", 10**12),
    ("TiB", 1 << 40),
    ("GB", 10**9),
    ("GiB", 1 << 30),
    ("MB", 10**6),
    ("MiB", 1 << 20),
    ("KB", 10**3),
    ("KiB", 1 << 10),
)


def cpus_text(thousandths: int) -> str:
    """`1 CPU`, `2 CPUs`, `0.25 CPUs`."""
    return "1 CPU" if thousandths == 1_000 else f"{thousandths / 1_000:,.10g} CPUs"


def bytes_text(count: int) -> str:
    """In the unit that makes it a whole number below 10,000, else in binary units with one digit behind the point, rounded
    down."""
    for unit, size in _UNITS:
        if count >= size and count % size == 0 and count < 10_000 * size:
            return f"{count // size:,} {unit}"
    for unit, size in _UNITS:
        if unit.endswith("iB") and count >= size:
            return f"{count * 10 // size / 10:,.1f} {unit}"
    return f"{count} bytes"


def parts(resources: Resources, like: Resources | None = None) -> list[str]:
    """Each part of the vector that is asked for; with `like` the parts that are not zero there."""
    shown = resources if like is None else like
    counts = dict(resources.accelerators)
    texts = []
    if shown.cpus > 0:
        texts.append(cpus_text(resources.cpus))
    if shown.memory > 0:
        texts.append(f"{bytes_text(resources.memory)} of memory")
    if shown.disk > 0:
        texts.append(f"{bytes_text(resources.disk)} of disk")
    texts += [f"{counts.get(name, 0)} x {name}" for name, _ in shown.accelerators]
    return texts


def resources_text(resources: Resources, like: Resources | None = None) -> str:
    return listed(parts(resources, like)) or "nothing"


def offer_text(offer: Offer) -> str:
    """`m5.large in us-east-1a (aws, spot)`."""
    where = offer.zone or offer.region
    return f"{offer.instance_type}{f' in {where}' if where else ''} ({offer.provider}{', spot' if offer.spot else ''})"


def listed(texts: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(texts)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def count_text(count: int, one: str, many: str = "") -> str:
    """`1 task`, `1,200 tasks`."""
    return f"1 {one}" if count == 1 else f"{count:,} {many or one + 's'}"


def time_text(milliseconds: int) -> str:
    """A duration: `0.3 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    seconds = max(0, milliseconds) / 1_000
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"
