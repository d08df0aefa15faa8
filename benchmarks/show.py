"""The documents of all answers, and what is made from them: two tables, two charts, and the README's section between its marks.

Nothing here measures. The README's section is a function of the results folder alone, so a test can hold one against the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from draw import chart, curves
from tables import comparison, everything
from works import PEERS

__all__ = ["BEGIN", "END", "Results", "section", "with_section"]

BEGIN = "<!-- drawn by make bench from benchmarks/results: edit there -->"
END = "<!-- end of what make bench draws -->"
Document = dict[str, Any]


class Results:
    """A folder of documents, one for each question that was answered and, under `peers/`, one for each peer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str) -> Path:
        return self.folder / "peers" / f"{name}.json" if name in PEERS else self.folder / f"{name}.json"

    def questions(self) -> dict[str, Document]:
        return {file.stem: json.loads(file.read_text()) for file in sorted(self.folder.glob("*.json"))}

    def peers(self) -> dict[str, Document]:
        files = {name: self.file(name) for name in PEERS}
        return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}

    def draw(self, readme: Path | None) -> str:
        """Write the tables and the charts, and the section of this README; the comparison comes back to be printed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        questions, peers = self.questions(), self.peers()
        compared = comparison(questions, peers)
        (self.folder / "table.md").write_text(f"{compared}\n# Everything\n\n{everything(questions)}")
        (self.folder / "chart.svg").write_text(chart(questions, peers))
        (self.folder / "curves.svg").write_text(curves(questions))
        if readme is not None:
            readme.write_text(with_section(readme.read_text(), section(questions, peers)))
        return compared


def section(questions: dict[str, Document], peers: dict[str, Document]) -> str:
    """What stands between the marks."""
    picture = "![Styx beside its peers](benchmarks/results/chart.svg)"
    return f"{BEGIN}\n\n{picture}\n\n{comparison(questions, peers)}\n{END}"


def with_section(page: str, new: str) -> str:
    """The page with its section replaced; a page without the marks is an error."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN!r} and {END!r}")
    return f"{before}{new}{after}"
