"""Identifiers: a job's id is a UUIDv7, and a task's id is its job's id with the task's ordinal folded in.

A UUIDv7 (RFC 9562, section 5.7) has 48 bits of milliseconds, 12 free bits and, behind the version and variant marks,
62 more free bits. The last 62 hold 38 random bits of the job and a 24-bit ordinal: 0 for the job itself, k + 1 for its
task k. They are mixed by a bijection so that the last digits of related ids differ, which is what people read and type.
So the address of a task is in its id, and no table from ids to tasks is needed in memory or on disk.

The core draws nothing by chance: the caller passes `entropy` in.
"""

from __future__ import annotations

from typing import NewType

__all__ = ["JobId", "TaskId", "element_text", "job_id", "join", "parse", "parse_element", "split", "text"]

JobId = NewType("JobId", int)
TaskId = NewType("TaskId", int)

MAX_TASKS = (1 << 24) - 2
ENTROPY_BITS = 50

_MASK = (1 << 62) - 1
_MULTIPLIER = 0x1E3779B97F4A7C15 | 1
_INVERSE = pow(_MULTIPLIER, -1, 1 << 62)


def _mix(value: int) -> int:
    """A bijection on 62 bits whose low digits depend on all of the input (xorshift, multiply, xorshift)."""
    value ^= value >> 31
    value = value * _MULTIPLIER & _MASK
    return value ^ value >> 31


def _unmix(value: int) -> int:
    value ^= value >> 31
    value = value * _INVERSE & _MASK
    return value ^ value >> 31


def job_id(now: int, entropy: int) -> JobId:
    """The id of a job submitted at `now` (milliseconds since the epoch); `entropy` is 50 random bits."""
    high = (now & (1 << 48) - 1) << 80 | 7 << 76 | (entropy >> 38 & 0xFFF) << 64
    return JobId(high | 0b10 << 62 | _mix((entropy & (1 << 38) - 1) << 24))


def join(job: JobId, ordinal: int) -> TaskId:
    """The id of task `ordinal` (from 0) of a job."""
    low = _unmix(job & _MASK)
    return TaskId(job & ~_MASK | _mix(low | ordinal + 1))


def split(identifier: int) -> tuple[JobId, int]:
    """The job's id and the task's ordinal, -1 when the identifier is the job's own."""
    low = _unmix(identifier & _MASK)
    ordinal = low & (1 << 24) - 1
    return JobId(identifier & ~_MASK | _mix(low ^ ordinal)), ordinal - 1


def text(identifier: int) -> str:
    """The usual form of a UUID: 36 characters, lower case."""
    digits = f"{identifier:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def element_text(task: int, index: int, size: int) -> str:
    """The id of an element: its task's id, with `.INDEX` when the task is an array (`size` > 0 as written)."""
    return f"{text(task)}.{index}" if size else text(task)


def parse(value: str) -> int:
    """The identifier in a UUID's text; raises ValueError when it is not one."""
    digits = value.replace("-", "")
    if len(digits) != 32 or len(value) not in {32, 36}:
        raise ValueError(f"not a UUID: {value!r}")
    return int(digits, 16)


def parse_element(value: str) -> tuple[int, int | None]:
    """`TASKID` or `TASKID.INDEX`; raises ValueError when it is neither."""
    head, dot, tail = value.partition(".")
    if not dot:
        return parse(head), None
    if not tail.isascii() or not tail.isdigit():
        raise ValueError(f"not an array index: {tail!r}")
    return parse(head), int(tail)
