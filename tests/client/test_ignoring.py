"""The rules of .gitignore held against git itself, for made-up rules in made-up folders."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from styx.client.ignoring import Rules, above, ignored, rules_of

NAMES = ("a", "b", "ab", "c.log", "d.py", "#x", "!y", " z", "ä", "-q")
PARTS = (
    "[]a]",
    "[^b]",
    "[[:alpha:]]",
    "[[:digit:]a]",
    "[a-",
    "[\\]]",
    "[b-a]",
    "[a-c]*",
    "***",
    "\\",
    "*?",
    "a",
    "b",
    "*",
    "a*",
    "*b",
    "?",
    "[ab]",
    "[!a]",
    "**",
    "*.log",
    "c.log",
    "d.py",
    "\\#x",
    "\\!y",
    "#x",
    "!y",
    "ä",
    " z",
    "a\\*",
    "[",
    "-q",
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3))
    line = "/".join(parts)
    line = draw(st.sampled_from(("", "", "/"))) + line + draw(st.sampled_from(("", "", "/")))
    return draw(st.sampled_from(("", "", "!"))) + line + draw(st.sampled_from(("", "", " ", "\r", "\\ ")))


TREES = st.sets(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=6
)
RULES = st.dictionaries(st.sampled_from(("", "a", "b", "a/b")), st.lists(lines(), max_size=5), min_size=1)

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here to be held against")


def entries(root: Path) -> list[tuple[str, bool]]:
    return [
        (path.relative_to(root).as_posix(), path.is_dir())
        for path in sorted(root.rglob("*"))
        if ".git" not in path.relative_to(root).parts
    ]


def by_git(root: Path, paths: list[str]) -> set[str]:
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(paths).encode(errors="surrogateescape"),
        cwd=root,
        env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(root), "GIT_CEILING_DIRECTORIES": str(root.parent)},
        capture_output=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return {word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0") if word}


def by_styx(top: Path) -> set[str]:
    """Every ignored entry below `top`, and all below those."""
    found: set[str] = set()

    def walk(folder: Path, stack: list[tuple[bytes, Rules]], under: str) -> None:
        here = [*stack, (b"", rules_of(folder))]
        for entry in sorted(folder.iterdir()):
            if entry.name == ".git":
                continue
            path, name = f"{under}{entry.name}", os.fsencode(entry.name)
            if ignored(here, name, entry.is_dir()):
                found.add(path)
                found.update(f"{path}/{below.relative_to(entry).as_posix()}" for below in entry.rglob("*"))
            elif entry.is_dir():
                deeper = [(before + b"/" + name if before else name, rules) for before, rules in here]
                walk(entry, deeper, f"{path}/")

    walk(top, list(above(top)), "")
    return found


@needs_git
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, rules=RULES)
def test_it_is_what_git_says(
    tmp_path_factory: pytest.TempPathFactory, tree: set[tuple[str, ...]], rules: dict[str, list[str]]
) -> None:
    root = tmp_path_factory.mktemp("repo")
    (root / ".git").mkdir()
    for name in ("objects", "refs"):
        (root / ".git" / name).mkdir()
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    for path in tree:
        (root / Path(*path[:-1])).mkdir(parents=True, exist_ok=True)
        if not (root / Path(*path)).exists():
            (root / Path(*path)).write_text("")
    for folder, content in rules.items():
        if (root / folder).is_dir():
            (root / folder / ".gitignore").write_bytes("\n".join(content).encode())
    paths = [path for path, _ in entries(root)]
    assert by_styx(root) == by_git(root, paths)
    shutil.rmtree(root)


@needs_git
def test_a_folder_within_a_repository_hears_the_files_above_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*.log\n/inner/data/\n!keep.log\n")
    (tmp_path / ".git" / "info" / "exclude").write_text("mine\n")
    inner = tmp_path / "inner"
    (inner / "data").mkdir(parents=True)
    (inner / "sub").mkdir()
    (inner / ".gitignore").write_text("!sub/x.log\n")
    for name in ("x.log", "keep.log", "mine", "data/d", "sub/x.log", "sub/y.log", "sub/z"):
        (inner / name).write_text("")
    expected = {
        path.removeprefix("inner/") for path in by_git(tmp_path, [f"inner/{path}" for path, _ in entries(inner)])
    }
    assert by_styx(inner) == expected == {"x.log", "mine", "data", "data/d", "sub/y.log"}


def test_without_a_repository_only_the_folder_itself_speaks(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("x\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "x").write_text("")
    if not above(tmp_path):  # unless all of this lies in a repository
        assert above(inner) == []
        assert by_styx(inner) == set()
        assert by_styx(tmp_path) == {"inner/x"}
