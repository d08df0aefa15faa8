"""How long does it take to install Styx into a fresh virtual environment, once pip has fetched what it needs?

The first install fills a cache of its own and is not counted; what remains is unpacking, which is what a second machine behind a
mirror pays. Needs a package index."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kit import Figure, Options, main

ROOT = Path(__file__).resolve().parent.parent


def measure(options: Options) -> list[Figure]:
    taken, sizes = [], []
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.rounds + 1):
            venv = Path(place) / f"venv-{number}"
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            begin = time.perf_counter()
            subprocess.run(
                [venv / "bin/pip", "install", "-q", "--cache-dir", f"{place}/cache", str(ROOT)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            if number:
                taken.append(time.perf_counter() - begin)
                sizes.append(sum(file.stat().st_size for file in (venv / "lib").rglob("*") if file.is_file()) / 1e6)
    return [
        Figure("pip install into a fresh environment", "s", taken, less=True),
        Figure("the environment, pip itself included", "MB", sizes, less=True),
    ]


if __name__ == "__main__":
    main("How long does the installation take?", measure, rounds=2)
