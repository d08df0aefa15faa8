"""Ask all questions, one at a time, and write what came of it: a document each, one table and one chart.

    python benchmarks/run.py [--quick] [--cores 0,1] [QUESTION...]

Writes results/QUESTION.json as each ends; results/table.md and results/chart.svg are drawn from whatever documents lie there."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from draw import chart, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
QUESTIONS = (
    "commandline",
    "start",
    "memory",
    "latency",
    "processes",
    "nowork",
    "dag",
    "chain",
    "submit",
    "placement",
    "queued",
    "recovery",
    "install",
)
LIMIT = 1_800  # seconds for one question


def ask(question: str, options: list[str]) -> bool:
    print(f"== {question}", file=sys.stderr, flush=True)
    try:
        run = subprocess.run(
            [sys.executable, HERE / f"{question}.py", *options], stdout=subprocess.PIPE, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"{question}: no answer within {LIMIT} s", file=sys.stderr)
        return False
    if run.returncode:
        print(f"{question}: ended with {run.returncode}", file=sys.stderr)
        return False
    (RESULTS / f"{question}.json").write_bytes(run.stdout)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)} (all)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cores", default="")
    given = parser.parse_args()
    unknown = [question for question in given.questions if question not in QUESTIONS]
    if unknown:
        parser.error(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    RESULTS.mkdir(exist_ok=True)
    options = (["--quick"] if given.quick else []) + (["--cores", given.cores] if given.cores else [])
    answered = [ask(question, options) for question in given.questions or QUESTIONS]
    files = [RESULTS / f"{question}.json" for question in QUESTIONS]
    documents = [json.loads(file.read_text()) for file in files if file.exists()]
    shown = table(documents)
    (RESULTS / "table.md").write_text(shown)
    (RESULTS / "chart.svg").write_text(chart(documents))
    print(shown)
    return 0 if all(answered) else 1


if __name__ == "__main__":
    raise SystemExit(main())
