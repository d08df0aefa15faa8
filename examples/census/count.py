"""count.py PART: count what the files named in PART hold, and print it as JSON."""

import json
import sys
from pathlib import Path

from tally import tally

names = Path(sys.argv[1]).read_text().split("\n")[:-1]
print(json.dumps(tally(names), separators=(",", ":")))
print(f"{Path(sys.argv[1]).name}: {len(names)} files", file=sys.stderr)
