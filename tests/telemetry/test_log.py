from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from styx.errors import UsageError
from styx.telemetry import log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("styx")
    before = (root.handlers[:], root.level, ours.level, set(log._hidden))
    yield
    root.handlers[:], level, our_level, hidden = before
    root.setLevel(level)
    ours.setLevel(our_level)
    log._hidden.clear()
    log._hidden.update(hidden)


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_where_no_person_looks() -> None:
    stream = io.StringIO()
    log.configure("debug", stream=stream)
    log.get("links").bind(agent="a1").warning("agent lost", held=12, name="x", level="field")
    (line,) = _lines(stream)
    assert line["event"] == "agent lost"
    assert line["agent"] == "a1"
    assert line["held"] == 12
    assert line["name"] == "x"
    assert line["logger"] == "styx.links"
    assert line["level"] == "warning"
    assert str(line["timestamp"]).endswith("Z")


def test_lines_for_people() -> None:
    stream = io.StringIO()
    log.configure("info", stream=stream, json=False)
    log.get("links").info("agent connected", agent="a1")
    assert "agent connected" in stream.getvalue()
    assert "agent=a1" in stream.getvalue()


def test_the_level_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYX_LOG_LEVEL", "ERROR")
    stream = io.StringIO()
    log.configure(stream=stream)
    log.get("x").warning("not shown")
    log.get("x").error("shown")
    assert [line["event"] for line in _lines(stream)] == ["shown"]


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(UsageError, match="'loud' is no log level") as caught:
        log.configure("loud")
    assert "warning" in caught.value.hint


def test_secrets_are_struck_out() -> None:
    stream = io.StringIO()
    log.configure("info", stream=stream)
    log.hide("sesame-open-now")
    try:
        raise ValueError("refused sesame-open-now")
    except ValueError as error:
        log.get("x").crash("died with sesame-open-now", error, token="abcdef", url="http://h/?t=sesame-open-now")
    assert "sesame-open-now" not in stream.getvalue()
    (line,) = _lines(stream)
    assert line["token"] == "[hidden]"
    assert line["event"] == "died with [hidden]"
    assert "ValueError: refused [hidden]" in str(line["exception"])


def test_other_libraries_are_heard_from_warning_on() -> None:
    stream = io.StringIO()
    log.configure("debug", stream=stream)
    logging.getLogger("other.library").info("chatter")
    logging.getLogger("other.library").warning("trouble with %s", "something")
    (line,) = _lines(stream)
    assert line["event"] == "trouble with something"
    assert line["logger"] == "other.library"


def test_an_embedding_program_sees_plain_messages(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="styx"):
        log.get("plane").info("job accepted", job="j1", password="abc")
    assert caplog.messages == ["job accepted job=j1 password=[hidden]"]


def test_logging_does_not_need_structlog_until_it_is_configured() -> None:
    script = (
        "import sys; from styx.telemetry import log; log.get('x').warning('hm', a=1); print('structlog' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
    assert out.stderr.strip() == "hm a=1"


def test_a_configured_program_holds_no_rich_and_may_still_import_it() -> None:
    program = (
        "import sys; from styx.telemetry import log; log.configure(); log.get('x').warning('hm');"
        "print([name for name in sys.modules if name.partition('.')[0] in {'rich', 'pygments'}]); import rich.table"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
