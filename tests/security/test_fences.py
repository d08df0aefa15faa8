"""An agent can only speak about what is assigned to it now, and is told nothing of anything else."""

from __future__ import annotations

from msgspec.structs import replace
from security_kit import dialled, hello, run, site

from styx.core.events import AttemptEnding, Held
from styx.core.states import Outcome
from styx.protocol.document import read_job
from styx.protocol.messages import Files, Heartbeat, HeartbeatAck, Output, OutputAck, Report, Start, Stop, Welcome
from styx.testing.agents import Act, FakeAgent

RUN = {"run": "x", "resources": {"labels": {"for": "me"}}}


async def text(plane: object, ref: str) -> bytes:
    return b"".join([chunk.data async for chunk in plane.logs(ref)])  # type: ignore[attr-defined]


def test_a_stranger_changes_nothing_about_an_attempt() -> None:
    async def main() -> None:
        async with site() as here:
            plane = here.plane
            mine = FakeAgent(plane.shell.hub, name="mine", labels=[("for", "me")], script=lambda s, r: Act(hold=True))
            await mine.connect()
            made = await plane.submit_spec(
                read_job({"tasks": {"a": RUN | {"secrets": ["S"]}, "b": RUN | {"needs": ["a"]}}}),
                secrets={"S": "s-s-s-s-s"},
            )
            await mine.until(lambda: mine.running)
            (attempt,) = mine.running
            stranger = await here.token("agent")
            async with dialled(here, stranger.secret) as agent:
                # it claims to hold the attempt, reports its end, and writes its output
                incarnation = plane.shell.incarnation
                await agent.say(hello("stranger", held=(Held(attempt, 1, 5),), incarnation=incarnation))
                ending = AttemptEnding(attempt, Outcome.EXITED, 0, result=b"forged")
                await agent.say(Report(1, (attempt,), (ending,)), Output(attempt, 1, 0, b"forged"), Heartbeat(7))
                heard: list[object] = []
                while not {HeartbeatAck, OutputAck, Stop} <= {type(message) for message in heard}:
                    said = await agent.hear()
                    assert said is not None
                    heard += said
                assert not [m for m in heard if isinstance(m, Start | Files)]
                assert [m.attempts for m in heard if isinstance(m, Stop)] == [(attempt,)]
                assert "s-s-s-s-s" not in str(heard)
            assert mine.running == [attempt]
            job = await plane.job(made.job_id)
            assert [task.status for task in job.graph] == ["RUNNING", "PENDING"]
            await mine.finish(attempt, act=Act(stdout=b"real.\n"))
            await mine.until(lambda: mine.running and mine.running != [attempt])
            await mine.finish(mine.running[0], code=0)
            assert (await plane.wait(made.job_id)).ok
            assert await text(plane, f"{made.job_id}/a") == b"real.\n"
            assert (await plane.task(f"{made.job_id}/a")).attempts[0].result == ""
            await mine.disconnect()

    run(main())


def test_an_agent_that_lost_its_attempt_is_a_stranger_to_it() -> None:
    """The lease ended, the attempt went elsewhere: what the first node says of it later counts for nothing."""

    async def main() -> None:
        async with site() as here:
            plane = here.plane
            first = await here.token("agent")
            async with dialled(here, first.secret) as agent:
                await agent.say(hello("first"))
                assert isinstance(await agent.answer(), Welcome)
                made = await plane.submit_spec(read_job({"run": "x", "secrets": ["S"]}), secrets={"S": "s-s-s-s-s"})
                starts: list[Start] = []
                while not starts:
                    starts += [m for m in await agent.hear() or [] if isinstance(m, Start)]
                (run_,) = starts[0].runs
                assert [secret.value for secret in starts[0].secrets] == ["s-s-s-s-s"]
            # another boot of its machine: what it held is lost, and given out anew with a new number
            async with dialled(here, first.secret) as agent:
                await agent.say(replace(hello("first"), boot="boot 2", session="session 2"))
                again: list[Start] = []
                while not again:
                    again += [m for m in await agent.hear() or [] if isinstance(m, Start)]
                (second,) = again[0].runs
                assert second.attempt != run_.attempt
                await agent.say(Report(1, (), (AttemptEnding(run_.attempt, Outcome.EXITED, 9),)))
                await agent.say(Report(2, (), (AttemptEnding(second.attempt, Outcome.EXITED, 0),)))
                assert (await plane.wait(made.job_id)).ok

    run(main())
