"""Every error that Styx raises on purpose, as one tree.

    StyxError
    ├── SpecError            the task file or request is wrong (exit 78, HTTP 422); carries every Problem at once
    ├── UsageError           the command line or arguments are wrong (exit 2, HTTP 400)
    ├── NotFound             no such job, task, agent (exit 2, HTTP 404)
    ├── AmbiguousId          an abbreviated id matches several things (exit 2, HTTP 409)
    ├── Conflict             the thing is not in a state that allows this (exit 2, HTTP 409)
    ├── NoFit                no known place could ever hold a task (exit 75, HTTP 422)
    ├── Busy                 try again later (exit 75, HTTP 429 or 503)
    ├── TooSlow              a reader of the event stream did not keep up; it says where to resume (exit 75)
    ├── NotAllowed           the token may not do this (exit 77, HTTP 401 or 403)
    │   └── Revoked          and never will again: somebody took it back
    ├── Unreachable          no server answers there (exit 69)
    ├── WaitTimeout          the caller's own time ran out (exit 124)
    ├── ProtocolError        the other side of a link broke the protocol
    └── StoreError           the database cannot be used
        ├── StoreLocked      another server holds the folder
        ├── StoreFull        there is no room; nothing was written, the same batch may be tried again
        ├── StaleEpoch       another server has taken over this database
        └── SyncFailed       an fsync failed: what is on disk is unknown, the process must stop

The message says what was wrong and what to do; `exit_code` and `status` say how it is shown.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "AmbiguousId",
    "Busy",
    "Conflict",
    "NoFit",
    "NotAllowed",
    "NotFound",
    "Problem",
    "ProtocolError",
    "Revoked",
    "SpecError",
    "StaleEpoch",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "StyxError",
    "SyncFailed",
    "TooSlow",
    "Unreachable",
    "UsageError",
    "WaitTimeout",
]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with an input, and where.

    `path` is a JSON path such as `$.tasks.count.retries`; `line` and `column` count from 1 and are 0 when the
    input was not a text with lines.
    """

    path: str
    message: str
    hint: str = ""
    line: int = 0
    column: int = 0


class StyxError(Exception):
    """Something Styx refuses or cannot do; the message says what and what would help."""

    exit_code = 1
    status = 500
    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SpecError(StyxError):
    """The task file or request is wrong. `problems` lists everything that is, not only the first."""

    exit_code = 78
    status = 422
    code = "invalid-spec"

    def __init__(self, problems: list[Problem], *, source: str = "") -> None:
        first = problems[0].message if problems else "invalid"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{first}{more}")
        self.problems = problems
        self.source = source


class UsageError(StyxError):
    """The arguments do not make sense."""

    exit_code = 2
    status = 400
    code = "bad-request"


class NotFound(StyxError):
    """There is no such thing."""

    exit_code = 2
    status = 404
    code = "not-found"


class AmbiguousId(StyxError):
    """The abbreviated id matches more than one thing."""

    exit_code = 2
    status = 409
    code = "ambiguous-id"


class Conflict(StyxError):
    """The thing is not in a state that allows this."""

    exit_code = 2
    status = 409
    code = "conflict"


class NoFit(StyxError):
    """No place that Styx knows could ever hold a task of this job. `problems` names each task."""

    exit_code = 75
    status = 422
    code = "no-fit"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(
            problems[0].message if problems else "no place fits", hint=problems[0].hint if problems else ""
        )
        self.problems = problems


class Busy(StyxError):
    """The server has taken on as much as it can. Try again after `retry_after` seconds."""

    exit_code = 75
    status = 429
    code = "busy"

    def __init__(self, message: str, *, retry_after: float = 1.0, status: int = 429) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class TooSlow(StyxError):
    """The reader of an event stream did not keep up and was dropped. `resume` is the id of the last event it got: asking for
    events after it goes on without a gap."""

    exit_code = 75
    status = 429
    code = "too-slow"

    def __init__(self, message: str, *, resume: int) -> None:
        super().__init__(message, hint=f"go on after event {resume}")
        self.resume = resume


class NotAllowed(StyxError):
    """The token is missing, unknown, or may not do this."""

    exit_code = 77
    status = 403
    code = "not-allowed"

    def __init__(self, message: str, *, hint: str = "", status: int = 403) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Revoked(NotAllowed):
    """Somebody took back what was shown: trying again is of no use."""

    code = "revoked"


class Unreachable(StyxError):
    """No Styx server answers at the address."""

    exit_code = 69
    status = 503
    code = "unreachable"


class WaitTimeout(StyxError):
    """The time that the caller gave for waiting is over; the work itself goes on."""

    exit_code = 124
    status = 504
    code = "timeout"


class ProtocolError(StyxError):
    """The peer sent something that the protocol does not allow."""

    exit_code = 1
    status = 400
    code = "protocol-error"


class StoreError(StyxError):
    """The database cannot be used."""

    exit_code = 1
    status = 503
    code = "store-error"


class StoreLocked(StoreError):
    """Another server already holds this folder."""

    code = "store-locked"


class StoreFull(StoreError):
    """There is no room on the disk. Nothing was written; the same batch may be tried again."""

    status = 507
    code = "disk-full"


class StaleEpoch(StoreError):
    """Another server has taken over this database since it was opened here."""

    code = "stale-epoch"


class SyncFailed(StoreError):
    """An fsync failed, so nobody knows what is on disk; the process must stop and start again."""

    code = "sync-failed"
