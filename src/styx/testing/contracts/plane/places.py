"""Where work would go and what that costs: plans, agents, machines, offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from styx.core.offers import Spot
from styx.core.resources import Resources
from styx.core.spec import TaskSpec
from styx.errors import NoFit, NotFound, UsageError
from styx.protocol.places import OffersQuery
from styx.protocol.verbs import Verbs
from styx.testing.contracts.plane.scenes import Scenes, job, sh

__all__ = ["Places"]


class Places(Scenes):
    def test_plans_and_places(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            await plane.wait((await plane.submit_spec(job(sh("a", "true")))).job_id)  # an agent is there
            agents = await plane.agents()
            assert [agent.state for agent in agents] == ["UP"]
            assert agents[0].capacity.cpus >= 2
            planned = await plane.plan(job(sh("a", "true"), sh("b", "true", "a", array=4), sh("c", "true", "b")))
            assert [(task.name, task.level, task.array) for task in planned.tasks] == [
                ("a", 0, 0),
                ("b", 1, 4),
                ("c", 2, 0),
            ]
            assert (planned.elements, planned.levels, planned.fits) == (6, 3, True)
            assert planned.tasks[0].places == [agents[0].name]
            huge = TaskSpec("huge", ("true",), resources=type(TaskSpec("", ()).resources)(cpus=100_000_000))
            with pytest.raises(NoFit) as caught:
                await plane.submit_spec(job(huge))
            assert "huge" in caught.value.problems[0].message
            assert len((await plane.jobs())[0]) == 1

        self._run(tmp_path, body)

    def test_places_are_told_of_where_there_is_no_provider(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            nodes = await plane.nodes()
            agents = await plane.agents()
            assert [(node.name, node.kind, node.state) for node in nodes] == [(agents[0].name, "agent", "UP")]
            assert await plane.instances() == await plane.instances(gone=True) == []
            assert await plane.down(everything=True, orphans=True) == 0
            with pytest.raises(NotFound):
                await plane.down(["7"])
            with pytest.raises(UsageError):
                await plane.down()
            assert all(not one.usable and one.problems for one in await plane.check())
            offers = await plane.offers(OffersQuery(cpus="4", limit=3))
            assert offers.usable == []
            assert offers.found >= len(offers.items) == 3
            assert [offer.price for offer in offers.items] == sorted(offer.price for offer in offers.items)
            assert all(offer.cpus >= 4 and offer.why for offer in offers.items)
            with pytest.raises(UsageError):
                await plane.offers(OffersQuery(memory="lots"))
            made = await plane.submit_spec(job(sh("a", "true")))
            cost = await plane.cost(made.job_id)
            assert (cost.cost, cost.machines, [one.job_id for one in cost.jobs]) == (0, [], [made.job_id])
            assert (await plane.cost()).cost == 0
            with pytest.raises(NotFound):
                await plane.cost("0190cafe")

        self._run(tmp_path, body)

    def test_a_plan_ranks_the_offers(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            gpus = Resources(1_000, 0, 0, (("A100", 8),))
            spec = job(
                TaskSpec("gpu", ("true",), resources=gpus, labels=(("spot", "true"),), spot=Spot.PREFER),
                sh("here", "true"),
            )
            plan = await plane.plan(spec, offers=2)
            assert plan.fits
            assert [task.places for task in plan.tasks] == [[], [(await plane.agents())[0].name]]
            gpu, here = plan.rankings
            assert (gpu.tasks, gpu.free, here.tasks, here.free) == (["gpu"], False, ["here"], True)
            assert len(gpu.offers) == 2 <= gpu.fitting <= gpu.known == here.known
            assert gpu.fitting + sum(gpu.lost.values()) == gpu.known
            assert all(offer.spot and offer.why and not offer.chosen for offer in gpu.offers)
            assert (await plane.plan(spec, usable=True)).rankings == []
            none = TaskSpec("none", ("true",), resources=Resources(1_000, 0, 0, (("A100", 1_000),)))
            plan = await plane.plan(job(none))
            assert not plan.fits
            assert "no catalogued offer fits" in plan.tasks[0].reason

        self._run(tmp_path, body)
