"""Settings: each is declared once, with its variable, its place in `styx.toml`, and how it is read.

A variable goes over the file, the file over the default; what the command line says goes over all of them and is no
business of this module. Everything that is wrong, in the file and in the environment, is said at once.

    # styx.toml
    log_level = "info"
    [server]
    url = "http://127.0.0.1:8080"     # where the command line and agents go
    ca = "ca.pem"                     # certificates they believe besides the system's
    port = 8080                       # where a server listens
    heartbeat = "10s"
    [agent]
    id = "..."
    [places]
    public_url = "https://styx.example.org"   # where machines that are brought up find this server
    max_instances = 10
    hourly_cap = "20 USD"
    [providers.aws]                   # a provider is used when its table is there; each reads its own
    regions = ["us-east-1"]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from styx.config.home import config_file, home
from styx.core.suggest import did_you_mean, one_of
from styx.core.units import byte_count, got, micros, milliseconds
from styx.errors import Problem, SpecError

__all__ = ["Settings", "home", "load"]

DAY = 86_400_000
_LEVELS = ("debug", "info", "warning", "error")


class Settings(msgspec.Struct, frozen=True):
    """Durations are milliseconds, sizes bytes. An empty text means: not set."""

    home: Path
    server_url: str = ""
    server_host: str = "127.0.0.1"
    server_port: int = 8080
    agent_id: str = ""
    log_level: str = "info"
    heartbeat: int = 10_000
    suspect: int = 45_000
    lost: int = 300_000
    max_live: int = 2_000_000
    keep: int = 30 * DAY
    keep_bytes: int = 10_000_000_000
    ca: str = ""
    public_url: str = ""
    public_ca: str = ""
    max_instances: int = 10
    hourly_cap: int = 0  # micros an hour; 0: no limit
    idle_timeout: int = 300_000
    providers: dict[str, dict[str, Any]] = {}


class _Setting(NamedTuple):
    field: str
    variable: str
    place: tuple[str, ...]  # in styx.toml
    read: Callable[[object], Any]  # raises ValueError with what reads on from "must be"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"printable text, got {got(value)}")
    return value.strip()


def _level(value: object) -> str:
    if not isinstance(value, str) or value.lower() not in _LEVELS:
        raise ValueError(f"{one_of(_LEVELS)}, got {got(value)}")
    return value.lower()


def _whole(value: object, low: int, high: int) -> int:
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() and len(value) < 19 else value
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise ValueError(f"a whole number from {low:,} to {high:,}, got {got(value)}")
    return number


def _port(value: object) -> int:
    return _whole(value, 0, 65_535)


def _count(value: object) -> int:
    return _whole(value, 1, 1 << 40)


def _instances(value: object) -> int:
    return _whole(value, 0, 100_000)


def _url(value: object) -> str:
    text = _text(value)
    if not text.startswith(("http://", "https://")) or " " in text:
        raise ValueError(f"a URL such as https://styx.example.org, got {got(value)}")
    return text.rstrip("/")


def _duration(value: object) -> int:
    result = milliseconds(value)
    if result < 10:
        raise ValueError(f"at least 10ms, got {got(value)}")
    return result


_SETTINGS = (
    _Setting("server_url", "STYX_SERVER_URL", ("server", "url"), _text),
    _Setting("ca", "STYX_CA", ("server", "ca"), _text),
    _Setting("server_host", "STYX_SERVER_HOST", ("server", "host"), _text),
    _Setting("server_port", "STYX_SERVER_PORT", ("server", "port"), _port),
    _Setting("heartbeat", "STYX_HEARTBEAT", ("server", "heartbeat"), _duration),
    _Setting("suspect", "STYX_SUSPECT", ("server", "suspect"), _duration),
    _Setting("lost", "STYX_LOST", ("server", "lost"), _duration),
    _Setting("max_live", "STYX_MAX_LIVE", ("server", "max_live"), _count),
    _Setting("keep", "STYX_KEEP", ("server", "keep"), _duration),
    _Setting("keep_bytes", "STYX_KEEP_BYTES", ("server", "keep_bytes"), byte_count),
    _Setting("agent_id", "STYX_AGENT_ID", ("agent", "id"), _text),
    _Setting("public_url", "STYX_PUBLIC_URL", ("places", "public_url"), _url),
    _Setting("public_ca", "STYX_PUBLIC_CA", ("places", "public_ca"), _text),
    _Setting("max_instances", "STYX_MAX_INSTANCES", ("places", "max_instances"), _instances),
    _Setting("hourly_cap", "STYX_HOURLY_CAP", ("places", "hourly_cap"), micros),
    _Setting("idle_timeout", "STYX_IDLE_TIMEOUT", ("places", "idle_timeout"), _duration),
    _Setting("log_level", "STYX_LOG_LEVEL", ("log_level",), _level),
)


def load(environ: Mapping[str, str] | None = None, *, file: Path | None = None) -> Settings:
    """What is set now. Raises SpecError with every problem; a file that STYX_CONFIG names has to be there."""
    env = os.environ if environ is None else environ
    path = config_file(env) if file is None else file
    document, problems = _document(path, required=file is not None or bool(env.get("STYX_CONFIG", "").strip()))
    values: dict[str, Any] = {}
    for setting in _SETTINGS:
        for where, value in _given(setting, document, env):
            try:
                values[setting.field] = setting.read(value)
            except ValueError as error:
                problems.append(Problem(where, f"{where.removeprefix('$.')} must be {error}"))
    providers = document.get("providers", {})
    if isinstance(providers, dict) and all(isinstance(table, dict) for table in providers.values()):
        values["providers"] = providers
    else:
        problems.append(Problem("$.providers", "providers must be tables", "write each as [providers.NAME]"))
    settings = Settings(home(env), **values)
    if not problems and not settings.heartbeat * 2 <= settings.suspect < settings.lost:
        problems.append(
            Problem(
                "$.server",
                f"an agent is suspect after {settings.suspect} ms and lost after {settings.lost} ms without a sign of life, "
                f"and it sends one every {settings.heartbeat} ms: these do not go together",
                "suspect must be at least twice the heartbeat, and lost longer than suspect",
            )
        )
    if problems:
        raise SpecError(problems, source=str(path) if document else "")
    return settings


def _given(setting: _Setting, document: dict[str, Any], env: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """The values that were given, the weightier last."""
    value: Any = document
    for step in setting.place:
        value = value.get(step) if isinstance(value, dict) else None
    if value is not None:
        yield f"$.{'.'.join(setting.place)}", value
    if env.get(setting.variable, ""):
        yield setting.variable, env[setting.variable]


def _document(path: Path, *, required: bool) -> tuple[dict[str, Any], list[Problem]]:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}, [Problem("$", f"{path} does not exist", "set STYX_CONFIG to a file that does")] if required else []
    except OSError as error:
        return {}, [Problem("$", f"{path} cannot be read: {error.strerror or error}")]
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        return {}, [Problem("$", f"{path} is not UTF-8 text")]
    except tomllib.TOMLDecodeError as error:
        return {}, [Problem("$", f"{path} is not TOML: {error}")]
    return document, list(_unknown(document))


def _unknown(document: dict[str, Any]) -> Iterator[Problem]:
    places = [setting.place for setting in _SETTINGS]
    tops = sorted({place[0] for place in places} | {"providers"})
    for key, value in document.items():
        inner = [place[1] for place in places if place[0] == key and len(place) > 1]
        if key not in tops:
            yield Problem(
                f"$.{key}", f"unknown setting {key!r}", did_you_mean(key, tops) or f"it may be {one_of(tops)}"
            )
        elif inner and not isinstance(value, dict):
            yield Problem(f"$.{key}", f"{key} must be a table", f"write it as [{key}]")
        elif inner:
            for name in value:
                if name not in inner:
                    hint = did_you_mean(name, inner) or f"it may be {one_of(inner)}"
                    yield Problem(f"$.{key}.{name}", f"unknown setting {name!r} in [{key}]", hint)
