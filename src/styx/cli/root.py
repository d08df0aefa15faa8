"""`styx`: the verbs by name, with their one-line help here, so that a list of them costs no import."""

from __future__ import annotations

import click

from styx.cli.app import App

__all__ = ["VERBS", "root"]

VERBS = {
    "run": "Run a command or a task file.",
    "plan": "Check a job and show its DAG and where it would go.",
    "status": "Show jobs, a job, a task, or an element of an array.",
    "logs": "Print what programs wrote.",
    "wait": "Wait until a job has ended; exits with its exit code.",
    "cancel": "Stop a job, a task, or an element of an array.",
    "retry": "Run again what did not succeed.",
    "why": "Say why a task is where it is, and what would change it.",
    "agents": "Show the agents that are connected.",
    "nodes": "Show the places where tasks run; add machines of your own by SSH.",
    "instances": "Show the machines that were brought up, and what the clouds say of them.",
    "down": "End machines that were brought up.",
    "offers": "Show what could be brought up, and for how much.",
    "check": "Say which providers can be used, as whom, and what is missing.",
    "cost": "Show what a job, or everything, has cost.",
    "stats": "Show figures about the server.",
    "token": "Make, list and revoke access tokens.",
    "backup": "Copy the database while everything goes on.",
    "gc": "Drop what ended long ago.",
    "bootstrap": "What machines that are brought up run their agents from.",
    "up": "Start a server and a local agent, here and now.",
    "server": "Start a server.",
    "agent": "Start an agent.",
    "version": "Show the version of Styx, and the server's.",
    "completion": "Print completion for a shell.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"styx.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            from styx.core.suggest import did_you_mean
            from styx.errors import UsageError

            hint = did_you_mean(name, VERBS) or f"to run a program: styx run -- {' '.join(args)[:60]}"
            raise UsageError(f"there is no verb {name[:60]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import styx

        click.echo(f"styx {styx.__version__}")
        ctx.exit()


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB [ARGS]...",
    epilog="A job or task is named by its id, the last digits of it, @latest, or JOB/TASK. `styx VERB --help` says more.",
)
@click.option("--server", metavar="URL", help="The server to talk to (STYX_SERVER_URL).")
@click.option("--ca", metavar="FILE", help="Certificates to believe besides the system's (STYX_CA).")
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@click.pass_context
def root(ctx: click.Context, /, server: str | None, ca: str | None) -> None:
    """Run commands and DAGs of tasks on any machine, durably.

    \b
    styx run echo hello            run a command, here
    styx run wordcount.yaml        run a DAG of tasks from a file
    styx up                        start a server with a local agent
    """
    if server:
        ctx.ensure_object(App).server = server
    if ca:
        ctx.ensure_object(App).ca = ca
