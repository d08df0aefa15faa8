"""`styx plan`: check a job, and show its DAG by levels and where each task would go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit
from styx.cli.jobs import job_options, spec_from

if TYPE_CHECKING:
    from styx.core.spec import JobSpec
    from styx.protocol.http import PlannedTask, PlanView


@click.command(context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS]")
@job_options
@format_option
@server_option
@click.argument("words", metavar="COMMAND [ARG]... | FILE.yaml", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(app: App, /, words: tuple[str, ...], **options: Any) -> int:
    """Check a command or a task file without running it. Exits with 78 when it is wrong, 75 when no known place could ever hold
    one of its tasks."""
    return app.run(_plan(app, spec_from(words, options)))


async def _plan(app: App, spec: JobSpec) -> int:
    if app.address():
        from styx.cli.places import server

        async with server(app) as verbs:
            plan = await verbs.plan(spec)
    else:
        from styx.compose import ControlPlane

        async with ControlPlane.open() as plane:
            plan = await plane.plan(spec)
    emit(app, plan, (task.name for task in plan.tasks), lambda: plan_text(plan))
    return 0 if plan.fits else 75


def plan_text(plan: PlanView) -> str:
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
    return "\n".join(lines) + "\n"


def _row(task: PlannedTask) -> list[str]:
    from styx.cli.show import resources_text

    places = ", ".join(task.places[:3]) + (f" and {len(task.places) - 3} more" if len(task.places) > 3 else "")
    needs = ", ".join(task.needs[:4]) + (f" and {len(task.needs) - 4} more" if len(task.needs) > 4 else "")
    where = places or ("nowhere" if task.reason else "wherever an agent connects")
    return [str(task.level), task.name, str(task.array or 1), resources_text(task.resources), needs or "-", where]
