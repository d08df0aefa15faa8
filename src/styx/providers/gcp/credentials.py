"""Whose the credentials are, and the access tokens they give.

They are looked for where every tool of Google's does: the file that the settings or GOOGLE_APPLICATION_CREDENTIALS name, the one that
`gcloud auth application-default login` leaves, and the account of the machine that this runs on. The file is read here first, so that
what is wrong with it can be said in one line; gcloud-aio-auth then exchanges it for tokens. Its `refresh` is called, not its
`get`: that one repeats a refusal for a quarter of a minute, and a wrong key does not get right by that.

Nothing of the request itself is sent before there is a token, so every error here is Refused.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from styx.core.suggest import did_you_mean, one_of
from styx.providers.base import Context, Kind
from styx.providers.gcp.errors import GcpRefused, raised_by_http
from styx.providers.gcp.settings import Settings

__all__ = ["Credentials", "Found", "find"]

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_EARLY = 0.1  # of its life that is left when a token is replaced
_LIMIT = 10.0  # seconds
_NEEDED = {
    "service_account": ("client_email", "private_key"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "credential_source", "subject_token_type", "token_url"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}
_HINT = "set `credentials` under [providers.gcp], or GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`"
_NEW_KEY = "make a new key for the service account, or run `gcloud auth application-default login` again"


class Found(msgspec.Struct, frozen=True):
    """`data` is the file's content, but for a private key, which is loaded: that takes 75 ms, and would be done anew in the loop for each
    access token. Empty: there is no file, and the machine's own account is to be asked."""

    data: dict[str, Any] = {}
    path: str = ""

    @property
    def identity(self) -> str:
        kind = self.data.get("type", "")
        if kind == "service_account":
            return str(self.data["client_email"])
        if kind == "authorized_user":
            return str(self.data.get("account") or "a person's login")
        if url := str(self.data.get("service_account_impersonation_url") or ""):
            return url.rpartition("/serviceAccounts/")[2].partition(":")[0]
        return str(self.data.get("audience") or "the account of this machine")

    @property
    def project(self) -> str:
        return str(self.data.get("project_id") or self.data.get("quota_project_id") or "")


def find(settings: Settings, environ: Mapping[str, str]) -> Found:
    """Reads a file: to be called in a thread. Errors: Refused."""
    named = settings.credentials or environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    home = environ.get("HOME", "")
    folder = environ.get("CLOUDSDK_CONFIG", "") or (f"{home}/.config/gcloud" if home else "")
    usual = f"{folder}/application_default_credentials.json" if folder else ""
    path = Path(named).expanduser() if named else Path(usual)
    if not named and (not usual or not path.is_file()):
        return Found()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _wrong(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"{path} cannot be read: {getattr(error, 'strerror', '') or error}") from None
    except ValueError:
        raise _wrong(f"{path} is no JSON, so it is no key of a service account") from None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise _wrong(f"{path} is no key of a service account: it has no `type`")
    kind = data["type"]
    if kind not in _NEEDED:
        hint = did_you_mean(kind, _NEEDED) or f"known are {one_of(_NEEDED)}"
        raise _wrong(f"{path} has credentials of the type {kind!r}, which cannot be used", hint)
    lacking = [field for field in _NEEDED[kind] if not data.get(field)]
    if lacking:
        raise _wrong(f"{path} lacks {', '.join(f'`{field}`' for field in lacking)}")
    if kind == "service_account":
        data["private_key"] = _key(data["private_key"], path)
    return Found(data, str(path))


def _key(text: object, path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(str(text).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _wrong(f"the private key in {path} is damaged", _NEW_KEY) from None


def _wrong(message: str, hint: str = _HINT) -> GcpRefused:
    return GcpRefused(Kind.DENIED, f"Google credentials: {message}", hint=hint)


class Credentials:
    """`token` gives the access token that is good now; one request for a new one is under way at most."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._lock = asyncio.Lock()
        self._found: Found | None = None
        self._source: Any = None
        self._value = ""
        self._until = 0  # milliseconds since the epoch

    async def found(self) -> Found:
        """Errors: Refused."""
        async with self._lock:
            return await self._look()

    async def token(self, session: Any) -> str:
        """Errors: Refused."""
        async with self._lock:
            if not self._value or self._context.now() >= self._until:
                await self._renew(session)
            return self._value

    def forget(self, value: str) -> None:
        """A token that was not accepted though its time is not over."""
        if value == self._value:
            self._value = ""

    async def _look(self) -> Found:
        if self._found is None:
            self._found = await asyncio.to_thread(find, self._settings, self._context.environ)
        return self._found

    async def _renew(self, session: Any) -> None:
        found = await self._look()
        if self._source is None:
            self._source = await asyncio.to_thread(_source, found, session, self._context.environ)
        try:
            async with asyncio.timeout(_LIMIT):
                answer = await self._source.refresh(timeout=_LIMIT)
        except KeyError as error:
            raise self._refused(
                GcpRefused(Kind.DENIED, f"Google credentials: an answer without {error}", hint=_NEW_KEY)
            ) from error
        except raised_by_http() as error:
            raise self._refused(_refusal(error, found)) from error
        self._value = answer.value
        self._until = self._context.now() + int(answer.expires_in * 1_000 * (1 - _EARLY))

    def _refused(self, error: GcpRefused) -> GcpRefused:
        self._source = self._found = None  # the file may be put right meanwhile
        return error


def _source(found: Found, session: Any, environ: Mapping[str, str]) -> Any:
    """In a thread: the import takes a third of a second."""
    from gcloud.aio.auth import Token

    # An empty object stands for no file. Left to itself the library would look in the environment of the process.
    text = json.dumps(found.data, default=lambda key: "loaded")
    source = Token(service_file=io.StringIO(text), session=session, scopes=[SCOPE])
    source.service_data = found.data
    host = environ.get("GCE_METADATA_HOST", "")
    if not found.data and host:  # which the library reads once, when it is imported
        source.token_uri = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token?recursive=true"
    return source


def _refusal(error: Exception, found: Found) -> GcpRefused:
    import aiohttp

    if isinstance(error, aiohttp.ClientResponseError):
        said = _said(error.message)
        if not found.data:
            return _wrong(f"the account of this machine gives no token (HTTP status {error.status})")
        if error.status < 500 and error.status not in {408, 429}:
            hint = "set the clock of this machine right" if "short-lived" in said else _NEW_KEY
            return _wrong(f"{found.identity} is not accepted: {said or f'HTTP status {error.status}'}", hint)
        return GcpRefused(Kind.UNREACHABLE, f"Google gives no access tokens now (HTTP status {error.status})")
    if not found.data:
        return _wrong("none were found, and this machine has no account of its own")
    if isinstance(error, ValueError) and not isinstance(
        error, json.JSONDecodeError
    ):  # a source that the library cannot ask
        return _wrong(f"{found.path or 'the key'} cannot be used: {' '.join(str(error).split())[:200]}", _NEW_KEY)
    text = " ".join(str(error).split())[:300] or "no answer in time"
    return GcpRefused(
        Kind.UNREACHABLE, f"Google access token: {text}", hint="look at the network, and at the proxy if there is one"
    )


def _said(message: str) -> str:
    """The reason in an answer of the OAuth 2.0 endpoint, which the library hands on as "Bad Request: {json}"."""
    try:
        body = json.loads(message[message.index("{") :])
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    if isinstance(error, dict):  # of the service that lends other accounts
        return str(error.get("message") or "")
    return str(body.get("error_description") or error or "")
