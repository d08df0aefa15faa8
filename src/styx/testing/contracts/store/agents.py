"""What comes from agents: the nodes that they are, the output of programs, and which of their reports are dealt with."""

from __future__ import annotations

from pathlib import Path

from styx.core.records import NodeLinked, NodeLost, NodeShifted, NodeSuspected, Record
from styx.core.resources import Resources
from styx.core.states import NodeState
from styx.store.base import Batch, OutputRow, ReportMark, Store
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import AT, loaded

__all__ = ["Agents"]


class Agents(Scenes):
    def test_nodes(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            room = Resources(4_000, 8 << 30, 0, (("T4", 1),))

            def link(node: int, at: int, boot: str = "b") -> NodeLinked:
                return NodeLinked(node, f"agent-{node}", "näme", "host", boot, "0.1", room, (("k", "v"),), at)

            told: list[Record] = [
                link(1, AT),
                link(2, AT),
                NodeSuspected(2, AT + 1),
                NodeLost(2, AT + 2),
                link(3, AT),
                NodeShifted(3, NodeState.DRAINING, AT + 3),
                link(4, AT),
                NodeSuspected(4, AT + 4),
            ]
            await store.commit(epoch, Batch(told))
            assert await loaded(store) == told
            rows = await store.nodes()
            assert [(row.node, row.state, row.seen_at) for row in rows] == [
                (1, "UP", AT),
                (2, "LOST", AT + 1),
                (3, "DRAINING", AT + 3),
                (4, "UP", AT + 4),
            ]
            assert (rows[0].agent, rows[0].name, rows[0].host, rows[0].version) == ("agent-1", "näme", "host", "0.1")
            await store.commit(epoch, Batch([link(2, AT + 5, "c"), NodeShifted(3, NodeState.GONE, AT + 6)]))
            rows = await store.nodes()
            assert [(row.node, row.state) for row in rows] == [(1, "UP"), (2, "UP"), (3, "GONE"), (4, "UP")]
            assert (await loaded(store))[1] == link(2, AT + 5, "c")
            assert await store.serials() == (0, 0, 4)

        self.run(tmp_path, scene)

    def test_outputs(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            pieces = tuple(OutputRow(1, 1, 10 * k, 10, 1 + k // 3, 100 * k) for k in range(5))
            other = OutputRow(1, 2, 0, 7, 2, 900)
            await store.commit(epoch, Batch([], outputs=(*pieces, other, OutputRow(2, 1, 0, 1, 1, 0))))
            assert await store.outputs(1, 1, 0) == list(pieces)
            assert await store.outputs(1, 1, 0, 2) == list(pieces[:2])
            assert await store.outputs(1, 1, 9) == list(pieces)
            assert await store.outputs(1, 1, 10) == list(pieces[1:])
            assert await store.outputs(1, 1, 25) == list(pieces[2:])
            assert await store.outputs(1, 1, 50) == []
            assert await store.outputs(1, 2, 0) == [other]
            assert await store.last_segment() == 2
            again = OutputRow(1, 2, 0, 9, 5, 0)
            await store.commit(epoch, Batch([], outputs=(again,)))
            assert await store.outputs(1, 2, 0) == [again]
            assert await store.last_segment() == 5

        self.run(tmp_path, scene)

    def test_marks_keep_the_latest_session_of_an_agent(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await store.commit(epoch, Batch([], marks=(ReportMark("a", "s", 3), ReportMark("b", "s", 1))))
            await store.commit(epoch, Batch([], marks=(ReportMark("a", "s", 4), ReportMark("b", "t", 1))))
            await store.commit(epoch, Batch([], marks=(ReportMark("a", "s", 5), ReportMark("a", "s", 6))))
            marks = sorted(await store.marks(), key=lambda mark: mark.agent)
            assert marks == [ReportMark("a", "s", 6), ReportMark("b", "t", 1)]

        self.run(tmp_path, scene)
