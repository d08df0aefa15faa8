"""The log: one line an event, with fields, to stderr.

    log = get("links")
    log.warning("agent lost", agent=name, held=12)

Everything goes through the standard library's logging, below the logger `styx`, so an embedding program decides by itself what
becomes of it; `configure` is for Styx's own programs. It writes lines for people to a terminal and JSON elsewhere. structlog,
which renders them, is imported there and not before.

Secrets do not belong into log calls. Those that slip in are struck out: values that were named to `hide`, and fields whose name
says what they are.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from types import ModuleType
from typing import Any, TextIO

from styx.errors import UsageError

__all__ = ["Log", "configure", "get", "hide", "strike"]

STRUCK = "[hidden]"

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SECRET_NAMES = re.compile(
    r"(^|_)(tokens?|secrets?|passwords?|authorization|cookie|api_?key|credentials?)$", re.IGNORECASE
)
_SHORTEST = 8  # characters: shorter values would strike out innocent words

_hidden: set[str] = set()


def hide(secret: str) -> None:
    """From now on this value is struck out wherever it shows up in the log. Very short ones cannot be."""
    if len(secret) >= _SHORTEST:
        _hidden.add(secret)


def strike(text: str) -> str:
    """The text without the secrets in it."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, STRUCK)
    return text


class Log:
    """A logger whose calls take an event, in the past tense, and fields."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: Mapping[str, object]) -> None:
        self._logger = logger
        self._fields = fields

    def bind(self, **fields: object) -> Log:
        """The same with these fields in every line."""
        return Log(self._logger, {**self._fields, **fields})

    def debug(self, event: str, /, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def crash(self, event: str, error: BaseException, /, **fields: object) -> None:
        """A bug: with the stack trace."""
        self._write(logging.ERROR, event, fields, error)

    def _write(self, level: int, event: str, fields: Mapping[str, object], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, _Line(event, {**self._fields, **fields}), exc_info=error)


class _Line:
    """An event and its fields as one log message; text for whoever does not know better."""

    __slots__ = ("event", "fields")

    def __init__(self, event: str, fields: Mapping[str, object]) -> None:
        self.event = strike(event)
        self.fields = {name: _safe(name, value) for name, value in fields.items()}

    def __str__(self) -> str:
        return " ".join([self.event, *(f"{name}={value}" for name, value in self.fields.items())])


def get(name: str) -> Log:
    """The logger `styx.NAME`."""
    return Log(logging.getLogger(f"styx.{name}"), {})


def configure(level: str = "", *, stream: TextIO | None = None, json: bool | None = None) -> None:
    """Set up logging for a program of Styx: to `stream` (stderr), from `level` (STYX_LOG_LEVEL, else info) on. Other libraries
    are heard from warning on. May be called again. Raises UsageError for a level that there is not."""
    structlog = _structlog()
    named = (level or os.environ.get("STYX_LOG_LEVEL", "") or "info").lower()
    if named not in _LEVELS:
        raise UsageError(f"{named!r} is no log level", hint=f"STYX_LOG_LEVEL is one of {', '.join(_LEVELS)}")
    target = stream or sys.stderr
    as_json = not target.isatty() if json is None else json
    renderer: Any
    if as_json:
        renderer = structlog.processors.JSONRenderer(default=str)
    else:
        colors = target.isatty() and not os.environ.get("NO_COLOR")
        renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                _unpack,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _strike_all,
                renderer,
            ]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("styx").setLevel(_LEVELS[named])


def _structlog() -> ModuleType:
    """structlog without rich, which it imports where it is installed, for stack traces in colour: 4 MB that a server never uses."""
    without = "rich" not in sys.modules
    if without:
        sys.modules["rich"] = None  # type: ignore[assignment]  # importing it raises ImportError, which structlog expects
    try:
        import structlog
    finally:
        if without:
            del sys.modules["rich"]
    return structlog


def _unpack(logger: logging.Logger, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The fields of a line, and the part of Styx it comes from."""
    record: logging.LogRecord = event["_record"]
    line = record.msg
    if isinstance(line, _Line):
        event["event"] = line.event
        event.update({name: value for name, value in line.fields.items() if name not in {"event", "_record"}})
    event["logger"] = record.name
    if record.exc_info:
        event["exc_info"] = record.exc_info
    return event


def _strike_all(logger: logging.Logger, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = strike(value)
    return event


def _safe(name: str, value: object) -> object:
    if _SECRET_NAMES.search(name) and value:
        return STRUCK
    if isinstance(value, bool | int | float) or value is None:
        return value
    return strike(value if isinstance(value, str) else str(value))
