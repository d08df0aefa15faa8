"""`styx plan`: check a job, and show its DAG by levels, where each task would go, and what that would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit
from styx.cli.jobs import job_options, spec_from

if TYPE_CHECKING:
    from styx.core.spec import JobSpec
    from styx.protocol.http import PlannedTask, PlanView


SHOWN = 10  # offers for each thing that is asked for
SHOWN_BESIDE = 3  # the same where a connected place takes the tasks


@click.command(context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS]")
@job_options
@click.option("--all", "everything", is_flag=True, help="Show every offer that fits, not only the best.")
@format_option
@server_option
@click.argument("words", metavar="COMMAND [ARG]... | FILE.yaml", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(app: App, /, words: tuple[str, ...], everything: bool, **options: Any) -> int:
    """Check a command or a task file without running it, and show where its tasks would go: places that are connected, and of what
    clouds offer all that fits, by price, with what can be used from here and why not the rest. Works without a server. Exits with 78
    when it is wrong, 75 when nothing fits one of its tasks."""
    return app.run(_plan(app, spec_from(words, options), everything))


async def _plan(app: App, spec: JobSpec, everything: bool) -> int:
    from styx.cli.planes import looking

    async with looking(app, agent=True) as verbs:
        plan = await verbs.plan(spec, offers=0 if everything else SHOWN)
    emit(app, plan, (task.name for task in plan.tasks), lambda: plan_text(plan, everything=everything))
    return 0 if plan.fits else 75


def plan_text(plan: PlanView, *, everything: bool = False) -> str:
    from styx.cli.prices import age_text, ranked_text
    from styx.cli.table import Column, table
    from styx.cli.words import colourful, count, paint, visible

    on = colourful()
    lines = [
        f"{paint(visible(plan.name), 'bold', on)}: {count(len(plan.tasks), 'task')}, {count(plan.elements, 'element')}, "
        f"{count(plan.levels, 'level')}; places: {visible(plan.source)}"
    ]
    rows = [_row(task) for task in sorted(plan.tasks, key=lambda task: task.level)]
    columns = (
        Column("LEVEL", right=True), Column("TASK"), Column("ELEMENTS", right=True), Column("ASKS FOR", folds=True),
        Column("NEEDS", folds=True), Column("WOULD GO TO", folds=True),
    )  # fmt: skip
    lines += ["", table(columns, rows).rstrip()]
    if not plan.fits:
        lines.append("")
        lines += [f"{visible(task.name)}: {visible(task.reason)}" for task in plan.tasks if task.reason]
    for ranked in plan.rankings:
        few = SHOWN_BESIDE if ranked.free and not everything else 0
        lines += ["", ranked_text(ranked, most=few).rstrip()]
    if plan.rankings:
        lines += ["", age_text(plan.prices_at, plan.prices_source)]
    return "\n".join(lines) + "\n"


def _row(task: PlannedTask) -> list[str]:
    from styx.cli.show import resources_text

    places = ", ".join(task.places[:3]) + (f" and {len(task.places) - 3} more" if len(task.places) > 3 else "")
    needs = ", ".join(task.needs[:4]) + (f" and {len(task.needs) - 4} more" if len(task.needs) > 4 else "")
    where = places or ("nowhere" if task.reason else "no connected place")
    return [str(task.level), task.name, str(task.array or 1), resources_text(task.resources), needs or "-", where]
