"""STYX_HOME: the one folder that a server, its agents and the command line share on a host.

DIR/styx.db ...        database and output of the server
DIR/token              the local user's token, 0600
DIR/key                what secrets are sealed with, 0600; in no backup
DIR/server.json        where the running server of this folder listens
DIR/agents/N           one folder an agent, locked while it runs
DIR/embedded/JOB       what `styx run` without a server leaves behind, to be looked at later
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["EMBEDDED", "config_file", "home"]

EMBEDDED = "embedded"


def home(environ: Mapping[str, str] | None = None) -> Path:
    """STYX_HOME, or the XDG state folder (on Windows the local application data); absolute. It may not exist yet."""
    env = os.environ if environ is None else environ
    given = env.get("STYX_HOME", "").strip()
    if given:
        return Path(os.path.abspath(os.path.expanduser(given)))
    if os.name == "nt" and env.get("LOCALAPPDATA"):
        return Path(env["LOCALAPPDATA"]) / "styx"
    return _xdg(env, "XDG_STATE_HOME", ".local/state") / "styx"


def config_file(environ: Mapping[str, str] | None = None) -> Path:
    """STYX_CONFIG, or `styx/styx.toml` in the XDG configuration folder. It need not exist."""
    env = os.environ if environ is None else environ
    given = env.get("STYX_CONFIG", "").strip()
    if given:
        return Path(os.path.abspath(os.path.expanduser(given)))
    if os.name == "nt" and env.get("APPDATA"):
        return Path(env["APPDATA"]) / "styx" / "styx.toml"
    return _xdg(env, "XDG_CONFIG_HOME", ".config") / "styx" / "styx.toml"


def _xdg(env: Mapping[str, str], variable: str, otherwise: str) -> Path:
    given = env.get(variable, "")
    # The XDG specification: a path that is not absolute is to be ignored.
    if os.path.isabs(given):
        return Path(given)
    return Path(env.get("HOME") or os.path.expanduser("~")) / otherwise
