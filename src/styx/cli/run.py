"""`styx run`: submit, follow, and exit as the program did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.jobs import job_options, spec_from

if TYPE_CHECKING:
    from styx.core.spec import JobSpec
    from styx.protocol.http import Created
    from styx.protocol.verbs import Verbs

EMBEDDED = "no server: running embedded, in this process; programs end with it"


@click.command(
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    short_help="Run a command or a file.",
)
@job_options
@click.option("-d", "--detach", is_flag=True, help="Print the id and return at once; needs a server.")
@click.option("--key", metavar="KEY", default="", help="The same key with the same job submits it once only.")
@click.option("-y", "--yes", is_flag=True, help="Agree to what is brought up for it and costs money, without asking.")
@format_option
@server_option
@click.argument("words", metavar="COMMAND [ARG]... | FILE.yaml", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(app: App, /, words: tuple[str, ...], detach: bool, key: str, yes: bool, **options: Any) -> int:
    """Run a command, or the DAG of tasks in a task file, follow its output, and exit with its exit code.

    The first word that is no option begins the command; `--` may stand before it. Without a server it runs here, in this
    process. Ctrl-C cancels the job and waits for its end; a second one leaves at once. When machines would be brought up for it that
    cost money, they are shown first, and nothing is spent before you agree.

    \b
    styx run echo hello
    styx run --cpus 2 --memory 4GB -- python train.py --epochs 3
    styx run -d wordcount.yaml
    """
    from styx.cli.agreeing import Priced, agree
    from styx.protocol.secrets import gathered

    spec = spec_from(words, options)
    secrets = gathered(spec) if spec.secrets else {}
    try:
        return app.run(_run(app, spec, secrets, detach, key, yes))
    except Priced as priced:
        agree(priced.plan, spec.budget)
    return app.run(_run(app, spec, secrets, detach, key, True))


async def _run(app: App, spec: JobSpec, secrets: dict[str, str], detach: bool, key: str, agreed: bool) -> int:
    from styx.cli.agreeing import price
    from styx.cli.emit import note
    from styx.cli.places import server
    from styx.errors import Unreachable

    if app.address():
        async with server(app) as verbs:
            if not agreed:
                await price(verbs, spec)
            created = await verbs.submit_spec(spec, key=key, secrets=secrets)
            if created.again:
                note("this key had been used before; this is the job of that time")
            if detach:
                _detached(app, created)
                return 0
            return await _follow(app, verbs, spec, created, embedded=False)
    if detach:
        raise Unreachable(
            "-d leaves the job to a server, and none is named or running here",
            hint="start one with `styx up`, or name one with --server or STYX_SERVER_URL",
        )
    from styx.cli.embedded import drop_older, opened, remember, seal

    note(EMBEDDED)
    async with opened(app.home) as (plane, folder):
        created = await plane.submit_spec(spec, key=key, secrets=secrets)
        remember(app.home, folder, created.job_id)
        code = await _follow(app, plane, spec, created, embedded=True)
        await seal(plane, folder, created.job_id)
    drop_older(app.home, app.settings.keep / 1_000)
    return code


async def _follow(app: App, verbs: Verbs, spec: JobSpec, created: Created, *, embedded: bool) -> int:
    from styx.cli.following import Following

    return await Following(app, verbs, spec, created, embedded=embedded).run()


def _detached(app: App, created: Created) -> None:
    from styx.cli.emit import emit
    from styx.cli.words import short, visible

    identifier = created.task_id or created.job_id

    def text() -> str:
        kind = "task" if created.task_id else "job"
        name = short(identifier)
        return f"{kind} {name} ({visible(created.name)}) is accepted; styx logs -f {name}"

    emit(app, created, [identifier], text)
