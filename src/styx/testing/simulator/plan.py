"""What will happen in a run: a list of items drawn from the seed, each of which can be left out without changing the others."""

from __future__ import annotations

from random import Random

import msgspec

from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import Backoff, JobSpec, Priority, TaskSpec, When
from styx.runtime.link import LinkSettings

__all__ = ["Item", "Place", "Plan", "draw"]


class Place(msgspec.Struct, frozen=True):
    """A machine of the cluster."""

    name: str
    capacity: Resources
    labels: tuple[tuple[str, str], ...] = ()
    window: int = 1 << 20


class Item(msgspec.Struct, frozen=True):
    """One thing that is done to the cluster, at `at`; what it means is in `play`. Times are milliseconds."""

    at: int
    kind: str
    who: tuple[str, ...] = ()  # machines
    lasts: int = 0
    how: str = ""
    job: JobSpec | None = None
    key: str = ""
    target: tuple[int, int, int] = (0, -1, -1)  # submission, task, element
    number: int = 0

    def __str__(self) -> str:
        parts = [self.kind]
        if self.job is not None:
            tasks = ", ".join(_short(task) for task in self.job.tasks)
            parts.append(f"{self.job.name} ({self.job.priority.name}, deadline {self.job.deadline}): {tasks}")
        if self.who:
            parts.append("of " + ", ".join(self.who))
        if self.how:
            parts.append(f"({self.how})")
        if self.kind in {"cancel", "retry"}:
            parts.append(f"submission {self.target[0]}, task {self.target[1]}, element {self.target[2]}")
        if self.number:
            parts.append(f"number {self.number}")
        if self.lasts:
            parts.append(f"for {self.lasts} ms")
        return " ".join(parts)


def _short(task: TaskSpec) -> str:
    size = f"[{task.array}]" if task.array else ""
    needs = f" needs {'+'.join(task.needs)}" if task.needs else ""
    more = "".join(
        text
        for wanted, text in (
            (task.retries, f" retries={task.retries}"),
            (task.timeout, f" timeout={task.timeout}"),
            (task.allow_failure, " allow_failure"),
            (task.when == When.ALWAYS, " always"),
            (task.exclusive, " exclusive"),
            (task.max_lost != 5, f" max_lost={task.max_lost}"),
        )
        if wanted
    )
    return f"{task.name}{size}{needs} {task.resources.cpus / 1_000:g} cpus `{' '.join(task.command)}`{more}"


class Plan(msgspec.Struct, frozen=True):
    """`window` is how long faults may begin; `starving` names a task that must start by the given time."""

    seed: int
    places: tuple[Place, ...]
    core: CoreSettings
    links: LinkSettings
    items: tuple[Item, ...]
    window: int
    slow_network: float
    slow_disk: float
    starving: tuple[str, int] = ("", 0)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = Random(seed)
    kind = chance.random()
    if kind < 0.03:
        return _stream(seed, chance)
    small = kind < 0.55
    count = chance.choice([1, 1, 2]) if small else chance.choice([2, 2, 3, 3, 4])
    places = tuple(_place(chance, number) for number in range(count))
    window = chance.choice([4_000, 15_000]) if small else chance.choice([20_000, 60_000, 150_000])
    names = [place.name for place in places]
    items: list[Item] = []
    jobs = chance.choice([1, 1, 2]) if small else chance.choice([1, 2, 3])
    for number in range(jobs):
        items += _submission(chance, number, window, small)
    faults = chance.choice([0, 1, 1, 2]) if small else chance.choice([1, 2, 3, 4, 6])
    for _ in range(faults):
        items.append(_fault(chance, names, window, _moment(chance, window, items)))
    lost = chance.choice([60_000, 90_000])
    return Plan(
        seed,
        places,
        CoreSettings(
            step_limit=chance.choice([2, 5, 1_000]),
            reserve_after=chance.choice([5_000, 60_000]),
            ahead_ms=chance.choice([50, 2_000]),
            recall_after=chance.choice([250, 2_000]),
            mass_loss_count=chance.choice([2, 5]),
            mass_loss_hold=30_000,
        ),
        LinkSettings(heartbeat=chance.choice([10_000, 15_000]), suspect=45_000, lost=lost, release="sim"),
        tuple(sorted(items, key=lambda item: item.at)),
        window,
        chance.choice([0.002, 0.002, 0.05, 0.8]),
        chance.choice([0.002, 0.002, 0.02, 0.5]),
    )


def _place(chance: Random, number: int) -> Place:
    cpus = 2_000 if number == 0 else chance.choice([1_000, 2_000, 4_000])
    labels = (("zone", chance.choice("ab")),) if number else (("zone", "a"),)
    return Place(f"m{number}", Resources(cpus, 4 << 30), labels, chance.choice([1_000, 1 << 20]))


