"""From the words and options of `run` and `plan` to a JobSpec."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from styx.core.suggest import one_of

if TYPE_CHECKING:
    from styx.core.spec import JobSpec
    from styx.errors import Problem

__all__ = ["job_options", "spec_from"]

F = TypeVar("F", bound=Callable[..., Any])

# Options of one command, by the name of their key in a document.
_RESOURCES = (
    "cpus", "memory", "disk", "accelerators", "labels", "spot", "provider", "region", "zone", "instance_type", "max_hourly_cost",
)  # fmt: skip
_OF_TASK = (*_RESOURCES, "env", "secrets", "array", "retries", "timeout", "workdir", "image")
_SPOT = {"true": True, "prefer": "prefer"}
_OPTION_OF_KEY = {"accelerators": "gpus", "labels": "label", "secrets": "secret"}

_OPTIONS = (
    click.option("--name", metavar="NAME", help="The name of the job."),
    click.option("--cpus", metavar="N", help="CPUs it needs, such as 2, 0.5 or 500m. [default: 1]"),
    click.option("--memory", metavar="SIZE", help="Memory it needs, such as 512MB or 2GiB."),
    click.option("--disk", metavar="SIZE", help="Disk it needs."),
    click.option("--gpus", "--accelerators", "accelerators", metavar="NAME:N", help="Accelerators, such as A100:1."),
    click.option("--label", "labels", metavar="K=V", multiple=True, help="Only where an agent carries this label."),
    click.option("--spot", "spot", flag_value="true", type=str, help="Only on a machine the cloud may take back."),
    click.option("--prefer-spot", "spot", flag_value="prefer", type=str, help="On such a machine if there is one."),
    click.option("--provider", metavar="NAME", help="Only with this provider."),
    click.option("--region", metavar="NAME", help="Only in this region."),
    click.option("--zone", metavar="NAME", help="Only in this zone."),
    click.option("--instance-type", metavar="NAME", help="Only on this type of machine."),
    click.option("--max-hourly-cost", metavar="AMOUNT", help="At most so much for a machine an hour, such as 1.50."),
    click.option("--image", metavar="IMAGE", help="In a container of this image, where containers run."),
    click.option("--env", "-e", metavar="K=V", multiple=True, help="A variable; K alone passes yours on."),
    click.option(
        "--secret",
        "secrets",
        metavar="NAME[=VAR]",
        multiple=True,
        help="A secret variable, from yours (of that name, or VAR).",
    ),
    click.option("--array", metavar="N", type=int, help="So many elements, told apart by $STYX_ARRAY_INDEX."),
    click.option("--retries", metavar="N", type=int, help="Try again so often when it fails."),
    click.option("--timeout", metavar="TIME", help="Stop an attempt after this time, such as 10m."),
    click.option("--workdir", metavar="DIR", help="Where it runs. [default: this folder, on this host]"),
    click.option("--priority", metavar="NAME", help="low, normal, high or critical."),
    click.option("--budget", metavar="AMOUNT", help="Stop the job before its machines cost more, such as '20 USD'."),
    click.option("--deadline", metavar="TIME", help="Give the whole job this long from its acceptance."),
)


def job_options(function: F) -> F:
    """The options that describe a job."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def spec_from(words: tuple[str, ...], options: dict[str, Any]) -> JobSpec:
    """A task file when the first word is one, else a command. Raises SpecError, and UsageError for options."""
    from styx.protocol.host import host_id
    from styx.protocol.taskfile import is_taskfile

    if not words:
        raise click.UsageError("there is nothing to run: give a command or a task file")
    given = {name: value for name, value in options.items() if value not in {None, ()}}
    host, cwd = host_id(), _folder()
    if is_taskfile(words[0]):
        return _from_file(words, given, host, cwd)
    if len(words) == 1 and words[0].endswith((".yaml", ".yml")) and not os.access(words[0], os.X_OK):
        raise click.UsageError(f"{words[0]} does not exist")
    return _from_command(words, given, host, cwd)


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise click.UsageError("the folder you are in was removed; go to another one") from None


