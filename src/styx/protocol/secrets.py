"""Secrets of a job: which variables its tasks are given, and where whoever submits it takes their values from.

    secrets: [API_TOKEN]                               # the variable of that name, where the job is submitted
    secrets: {API_TOKEN: {env: MY_TOKEN}, KEY: {file: key.pem}}

A value never stands in a task file. The submitter looks the values up, and they travel beside the document, in `secret_values`, to
the server, which keeps them apart from everything that is ever shown. Nothing here repeats a value, in an error least of all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from styx.core.spec import JobSpec, SecretFrom
from styx.errors import Problem, SpecError
from styx.protocol.fields import OWN_VARIABLES
from styx.protocol.findings import Findings
from styx.protocol.findings import Path as Where

__all__ = ["MAX_VALUE", "VALUES", "gathered", "merge", "read_secrets", "take_values", "unfit"]

VALUES = "secret_values"  # the key in the body of a submission
MAX_SECRETS = 256  # of one job
MAX_VALUE = 32 << 10  # bytes

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SHAPE = "a list of names, or a mapping such as {NAME: {env: VARIABLE}} or {NAME: {file: PATH}}"


def read_secrets(findings: Findings, path: Where, value: object, cwd: str) -> dict[str, SecretFrom]:
    """`secrets` of a task, or of all tasks. Files that are not absolute are meant from `cwd`."""
    found: dict[str, SecretFrom] = {}
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        for position, name in enumerate(value):
            if _fit(findings, (*path, position), name):
                found[name] = SecretFrom(name)
    elif isinstance(value, dict):
        for name, source in value.items():
            if _fit(findings, (*path, str(name)[:128]), name):
                found[name] = _source(findings, (*path, name), name, source, cwd)
    else:
        findings.add(path, f"secrets must be {_SHAPE}")
    if len(found) > MAX_SECRETS:
        findings.add(path, f"there are {len(found)} secrets, and a job may have {MAX_SECRETS}")
    return found


def merge(findings: Findings, path: Where, known: dict[str, SecretFrom], found: Mapping[str, SecretFrom]) -> None:
    """Take more secrets of a job in. A name stands for one value in all of a job."""
    for name, source in found.items():
        before = known.get(name)
        if before is None or before == SecretFrom(name):
            known[name] = source
        elif source not in {before, SecretFrom(name)}:
            hint = "give the two different names; programs see each under its name"
            findings.add((*path, name), f"the secret {name!r} comes from two places", hint, key=True)


def _fit(findings: Findings, path: Where, name: object) -> bool:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        # what stands here by mistake may be a value
        hint = "it is the name of a variable: letters, digits and '_'; the value itself stands nowhere in the file"
        findings.add(path, "this cannot be the name of a secret", hint, key=True)
        return False
    if name in OWN_VARIABLES or name == "STYX_MARK":
        findings.add(path, f"{name!r} is set by Styx itself", "choose another name", key=True)
        return False
    return True


def _source(findings: Findings, path: Where, name: str, value: object, cwd: str) -> SecretFrom:
    plain = SecretFrom(name)
    if value is None or value == {}:
        return plain
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in {"env", "file"}:
        hint = "write {env: VARIABLE} or {file: PATH}; the value itself does not belong into a file"
        findings.add(path, f"the secret {name!r} must say where its value comes from", hint, key=True)
        return plain
    kind, where = next(iter(value.items()))
    if not isinstance(where, str) or not where or "\0" in where or len(where) > 4_096:
        findings.add((*path, kind), f"{kind!r} of the secret {name!r} must be a name")
        return plain
    if kind == "env":
        return SecretFrom(name, where)
    if where.startswith("~"):
        findings.add((*path, kind), "file must be a path without '~'", "write the whole path")
    elif not os.path.isabs(where) and not cwd:
        findings.add((*path, kind), "file must be an absolute path", "the caller's folder is not known here")
    return SecretFrom(name, "", os.path.normpath(os.path.join(cwd, where)))


def gathered(spec: JobSpec, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values of a job's secrets, looked up in this process's environment and files: only whoever submits a job does this. A
    file's line breaks at its end do not count. Raises SpecError with every one that cannot be had."""
    env = os.environ if environ is None else environ
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for source in spec.secrets:
        value, complaint = _from_file(source.file) if source.file else _from_environment(source, env)
        complaint = complaint or unfit(value)
        if complaint:
            problems.append(
                Problem(f"$.secrets.{source.name}", f"the secret {source.name!r} cannot be had: {complaint}")
            )
        else:
            values[source.name] = value
    if problems:
        raise SpecError(problems)
    return values


def _from_environment(source: SecretFrom, env: Mapping[str, str]) -> tuple[str, str]:
    variable = source.variable or source.name
    if variable not in env:
        return "", f"there is no variable {variable!r} here" if _NAME.fullmatch(
            variable
        ) else "there is no such variable"
    return env[variable], ""


def _from_file(path: str) -> tuple[str, str]:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_VALUE + 2)
        return data.decode().rstrip("\r\n"), ""
    except OSError as error:
        return "", f"{path}: {error.strerror or error}"
    except UnicodeDecodeError:
        return "", f"{path} is not text; a variable can hold nothing else"


def unfit(value: str) -> str:
    """Why a value cannot be a variable of a program, if so; never the value."""
    if not value:
        return "it is empty"
    if "\0" in value:
        return "it has a NUL in it"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return f"it is longer than {MAX_VALUE:,} bytes" if size > MAX_VALUE else ""


def take_values(document: object) -> dict[str, str]:
    """Take `secret_values` out of the body of a submission. Raises SpecError."""
    if not isinstance(document, dict) or VALUES not in document:
        return {}
    given: Any = document.pop(VALUES)
    if not isinstance(given, dict):
        raise SpecError(
            [Problem(f"$.{VALUES}", f"{VALUES} must be an object of names and values, got a {_kind(given)}")]
        )
    problems: list[Problem] = []
    for name, value in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(Problem(f"$.{VALUES}", "there is a key that cannot be the name of a secret"))
        elif not isinstance(value, str):
            problems.append(Problem(f"$.{VALUES}.{name}", f"the value of {name!r} must be text"))
        elif complaint := unfit(value):
            problems.append(Problem(f"$.{VALUES}.{name}", f"the secret {name!r} cannot be used: {complaint}"))
    if len(given) > MAX_SECRETS:
        problems = [Problem(f"$.{VALUES}", f"there are {len(given)} secrets, and a job may have {MAX_SECRETS}")]
    if problems:
        raise SpecError(problems)
    return dict(given)


def _kind(value: object) -> str:
    return type(value).__name__
