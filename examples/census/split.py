"""split.py OUT N: write the names of the library's source files into OUT/part.0 to OUT/part.N-1."""

import sys
from pathlib import Path

from tally import sources

out, parts = Path(sys.argv[1]), int(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
names = sources()
for part in range(parts):
    (out / f"part.{part}").write_text("".join(f"{name}\n" for name in names[part::parts]))
print(f"{len(names)} source files in {parts} parts")
