"""Variables over the file over the defaults, and everything wrong at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from styx.config.home import config_file, home
from styx.config.settings import load
from styx.errors import SpecError


def write(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "styx.toml").write_text(text)
    return {"STYX_CONFIG": str(tmp_path / "styx.toml"), "STYX_HOME": str(tmp_path)}


def test_folders_follow_xdg() -> None:
    assert home({"HOME": "/h"}) == Path("/h/.local/state/styx")
    assert home({"HOME": "/h", "XDG_STATE_HOME": "/s"}) == Path("/s/styx")
    assert home({"HOME": "/h", "XDG_STATE_HOME": "relative"}) == Path("/h/.local/state/styx")
    assert home({"STYX_HOME": "/x/../y"}) == Path("/y")
    assert config_file({"HOME": "/h"}) == Path("/h/.config/styx/styx.toml")


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = load({"STYX_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    assert (settings.server_host, settings.server_port, settings.server_url) == ("127.0.0.1", 8080, "")
    assert (settings.heartbeat, settings.suspect, settings.lost) == (10_000, 45_000, 300_000)


def test_a_variable_goes_over_the_file(tmp_path: Path) -> None:
    env = write(tmp_path, 'log_level = "debug"\n[server]\nport = 9000\nhost = "::1"\nkeep = "7d"\n[agent]\nid = "a"\n')
    settings = load(
        env | {"STYX_SERVER_PORT": "9001", "STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "1s", "STYX_LOST": "4s"}
    )
    assert (settings.server_port, settings.server_host, settings.log_level) == (9001, "::1", "debug")
    assert (settings.heartbeat, settings.suspect, settings.lost) == (200, 1_000, 4_000)
    assert (settings.keep, settings.agent_id) == (7 * 86_400_000, "a")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    env = write(tmp_path, "agent = 1\nlog_levle = 2\n[server]\nprot = 1\nport = 70000\nlost = -1\n")
    with pytest.raises(SpecError) as caught:
        load(env | {"STYX_SERVER_PORT": "http", "STYX_LOG_LEVEL": "loud"})
    found = {problem.path: problem for problem in caught.value.problems}
    assert set(found) == {
        "$.agent", "$.log_levle", "$.server.prot", "$.server.port", "$.server.lost", "STYX_SERVER_PORT", "STYX_LOG_LEVEL",
    }  # fmt: skip
    assert found["$.log_levle"].hint == "did you mean 'log_level'?"
    assert found["$.server.prot"].hint == "did you mean 'port'?"
    assert "'http'" in found["STYX_SERVER_PORT"].message


@pytest.mark.parametrize("text", ["= 1", "[server", "\udcff"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str) -> None:
    env = write(tmp_path, "")
    (tmp_path / "styx.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SpecError, match=r"styx\.toml is not"):
        load(env)


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="does not exist"):
        load({"STYX_CONFIG": str(tmp_path / "none.toml")})


def test_durations_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(SpecError, match="do not go together"):
        load({"STYX_SUSPECT": "1s", "HOME": "/nowhere"})
