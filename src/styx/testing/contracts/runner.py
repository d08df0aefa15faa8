"""What every Runner must do, whatever it runs things on.

    class TestPods(RunnerContract):
        def world(self, folder):             # an async context manager of a RunnerWorld
            ...

A world is a place that a runner can be opened on, again and again, as after restarts of the server, and that can be told to go wrong. The
suite asks for four kinds of work only, and everything that it waits for is told to the sink. What a place declares that it cannot promise
(`Promises.output`, `exclusive`, `interrupts`, `Runner.adopts`) is not asked of it, but what holds instead is: a gap that is marked, an
attempt that is told as lost and never as what nobody knows, one that was stopped and ends when it comes to its end, and none found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from styx.core.states import Outcome
from styx.providers.base import Refused, Runner, RunOrder, Unsure
from styx.testing.contracts.runner_world import GAP, LINES, WHOLE, Fault, RunnerWorld, Told, Work

__all__ = ["LINES", "WHOLE", "Fault", "RunnerContract", "RunnerWorld", "Told", "Work"]

LIMIT = 100.0  # seconds; a test that takes as long hangs


class RunnerContract:
    def world(self, folder: Path) -> AbstractAsyncContextManager[RunnerWorld]:
        raise NotImplementedError

    def _run(self, folder: Path, body: Callable[[RunnerWorld], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT), self.world(folder) as it:
                await body(it)

        asyncio.run(main())

    async def _start(self, runner: Runner, order: RunOrder) -> None:
        """As the host does it: again until there is an answer."""
        while True:
            try:
                await runner.start(order)
            except Unsure:
                await asyncio.sleep(0.01)
            except Refused as error:
                await asyncio.sleep(max(0.01, error.retry_after))
            else:
                return

    def test_it_says_what_it_is(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            runner, found = await it.begin(Told())
            labels = dict(runner.labels)
            assert len(labels) == len(runner.labels)
            assert labels["provider"]
            assert labels["runs"] in {"image", "function"}
            assert runner.capacity.cpus > 0
            assert runner.at_once >= 0
            assert found == []

        self._run(tmp_path, body)

    def test_work_that_succeeds_and_work_that_fails(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            await runner.start(it.work(1, Work.SUCCEEDS))
            await runner.start(it.work(2, Work.FAILS))
            first, second = await told.end(1), await told.end(2)
            assert (first.outcome, first.code, first.result) == (Outcome.EXITED, 0, it.result)
            assert b"hello\n" in told.text[1, it.prints]
            assert second.outcome == Outcome.EXITED
            assert second.code != 0
            for end in (first, second):
                told_of = [len(told.text.get((end.attempt, stream), b"")) for stream in (1, 2)]
                assert [end.stdout, end.stderr] == told_of, "an end says how much output came before it"
            assert told.running == {1, 2}
            for attempt in (1, 2):
                await runner.forget(attempt)
            await it.until_clean()

        self._run(tmp_path, body)

    def test_many_at_once_each_with_its_own(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            kinds = {number: (Work.SUCCEEDS, Work.FAILS)[number % 2] for number in range(1, 9)}
            await asyncio.gather(*(runner.start(it.work(number, kind)) for number, kind in kinds.items()))
            for number, kind in kinds.items():
                end = await told.end(number)
                assert end.outcome == Outcome.EXITED
                assert (end.code == 0) == (kind is Work.SUCCEEDS)
                assert await it.runs(number) == 1
                await runner.forget(number)
            assert told.running == kinds.keys()
            await it.until_clean()

        self._run(tmp_path, body)

    def test_output_is_whole_or_its_gap_is_marked(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            await runner.start(it.work(1, Work.WRITES))
            assert (await told.end(1)).code == 0
            text = told.text[1, it.prints]
            if it.promises.output:
                assert text == WHOLE
            else:
                assert WHOLE in text or GAP in text
                assert WHOLE.splitlines()[-1] in text, "what is missing is not the end"

        self._run(tmp_path, body)

    def test_an_order_repeated_changes_nothing(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            order = it.work(1, Work.SUCCEEDS)
            await runner.start(order)
            await runner.start(order)
            await told.end(1)
            await runner.start(order)
            assert await it.runs(1) == 1

        self._run(tmp_path, body)

    def test_whatever_goes_wrong_at_a_start_it_runs_once(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            for attempt, fault in enumerate(it.faults, 1):
                it.fault(fault)
                await self._start(runner, it.work(attempt, Work.SUCCEEDS))
                end = await told.end(attempt)
                if it.promises.exclusive or fault is Fault.BUSY or end.outcome == Outcome.EXITED:
                    assert (end.outcome, end.code) == (Outcome.EXITED, 0), fault
                    assert await it.runs(attempt) == 1, fault
                else:  # nobody can tell, and that is what is told
                    assert end.outcome == Outcome.LOST, fault
                    assert await it.runs(attempt) <= 1, fault
                await runner.forget(attempt)
            await it.until_clean()

        self._run(tmp_path, body)

    def test_work_that_goes_on_is_stopped(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            await runner.start(it.work(1, Work.GOES_ON))
            await told.until(lambda: 1 in told.running)
            await runner.stop(1, 1.0)
            await runner.stop(1, 1.0)
            if not it.promises.interrupts:
                await told.until(lambda: bool(told.reasons.get(1)))  # it says so
                assert not told.ends
                await it.let_go(1)
            assert (await told.end(1)).outcome == Outcome.KILLED
            await runner.forget(1)
            await it.until_clean()

        self._run(tmp_path, body)

    def test_work_that_is_stopped_before_it_is_known_to_run(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            await runner.start(it.work(1, Work.GOES_ON))
            await runner.stop(1, 1.0)
            if not it.promises.interrupts:
                await it.let_go(1)
            assert (await told.end(1)).outcome == Outcome.KILLED
            assert await it.runs(1) <= 1
            await runner.forget(1)
            await it.until_clean()

        self._run(tmp_path, body)

    def test_what_it_does_not_have_is_no_error(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            await runner.stop(7, 1.0)
            await runner.forget(7)
            await runner.start(it.work(1, Work.SUCCEEDS))
            end = await told.end(1)
            await runner.stop(1, 1.0)
            assert told.ends == {1: end}
            await runner.forget(1)
            await runner.forget(1)
            await runner.stop(1, 1.0)
            await it.until_clean()

        self._run(tmp_path, body)

    def test_after_a_restart_it_finds_what_it_had_or_nothing(self, tmp_path: Path) -> None:
        async def body(it: RunnerWorld) -> None:
            told = Told()
            runner, _ = await it.begin(told)
            await runner.start(it.work(1, Work.GOES_ON))
            await runner.start(it.work(2, Work.SUCCEEDS))
            await told.until(lambda: 1 in told.running)
            before = await told.end(2)
            again = Told()
            runner, found = await it.begin(again)
            told.open = False
            if not runner.adopts:
                assert found == []
                await it.let_go(1)
                await runner.start(it.work(3, Work.SUCCEEDS))
                assert (await again.end(3)).code == 0
                assert again.ends.keys() | again.running == {3}, "it knows nothing of what was lost"
                return
            assert [(one.attempt, one.state) for one in sorted(found, key=lambda one: one.attempt)] == [(1, 1), (2, 2)]
            after = await again.end(2)
            assert (after.outcome, after.code, after.result) == (before.outcome, before.code, before.result)
            assert again.text.get((2, 1)) == told.text.get((2, 1))
            await self._start(runner, it.work(1, Work.GOES_ON))  # it has it
            await it.let_go(1)
            assert (await again.end(1)).outcome == Outcome.EXITED
            assert await it.runs(1) == 1
            for attempt in (1, 2):
                await runner.forget(attempt)
            await it.until_clean()
            last = Told()
            _, found = await it.begin(last)
            assert found == []

        self._run(tmp_path, body)