def _submission(chance: Random, number: int, window: int, small: bool) -> list[Item]:
    at = chance.randrange(1 + window * 2 // 3)
    tasks = tuple(
        _task(chance, ordinal, small) for ordinal in range(chance.choice([1, 1, 2, 3] if small else [1, 2, 4, 6]))
    )
    job = JobSpec(f"j{number}", tasks, chance.choice(list(Priority)), chance.choice([0, 0, 0, 0, 8_000, 40_000]))
    key = f"key-{number}" if chance.random() < 0.7 else ""
    items = [Item(at, "submit", job=job, key=key, number=number)]
    if key and chance.random() < 0.2:
        items.append(Item(at + chance.randrange(3_000), "submit", job=job, key=key, number=number, how="again"))
    if chance.random() < 0.35:
        target = (number, chance.choice([-1, -1, chance.randrange(len(tasks))]), -1)
        if target[1] >= 0 and tasks[target[1]].array and chance.random() < 0.5:
            target = (number, target[1], chance.randrange(tasks[target[1]].array))
        items.append(Item(at + chance.choice([0, 50, 1_000, 6_000, 20_000]), "cancel", target=target))
    if chance.random() < 0.25:
        target = (number, chance.choice([-1, -1, chance.randrange(len(tasks))]), -1)
        how = chance.choice(["failed", "all"])
        items.append(Item(at + chance.choice([500, 5_000, 30_000]), "retry", target=target, how=how))
    return items


def _task(chance: Random, ordinal: int, small: bool) -> TaskSpec:
    duration = chance.choice([0, 5, 100, 2_000] if small else [0, 40, 700, 5_000, 30_000, 120_000])
    codes = chance.choice(["0", "0", "0", "1", "1,0", "1,2,0"])
    words = ["program", str(duration), codes, str(chance.choice([0, 0, 40, 3_000]))]
    if chance.random() < 0.15:
        words.append("stubborn")
    if chance.random() < 0.3:
        words.append("result")
    needs = sorted(chance.sample(range(ordinal), k=min(ordinal, chance.choice([0, 1, 1, 2]))))
    return TaskSpec(
        f"t{ordinal}",
        tuple(words),
        needs=tuple(f"t{need}" for need in needs),
        array=chance.choice([0, 0, 0, 2, 5] if small else [0, 0, 0, 3, 9]),
        resources=Resources(chance.choice([500, 1_000, 1_000, 2_000])),
        labels=(("zone", "a"),) if chance.random() < 0.1 else (),
        retries=chance.choice([0, 0, 1, 3]),
        backoff=Backoff(chance.choice([1, 500]), 2.0, 4_000),
        timeout=chance.choice([0, 0, 0, 3_000]),
        grace=chance.choice([0, 2_000]),
        max_lost=chance.choice([0, 1, 5, 5]),
        when=chance.choice([When.SUCCESS, When.SUCCESS, When.ALWAYS]),
        allow_failure=chance.random() < 0.2,
        exclusive=chance.random() < 0.2,
    )


_FAULTS = (
    ("cut", 5),
    ("break", 4),
    ("crash agent", 3),
    ("kill owner", 2),
    ("break owner", 2),
    ("reboot", 2),
    ("drain", 1),
    ("crash server", 6),
    ("stop server", 1),
    ("stall server", 2),
    ("suspend", 1),
    ("disk full", 2),
    ("slow disk", 1),
)
_KINDS = tuple(kind for kind, _ in _FAULTS)
_WEIGHTS = tuple(weight for _, weight in _FAULTS)
_HOW = {"break": ("both", "both", "agent", "server", "none"), "crash server": ("at once", "at a point", "at a point")}
_LASTS = (10, 1_000, 10_000, 40_000, 50_000, 100_000, 200_000)


def _moment(chance: Random, window: int, items: list[Item]) -> int:
    """Trouble comes at any time, but the worst comes with other trouble: beside another item, or as everything begins."""
    kind = chance.random()
    if kind < 0.1:
        return chance.randrange(1_000)
    if kind < 0.4:
        other = chance.choice(items)
        return min(window, other.at + chance.choice([0, other.lasts]) + chance.choice([0, 3, 40, 900]))
    return chance.randrange(window)


def _fault(chance: Random, names: list[str], window: int, at: int) -> Item:
    (kind,) = chance.choices(_KINDS, _WEIGHTS)
    who: tuple[str, ...] = ()
    if kind in {"cut", "break", "crash agent", "kill owner", "break owner", "reboot", "drain"}:
        share = chance.random()
        who = (
            tuple(names) if share < 0.2 else tuple(sorted(chance.sample(names, k=1 + (share < 0.4 and len(names) > 1))))
        )
    lasts = chance.choice(_LASTS if window > 20_000 else _LASTS[:4])
    if kind in {"break", "kill owner", "break owner"}:
        lasts = 0
    how = chance.choice(_HOW[kind]) if kind in _HOW else ""
    return Item(at, kind, who, lasts, how, number=chance.randrange(1, 30) if "point" in how else 0)


def _stream(seed: int, chance: Random) -> Plan:
    """Small tasks come without end and keep a machine busy; a large one must have its turn all the same."""
    small = Resources(1_000)
    items = [
        Item(
            at,
            "submit",
            job=JobSpec(
                f"small{number}",
                (TaskSpec("t", ("program", str(chance.randint(4_000, 7_000)), "0", "0"), resources=small),),
            ),
            number=number,
        )
        for number, at in enumerate(range(0, 40_000, 1_300))
    ]
    large = JobSpec("large", (TaskSpec("large", ("program", "1000", "0", "0"), resources=Resources(4_000)),))
    items.append(Item(6_000, "submit", job=large, number=len(items)))
    return Plan(
        seed,
        (Place("m0", Resources(4_000, 4 << 30)),),
        CoreSettings(reserve_after=8_000),
        LinkSettings(heartbeat=15_000, release="sim"),
        tuple(sorted(items, key=lambda item: item.at)),
        40_000,
        0.002,
        0.002,
        ("large", 6_000 + 8_000 + 7_000 + 3_000),
    )
