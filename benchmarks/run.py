"""Ask all questions and the peers, one at a time, and write what came of it.

    python benchmarks/run.py [--quick] [--rounds N] [--cores 0,1] [NAME...]

Each answer is a document, results/NAME.json or results/peers/NAME.json, kept until a later run answers again; from all of them the
tables, the charts and the README's section are drawn anew each time. What lies hours back is marked so; a NAME may be
a group: compared, peers, scale. `--quick` does a tenth of the work and writes beside the results, into quick/, which is not kept.

Everything runs on the same two cores: the first two that this process may use, unless `--cores` names others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from figures import end_when_told
from show import Results
from works import PEERS, SLOTS

HERE = Path(__file__).resolve().parent
VENVS = HERE.parent / ".venvs"
LIMIT, PEER_LIMIT = 240, 420  # seconds for one question, one peer; what is slower is told to end, and has failed


class Question(NamedTuple):
    """A program of this folder. `seconds`: after two rounds it begins none that would end later (see figures.interleave)."""

    name: str
    rounds: int
    seconds: float = 30.0
    limit: float = LIMIT


# All questions. A new one needs a line in one of the two and nothing else.
COMPARED = (  # with floors, and most with peers
    Question("commandline", 3),
    Question("start", 3),
    Question("memory", 2),
    Question("latency", 2),
    Question("processes", 3),
    Question("nowork", 5),
    Question("dag", 5),
    Question("chain", 5),
    Question("submit", 3),
    Question("install", 1),
)
SCALE = (  # how the cost of one grows with their number
    Question("placement", 3),
    Question("queued", 1),
    Question("recovery", 1),
    Question("drain", 1, limit=600),
    Question("running", 1),
    Question("agents", 1, limit=420),
    Question("logs", 3),
    Question("instances", 2),
    Question("offers", 5),
)
QUESTIONS = (*COMPARED, *SCALE)
GROUPS = {  # in this order: what is held against one another is measured close together
    "compared": tuple(question.name for question in COMPARED),
    "peers": tuple(PEERS),
    "scale": tuple(question.name for question in SCALE),
}
ROUNDS, SECONDS = 3, 25.0  # of each work of a peer: a second round if one ends within that time, a third if all do
NAMES = tuple(name for group in GROUPS.values() for name in group)


def answer(command: list[str | Path], environment: dict[str, str], limit: float) -> tuple[bytes, str]:
    """What the program printed, and what went wrong with it, if anything did."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        wrong = ""
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            wrong = f"no end within {limit:.0f} s"
            process.terminate()
            try:
                out, _ = process.communicate(
                    timeout=30
                )  # it ends what it has started; a peer's program prints what it has
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
        finally:
            if process.poll() is None:  # we are told to end ourselves
                process.terminate()
    return out, wrong or (f"ended with {process.returncode}" if process.returncode else "")


def program(name: str, given: argparse.Namespace) -> tuple[list[str | Path], dict[str, str]]:
    """The command that asks it, and its environment."""
    cores = ["--cores", given.cores]
    if name in PEERS:
        rounds = ["--rounds", str(given.rounds or ROUNDS), "--seconds", str(SECONDS)]
        scale = ["--scale", "0.1", "--rounds", "2"] if given.quick else []
        # -P: the programs are named as the packages that they import
        python = [VENVS / name / "bin" / "python", "-P", "-m", f"peers.{name}"]
        return [*python, *rounds, *scale, *cores], {**os.environ, "PYTHONPATH": str(HERE)}
    question = next(question for question in QUESTIONS if question.name == name)
    rounds = ["--rounds", str(given.rounds or question.rounds), "--seconds", str(question.seconds)]
    return [sys.executable, HERE / f"{name}.py", *rounds, *(["--quick"] if given.quick else []), *cores], dict(
        os.environ
    )


def ask(name: str, given: argparse.Namespace, results: Results, when: str) -> bool:
    """Whether it was answered. What fails leaves an earlier answer as it was."""
    limit = next((question.limit for question in QUESTIONS if question.name == name), PEER_LIMIT)
    out, wrong = answer(*program(name, given), limit)
    file = results.file(name)
    try:
        document = json.loads(out)
    except ValueError:
        wrong = wrong or "it printed no document"
        document = None
    if document is not None and not (wrong and file.exists()):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps(document | {"when": when}, indent=1, ensure_ascii=False) + "\n")
        beside.replace(file)
    if wrong:
        print(f"{name}: {wrong}", file=sys.stderr)
    return not wrong


def installed(name: str) -> bool:
    return (VENVS / name / ".installed").exists()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; or a group: {', '.join(GROUPS)} (all)"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, twice, into quick/")
    parser.add_argument("--rounds", type=int, default=0, help="of everything (as its line in QUESTIONS says)")
    parser.add_argument("--cores", default=",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:SLOTS]))
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what lies there")
    given = parser.parse_args()
    given.names = [name for word in given.names for name in GROUPS.get(word, (word,))]
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"no such question or peer: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    results = Results(HERE / ("quick" if given.quick else "results"))
    names = [] if given.draw else [name for name in given.names or NAMES if name not in PEERS or installed(name)]
    for name in (name for name in given.names or PEERS if name in PEERS and not installed(name)):
        last = "its last recorded figures are shown" if results.file(name).exists() else "it has no figures"
        print(f"{PEERS[name]} is not installed (make bench-peers): {last}", file=sys.stderr)
    end_when_told()
    begin, failed = time.monotonic(), []
    when = datetime.now(UTC).isoformat(timespec="seconds")
    for number, name in enumerate(names, 1):
        gone = time.monotonic() - begin
        print(f"== {number} of {len(names)}: {name} ({gone:.0f} s gone)", file=sys.stderr, flush=True)
        if not ask(name, given, results, when):
            failed.append(name)
    print(results.draw(readme=None if given.quick else HERE.parent / "README.md"))
    print(
        f"{time.monotonic() - begin:.0f} s" + (f"; not answered: {', '.join(failed)}" if failed else ""),
        file=sys.stderr,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
