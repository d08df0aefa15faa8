"""Dialogues with the agent's half of the protocol. Each ends with: and nothing else happened."""

from __future__ import annotations

import pytest
from session_dialogue import PROFILE, Dialogue, exited, owner_hello, start

from styx.agent.results import DropResults, WriteResults
from styx.agent.session import LinkState, Out, Session, Vitals
from styx.core.events import Held
from styx.core.states import Outcome
from styx.protocol.messages import (
    Ack,
    Bye,
    Files,
    Forget,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Output,
    OutputAck,
    Recall,
    Refused,
    Report,
    Stop,
    Welcome,
)
from styx.protocol.owner import (
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerOutput,
    OwnerRecall,
    OwnerRelease,
    OwnerShutdown,
    OwnerStart,
    OwnerStarted,
    OwnerStop,
    OwnerWatching,
)


def test_an_attempt_from_start_to_forget() -> None:
    talk = Dialogue().joined()
    talk.says(start(5))
    assert [run.attempt for run in talk.order(OwnerStart).runs] == [5]
    talk.owner_says(OwnerStarted((5,)), OwnerOutput(5, 1, 0, b"hi\n"), OwnerEnded((exited(5, 3, stdout=3),)))
    assert talk.expect(Output) == Output(5, 1, 0, b"hi\n")
    assert talk.expect(Report) == Report(1, (), (exited(5, 3, stdout=3),))
    talk.says(Ack(1), OutputAck(5, 1, 3), Forget((5,)))
    assert talk.order(OwnerRelease) == OwnerRelease(5, 1, 3)
    assert talk.order(OwnerForget) == OwnerForget((5,))
    assert not talk.session.owed
    talk.wait(5_000)
    talk.nothing_else()


def test_hello_waits_for_the_owner_and_names_its_nonce() -> None:
    talk = Dialogue()
    talk.dial()
    talk.nothing_else()
    talk.owner_says(owner_hello(nonce="xyz"))
    assert talk.order(Configure) == Configure("", PROFILE.capacity)
    hello = talk.expect(Hello)
    assert (hello.boot, hello.incarnation, hello.held) == ("boot:xyz", "", ())
    talk.nothing_else()


def test_a_server_that_does_not_answer_hello_is_dialled_again() -> None:
    talk = Dialogue()
    talk.owner_says(owner_hello())
    talk.order(Configure)
    talk.dial()
    talk.expect(Hello)
    talk.wait(20_000)
    assert talk.flags == Out(redial=True)
    talk.cut()
    assert talk.session.wake_at is None


def test_started_is_reported_only_for_what_outlives_20_ms() -> None:
    talk = Dialogue().joined()
    talk.says(start(1, 2))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.wait(10)
    talk.owner_says(OwnerStarted((2,)))
    talk.wait(9)
    talk.nothing_else()
    talk.wait(1)
    assert talk.expect(Report) == Report(1, (1,))
    talk.owner_says(OwnerEnded((exited(2),)))
    assert talk.expect(Report) == Report(2, (), (exited(2),))
    talk.wait(1_000)
    talk.nothing_else()


def test_reports_gather_while_others_are_on_their_way() -> None:
    talk = Dialogue().joined()
    talk.says(start(*range(1, 9)))
    talk.order(OwnerStart)
    for attempt in (1, 2):
        talk.owner_says(OwnerEnded((exited(attempt),)))
        assert talk.expect(Report).number == attempt
    talk.owner_says(OwnerEnded((exited(3),)))
    talk.owner_says(OwnerEnded((exited(4),)))
    talk.nothing_else()
    talk.says(Ack(1))
    assert talk.expect(Report).ended == (exited(3), exited(4))
    talk.owner_says(OwnerEnded((exited(5),)))
    talk.nothing_else()
    talk.wait(5)
    assert talk.expect(Report).ended == (exited(5, ago=5),)
    talk.nothing_else()


def test_unacknowledged_reports_are_sent_again_with_their_age() -> None:
    talk = Dialogue().joined()
    talk.says(start(1, 2, 3))
    talk.order(OwnerStart)
    talk.owner_says(OwnerEnded((exited(1),)))
    talk.owner_says(OwnerEnded((exited(2),)))
    talk.server.clear()
    talk.cut()
    talk.wait(100)
    talk.owner_says(OwnerEnded((exited(3),)))
    talk.wait(900)
    hello = talk.rejoined(acked=1)
    assert hello.held == (Held(1, 2), Held(2, 2), Held(3, 2))
    assert hello.incarnation == "inc"
    assert talk.expect(Report) == Report(2, (), (exited(2, ago=1_000),))
    assert talk.expect(Report) == Report(3, (), (exited(3, ago=900),))
    talk.nothing_else()


