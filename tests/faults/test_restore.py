"""A server comes back on a backup: what agents still hold belongs to another incarnation, and no number of it is believed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from faults_kit import QUICK, ended, faulty, outcomes, output_digest, submit, task_of

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def attempts(home: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(f"file:{home}/styx.db?mode=ro", uri=True)) as database:
        return database.execute("SELECT attempt, job FROM attempts ORDER BY attempt").fetchall()


def alive(file: Path) -> bool:
    return psutil.pid_exists(int(file.read_text().split()[-1]))


def backup(cluster: Cluster, path: Path) -> None:
    made = cluster.styx("backup", str(path), "-o", "json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["path"] == str(path)


def test_an_agent_that_holds_work_of_the_old_incarnation(tmp_path: Path) -> None:
    copy, overlap, go = tmp_path / "copy.db", tmp_path / "overlap", tmp_path / "go"
    kept = tmp_path / "kept.pid"
    # Says when it runs while its first run is still alive.
    line = (
        f"test -e {kept} && kill -0 $(cat {kept}) && echo x >> {overlap}; echo $$ > {kept}; echo x >> {tmp_path}/runs; "
        f"while ! test -e {go}; do sleep 0.05; done; echo kept"
    )
    with faulty(tmp_path, **QUICK) as cluster:
        cluster.start_server()
        cluster.start_agent("a", cpus=4)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        before = submit(cluster, {"name": "kept", "run": line})
        eventually("its program runs", kept.exists)
        backup(cluster, copy)
        forgotten = tmp_path / "forgotten.pid"
        later = submit(cluster, {"name": "forgotten", "run": f"echo $$ > {forgotten}; echo wrong; exec sleep 1000"})
        eventually("the job that the copy does not know runs", forgotten.exists)
        incarnation = cluster.api("GET", "/health")[1]["incarnation"]

        cluster.kill_server()
        forgotten_attempt = attempts(cluster.home)[-1][0]
        assert (cluster.home / "styx.db-wal").stat().st_size > 0  # as a hasty person leaves it
        copy.replace(cluster.home / "styx.db")
        cluster.start_server()

        assert cluster.api("GET", "/health")[1]["incarnation"] not in {"", incarnation}
        assert cluster.api("GET", f"/api/v1/jobs/{later}")[0] == 404
        fresh = submit(cluster, {"name": "fresh", "run": "echo right; exit 3"})
        view = eventually("the new job has ended", lambda: ended(cluster, fresh))
        assert view["exit_code"] == 3
        task = task_of(cluster, fresh)
        assert outcomes(task) == ["EXITED"]
        assert output_digest(cluster, task["task_id"])[0] == len("right\n")
        eventually("the program that nobody knows is gone", lambda: not alive(forgotten))

        go.touch()
        assert eventually("the job of before has ended", lambda: ended(cluster, before))["status"] == "SUCCEEDED"
        assert output_digest(cluster, task_of(cluster, before)["task_id"])[0] == len("kept\n")
        assert len((tmp_path / "runs").read_text().split()) == 2
        assert not overlap.exists()
        # The serial was given out again, so only the incarnation told the two apart.
        assert forgotten_attempt in {attempt for attempt, _ in attempts(cluster.home)}


def test_a_backup_while_work_goes_on_is_whole(tmp_path: Path) -> None:
    with faulty(tmp_path) as cluster:
        cluster.start_server()
        cluster.start_agent("a", cpus=4)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        jobs = [submit(cluster, {"name": f"job {n}", "run": "echo $STYX_ARRAY_INDEX", "array": 50}) for n in range(20)]
        for number in range(5):
            backup(cluster, tmp_path / f"copy-{number}.db")
        for job in jobs:
            eventually("the jobs go on and end", lambda job=job: ended(cluster, job))
        backup(cluster, tmp_path / "last.db")
    for path in sorted(tmp_path.glob("*.db")):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("SELECT count(*) FROM jobs").fetchone() == (20,)
            assert database.execute("SELECT incarnation FROM meta").fetchone() == ("",)
    with closing(sqlite3.connect(tmp_path / "last.db")) as database:
        assert database.execute("SELECT count(*) FROM attempts WHERE outcome IS NOT NULL").fetchone() == (1_000,)


def test_without_a_server_the_database_at_rest_is_copied(tmp_path: Path) -> None:
    with faulty(tmp_path) as cluster:
        cluster.start_server()
        cluster.server.terminate()  # type: ignore[union-attr]
        cluster.server.wait()  # type: ignore[union-attr]
        copies = tmp_path / "copies"
        copies.mkdir()
        made = cluster.styx("backup", str(copies), env={"STYX_SERVER_URL": ""})
        assert made.returncode == 0, made.stderr
        assert (copies / "styx.db").is_file()
        missing = cluster.styx(
            "backup", str(copies), env={"STYX_SERVER_URL": "", "STYX_HOME": str(tmp_path / "nothing")}
        )
        assert missing.returncode == 69
        assert "no database" in missing.stderr
