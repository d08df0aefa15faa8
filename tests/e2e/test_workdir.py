"""A working folder that travels: packed by who submits, kept by the server, unpacked where the task runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as made:
        made.start_server()
        yield made


def elsewhere(cluster: Cluster, name: str) -> None:
    """An agent that takes this machine for another one."""
    code = (
        "import sys, styx.protocol.host as host, styx.agent.probe as probe;"
        f"probe.host_id = host.host_id = lambda *_: 'machine-{name}';"
        "import styx.agent.main as main; main.host_id = probe.host_id; sys.exit(main.main())"
    )
    import subprocess
    import sys

    with (cluster.home.parent / f"agent-{name}.log").open("ab") as out:
        cluster.agents[name] = subprocess.Popen(
            [sys.executable, "-c", code, "--name", name, "--cpus", "2", "--label", f"at={name}"],
            env={**cluster.env, "STYX_SERVER_URL": cluster.url},
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


def work(folder: Path) -> Path:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "main.sh").write_text(
        "#!/bin/sh\necho main in $(basename $PWD); ls; cat data; echo mark >left\n"
    )
    (folder / "code" / "main.sh").chmod(0o755)
    (folder / "code" / "data").write_text("some data\n")
    (folder / "code" / "big.bin").write_text("not needed")
    (folder / "code" / ".gitignore").write_text("*.bin\n")
    (folder / "job.yaml").write_text("run: ./main.sh\nworkdir: code\nresources: {labels: {at: far}}\n")
    return folder / "job.yaml"


def archives(cluster: Cluster) -> list[Path]:
    return sorted((cluster.home / "archives").glob("*.tar.gz"))


def test_it_is_there_on_another_machine(cluster: Cluster, tmp_path: Path) -> None:
    file = work(tmp_path / "mine")
    elsewhere(cluster, "far")
    eventually("the far agent is up", lambda: cluster.agents_up(1))
    done = cluster.styx("run", str(file), cwd=file.parent)
    assert done.returncode == 0, done.stderr + cluster.log("agent-far")
    assert done.stdout.endswith("data\nmain.sh\nsome data\n"), done.stdout
    assert "big.bin" not in done.stdout
    assert not (file.parent / "code" / "left").exists()  # it was its own copy
    (kept,) = archives(cluster)
    # the same folder again is not sent again, and the agent has it too
    before = kept.stat().st_ino
    assert cluster.styx("run", str(file), cwd=file.parent).returncode == 0
    assert [path.stat().st_ino for path in archives(cluster)] == [before]
    # a change is another parcel; each program of an array has its own copy
    (file.parent / "code" / "data").write_text("other data\n")
    file.write_text("run: 'test ! -e left && ./main.sh'\nworkdir: code\narray: 5\nresources: {labels: {at: far}}\n")
    done = cluster.styx("run", str(file), cwd=file.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("other data") == 5
    assert len(archives(cluster)) == 2


def test_where_the_folder_is_it_is_used_itself(cluster: Cluster, tmp_path: Path) -> None:
    file = work(tmp_path / "mine")
    file.write_text("run: ./main.sh\nworkdir: code\n")
    cluster.start_agent("near")
    eventually("the near agent is up", lambda: cluster.agents_up(1))
    done = cluster.styx("run", str(file), cwd=file.parent)
    assert done.returncode == 0, done.stderr
    assert "big.bin" in done.stdout
    assert (file.parent / "code" / "left").exists()
    assert archives(cluster) == []  # nothing was packed: every machine has it
    elsewhere(cluster, "far")
    eventually("the far agent is up", lambda: cluster.agents_up(2))
    file.write_text("run: ls\nworkdir: code\nresources: {labels: {at: far}}\n")
    assert "big.bin" not in cluster.styx("run", str(file), cwd=file.parent).stdout
    file.write_text("run: ls\nworkdir: missing\n")
    gone = cluster.styx("run", str(file), cwd=file.parent)
    assert gone.returncode == 2
    assert "does not exist" in gone.stderr


def test_an_archive_that_is_gone_is_said(cluster: Cluster, tmp_path: Path) -> None:
    body = {"name": "x", "run": "true", "archive": "0" * 64}
    status, problem = cluster.api("POST", "/api/v1/tasks", body)
    assert status == 422, problem
    assert "PUT /api/v1/archives/" in json.dumps(problem)
    file = work(tmp_path / "mine")
    elsewhere(cluster, "far")
    eventually("the far agent is up", lambda: cluster.agents_up(1))
    waits = f"touch {tmp_path}/began; until test -e {tmp_path}/go; do sleep 0.05; done"
    file.write_text(f"tasks:\n  a: {{run: '{waits}'}}\n  b: {{needs: [a], workdir: code, run: ./main.sh}}\n")
    job = cluster.styx("run", "-d", "-o", "name", str(file), cwd=file.parent).stdout.strip()
    eventually("the first task runs", (tmp_path / "began").exists)
    (kept,) = archives(cluster)
    kept.unlink()
    (tmp_path / "go").touch()
    assert cluster.styx("wait", job).returncode == 126
    (attempt,) = cluster.api("GET", f"/api/v1/tasks/{cluster.job(job)['graph'][1]['task_id']}")[1]["attempts"]
    assert "submit again" in attempt["reason"]
