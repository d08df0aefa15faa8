"""The public names are typed as the examples use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_type_checkers_see_the_public_names(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path),
            str(Path(__file__).with_name("public.py")),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
