"""Run by test_process: `styx run` on a plane whose job ends when it is cancelled (1) or never (2)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cli_fakes import JOB, FakeVerbs, job_view, run, task_view

from styx.protocol.http import JobResult, LogChunk


class Interrupted(FakeVerbs):
    ends = sys.argv[1] == "1"

    async def cancel(self, ref, *, reason=""):  # type: ignore[no-untyped-def]
        print(f"cancelled: {reason}", flush=True)
        if self.ends:
            self.ended.set()
        return True


verbs = Interrupted()
verbs.ended = asyncio.Event()
verbs.view = job_view("RUNNING", counts={"RUNNING": 1}, graph=[task_view(status="RUNNING")])
verbs.chunks = [LogChunk("t", "", None, 1, "stdout", 0, b"started\n")]
verbs.result = JobResult(JOB, "j", "CANCELLED", 130, "styx", {"CANCELLED": 1}, [])
sys.exit(run(verbs, "run", "sleep", "1000"))