def _from_file(words: tuple[str, ...], given: dict[str, Any], host: str, cwd: str) -> JobSpec:
    from pathlib import Path

    from msgspec.structs import replace

    from styx.protocol.taskfile import read_taskfile

    if len(words) > 1:
        raise click.UsageError(f"a task file takes no arguments, got {words[1]!r}; options go before the file")
    inside = [f"--{_OPTION_OF_KEY.get(name, name).replace('_', '-')}" for name in _OF_TASK if name in given]
    if inside:
        raise click.UsageError(f"{one_of(inside)} describes one command; write it into {words[0]}".replace("'", ""))
    spec = read_taskfile(Path(words[0]), host=host, cwd=cwd)
    if not given:
        return spec
    # What is left is of the job; it is read by the same rules by way of a document that has nothing else.
    over = _checked({"run": "true"} | given, host, cwd)
    if "name" in given:
        spec = replace(spec, name=over.name)
        if spec.single:
            spec = replace(spec, tasks=(replace(spec.tasks[0], name=over.name),))
    if "priority" in given:
        spec = replace(spec, priority=over.priority)
    if "budget" in given:
        spec = replace(spec, budget=over.budget)
    return replace(spec, deadline=over.deadline) if "deadline" in given else spec


def _from_command(words: tuple[str, ...], given: dict[str, Any], host: str, cwd: str) -> JobSpec:
    resources = {name: given.pop(name) for name in _RESOURCES if name in given}
    document = given | {"command": list(words)}
    if resources:
        if "spot" in resources:
            resources["spot"] = _SPOT[resources["spot"]]
        if "labels" in resources:
            resources["labels"] = _pairs("--label", resources["labels"])
        document["resources"] = resources
    if "env" in document:
        document["env"] = _environment(document["env"])
    if "secrets" in document:
        document["secrets"] = _secrets(document["secrets"])
    return _checked(document, host, cwd)


def _checked(document: dict[str, Any], host: str, cwd: str) -> JobSpec:
    from styx.errors import SpecError, UsageError
    from styx.protocol.document import read_task

    try:
        return read_task(document, host=host, cwd=cwd)
    except SpecError as error:
        lines = [_said(problem) for problem in error.problems]
        raise UsageError("\n      ".join(lines), hint=error.problems[0].hint) from None


def _said(problem: Problem) -> str:
    """A problem of a document, in the words of the command line."""
    message = problem.message
    key = problem.path.removeprefix("$.").removeprefix("resources.").partition(".")[0].partition("[")[0]
    option = f"--{_OPTION_OF_KEY.get(key, key).replace('_', '-')}"
    return f"{option} {message.removeprefix(key).lstrip()}" if message.startswith(f"{key} must") else message


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{option} must be NAME=VALUE, got {word!r}")
        pairs[key] = value
    return pairs


def _environment(given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not key:
            raise click.UsageError(f"--env must be NAME=VALUE, got {word!r}")
        if not equals:
            if key not in os.environ:
                raise click.UsageError(f"--env {key}: there is no such variable here; write {key}=VALUE")
            value = os.environ[key]
        pairs[key] = value
    return pairs


def _secrets(given: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """NAME, or NAME=VARIABLE. What somebody wrote in place of a variable may be the secret itself, and is not repeated."""
    sources: dict[str, dict[str, str]] = {}
    for word in given:
        name, equals, variable = word.partition("=")
        if (equals and variable not in os.environ) or not name:
            raise click.UsageError(
                f"--secret {name[:60]} must name a variable of yours: --secret NAME or --secret NAME=VARIABLE; "
                "a value does not belong on a command line"
            )
        sources[name] = {"env": variable} if equals else {}
    return sources