def test_an_attempt_that_is_held_already_is_not_started_twice() -> None:
    talk = Dialogue().joined()
    talk.says(start(1, 2))
    talk.order(OwnerStart)
    talk.cut()
    talk.rejoined()
    talk.says(start(1, 2, 3))
    assert [run.attempt for run in talk.order(OwnerStart).runs] == [3]
    talk.nothing_else()


def test_output_that_was_not_synced_is_sent_again_and_nothing_twice_from_the_owner() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerOutput(1, 1, 0, b"abc"), OwnerOutput(1, 2, 0, b"E"), OwnerOutput(1, 1, 3, b"def"))
    assert len(talk.server) == 3
    talk.server.clear()
    talk.says(OutputAck(1, 1, 3))
    talk.order(OwnerRelease)
    talk.cut()
    talk.owner_says(OwnerOutput(1, 1, 3, b"defghi"))  # an owner that begins again where it was released
    talk.rejoined()
    again = {(m.stream, m.offset): m.data for m in talk.server}
    assert again == {(1, 3): b"def", (1, 6): b"ghi", (2, 0): b"E"}
    talk.server.clear()
    talk.nothing_else()


def test_a_release_that_was_lost_with_the_owners_connection_is_given_again() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)), OwnerOutput(1, 1, 0, b"abc"), OwnerOutput(1, 1, 3, b"def"))
    talk.says(OutputAck(1, 1, 3))
    talk.order(OwnerRelease)
    talk.take(talk.session.owner_gone(talk.now))
    talk.owner_says(owner_hello(OwnerWatching(1, 1, 500), incarnation="inc"))
    talk.order(Configure)
    talk.server.clear()
    talk.owner_says(OwnerOutput(1, 1, 0, b"abc"), OwnerOutput(1, 1, 3, b"def"))
    assert talk.order(OwnerRelease) == OwnerRelease(1, 1, 3)  # and no more: the rest is not on the server's disk yet
    assert not talk.owner
    assert not talk.server


def test_output_that_is_owed_survives_forget() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerOutput(1, 1, 0, b"abc"), OwnerEnded((exited(1, stdout=3),)))
    talk.says(Ack(1), Forget((1,)))
    talk.order(OwnerForget)
    talk.server.clear()
    talk.cut()
    assert talk.rejoined(acked=1).held == ()
    assert talk.expect(Output) == Output(1, 1, 0, b"abc")
    talk.says(OutputAck(1, 1, 3))
    assert talk.order(OwnerRelease) == OwnerRelease(1, 1, 3)
    assert not talk.session.owed
    talk.nothing_else()


def test_a_full_window_stops_reading_from_the_owner_until_the_server_has_synced() -> None:
    talk = Dialogue(window=10).joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerOutput(1, 1, 0, b"12345"))
    assert not talk.session.paused
    talk.owner_says(OwnerOutput(1, 1, 5, b"67890"))
    assert talk.session.paused
    talk.says(OutputAck(1, 1, 5))
    assert not talk.session.paused


def test_stop_and_recall_reach_only_what_they_are_about() -> None:
    talk = Dialogue().joined()
    talk.says(start(1, 2, 3))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)), OwnerEnded((exited(3),)))
    talk.expect(Report)
    talk.says(Recall((1, 2, 3, 99)), Stop((1, 3, 99)))
    assert talk.order(OwnerRecall) == OwnerRecall((2,))
    assert talk.order(OwnerStop) == OwnerStop((1,))
    talk.nothing_else()


def test_an_agent_that_starts_again_finds_its_programs_and_tells_of_them() -> None:
    talk = Dialogue()
    talk.owner_says(
        owner_hello(OwnerWatching(1, 1, 500), OwnerWatching(2, 0, 0), OwnerWatching(3, 2, 0), incarnation="inc")
    )
    assert talk.order(Configure).incarnation == "inc"
    talk.dial()
    hello = talk.expect(Hello)
    assert hello.held == (Held(1, 1, 500), Held(2, 0), Held(3, 2))
    assert hello.incarnation == "inc"
    talk.welcome()
    talk.expect(Heartbeat)
    talk.owner_says(OwnerEnded((exited(3, 4),)))
    assert talk.expect(Report).ended == (exited(3, 4),)
    talk.owner_says(OwnerEnded((exited(3, 4),)))
    talk.nothing_else()


