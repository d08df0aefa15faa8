"""Seeded faults: each a small patch to src/ that breaks a promise, and the ordinary tests that must notice.

A fault is (name, file, before, after, tests). `before` must stand exactly once in the file, so that a fault which no longer applies
is noticed. `tests` says where to look first, to save time; they are tests as everybody runs them, with nothing added.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FAULTS", "Fault"]


class Fault(NamedTuple):
    name: str
    file: str
    before: str
    after: str
    tests: str


FAULTS = (
    Fault(
        "an answer of another node is believed (the fence is ignored)",
        "core/on_attempt.py",
        "        attempt = held.get(ending.attempt)\n",
        "        attempt = turn.world.attempts.get(ending.attempt) or next(iter(turn.world.attempts.values()), None)\n",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "the last dependant is not counted down",
        "core/apply.py",
        "        for ordinal in task.dependants:\n            tasks[ordinal].unmet -= 1",
        "        for ordinal in task.dependants[:-1]:\n            tasks[ordinal].unmet -= 1",
        "tests/core/test_jobs.py",
    ),
    Fault(
        "a cancelled task that exits well counts as succeeded",
        "core/on_attempt.py",
        "    if attempt.cancelling:\n        state = TaskState.CANCELLED",
        "    if attempt.cancelling and code:\n        state = TaskState.CANCELLED",
        "tests/core/test_jobs.py",
    ),
    Fault(
        "a loss uses up a retry",
        "core/on_attempt.py",
        "        if lost <= spec.max_lost:",
        "        if lost <= spec.retries:",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "losses are forgiven for ever",
        "core/on_attempt.py",
        "        if lost <= spec.max_lost:",
        "        if lost:",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "one retry too many",
        "core/on_attempt.py",
        "        if failures <= spec.retries:",
        "        if failures <= spec.retries + 1:",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "a reboot loses nothing",
        "core/on_node.py",
        "    if rebooted:",
        "    if False:",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "work that is nobody's runs on",
        "core/on_node.py",
        "    stop += [serial for serial, state in there.items() if serial not in node.held and state != ENDED]\n",
        "",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "the brake on mass loss is gone",
        "core/on_node.py",
        "    if braked(turn, node):",
        "    if False:",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "an exclusive task does not wait for its silent node",
        "core/on_attempt.py",
        "TaskState.BACKOFF if silent and spec.exclusive else TaskState.READY",
        "TaskState.READY",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "the timer of an older backoff ends a newer one",
        "core/on_timer.py",
        " and (task.due or {}).get(index, 0) <= now",
        "",
        "tests/core/test_attempts.py",
    ),
    Fault(
        "small tasks overtake the head of a node's queue",
        "core/admission.py",
        "            return key if demand.fits(self.free) else None\n        return None",
        "            if demand.fits(self.free):\n                return key\n        return None",
        "tests/core/test_admission.py tests/agent/test_owner_admission.py tests/sim/test_walk.py",
    ),
    Fault(
        "a rebuilt world forgets the order of arrival",
        "core/admission.py",
        "        self.waiting = OrderedDict(sorted((self.admitted | self.waiting).items()))",
        "        self.waiting = OrderedDict(sorted((self.admitted | self.waiting).items(), reverse=True))",
        "tests/sim/test_walk.py",
    ),
    Fault(
        "a retry leaves its dependants believing",
        "core/apply.py",
        "                job.tasks[dependant].unmet += 1",
        "                job.tasks[dependant].unmet += 0",
        "tests/sim/test_walk.py tests/core",
    ),
    Fault(
        "priorities are turned round",
        "core/placement.py",
        "sorted(queues.active, reverse=True)",
        "sorted(queues.active)",
        "tests/core",
    ),
    Fault(
        "nothing is ever reserved, so large tasks starve",
        "core/reservation.py",
        "    if due <= turn.now:",
        "    if False:",
        "tests/core",
    ),
    Fault(
        "a reservation is ignored by those it is kept from",
        "core/fit.py",
        "    if node.reserved in {-1, shape.key}:",
        "    if node.reserved >= -1:",
        "tests/core",
    ),
    Fault(
        "a stalled server does not extend the leases",
        "runtime/leases.py",
        "            self._extend(gap - self.interval, at)",
        "            pass",
        "tests/runtime/test_leases.py",
    ),
    Fault(
        "a report that comes twice is dealt with twice",
        "runtime/links.py",
        "        if message.number <= link.seen:\n            return",
        "        if False:\n            return",
        "tests/runtime",
    ),
    Fault(
        "effects are performed before the commit",
        "runtime/loop.py",
        "        if turn.records or marks or outputs:\n            self._in_flight = True",
        "        await self._perform(turn.records, turn.effects)\n        if turn.records or marks or outputs:\n"
        "            self._in_flight = True",
        "tests/runtime",
    ),
    Fault(
        "callers are answered before the commit",
        "runtime/loop.py",
        "        if turn.records or marks or outputs:\n            self._in_flight = True",
        "        for entry in turn.entries:\n            if entry.answer is not None and not entry.answer.done():\n"
        "                entry.answer.set_result(entry.result)\n        if turn.records or marks or outputs:\n"
        "            self._in_flight = True",
        "tests/runtime",
    ),
    Fault(
        "the same key with another body is taken for the same",
        "runtime/submission.py",
        "    if row.digest != digest:",
        "    if False:",
        "tests/runtime tests/api/test_surface.py",
    ),
    Fault(
        "a commit is not synced",
        "store/link.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        "tests/store tests/power",
    ),
    Fault(
        "a copy keeps the incarnation of the original",
        "store/backup.py",
        '            made.execute(SQL["mark_copy"])\n',
        "",
        "tests/store",
    ),
    Fault(
        "an end that was not acknowledged is not told again",
        "agent/on_server.py",
        "    out.to_server += session.reports.again(now)\n",
        "",
        "tests/agent/test_session.py tests/agent/test_session_property.py",
    ),
    Fault(
        "an order that was overslept is obeyed",
        "agent/on_server.py",
        "    if session.pulse.over(now):",
        "    if False:",
        "tests/agent/test_session.py",
    ),
    Fault(
        "programs start although the lease is over",
        "agent/owner/supervisor.py",
        "        if self._leaving or self._cut_off:",
        "        if self._leaving:",
        "tests/agent/test_owner_exclusive.py",
    ),
    Fault(
        "work of another database goes on",
        "agent/owner/orders.py",
        "            supervisor.discard_all(now, at_once=True)\n",
        "",
        "tests/agent",
    ),
    Fault(
        "a process is signalled by its bare pid",
        "agent/owner/proc.py",
        "        if now is not None and now.start == process.start:",
        "        if now is not None:",
        "tests/agent/test_owner_signals.py",
    ),
    Fault(
        "what a program leaves running is left running",
        "agent/owner/supervisor.py",
        "            attempt.alone = not _group_exists(attempt.pid)",
        "            attempt.alone = True",
        "tests/agent/test_owner_kills.py",
    ),
    Fault(
        "an expired token still works",
        "api/auth.py",
        " and not 0 < row.expires_at <= self._clock() * 1_000",
        "",
        "tests/api tests/security",
    ),
    Fault(
        "one agent's token brings another agent",
        "runtime/links.py",
        "                refusal = await self._peers.refusal(peer, hello)\n",
        "                pass\n",
        "tests/security/test_tokens.py",
    ),
    Fault(
        "what is open outlives its token",
        "api/openings.py",
        "            if not self._open:\n",
        "            if True:\n",
        "tests/security/test_tokens.py",
    ),
    Fault(
        "an agent may write the output of another's attempt",
        "runtime/collector.py",
        "            return attempt.node.id == link.node",
        "            return True",
        "tests/security/test_fences.py",
    ),
    Fault(
        "a secret is shown in a result",
        "agent/owner/workshop.py",
        "                attempt.result = masked(attempt.result, ",
        "                masked(attempt.result, ",
        "tests/security/test_owner_secrets.py",
    ),
    Fault(
        "what was sealed for one job opens for another",
        "runtime/vault.py",
        'return b"styx job" + job.to_bytes(16, "big")',
        'return b""',
        "tests/security/test_secrets.py",
    ),
    Fault(
        "text that is no text is taken for a fault of the server's own",
        "protocol/codec.py",
        "    UnicodeDecodeError,\n",
        "",
        "tests/fuzz/test_hub.py tests/fuzz/test_owner_socket.py",
    ),
    Fault(
        "an owner takes numbers that it can never tell of",
        "protocol/messages.py",
        "    attempt: Count\n    index: Count",
        "    attempt: int\n    index: Count",
        "tests/fuzz/test_owner_socket.py",
    ),
    Fault(
        "a viewer may write",
        "api/auth.py",
        '    WRITE = frozenset({"admin", "user"})',
        '    WRITE = frozenset({"admin", "user", "viewer"})',
        "tests/api",
    ),
    Fault(
        "an intent does not say which job it is for",
        "core/scaling.py",
        "        turn.record(InstanceIntended(serial, token, offer, task.job.serial, turn.now, lifetime))\n        turn.effect(LaunchInstance(serial))",
        "        turn.effect(LaunchInstance(serial))\n        turn.record(InstanceIntended(serial, token, offer, 0, turn.now, lifetime))",
        "tests/core/test_instances.py tests/sim/test_clouds.py",
    ),
    Fault(
        "a refusal is believed although an earlier call is in doubt",
        "core/on_instance.py",
        "    about = 0 if instance.doubted else node.id",
        "    about = node.id",
        "tests/core/test_instances.py",
    ),
    Fault(
        "a machine is gone when one listing leaves it out",
        "core/on_instance.py",
        "    if absent >= _SEEN:",
        "    if absent:",
        "tests/core/test_instances.py",
    ),
    Fault(
        "an incomplete listing proves that a machine is gone",
        "core/on_instance.py",
        "        elif event.complete:\n            _missing",
        "        else:\n            _missing",
        "tests/core/test_instances.py",
    ),
    Fault(
        "a stranger is ended although it is another incarnation's",
        "core/on_instance.py",
        "        if machine.ended or not machine.ours or",
        "        if machine.ended or",
        "tests/core/test_instances.py",
    ),
    Fault(
        "a restart forgets that the cloud may have been asked",
        "core/engine.py",
        "                self.places.relaunch[node.id] = now\n",
        "",
        "tests/core/test_instances.py",
    ),
    Fault(
        "ordinary tasks are put on spot machines",
        "core/fit.py",
        "    return not node.taints or not node.taints.isdisjoint(labels)",
        "    return True",
        "tests/core/test_instances.py",
    ),
    Fault(
        "what is idle is paid by nobody",
        "core/instance.py",
        "        owed[self.job] = owed.get(self.job, 0) + idle\n",
        "",
        "tests/core/test_instances.py",
    ),
)
