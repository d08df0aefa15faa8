"""Time goes wrong on the server: the process stands still for longer than every lease, or the wall clock is set.

The machine's clock is left alone: the server that is started here reads its wall clock through a file that says how far off
it is.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from faults_kit import QUICK, ended, faulty, figure, outcomes, scaled, submit, task_of

from styx.runtime import clock as clocks
from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LEASE = 4.0  # seconds; in the long form those that are the default
STALL = scaled(1.5 * LEASE, 30.0)
DAY = 86_400

# styx-server with a wall clock that is off by as many seconds as the file says.
CLOCKED = """
import sys, time
real, path = time.time_ns, sys.argv.pop(1)
time.time_ns = lambda: real() + int(open(path).read() or 0) * 10**9
time.time = lambda: time.time_ns() / 1e9
from styx.server.daemon import main
sys.exit(main())
"""


@pytest.mark.parametrize("stall", scaled([STALL], [STALL, 10.0]))
def test_a_stalled_server_blames_nobody(tmp_path: Path, stall: float) -> None:
    """SIGSTOP: to the agents it is a server that accepts connections and never answers. All leases are over by its own clock
    when it goes on; agents have given it up and dial again."""
    ran, go = tmp_path / "ran", tmp_path / "go"
    with faulty(tmp_path, **({} if stall >= 30 else QUICK)) as cluster:
        cluster.start_server()
        for name in "ab":
            cluster.start_agent(name, cpus=2)
        eventually("the agents are there", lambda: cluster.agents_up(2))
        waits = f"echo $$ >> {ran}.$STYX_ARRAY_INDEX; while ! test -e {go}; do sleep 0.05; done"
        job_id = submit(cluster, {"name": "stall", "run": waits, "array": 4})
        behind = submit(cluster, {"name": "behind", "run": f"echo x >> {ran}.behind.$STYX_ARRAY_INDEX", "array": 50})
        eventually("the programs run", lambda: len(list(tmp_path.glob("ran.?"))) == 4)
        assert cluster.server is not None
        cluster.server.send_signal(signal.SIGSTOP)
        time.sleep(stall)
        cluster.server.send_signal(signal.SIGCONT)
        eventually("the agents are there again", lambda: cluster.agents_up(2))
        go.touch()
        for job in (job_id, behind):
            view = eventually("the job ends", lambda job=job: ended(cluster, job))
            assert view["status"] == "SUCCEEDED"
        assert "agent lost" not in cluster.log("server")
        for index in range(4):
            assert outcomes(task_of(cluster, job_id, index)) == ["EXITED"]
            assert len((tmp_path / f"ran.{index}").read_text().split()) == 1
        for index in range(50):
            assert "LOST" not in outcomes(task_of(cluster, behind, index))
            assert len((tmp_path / f"ran.behind.{index}").read_text().split()) == 1
    figure("a stalled server", seconds=stall, lease=300 if stall >= 30 else LEASE, declared_lost=0)


def flaky(cluster: Cluster) -> dict[str, float]:
    """Three attempts with waits in between, one time limit that strikes, and what is said about when."""
    document = {
        "name": "flaky",
        "tasks": {
            "tries": {"run": "test $STYX_ATTEMPT -ge 3", "retries": 2, "backoff": {"initial": "50ms"}},
            "limit": {"run": "sleep 1000", "timeout": "200ms", "allow_failure": True},
        },
    }
    job_id = submit(cluster, document)
    view = eventually("the job ends", lambda: ended(cluster, job_id), within=30)
    tries = task_of(cluster, job_id)
    assert [attempt["code"] for attempt in tries["attempts"]] == [1, 1, 0], tries
    assert outcomes(task_of(cluster, job_id, task=1)) == ["TIMED_OUT"]
    return {"submitted": view["submitted_at"], "ended": view["ended_at"]}


def test_the_wall_clock_is_set_forward_and_back(tmp_path: Path) -> None:
    """While the server runs and between its starts: waits and limits keep their length, no lease ends, no time goes back."""
    off, ran, go = tmp_path / "off", tmp_path / "ran", tmp_path / "go"
    off.write_text("0")
    program = ("python", "-c", CLOCKED, str(off))
    with faulty(tmp_path, **QUICK) as cluster:
        cluster.start_server(program=program)
        cluster.start_agent("a", cpus=4)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        steady = submit(
            cluster, {"name": "steady", "run": f"echo $$ >> {ran}; while ! test -e {go}; do sleep 0.1; done"}
        )
        eventually("it runs", ran.exists)
        told = [flaky(cluster)]
        for shift, restart in ((20 * DAY, False), (20 * DAY, True), (-20 * DAY, False), (-20 * DAY, True), (0, True)):
            off.write_text(str(shift))
            if restart:
                cluster.kill_server()
                cluster.start_server(program=program)
                eventually("the agent is there", lambda: cluster.agents_up(1))
            told.append(flaky(cluster))
        times = [one[key] for one in told for key in ("submitted", "ended")]
        assert times == sorted(times), "time went back"
        assert times[5] - times[0] > 19 * DAY, "a server that starts believes its clock"
        assert times[-1] - times[5] < DAY, "and no clock that is behind what it has written"
        go.touch()
        eventually("the job ends", lambda: ended(cluster, steady))
        assert outcomes(task_of(cluster, steady)) == ["EXITED"]
        assert len(ran.read_text().split()) == 1
        assert "agent lost" not in cluster.log("server")
        cluster.kill_server()
        with closing(sqlite3.connect(f"file:{cluster.home}/styx.db?mode=ro", uri=True)) as database:
            stamps = [row[0] for row in database.execute("SELECT at FROM events ORDER BY last")]
        assert stamps == sorted(stamps)
    figure("wall clock set forward and back", jumps=5, days=20, declared_lost=0, went_back=0)


def test_a_clock_that_runs_looks_at_no_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [1_000_000_000_000_000_000]
    monkeypatch.setattr(clocks.time, "time_ns", lambda: wall[0])
    clock = clocks.BootClock(0)
    first = clock.now()
    for jump in (DAY, -40 * DAY, 365 * DAY):
        wall[0] += jump * 1_000_000_000
        assert 0 <= clock.now() - first < 10_000
    assert clocks.BootClock(first + 5).now() >= first + 5