def test_work_of_another_incarnation_is_stopped_before_anything_new() -> None:
    talk = Dialogue()
    talk.owner_says(owner_hello(OwnerWatching(1, 1, 500), incarnation="old"))
    talk.order(Configure)
    talk.dial()
    assert talk.expect(Hello).incarnation == "old"
    talk.welcome(incarnation="new")
    talk.expect(Heartbeat)
    assert talk.flags == Out(reopen=True)
    talk.flags = Out()
    talk.says(start(1))  # the same number, another attempt
    talk.nothing_else()
    talk.take(talk.session.owner_gone(talk.now))
    talk.owner_says(owner_hello(OwnerWatching(1, 1, 600), incarnation="old"))
    assert talk.order(Configure).incarnation == "new"
    assert [run.attempt for run in talk.order(OwnerStart).runs] == [1]
    talk.cut()
    assert talk.rejoined(incarnation="new").held == (Held(1, 0),)
    talk.nothing_else()


def test_another_incarnation_without_anything_held_needs_no_new_connection() -> None:
    talk = Dialogue().joined(incarnation="one")
    talk.cut()
    talk.rejoined(incarnation="two")
    assert talk.order(Configure).incarnation == "two"
    talk.nothing_else()


def test_reports_of_another_incarnation_are_dropped_and_numbers_go_on() -> None:
    talk = Dialogue().joined(incarnation="one")
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerEnded((exited(1),)))
    assert talk.expect(Report).number == 1
    talk.cut()
    talk.rejoined(incarnation="two")
    assert talk.flags.reopen
    talk.flags = Out()
    talk.take(talk.session.owner_gone(talk.now))
    talk.owner_says(owner_hello(OwnerWatching(1, 2, 0), incarnation="one"))
    assert talk.order(Configure).incarnation == "two"
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerEnded((exited(1),)))
    assert talk.expect(Report).number == 2
    talk.nothing_else()


def test_heartbeats_keep_the_lease_from_when_they_were_sent() -> None:
    talk = Dialogue().joined(heartbeat=10_000, lease=30_000)
    talk.session.vitals = Vitals(500, 1 << 30, 1_250)
    talk.wait(10_000)
    assert talk.expect(Heartbeat) == Heartbeat(2, 500, 1 << 30, 1_250, 0, 0)
    talk.wait(5_000)
    talk.says(HeartbeatAck(2))  # sent 5 s ago, so the lease ends 25 s from now
    talk.cut()
    talk.wait(24_999)
    assert not talk.session.cut_off
    talk.wait(1)
    assert talk.session.cut_off
    talk.rejoined()
    assert not talk.session.cut_off
    talk.nothing_else()


def test_when_the_lease_ends_what_has_not_started_is_given_back_and_programs_go_on() -> None:
    talk = Dialogue().joined(lease=30_000)
    talk.says(start(1, 2))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.wait(20)
    talk.expect(Report)
    talk.cut()
    talk.wait(30_000)
    assert talk.order(OwnerRecall) == OwnerRecall((2,))
    talk.wait(100_000)
    talk.nothing_else()


def test_an_order_that_was_overslept_is_given_back() -> None:
    """It lay in the socket while the machine was suspended, and the lease ended before anybody could notice."""
    talk = Dialogue().joined(heartbeat=10_000, lease=30_000)
    talk.now += 40_000
    talk.says(start(1))
    assert [ending.outcome for ending in talk.expect(Report).ended] == [Outcome.REJECTED]
    talk.says(HeartbeatAck(talk.session.pulse.beat(talk.now)), start(2))
    assert talk.order(OwnerStart).runs[0].attempt == 2


