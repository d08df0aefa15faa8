"""Every endpoint of a real server under made-up requests: no 5xx, nothing undocumented, no hang, no trace in the log.

The requests come from schemathesis, which makes them up from the server's own OpenAPI document: valid ones, near misses and
nonsense. An agent that does no work lets what is accepted end. Streams without end, waiting and the agents' websocket are left
to `test_raw_http` and `test_hub`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from styx.testing.cluster import Cluster, eventually

HERE = Path(__file__).parent
ENDLESS = r"/(events|wait|connect)$"
DOCUMENTS = (
    r"v1/(plan|jobs|tasks)$"  # what takes task files; each of their many fields would be gone through, one by one
)
CHECKS = "not_a_server_error,content_type_conformance,status_code_conformance,response_schema_conformance"
MORE = int(os.environ.get("STYX_FUZZ", "1"))  # times as many examples


class Tally(dict[str, Counter[int]]):
    """Statuses of the answers by operation."""

    @property
    def requests(self) -> int:
        return sum(sum(statuses.values()) for statuses in self.values())

    def share(self, operation: str, *statuses: int) -> float:
        return sum(self[operation][status] for status in statuses) / sum(self[operation].values())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("fuzz")) as cluster:
        cluster.start_server()
        cluster.start_agent("a", "--no-work", cpus=4)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        yield cluster


def known(cluster: Cluster) -> list[str]:
    """References to a job that is there, and to its parts."""
    tasks = {"a": {"command": ["true"], "array": 3}, "b": {"run": "true", "needs": ["a"]}}
    status, made = cluster.api("POST", "/api/v1/jobs", {"name": "known", "tasks": tasks})
    assert status == 201
    job = made["job_id"]
    status, shown = cluster.api("GET", f"/api/v1/jobs/{job}")
    assert status == 200
    first = shown["graph"][0]["task_id"]
    return [job, first, f"{first}.1", job[-12:], "@latest", f"{job}/b"]


def fuzz(cluster: Cluster, folder: Path, examples: int, *options: str, token: str = "") -> Tally:
    """One run of schemathesis; fails with what it found."""
    token = token or (cluster.home / "token").read_text().strip()
    environment = {
        **cluster.env,
        "SCHEMATHESIS_HOOKS": "fuzz_hooks",
        "PYTHONPATH": str(HERE),
        "FUZZ_KNOWN": ",".join(known(cluster)),
        "FUZZ_FOLDER": str(folder),
    }
    report = folder / "report.ndjson"
    command = [
        str(Path(sys.executable).with_name("st")),
        *("run", f"{cluster.url}/api/v1/openapi.json", "-H", f"Authorization: Bearer {token}"),
        *("--checks", CHECKS, "--seed", "1", "--max-examples", str(examples * MORE), "--request-timeout", "30"),
        *("--generation-database", "none", "--continue-on-failure", "--no-color"),
        *("--suppress-health-check", "all", "--report", "ndjson", "--report-ndjson-path", str(report), *options),
    ]
    ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return _tally(report)


def _tally(report: Path) -> Tally:
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for line in report.read_text().splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        recorder = scenario["recorder"] if scenario is not None else {}
        for exchange in recorder.get("interactions", {}).values():
            answer = exchange["response"]
            found[recorder["label"]][answer["status_code"] if answer else 0] += 1
    return Tally(found)


def well(cluster: Cluster) -> None:
    """Nothing broke: the server works on, and nobody left a trace in a log."""
    ran = cluster.styx("run", "--name", "after", "--", "true")
    assert ran.returncode == 0, ran.stderr
    for part in ("server", "agent-a"):
        assert not re.search(r"Traceback|\"error\"|internal", cluster.log(part)), cluster.log(part)[-5_000:]


def test_every_operation_with_every_edge_of_its_parameters(cluster: Cluster, tmp_path: Path) -> None:
    without = ("--exclude-path-regex", f"{ENDLESS}|{DOCUMENTS}")
    tally = fuzz(cluster, tmp_path, 8, "--phases", "examples,coverage,fuzzing", *without)
    assert tally.requests > 800
    assert len(tally) >= 24
    assert all(tally.share(operation, 401) < 0.5 for operation in tally), tally  # it kept its token
    well(cluster)


def test_task_files_that_reach_the_core(cluster: Cluster, tmp_path: Path) -> None:
    tally = fuzz(cluster, tmp_path, 50, "--phases", "fuzzing", "--include-path-regex", DOCUMENTS)
    assert tally.share("POST /api/v1/jobs", 201) > 0.25, tally
    assert tally.share("POST /api/v1/tasks", 201) > 0.25, tally
    assert tally.share("POST /api/v1/plan", 200) > 0.25, tally
    well(cluster)


def test_what_was_created_is_asked_about(cluster: Cluster, tmp_path: Path) -> None:
    without = ("--exclude-path-regex", f"{ENDLESS}|tokens|enrol|backup")
    tally = fuzz(cluster, tmp_path, 8, "--phases", "stateful", *without)
    (operation,) = tally
    assert tally.share(operation, 200, 201) > 0.2, tally
    well(cluster)


def test_a_viewer_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    status, made = cluster.api("POST", "/api/v1/tokens", {"name": "looks", "role": "viewer"})
    assert status == 201
    before = cluster.api("GET", "/api/v1/stats")[1]["submitted"]
    tally = fuzz(cluster, tmp_path, 4, "--phases", "fuzzing", "--exclude-path-regex", ENDLESS, token=made["secret"])
    ours = 4  # elements of the job that `known` made
    assert cluster.api("GET", "/api/v1/stats")[1]["submitted"] == before + ours
    allowed = {operation for operation in tally if tally[operation][200] + tally[operation][201]}
    assert all(operation.startswith("GET ") or operation == "POST /api/v1/plan" for operation in allowed), tally
    assert len(allowed) > 10
    well(cluster)
