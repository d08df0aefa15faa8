"""The house rules that a type checker cannot see, read off the syntax tree of the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "styx"
CORE = sorted((SOURCE / "core").glob("*.py"))
WORLD_CLASSES = {"World", "Job", "Task", "Node", "Attempt", "Instance"}
MUTATORS = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove", "setdefault",
    "sort", "update", "arrive", "admit", "leave", "resize", "push", "push_task", "take", "node_changed", "usage_shrank",
}  # fmt: skip

# Who may write to the world, and why. Everything else is a violation.
WRITERS = {
    "apply.py": "the one writer",
    "apply_node.py": "a part of it",
    "instance.py": "the constructor, and a meter that is called by apply",
    "world.py": "the constructors",
    "queues.py": "a derived structure that cleans itself of stale entries while it is read",
    "admission.py": "a derived structure; its methods are called by apply",
}
# Timers are hints, not facts, so `turn.timer` may push one and `on_timer` pop it (by heapq, which is no method).
WORLD_NAMES = {"world", "job", "task", "node", "attempt", "staged", "timers", "instance"}


def slots() -> set[str]:
    """The attributes of the classes that make up the world."""
    names: set[str] = set()
    text = "".join((SOURCE / "core" / name).read_text() for name in ("world.py", "instance.py"))
    for node in ast.walk(ast.parse(text.replace("from __future__ import annotations", ""))):
        if isinstance(node, ast.ClassDef) and node.name in WORLD_CLASSES:
            for item in node.body:
                if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "__slots__":
                    names |= set(ast.literal_eval(item.value))
    return names


def roots(expression: ast.expr) -> tuple[str, list[str]]:
    """The variable an expression starts from, and the attributes it goes through."""
    attributes: list[str] = []
    while True:
        if isinstance(expression, ast.Attribute):
            attributes.append(expression.attr)
            expression = expression.value
        elif isinstance(expression, ast.Subscript):
            expression = expression.value
        elif isinstance(expression, ast.Call):
            expression = expression.func
        else:
            return (expression.id if isinstance(expression, ast.Name) else ""), attributes


def writes(tree: ast.AST, names: set[str]) -> list[str]:
    """Places that assign to, delete from, or call a mutator on something of the world."""
    found: list[str] = []

    def judge(target: ast.expr, line: int) -> None:
        variable, attributes = roots(target)
        if (variable in {"self", "cls"} and "world" not in attributes) or "queues" in attributes:
            return  # the queues are derived: placement keeps its notes in them
        touches = set(attributes) & names
        if touches and (variable in WORLD_NAMES or "world" in attributes or touches & {"states", "held", "admission"}):
            found.append(f"line {line}: {ast.unparse(target)}")

    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = list(node.targets)
        for target in targets:
            if isinstance(target, ast.Attribute | ast.Subscript):
                judge(target, node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            judge(node.func.value, node.lineno)
    return found


@pytest.mark.parametrize("path", [p for p in CORE if p.name not in WRITERS], ids=lambda p: p.name)
def test_only_apply_writes_to_the_world(path: Path) -> None:
    assert not writes(ast.parse(path.read_text()), slots()), f"{path.name} writes to the world; state a record instead"


def test_the_shell_never_writes_to_the_world() -> None:
    found = {
        str(path.relative_to(SOURCE)): hits
        for folder in ("runtime", "api", "server")
        for path in sorted((SOURCE / folder).rglob("*.py"))
        if (hits := [h for h in writes(ast.parse(path.read_text()), slots()) if ".world." in h or ": world." in h])
    }
    assert not found


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_the_core_never_iterates_over_a_set(path: Path) -> None:
    """The order of a set of strings changes with PYTHONHASHSEED; what the core decides must not."""
    for node in ast.walk(ast.parse(path.read_text())):
        iterables: list[ast.expr] = []
        if isinstance(node, ast.For):
            iterables = [node.iter]
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            iterables = [generator.iter for generator in node.generators]
        for iterable in iterables:
            literal = isinstance(iterable, ast.Set | ast.SetComp)
            made = isinstance(iterable, ast.Call) and ast.unparse(iterable.func) in {"set", "frozenset"}
            assert not literal, f"{path.name}:{iterable.lineno} iterates over a set"
            assert not made, f"{path.name}:{iterable.lineno} iterates over a set"


def test_the_guard_can_fail() -> None:
    assert writes(ast.parse("turn.world.live += 1"), slots())
    assert writes(ast.parse("task.states[0] = 3"), slots())
    assert writes(ast.parse("node.held.pop(3)"), slots())
    assert not writes(ast.parse("found.append(task.size)"), slots())
