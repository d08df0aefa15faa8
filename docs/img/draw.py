"""Draw docs/img/census.svg, the picture in README.md: `.venv/bin/python docs/img/draw.py`.

Runs the census example on a control plane of its own and records what `styx run census.yaml` shows in a terminal, with the same
layout and the same words: once in the middle of the array, and once at the end.
"""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

import styx
from styx.cli.controls import calm
from styx.cli.follow import Sink, follow
from styx.cli.tails import Shot, Spans, Tails
from styx.cli.view import frame
from styx.protocol.host import host_id
from styx.protocol.http import JobView
from styx.protocol.taskfile import read_taskfile

HERE = Path(__file__).parent
CENSUS = HERE.parents[1] / "examples" / "census"
WIDTH, HEIGHT = 98, 60
CELL = 12.2  # units that rich makes a character wide


class Recorder:
    """A terminal without a glass: what is shown on it is kept for the picture."""

    def __init__(self, folder: Path) -> None:
        self.console = Console(
            record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True, color_system="truecolor"
        )
        self.folder = folder
        self.tails, self.spans = Tails(), Spans()
        self.written = ""

    def write(self, _stream: str, data: bytes) -> None:
        self.written += data.decode().replace(f"{self.folder.resolve()}/", "")

    def show(self, job: JobView) -> None:
        """What has been written since the last time, and the view below it."""
        self.console.print(Text.from_ansi(self.written.rstrip("\n")), soft_wrap=True)
        self.written = ""
        now = time.time()
        over = bool(job.ended_at)
        shot = Shot(job, now, (job.ended_at or now) - job.submitted_at, self.tails, self.spans, over)
        self.console.print(frame(shot, WIDTH, HEIGHT))


async def record(folder: Path) -> Console:
    terminal = Recorder(folder)
    sink = Sink(
        prefix=True,
        show=terminal.write,
        colour=True,
        hear=terminal.tails.hear,
        clean=lambda _, data: calm(data, colour=True),
    )
    terminal.console.print("[bold]$[/] styx run census.yaml")
    async with styx.ControlPlane.open() as plane:
        created = await plane.submit_spec(read_taskfile(folder / "census.yaml", host=host_id(), cwd=str(folder)))
        output = asyncio.create_task(follow(plane.logs(created.job_id, follow=True), sink))
        halfway = False
        while not (job := await plane.job(created.job_id)).ended_at:
            terminal.spans.see(job.graph, time.time())
            count = next(task for task in job.graph if task.name == "count")
            if not halfway and count.counts.get("SUCCEEDED", 0) >= 4 and count.counts.get("RUNNING"):
                halfway = True
                terminal.show(job)
                terminal.console.print(Text("\n⋮ a moment later\n", style="dim italic"))
            await asyncio.sleep(0.01)
        await output
    if job.status != "SUCCEEDED" or not halfway:
        raise SystemExit(f"the census {job.status.lower()}; seen in the middle of its array: {halfway}")
    terminal.spans.see(job.graph, time.time())
    terminal.show(job)
    return terminal.console


def _moved(found: re.Match[str]) -> str:
    """Text begins where its first letter is: some renderers drop the blanks before it."""
    x, y, length, clip, blanks = found.groups()
    shift = CELL * blanks.count("&")
    return f'x="{float(x) + shift:g}" y="{y}" textLength="{max(0.0, float(length) - shift):g}" {clip}>'


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "census"
        shutil.copytree(CENSUS, folder, ignore=shutil.ignore_patterns("census.out", "__pycache__"))
        console = asyncio.run(record(folder))
    picture = console.export_svg(title="styx run census.yaml", unique_id="census")
    # No fonts from elsewhere: a picture in a README may not fetch them, and need not.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace")
    picture = re.sub(
        r'x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)" (clip-path="[^"]*")>((?:&#160;)+)', _moved, picture
    )
    target = HERE / "census.svg"
    target.write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
