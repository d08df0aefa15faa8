"""Apply each seeded fault to a copy of src/ and see that the ordinary tests fail: `make mutants` prints the table.

    python tests/mutants/run.py [--jobs N] [--only TEXT]

First the same tests run without any fault, since a test that fails anyway catches nothing. Exits with 1 when a fault does not apply
or is not caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
LIMIT = 600.0  # seconds for the tests of one fault; a hang is noticed too


def judge(fault: Fault, limit: float = LIMIT) -> tuple[str, float]:
    """What became of a fault, and how long that took."""
    started = time.monotonic()
    source = (ROOT / "src" / "styx" / fault.file).read_text()
    if fault.before and source.count(fault.before) != 1:
        return f"DOES NOT APPLY: its text stands {source.count(fault.before)} times in {fault.file}", 0.0
    with tempfile.TemporaryDirectory(prefix="styx-mutant-") as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__"))
        if fault.before:
            (Path(folder) / "src" / "styx" / fault.file).write_text(source.replace(fault.before, fault.after))
        tests = [test for test in fault.tests.split() if (ROOT / test).exists()]
        verdict = run_tests(tests, Path(folder), limit)
    return verdict, time.monotonic() - started


def run_tests(tests: list[str], folder: Path, limit: float) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--timeout=120",
        *tests,
    ]
    env = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1", "STYX_WALKS": "40"}
    try:
        done = subprocess.run(
            [*command, f"--basetemp={folder / 'tmp'}"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "caught: the tests hang"
    if done.returncode == 1:
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return f"caught by {failed[0].split(' - ')[0].split(' ', 1)[1]}" if failed else "caught"
    if done.returncode == 0:
        return "NOT CAUGHT"
    return f"BROKEN RUN (pytest exited with {done.returncode}): {done.stdout[-200:]}{done.stderr[-200:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only in fault.name]
    bad = 0
    everything = " ".join(sorted({test for fault in faults for test in fault.tests.split()}))
    sound = judge(Fault("no fault at all", "__init__.py", "", "", everything), 4 * LIMIT)
    if sound[0] != "NOT CAUGHT":
        print(f"the tests fail without any fault, so they prove nothing: {sound[0]}")
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        for fault, (verdict, took) in zip(faults, pool.map(judge, faults), strict=True):
            bad += not verdict.startswith("caught")
            print(f"{took:6.1f} s  {fault.name:<60}  {verdict}", flush=True)
    print(f"{len(faults) - bad} of {len(faults)} faults caught")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
