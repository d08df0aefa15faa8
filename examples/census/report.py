"""report.py MERGED OUT: print the census as a table with bars, and draw it into OUT/census.svg."""

import json
import sys
from html import escape
from pathlib import Path

WIDTH = 30
SHOWN = 14


def main() -> None:
    totals = json.loads(Path(sys.argv[1]).read_text())
    rows = sorted(totals.items(), key=lambda item: -item[1]["lines"])
    total = {column: sum(row[column] for _, row in rows) for column in ("files", "lines", "words", "definitions")}
    print(f"{'package':<16}{'files':>7}{'lines':>10}{'words':>11}{'defs':>8}")
    longest = rows[0][1]["lines"]
    for package, row in rows[:SHOWN]:
        bar = "█" * max(1, round(row["lines"] / longest * WIDTH))
        name = "(modules)" if package == "-" else package
        print(f"{name:<16}{row['files']:>7,}{row['lines']:>10,}{row['words']:>11,}{row['definitions']:>8,}  {bar}")
    if len(rows) > SHOWN:
        print(f"... and {len(rows) - SHOWN} more packages")
    print(f"{'total':<16}{total['files']:>7,}{total['lines']:>10,}{total['words']:>11,}{total['definitions']:>8,}")
    picture = Path(sys.argv[2]) / "census.svg"
    picture.write_text(svg(rows[:SHOWN], total["lines"]))
    (Path(sys.argv[2]) / "census.json").write_text(json.dumps(total))
    print(f"\npicture: {picture.resolve()}")


def svg(rows: list[tuple[str, dict[str, int]]], lines: int) -> str:
    """A bar chart of lines by package."""
    longest = rows[0][1]["lines"]
    bars = []
    for place, (package, row) in enumerate(rows):
        y = 46 + place * 22
        width = max(1, round(row["lines"] / longest * 380))
        name = "(modules)" if package == "-" else package
        bars.append(
            f'<text x="128" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="136" y="{y}" width="{width}" height="16" rx="2" fill="#3b6ea5"/>'
            f'<text x="{142 + width}" y="{y + 13}" fill="#666">{row["lines"]:,}</text>'
        )
    height = 62 + len(rows) * 22
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{height}" font-family="sans-serif" font-size="12">'
        f'<rect width="600" height="{height}" fill="#fff"/>'
        f'<text x="16" y="26" font-size="15">The Python standard library: {lines:,} lines</text>{"".join(bars)}</svg>\n'
    )


main()