def test_the_owner_is_told_how_long_the_lease_goes_on() -> None:
    talk = Dialogue().joined(heartbeat=10_000, lease=30_000)
    assert talk.leases == [30_000]
    talk.wait(10_000)
    talk.expect(Heartbeat)
    talk.wait(3_000)
    talk.says(HeartbeatAck(2))
    assert talk.leases == [30_000, 27_000]
    talk.take(talk.session.owner_gone(talk.now))
    talk.wait(7_000)
    talk.expect(Heartbeat)
    talk.says(HeartbeatAck(3))
    assert len(talk.leases) == 2
    talk.wait(4_000)
    talk.owner_says(owner_hello(incarnation="inc"))
    talk.order(Configure)
    assert talk.leases == [30_000, 27_000, 26_000]
    talk.nothing_else()


def test_a_link_whose_heartbeats_go_unanswered_is_dialled_again() -> None:
    talk = Dialogue().joined(heartbeat=10_000)
    talk.wait(29_999)
    assert [message.number for message in talk.server] == [2, 3]
    talk.server.clear()
    talk.nothing_else()
    talk.wait(1)
    assert talk.flags.redial
    talk.cut()
    talk.flags = Out()
    talk.wait(60_000)
    talk.nothing_else()


def test_draining_gives_back_what_waits_finishes_what_runs_and_says_goodbye() -> None:
    talk = Dialogue().joined()
    talk.says(start(1, 2))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.take(talk.session.drain(talk.now, "enough"))
    assert talk.expect(Bye) == Bye(False, "enough")
    assert talk.order(OwnerRecall) == OwnerRecall((2,))
    talk.says(start(3))  # it was on its way
    assert [(e.attempt, e.outcome) for e in talk.expect(Report).ended] == [(3, Outcome.REJECTED)]
    talk.owner_says(OwnerEnded((exited(2),)), OwnerEnded((exited(1),)))
    talk.expect(Report)
    talk.says(Ack(2), Forget((2, 3)))
    assert talk.order(OwnerForget) == OwnerForget((2,))
    assert not talk.session.finished
    talk.says(Forget((1,)))
    assert talk.order(OwnerForget) == OwnerForget((1,))
    assert talk.order(OwnerShutdown) == OwnerShutdown()
    assert talk.expect(Bye) == Bye(True)
    assert talk.session.finished
    talk.nothing_else()


def test_draining_goes_on_over_a_reconnect() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.cut()
    talk.take(talk.session.drain(talk.now))
    assert not talk.session.finished
    assert talk.rejoined().draining
    talk.owner_says(OwnerEnded((exited(1),)))
    assert talk.expect(Report).number == 1
    talk.nothing_else()


def test_an_idle_agent_without_a_server_has_drained_at_once() -> None:
    talk = Dialogue()
    talk.owner_says(owner_hello())
    talk.order(Configure)
    talk.take(talk.session.drain(talk.now))
    assert talk.session.finished
    talk.order(OwnerShutdown)
    talk.nothing_else()


def test_forget_of_a_running_attempt_stops_it_in_silence() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)), OwnerOutput(1, 1, 0, b"a"))
    talk.server.clear()
    talk.says(Forget((1,)))
    assert talk.order(OwnerRelease) == OwnerRelease(1, 1, 1)
    assert talk.order(OwnerStop) == OwnerStop((1,))
    talk.owner_says(OwnerOutput(1, 1, 1, b"bc"), OwnerEnded((exited(1, 143),)))
    assert talk.order(OwnerRelease) == OwnerRelease(1, 1, 3)
    assert talk.order(OwnerForget) == OwnerForget((1,))
    assert not talk.session.owed
    talk.wait(1_000)
    talk.nothing_else()


def test_orders_wait_for_an_owner_that_is_away() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.wait(20)
    talk.expect(Report)
    talk.take(talk.session.owner_gone(talk.now))
    talk.says(start(2), Stop((1,)))
    talk.nothing_else()
    talk.owner_says(owner_hello(OwnerWatching(1, 1, 20), incarnation="inc"))
    talk.order(Configure)
    assert [run.attempt for run in talk.order(OwnerStart).runs] == [2]
    assert talk.order(OwnerStop) == OwnerStop((1,))
    talk.nothing_else()


def test_what_the_owner_never_got_is_given_back() -> None:
    talk = Dialogue().joined()
    talk.says(start(1, 2))
    talk.order(OwnerStart)
    talk.owner_says(OwnerStarted((1,)))
    talk.take(talk.session.owner_gone(talk.now))
    talk.owner_says(owner_hello(incarnation="inc"))
    talk.order(Configure)
    ended = talk.expect(Report).ended
    assert [(e.attempt, e.outcome) for e in ended] == [(1, Outcome.LOST), (2, Outcome.REJECTED)]
    talk.says(Ack(1), Forget((1, 2)))
    assert not talk.session.owed
    talk.nothing_else()


