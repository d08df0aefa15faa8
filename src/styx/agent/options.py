"""What `styx-agent` is told on its command line and through the environment, checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path

import msgspec

from styx.agent.deadman import SHUTDOWN, Limits
from styx.agent.preemption import CLOUDS, cloud_of
from styx.config.settings import load
from styx.core.units import byte_count, milliseconds, thousandths
from styx.errors import UsageError

__all__ = ["Options", "read"]

_DESCRIPTION = """\
Run tasks on this machine for a Styx server. The agent dials the server and goes on trying until it answers."""

_EPILOG = """\
environment: STYX_SERVER_URL, STYX_TOKEN, STYX_CA, STYX_HOME, STYX_AGENT_ID, STYX_LOG_LEVEL (debug, info, warning, error).

SIGTERM or SIGINT (Ctrl-C): the agent takes nothing new, waits for the programs that run, and goes. A second one: it goes
now; the programs go on without it, and the agent that is started next on this machine finds them."""


class Options(msgspec.Struct, frozen=True):
    server: str
    token: Callable[[], str]
    home: Path
    agent: str = ""  # an id from outside
    name: str = ""
    cpus: int = 0  # thousandths; 0: as found
    memory: int = 0  # bytes; 0: as found
    labels: tuple[tuple[str, str], ...] = ()
    no_work: bool = False
    log_level: str = "INFO"
    ca: str = ""  # a file with the certificates that the server's may be signed by
    deadman: Limits | None = None
    preemption: str = ""  # the cloud whose notice is looked for


def read(argv: Sequence[str] | None, environ: MutableMapping[str, str], version: str) -> Options:
    """The options; raises UsageError and SpecError, and SystemExit for --help and --version. STYX_TOKEN is taken out of `environ`, so
    that no task inherits it."""
    parser = argparse.ArgumentParser(
        prog="styx-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--server", metavar="URL", help="the server, such as http://127.0.0.1:8080 (STYX_SERVER_URL)")
    parser.add_argument("--token-file", metavar="FILE", help="holds the token (else STYX_TOKEN, else STYX_HOME/token)")
    parser.add_argument("--ca", metavar="FILE", help="certificates to believe besides the system's (STYX_CA)")
    parser.add_argument("--cpus", metavar="N", help="CPUs to give to tasks (all)")
    parser.add_argument("--memory", metavar="SIZE", help="memory to give to tasks, such as 8GB (all)")
    parser.add_argument("--name", help="the name people see (this machine's)")
    parser.add_argument("--label", metavar="K=V", action="append", default=[], help="may be given several times")
    parser.add_argument("--no-work", action="store_true", help="report success without starting anything (benchmarks)")
    parser.add_argument("--home", metavar="DIR", help="where the agent keeps its identity (STYX_HOME)")
    machine = parser.add_argument_group(
        "a machine that was brought up for a server", "It ends itself when it hears from none; see docs/guarantees.md."
    )
    machine.add_argument("--end-machine-after-idle", metavar="TIME", help="without a word of a server, with no program")
    machine.add_argument("--end-machine-after-busy", metavar="TIME", help="the same while programs run (24 times that)")
    machine.add_argument("--end-command", metavar="SH", default=SHUTDOWN, help=f"what ends the machine ({SHUTDOWN})")
    machine.add_argument(
        "--contact-file", metavar="FILE", default="", help="where to note when a server was last heard"
    )
    machine.add_argument(
        "--watch-preemption",
        choices=CLOUDS,
        default="",
        help="whose notice to look for (that of labels provider and spot)",
    )
    parser.add_argument("--version", action="version", version=f"styx-agent {version}")
    given = parser.parse_args(argv)
    settings = load(environ)
    home = Path(given.home).expanduser().absolute() if given.home else settings.home
    labels = _labels(given.label)
    return Options(
        server=given.server or settings.server_url or f"http://127.0.0.1:{settings.server_port}",
        token=_token(given.token_file, environ.pop("STYX_TOKEN", ""), home),
        home=home,
        agent=settings.agent_id,
        name=given.name or "",
        cpus=_number("--cpus", thousandths, given.cpus),
        memory=_number("--memory", byte_count, given.memory),
        labels=labels,
        no_work=given.no_work,
        log_level=settings.log_level.upper(),
        ca=given.ca or settings.ca,
        deadman=_limits(given),
        preemption=cloud_of(given.watch_preemption, dict(labels)),
    )


def _token(file: str | None, given: str, home: Path) -> Callable[[], str]:
    """Where the token comes from. A file is read at each call: the server on this host may not have made it yet."""
    if not file and given:
        return lambda: given
    path = Path(file) if file else home / "token"

    def read_token() -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    if file:
        try:
            path.read_bytes()
        except OSError as error:
            raise UsageError(f"--token-file {file}: {error.strerror or error}") from error
    return read_token


def _number(option: str, parse: Callable[[object], int], given: str | None) -> int:
    if given is None:
        return 0
    try:
        number = parse(given)
    except ValueError as error:
        raise UsageError(f"{option} must be {error}") from error
    if number <= 0:
        raise UsageError(f"{option} must be above 0, got {given!r}")
    return number


def _limits(given: argparse.Namespace) -> Limits | None:
    idle = _number("--end-machine-after-idle", milliseconds, given.end_machine_after_idle)
    busy = _number("--end-machine-after-busy", milliseconds, given.end_machine_after_busy)
    if not idle and not busy:
        return None
    if not idle:
        raise UsageError("--end-machine-after-busy needs --end-machine-after-idle", hint="give both")
    return Limits(idle, busy or 24 * idle, given.end_command, given.contact_file)


def _labels(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    labels: dict[str, str] = {}
    for label in given:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise UsageError(f"--label must be KEY=VALUE, got {label!r}")
        labels[key] = value
    return tuple(sorted(labels.items()))
