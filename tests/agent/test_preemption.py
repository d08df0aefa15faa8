"""A notice of preemption: how it is looked for, what a session makes of it, and a task that goes on elsewhere."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path

import pytest
from metadata_kit import Metadata
from session_dialogue import Dialogue, exited, owner_hello, start

from styx.agent.preemption import Notice, cloud_of, watch
from styx.core.events import AttemptEnding
from styx.core.states import Outcome
from styx.protocol.messages import Ack, Bye, Forget, Hello, Report
from styx.protocol.owner import (
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerRecall,
    OwnerShutdown,
    OwnerStart,
    OwnerStarted,
    OwnerStop,
    OwnerWatching,
)
from styx.testing.cluster import Cluster, eventually

REASON = "spot preemption: terminate at 2026-01-01T00:00:00Z"


def stopped(attempt: int) -> AttemptEnding:
    return AttemptEnding(attempt, Outcome.KILLED, 143, reason="stopped")


def test_what_runs_is_stopped_and_lost_and_what_waits_is_given_back() -> None:
    talk = Dialogue().joined()
    talk.says(start(1, 2, 3))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1, 2)))
    talk.take(talk.session.preempt(talk.now, REASON))
    assert talk.expect(Bye) == Bye(False, REASON)
    assert talk.order(OwnerRecall).attempts == (3,)
    assert talk.order(OwnerStop).attempts == (1, 2, 3)  # also what may just have started
    talk.take(talk.session.preempt(talk.now, REASON))  # once is enough
    talk.nothing_else()
    talk.owner_says(OwnerEnded((exited(2, 5), stopped(1), AttemptEnding(3, Outcome.REJECTED))))
    ended = {ending.attempt: ending for ending in talk.expect(Report).ended}
    assert (ended[1].outcome, ended[1].reason, ended[1].code) == (Outcome.LOST, REASON, 143)
    assert (ended[2].outcome, ended[2].code) == (Outcome.EXITED, 5)  # it ended by itself
    assert ended[3].outcome is Outcome.REJECTED
    talk.says(start(4))
    assert talk.expect(Report).ended[0].outcome is Outcome.REJECTED
    talk.says(Ack(2), Forget((1, 2, 3, 4)))
    talk.order(OwnerForget)
    assert talk.expect(Bye) == Bye(True)
    talk.order(OwnerShutdown)
    assert talk.session.finished
    talk.nothing_else()


def test_a_notice_while_the_owner_is_away_is_carried_out_when_it_is_back() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.take(talk.session.owner_gone(talk.now))
    talk.take(talk.session.preempt(talk.now, REASON))
    talk.expect(Bye)
    talk.nothing_else()
    talk.owner_says(owner_hello(OwnerWatching(1, 1, 5), incarnation="inc"))
    talk.order(Configure)
    assert talk.order(OwnerStop).attempts == (1,)
    talk.nothing_else()


def test_a_notice_while_no_server_is_there_is_told_with_the_next_hello() -> None:
    talk = Dialogue().joined()
    talk.cut()
    talk.take(talk.session.preempt(talk.now, REASON))
    assert talk.session.finished  # nothing was held
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.cut()
    talk.take(talk.session.preempt(talk.now, REASON))
    assert talk.order(OwnerStop).attempts == (1,)
    talk.owner_says(OwnerEnded((stopped(1),)))
    talk.dial()
    assert talk.expect(Hello).draining
    talk.welcome()
    (report,) = [message for message in talk.server if isinstance(message, Report)]
    assert report.ended[0].outcome is Outcome.LOST


def test_both_clouds_say_it_in_their_own_way() -> None:
    with Metadata() as metadata:
        aws, gcp = Notice("aws", metadata.url), Notice("gcp", metadata.url)
        assert (aws.look(), gcp.look()) == ("", "")
        metadata.notice = True
        assert aws.look() == "terminate at 2026-01-01T00:00:00Z"
        assert gcp.look() == "the instance is preempted"
        tokens = metadata.asked.count("/latest/api/token")
        assert tokens == 1
        metadata.tokens = {"another"}  # the one that is known has ended
        assert aws.look() == "terminate at 2026-01-01T00:00:00Z"
        assert metadata.asked.count("/latest/api/token") == 2
        for metadata.broken in ("gone", "[]", '{"action": 1}'):
            assert aws.look() == "the instance is about to be interrupted"
    with pytest.raises((OSError, http.client.HTTPException)):
        aws.look()


def test_it_is_looked_for_until_it_is_there_whatever_goes_wrong_before() -> None:
    answers = iter([OSError("no route"), http.client.BadStatusLine("x"), "", "now"])

    class Scripted(Notice):
        def look(self) -> str:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

    told: list[str] = []
    asyncio.run(watch(Scripted("aws"), told.append, poll=0))
    assert told == ["spot preemption: now"]


def test_whose_notice_is_looked_for() -> None:
    assert cloud_of("gcp", {}) == "gcp"
    assert cloud_of("", {"spot": "true", "provider": "aws"}) == "aws"
    assert cloud_of("", {"spot": "false", "provider": "aws"}) == ""
    assert cloud_of("", {"spot": "true", "provider": "ssh"}) == ""
    assert cloud_of("", {"provider": "aws"}) == ""


@pytest.mark.e2e
def test_a_task_goes_on_elsewhere(tmp_path: Path) -> None:
    with Metadata() as metadata, Cluster(tmp_path) as cluster:
        cluster.start_server()
        cluster.env["STYX_METADATA_URL"] = metadata.url
        cluster.start_agent("spot", "--watch-preemption", "aws")
        eventually("the spot machine is up", lambda: cluster.agents_up(1))
        script = (
            f"echo $STYX_ATTEMPT $STYX_AGENT_ID >>{tmp_path}/began; until test -e {tmp_path}/go; do sleep 0.05; done"
        )
        job = cluster.styx("run", "-d", "-o", "name", "--", "sh", "-c", script).stdout.strip()
        eventually("the task runs", (tmp_path / "began").exists)
        cluster.start_agent("other")
        eventually("there is another place", lambda: cluster.agents_up(2))
        metadata.notice = True
        eventually("it runs again", lambda: len((tmp_path / "began").read_text().split("\n")) > 2)
        (tmp_path / "go").touch()
        assert cluster.styx("wait", job).returncode == 0
        attempts = cluster.api("GET", f"/api/v1/tasks/{job}")[1]["attempts"]
        assert [attempt["outcome"] for attempt in attempts] == ["LOST", "EXITED"]
        assert attempts[0]["reason"] == REASON
        assert cluster.agents["spot"].wait(30) == 0