def test_another_owner_means_another_hello() -> None:
    talk = Dialogue().joined()
    talk.says(start(1))
    talk.order(OwnerStart)
    talk.take(talk.session.owner_gone(talk.now))
    talk.owner_says(owner_hello(nonce="n2"))
    talk.order(Configure)
    assert talk.flags == Out(redial=True)
    talk.flags = Out()
    talk.cut()
    talk.dial()
    hello = talk.expect(Hello)
    assert (hello.boot, hello.held) == ("boot:n2", ())
    talk.nothing_else()


def test_results_come_before_the_start_and_go_with_the_link() -> None:
    talk = Dialogue().joined()
    talk.says(Files(1, 2, (("split", b"x"),)), start(5, job=1, task=2))
    assert talk.files.pop() == WriteResults("/r/1-2", (("split", b"x"),))
    assert talk.order(OwnerStart).results == "/r/1-2"
    talk.owner_says(OwnerEnded((exited(5),)))
    talk.expect(Report)
    talk.says(Ack(1), Forget((5,)))
    talk.order(OwnerForget)
    talk.nothing_else()
    talk.says(start(6, job=1, task=2))  # a retry: the server does not send the files again over this link
    assert talk.order(OwnerStart).results == "/r/1-2"
    talk.owner_says(OwnerEnded((exited(6),)))
    talk.expect(Report)
    talk.says(Ack(2), Forget((6,)))
    talk.order(OwnerForget)
    talk.cut()
    assert talk.files.pop() == DropResults("/r/1-2")
    talk.nothing_else()


def test_results_that_are_in_use_stay_when_the_link_goes() -> None:
    talk = Dialogue().joined()
    talk.says(Files(1, 2, (("split", b"x"),)), start(5, job=1, task=2))
    talk.files.clear()
    talk.order(OwnerStart)
    talk.cut()
    talk.nothing_else()


def test_a_start_whose_results_could_not_be_written_is_given_back() -> None:
    talk = Dialogue().joined()
    talk.says(start(5, 6))
    order = talk.order(OwnerStart)
    talk.take(talk.session.unable(order, "no space left", talk.now))
    ended = talk.expect(Report).ended
    assert [(e.attempt, e.outcome, e.reason) for e in ended] == [
        (5, Outcome.REJECTED, "no space left"),
        (6, Outcome.REJECTED, "no space left"),
    ]
    talk.nothing_else()


def test_refusals() -> None:
    talk = Dialogue()
    talk.owner_says(owner_hello())
    talk.order(Configure)
    talk.dial()
    talk.expect(Hello)
    talk.says(Refused("too many at once", retry=700))
    assert talk.flags == Out(redial=True, retry=700)
    talk.flags = Out()
    talk.cut()
    talk.dial()
    talk.expect(Hello)
    talk.says(Refused("the agent is too old"))
    assert talk.flags == Out(refused="the agent is too old")


@pytest.mark.parametrize("message", [Ack(1), start(1), Forget((1,)), HeartbeatAck(1)])
def test_orders_before_welcome_break_the_protocol(message: object) -> None:
    talk = Dialogue()
    talk.owner_says(owner_hello())
    talk.order(Configure)
    talk.dial()
    talk.expect(Hello)
    talk.says(message)
    assert talk.flags == Out(redial=True)
    talk.flags = Out()
    talk.nothing_else()


def test_a_version_that_this_agent_does_not_speak_is_final() -> None:
    talk = Dialogue()
    talk.owner_says(owner_hello())
    talk.dial()
    talk.says(Welcome(99, "inc", 7, 0, 10_000, 300_000, "9"))
    assert "protocol 99" in talk.flags.refused


def test_every_message_has_a_handler() -> None:
    from typing import get_args

    from styx.agent import on_owner, on_server
    from styx.protocol.messages import ServerMessage
    from styx.protocol.owner import OwnerToAgent

    assert set(on_server.HANDLERS) == set(get_args(ServerMessage))
    assert set(on_owner.HANDLERS) == set(get_args(OwnerToAgent))
    assert Session(PROFILE).state is LinkState.DOWN
