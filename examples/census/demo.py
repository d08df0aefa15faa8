"""What `make demo` shows: the census as a Styx job, then the same numbers counted by one process as a check."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from tally import add, sources, tally  # noqa: E402 (the example's own module, found beside this file)


def main() -> int:
    command = [str(Path(sys.executable).with_name("styx")), "run", "census.yaml"]
    print(f"$ cd {HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE}")
    print("$ styx run census.yaml", flush=True)
    started = time.monotonic()
    code = subprocess.run(command, cwd=HERE, check=False).returncode
    if code:
        print(f"the census failed with exit code {code}", file=sys.stderr)
        return code
    took = time.monotonic() - started
    counted = json.loads((HERE / "census.out" / "census.json").read_text())
    rows = add([tally(sources())]).values()
    expected = {column: sum(row[column] for row in rows) for column in counted}
    if counted != expected:
        print(f"the totals differ: Styx {counted}, one process {expected}", file=sys.stderr)
        return 1
    print(f"checked: one process counts the same {counted['lines']:,} lines. The job took {took:.1f} s.")
    print("\nNext: `.venv/bin/styx run -- echo hello`, `.venv/bin/styx up` for a server, and README.md for the rest.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
