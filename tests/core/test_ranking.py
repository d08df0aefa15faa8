"""The cheapest offer that fits, held against the plainest statement of what that is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from styx.core.offers import Catalog, Offer, Spot
from styx.core.ranking import Candidate, best, candidates, cheapest_for, how_many, ranked
from styx.core.resources import Resources
from styx.core.spec import Choice
from styx.core.verdicts import judged

GB = 1 << 30
PROVIDERS = ("aws", "gcp", "azure")


def offer(kind: str = "m", price: int = 100, *, spot: bool = False, cpus: int = 4, **more: object) -> Offer:
    plain = {"provider": "aws", "region": "r1", "zone": "r1a", "resources": Resources(cpus * 1_000, 16 * GB)}
    return Offer(**(plain | {"instance_type": kind, "price": price, "spot": spot} | more))  # type: ignore[arg-type]


def catalog(*offers: Offer, usable: tuple[str, ...] = ("aws",)) -> Catalog:
    return Catalog(offers, frozenset(usable))


def nothing(_: Offer) -> bool:
    return False


def types(found: list[Candidate]) -> list[str]:
    return [one.offer.instance_type for one in found]


def plainly(
    known: Catalog, choices: list[Choice], ordered: bool, count: int, avoided: set[Offer]
) -> list[tuple[Offer, int]]:
    """All that fits, sorted by what the docstring of the module says."""
    found = []
    for at, choice in enumerate(choices):
        fitting = []
        for one in known.offers:
            labels = one.labels
            if (
                one.provider in known.usable
                and one not in avoided
                and all(pair == ("spot", "true") or labels.get(pair[0]) == pair[1] for pair in choice.labels)
                and (choice.spot != Spot.NO or not one.spot)
                and (choice.spot != Spot.YES or one.spot)
                and (not choice.max_hourly or one.price <= choice.max_hourly)
                and how_many(choice.resources, one.resources)
            ):
                fitting.append(one)
        prefers = choice.spot == Spot.PREFER and any(one.spot for one in fitting)
        for one in fitting:
            cost = -(-count // how_many(choice.resources, one.resources)) * one.price
            key = (one.provider, one.region, one.zone, one.instance_type)
            rank = (at if ordered else 0, prefers and not one.spot, cost, key, one.spot, at)
            found.append((rank, one, at))
    return [(one, at) for _, one, at in sorted(found, key=lambda entry: entry[0])]


def _offers() -> st.SearchStrategy[list[Offer]]:
    sizes = st.builds(
        Resources,
        st.integers(1, 8).map(lambda n: n * 1_000),
        st.integers(0, 4).map(lambda n: n * GB),
        st.just(0),
        st.sampled_from([(), (("A100", 1),), (("A100", 8),), (("A100", 2), ("T4", 1))]),
    )
    one = st.builds(
        Offer,
        st.sampled_from(PROVIDERS),
        st.sampled_from(["r1", "r2"]),
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["s", "m", "l", "xl", "gpu"]),
        st.booleans(),
        st.integers(0, 20),
        sizes,
        st.sampled_from(["x86_64", "arm64"]),
    )
    return st.lists(one, max_size=25, unique=True)


def _choices() -> st.SearchStrategy[list[Choice]]:
    demands = st.builds(
        Resources,
        st.sampled_from([1, 500, 1_000, 1_500, 4_000]),
        st.integers(0, 3).map(lambda n: n * GB),
        st.just(0),
        st.sampled_from([(), (), (("A100", 1),), (("A100", 2),), (("H100", 1),)]),
    )
    labels = st.sampled_from([
        (), (), (("provider", "gcp"),), (("region", "r1"),), (("region", "r1"), ("zone", "a")), (("arch", "x86_64"),),
        (("spot", "true"),), (("pool", "x"),), (("instance_type", "gpu"), ("spot", "true")),
    ])  # fmt: skip
    one = st.builds(Choice, demands, labels, st.sampled_from(Spot), st.sampled_from([0, 0, 5, 12]))
    return st.lists(one, min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(_offers(), _choices(), st.booleans(), st.integers(1, 40), st.data())
def test_it_is_what_brute_force_finds(
    offers: list[Offer], choices: list[Choice], ordered: bool, count: int, data: st.DataObject
) -> None:
    usable = data.draw(st.sets(st.sampled_from(PROVIDERS)))
    avoided = set(data.draw(st.lists(st.sampled_from(offers), max_size=6))) if offers else set()
    known = Catalog(tuple(offers), frozenset(usable))
    expected = plainly(known, choices, ordered, count, avoided)
    for _ in range(2):  # the second time from what is remembered
        found = ranked(known, choices, ordered, count, avoided.__contains__)
        assert [(one.choice, _ranked_key(one)) for one in found] == [
            (at, _ranked_key(Candidate(one, at, how_many(choices[at].resources, one.resources))))
            for one, at in expected
        ]
    assert best(known, choices, ordered, count, avoided.__contains__) == (found[0] if found else None)


def _ranked_key(one: Candidate) -> tuple[object, ...]:
    """What a candidate is ranked by: two offers that differ in nothing of it may stand either way."""
    offer = one.offer
    return offer.provider, offer.region, offer.zone, offer.instance_type, offer.spot, offer.price, one.fits


def test_tasks_share_a_machine_where_that_is_cheaper() -> None:
    known = catalog(offer("small", 100, cpus=1), offer("large", 350, cpus=8))
    one = Choice(Resources(1_000))
    assert types(ranked(known, [one], False, 1, nothing)) == ["small", "large"]
    assert types(ranked(known, [one], False, 3, nothing)) == ["small", "large"]
    assert types(ranked(known, [one], False, 4, nothing)) == ["large", "small"]
    found = cheapest_for(known, [one], False, 20, nothing, 10)
    assert found is not None
    assert (found[0].offer.instance_type, found[0].fits, found[1]) == ("large", 8, 3)
    assert cheapest_for(known, [one], False, 20, nothing, 2) == (found[0], 2)
    assert cheapest_for(known, [one], False, 20, nothing, 0) is None


def test_spot_is_preferred_where_there_is_any() -> None:
    cheap, dear = offer("demand", 10), offer("spot", 50, spot=True)
    choice = Choice(labels=(("arch", "x86_64"),), spot=Spot.PREFER)
    assert types(ranked(catalog(cheap, dear), [choice], False, 1, nothing)) == ["spot", "demand"]
    # with no spot machine to be had, the one on demand competes with the other alternatives by its price
    other = Choice(labels=(("arch", "arm64"),))
    known = catalog(cheap, dear, offer("other", 30, arch="arm64"))
    assert types(ranked(known, [choice, other], False, 1, nothing)) == ["other", "spot", "demand"]
    assert types(ranked(known, [choice, other], False, 1, lambda one: one.spot)) == ["demand", "other"]
    assert types(ranked(known, [other, choice], True, 1, nothing)) == ["other", "spot", "demand"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((("provider", "gcp"),), []),
        ((("region", "r1"),), ["m"]),
        ((("zone", "r1b"),), []),
        ((("arch", "x86_64"), ("spot", "true")), ["m"]),
        ((("pool", "mine"),), []),
        ((("runs", "image"),), []),
    ],
)
def test_labels_are_met_or_not(labels: tuple[tuple[str, str], ...], expected: list[str]) -> None:
    assert types(ranked(catalog(offer()), [Choice(labels=labels)], False, 1, nothing)) == expected


def test_only_what_is_drawn_is_asked_about() -> None:
    known = catalog(*(offer(f"m{n:03}", n) for n in range(500)))
    asked: list[Offer] = []

    def avoid(one: Offer) -> bool:
        asked.append(one)
        return len(asked) < 4

    drawn = candidates(known, [Choice()], False, 1, avoid)
    assert not asked
    assert next(drawn).offer.price == 3
    assert len(asked) == 4


def test_a_catalog_is_not_mistaken_for_another() -> None:
    """What is remembered is remembered of one catalog."""
    for price in (5, 7, 5):
        known = catalog(offer("m", price))
        found = best(known, [Choice()], False, 1, nothing)
        assert found is not None
        assert found.offer.price == price
    assert best(Catalog(known.offers), [Choice()], False, 1, nothing) is None


def test_verdicts_agree_with_the_ranking_and_count_the_rest() -> None:
    known = Catalog(
        (
            offer("m", 10), offer("l", 40, cpus=8), offer("xl", 90, cpus=16), offer("s", 1, cpus=1), offer("sp", 2, spot=True),
            offer("far", 3, region="r2"), offer("gcp", 5, provider="gcp"), offer("bare", 4, resources=Resources(4_000, 0)),
        ),
        frozenset({"aws"}),
        (("gcp", "no credentials"),),
    )  # fmt: skip
    choices = [Choice(Resources(4_000, GB), (("region", "r1"),), max_hourly=50)]
    found = judged(known, choices, False, 1, lambda one: "refused" if one.instance_type == "m" else "")
    assert [(one.candidate.offer.instance_type, one.why) for one in found.fitting] == [
        ("gcp", "no credentials"),
        ("m", "refused"),
        ("l", ""),
    ]
    assert found.best is found.fitting[2]
    assert best(known, choices, False, 1, lambda one: one.instance_type == "m") == found.best.candidate
    assert found.lost == {
        "a spot machine, and the task does not take one": 1,
        "another region than r1": 1,
        "dearer than max_hourly_cost": 1,
        "too few CPUs": 1,
        "too little memory": 1,
    }
    no_gpu = judged(known, [Choice(Resources(1, 0, 0, (("A100", 1),)))], False, 1)
    assert (no_gpu.fitting, no_gpu.lost) == ([], {"no A100": 8})
    label = judged(catalog(offer()), [Choice(labels=(("pool", "x"),))], False, 1)
    assert label.lost == {"no machine that is brought up carries the label pool=x": 1}


@settings(max_examples=150, deadline=None)
@given(_offers(), _choices(), st.booleans(), st.integers(1, 40))
def test_what_people_are_shown_is_what_is_chosen(
    offers: list[Offer], choices: list[Choice], ordered: bool, count: int
) -> None:
    known = Catalog(tuple(offers), frozenset({"aws", "gcp"}))
    found = judged(known, choices, ordered, count, lambda one: "refused" if one.price == 3 else "")
    chosen = best(known, choices, ordered, count, lambda one: one.price == 3)
    shown = found.best
    assert (None if shown is None else _ranked_key(shown.candidate)) == (
        None if chosen is None else _ranked_key(chosen)
    )
    assert len({id(one.candidate.offer) for one in found.fitting}) + sum(found.lost.values()) == len(offers)
