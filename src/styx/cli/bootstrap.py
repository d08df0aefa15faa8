"""`styx bootstrap fetch`: archives for machines whose Python or architecture is not the server's."""

from __future__ import annotations

import click

from styx.cli.app import App, format_option


@click.group()
def command() -> None:
    """What machines that are brought up run their agents from. For machines like the server's nothing need be done."""


@command.command("fetch")
@click.option("--python", metavar="3.N", required=True, help="The Python of the machines, such as 3.12.")
@click.option("--arch", metavar="NAME", required=True, help="Their architecture: x86_64 or arm64.")
@format_option
@click.pass_obj
def fetch(app: App, python: str, arch: str) -> None:
    """Fetch the libraries of the agent for another Python or architecture, from the index that pip uses, into STYX_HOME. To be run
    on the server's host; the server finds it by itself.

    \b
    styx bootstrap fetch --python 3.12 --arch arm64
    """
    from styx.cli.emit import emit
    from styx.providers.bootstrap.bundle import arch_of, build, tag_of
    from styx.providers.bootstrap.fetch import fetch as fetched

    tag, name = tag_of(python), arch_of(arch)
    folder = app.home / "bootstrap"
    made = build(folder, tag, name, fetched(folder, tag, name))
    document = {"python_tag": tag, "arch": name, "sha256": made.sha256, "path": str(made.path), "bytes": made.size}
    emit(app, document, [made.sha256], lambda: f"machines with Python {python} on {name} can be brought up now")
