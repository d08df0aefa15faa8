"""Leases, the clock and the timer, all in virtual time."""

from __future__ import annotations

import pytest

from styx.core.events import AgentLost, AgentSuspected
from styx.runtime.clock import BootClock, VirtualClock
from styx.runtime.handshakes import Handshakes
from styx.runtime.leases import Leases
from styx.runtime.timers import Timer


def ticking(leases: Leases, start: int, end: int) -> list[AgentSuspected | AgentLost]:
    """Tick once a second from `start` to `end`, in seconds."""
    return [event for second in range(start, end + 1) for event in leases.tick(second * 1_000)]


def test_silence_is_suspect_at_45_s_and_lost_at_300_s() -> None:
    leases = Leases()
    leases.beat(7, 0)
    assert ticking(leases, 0, 44) == []
    assert ticking(leases, 45, 45) == [AgentSuspected(7)]
    assert ticking(leases, 46, 299) == []
    assert ticking(leases, 300, 300) == [AgentLost(7)]
    assert ticking(leases, 301, 1_000) == []
    assert 7 not in leases


def test_a_heartbeat_renews_and_clears_the_suspicion() -> None:
    leases = Leases()
    leases.beat(1, 0)
    assert ticking(leases, 0, 50) == [AgentSuspected(1)]
    leases.beat(1, 50_000)
    assert ticking(leases, 51, 94) == []
    assert ticking(leases, 95, 95) == [AgentSuspected(1)]


def test_a_stalled_server_extends_every_lease() -> None:
    leases = Leases()
    leases.beat(1, 0)
    assert ticking(leases, 0, 10) == []
    # The process stood still for 400 s: longer than the whole lease, and nobody is to blame but us.
    assert leases.tick(410_000) == []
    assert ticking(leases, 411, 443) == []
    assert ticking(leases, 444, 444) == [AgentSuspected(1)]


def test_a_stall_never_moves_a_lease_into_the_future() -> None:
    leases = Leases()
    leases.tick(0)
    leases.beat(1, 99_000)  # heard in the last moment of a stall of 100 s
    leases.tick(100_000)
    assert leases.silence(1, 100_000) == 0


def test_a_node_of_before_the_restart_is_suspect_already_and_gets_a_whole_lease() -> None:
    leases = Leases()
    leases.watch(3, 0)
    assert ticking(leases, 0, 299) == []
    assert ticking(leases, 300, 300) == [AgentLost(3)]


def test_a_lease_must_be_suspect_before_it_is_lost() -> None:
    with pytest.raises(ValueError, match="suspect"):
        Leases(suspect=10, lost=10)


def test_time_is_anchored_to_the_last_record() -> None:
    ahead = 4_000_000_000_000  # the wall clock was set back since the last record was written
    clock = BootClock(ahead)
    assert ahead <= clock.now() < ahead + 60_000
    assert BootClock().now() < ahead


def test_virtual_time_calls_back_in_order_and_within() -> None:
    clock = VirtualClock(0)
    seen: list[tuple[str, int]] = []

    def first() -> None:
        seen.append(("first", clock.now()))
        clock.call_later(10, lambda: seen.append(("nested", clock.now())))

    clock.call_later(20, lambda: seen.append(("last", clock.now())))
    clock.call_later(5, first)
    clock.call_later(7, lambda: seen.append(("never", clock.now()))).cancel()
    clock.advance(30)
    assert seen == [("first", 5), ("nested", 15), ("last", 20)]
    assert clock.now() == 30


def test_the_timer_moves_and_is_called_off() -> None:
    clock = VirtualClock(0)
    fired: list[int] = []
    timer = Timer(clock, lambda: fired.append(clock.now()))
    timer.set(50)
    timer.set(20)
    timer.set(20)
    clock.advance(60)
    assert fired == [20]
    timer.set(100)
    timer.set(None)
    clock.advance(100)
    assert fired == [20]
    timer.set(clock.now() - 5)
    clock.advance(0)
    assert fired == [20, 160]


def test_handshakes_are_limited_and_told_when_to_come_back() -> None:
    gate = Handshakes(rate=10, burst=2)
    assert [gate.admit(0), gate.admit(0)] == [0, 0]
    wait = gate.admit(0)
    assert 0 < wait <= 101
    assert gate.admit(wait) == 0
    assert gate.admit(wait) > 0


def test_a_herd_that_is_refused_comes_back_one_after_the_other() -> None:
    gate = Handshakes(rate=10, burst=2)
    waits = sorted(wait for wait in (gate.admit(0) for _ in range(102)) if wait)
    assert len(waits) == 100
    assert [gate.admit(wait) for wait in waits] == [0] * 100
    assert waits[-1] <= 10_001
    assert max(gate.admit(waits[-1]) for _ in range(10_000)) <= 60_001


def test_a_stall_before_the_first_tick_is_none_of_the_agents_fault() -> None:
    for begin in (Leases.beat, Leases.watch):
        leases = Leases()
        begin(leases, 7, 500)
        assert AgentLost(7) not in leases.tick(400_000)
        assert leases.silence(7, 400_000) <= 1_000
