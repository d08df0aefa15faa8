"""The notice that a cloud gives before it takes a spot machine back, looked for every few seconds.

EC2 gives two minutes, Google thirty seconds, both through the metadata service of the machine: a page that says so once it is so. On
EC2 the page is not there before; a session token (IMDSv2) is asked for first, and again when it has ended. A metadata service
that does not answer gives no notice, and that is all it means: the machine may be none of a cloud's.

What follows from a notice is the session's (`Session.preempt`): programs are asked to end, their ends are losses, nothing new is
taken.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

__all__ = ["CLOUDS", "METADATA_URL", "POLL", "Notice", "cloud_of", "watch"]

CLOUDS = ("aws", "gcp")
POLL = 5.0  # seconds between two looks, as EC2 recommends
LIMIT = 2.0  # seconds for an answer; the service is on the machine itself
METADATA_URL = "STYX_METADATA_URL"  # a variable: another place than the cloud's

_AWS = "http://169.254.169.254"
_GCP = "http://metadata.google.internal"
_TOKEN_LIFE = 21_600  # seconds, the most there is

log = logging.getLogger("styx.agent")


def cloud_of(given: str, labels: Mapping[str, str]) -> str:
    """Whose notice to look for: what was asked for, else that of the provider if the labels say that this is a spot machine."""
    if given:
        return given
    return labels.get("provider", "") if labels.get("spot") == "true" and labels.get("provider") in CLOUDS else ""


class Notice:
    """One cloud's. `url` is where its metadata service is, "": at its usual place. All calls block, for LIMIT at most."""

    def __init__(self, cloud: str, url: str = "") -> None:
        self._look = {"aws": self._aws, "gcp": self._gcp}[cloud]
        self._base = urlsplit(url or {"aws": _AWS, "gcp": _GCP}[cloud])
        self._token = ""

    def look(self) -> str:
        """Why this machine is about to be taken away, in a few words; "" when it is not. Raises OSError and HTTPException when the
        service does not answer."""
        return self._look()

    def _aws(self) -> str:
        for _ in range(2):
            if not self._token:
                wanted = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIFE)}
                status, body = self._ask("PUT", "/latest/api/token", wanted)
                if status != 200:
                    return ""
                self._token = body.strip()
            shown = {"X-aws-ec2-metadata-token": self._token}
            status, body = self._ask("GET", "/latest/meta-data/spot/instance-action", shown)
            if status != 401:
                return _instance_action(body) if status == 200 else ""
            self._token = ""
        return ""

    def _gcp(self) -> str:
        status, body = self._ask("GET", "/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
        return "the instance is preempted" if status == 200 and body.strip().upper() == "TRUE" else ""

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        # not urllib: a proxy named by the environment must never see this
        connection = http.client.HTTPConnection(self._base.hostname or "", self._base.port, timeout=LIMIT)
        try:
            connection.request(method, f"{self._base.path.rstrip('/')}{path}", headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(4_096).decode("utf-8", "replace")
        finally:
            connection.close()


def _instance_action(body: str) -> str:
    """{"action": "terminate", "time": "2026-01-01T00:00:00Z"} in words; what cannot be read is a notice all the same."""
    try:
        notice = json.loads(body)
        return f"{notice['action']} at {notice['time']}"[:200]
    except (ValueError, TypeError, KeyError):
        return "the instance is about to be interrupted"


async def watch(notice: Notice, told: Callable[[str], None], *, poll: float = POLL) -> None:
    """Look every `poll` seconds; call `told` once, with "spot preemption: ...", and return."""
    silent = False
    while True:
        try:
            reason = await asyncio.to_thread(notice.look)
        except (OSError, http.client.HTTPException) as error:
            if not silent:
                log.warning("the metadata service does not answer, so no notice of preemption comes: %s", error)
            silent, reason = True, ""
        else:
            silent = False
        if reason:
            told(f"spot preemption: {reason}")
            return
        await asyncio.sleep(poll)
