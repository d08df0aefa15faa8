"""What a machine is started with: one constant POSIX shell script (`machine.sh`) and, in base64, the order of one machine.

The script is the same for cloud-init, for startup scripts, over SSH and in the tests. It finds a Python, fetches from the server the one
archive for that Python and architecture (`bundle` makes it), checks its hash, and starts `styx-agent` under a small loop that
starts it again when it dies. The order carries no secret but a join token that lets one agent in.

The dead-man's switch is in two places, because each may fail: in the agent, and in the loop around it for an agent that never
comes up. Both count from the last word of a server, on the clock that runs through suspend; the loop reads it in a file that the
agent keeps. A machine that runs programs is given the longer limit. It is ended by `end_command`.

The id of the agent is the token of the instance, so that a machine that comes back is the same agent, and no other machine.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

from styx.errors import UsageError

__all__ = ["LIMIT", "SHUTDOWN", "BootstrapOrder", "certificates", "order_of", "user_data"]

LIMIT = 16 << 10
"""Bytes of user data that EC2 takes; the others take more."""
SHUTDOWN = "shutdown -h now"

_LONGEST = 10 * 365 * 86_400  # seconds that the agent's options take

_MARK = "cat >\"$ROOT/order.new\" <<'END_OF_STYX'"
_PLAIN = re.compile(
    r"[ -!#-\[\]-~]*"
)  # printable ASCII without quotes and backslashes: the shell reads it without a parser
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)


class BootstrapOrder(msgspec.Struct, frozen=True):
    """The order of one machine. `archives` are (Python tag, architecture, SHA-256), as `runtime.bundles` names them; times are
    seconds without a word of a server."""

    server_url: str  # public; where the archive is fetched and the agent dials
    join_token: str  # single-use; good for as long as a machine may take to boot
    archives: tuple[tuple[str, str, str], ...]
    token: str = ""  # of the instance, and the id of its agent; "": the agent draws one
    ca: str = ""  # certificates that sign the server's, PEM; "": the system's are enough
    labels: tuple[tuple[str, str], ...] = ()
    idle_seconds: int = 3_600
    busy_seconds: int = 86_400
    end_command: str = SHUTDOWN
    watch: str = ""  # "aws" or "gcp": whose notice of preemption is looked for; "": none
    cpus: int = 0  # thousandths that the agent gives to tasks; 0: all it finds
    memory: int = 0  # bytes, likewise: a machine finds a little less than it was sold as

    def __repr__(self) -> str:
        return f"BootstrapOrder({self.server_url!r}, ***, token={self.token!r})"


def user_data(order: BootstrapOrder) -> str:
    """The whole script, at most LIMIT bytes. Raises UsageError for an order that a machine could not carry out."""
    for name in ("server_url", "join_token", "token", "end_command"):
        if not _PLAIN.fullmatch(getattr(order, name)):
            raise UsageError(f"{name} may hold no quotes, backslashes or characters beyond ASCII")
    if not order.archives:
        raise UsageError("there is no archive for any Python", hint="styx bootstrap fetch --python 3.12 --arch x86_64")
    if not 0 < order.idle_seconds <= _LONGEST or not 0 < order.busy_seconds <= _LONGEST:
        raise UsageError(
            "a machine that hears from no server must end itself after more than 0 s, and within ten years"
        )
    if order.watch not in {"", "aws", "gcp"}:
        raise UsageError(f"there is no notice of preemption of {order.watch!r}", hint="aws, gcp, or nothing")
    plain = msgspec.structs.replace(order, ca=certificates(order.ca)) if order.ca else order
    encoded = base64.encodebytes(msgspec.json.encode(plain)).decode().strip()
    text = _script().replace("@ORDER@", encoded)
    if len(text) > LIMIT:
        raise UsageError(
            f"the start-up script would be {len(text):,} bytes, more than the {LIMIT:,} that a cloud takes",
            hint="give only the certificate that signs the server's, and fewer labels",
        )
    return text


def order_of(script: str) -> BootstrapOrder:
    """The order that a script carries. Raises UsageError when it carries none."""
    _, found, rest = script.partition(f"{_MARK}\n")
    try:
        return msgspec.json.decode(base64.b64decode(rest.partition("END_OF_STYX")[0]), type=BootstrapOrder)
    except (ValueError, msgspec.MsgspecError):
        raise UsageError("the start-up script carries no order" if found else "this is no start-up script") from None


def certificates(pem: str) -> str:
    """What is between and around certificates left out. Raises UsageError when there are none."""
    found = _PEM.findall(pem.replace("\r\n", "\n").rstrip() + "\n")
    if not found:
        raise UsageError("the certificates for the machines are not in PEM form")
    return "".join(found)


@cache
def _script() -> str:
    """The script without what only its readers need: comments and empty lines."""
    lines = Path(__file__).with_name("machine.sh").read_text("ascii").splitlines()
    return "\n".join(_needed(lines)) + "\n"


def _needed(lines: Iterable[str]) -> Iterable[str]:
    for number, line in enumerate(lines):
        bare = line.lstrip()
        if bare and (number == 0 or not bare.startswith("#") or bare.startswith("#!")):
            yield line
