"""One task of a document: its command, and the rest of it over the defaults that the top of the document sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from styx.core.resources import Resources
from styx.core.spec import Choice, SecretFrom, TaskSpec
from styx.core.units import got
from styx.protocol import fields
from styx.protocol.findings import Findings, Path
from styx.protocol.functions import read_function, read_image, read_payload
from styx.protocol.requirement import Requirement, choices_of, few_enough, read_requirement
from styx.protocol.secrets import merge, read_secrets

__all__ = ["COMMAND_KEYS", "COMMON", "ONLY_TASK", "SHARED_KEYS", "TaskReader", "placeholder"]

MAX_ARGUMENTS = 1 << 20  # bytes of argv and environment together; Linux takes about twice that

MAX_WAYS = 200_000  # alternatives of all tasks of a document; what they take in memory is not bounded by its length
_FEWER = "write tasks that are alike as one with 'array: N', or give them fewer alternatives"

_Reader = Callable[[Findings, Path, object], Any]
# Of a task, and at the top of a document a default for all of them.
COMMON: dict[str, _Reader] = {
    "retries": fields.read_retries,
    "timeout": fields.duration,
    "backoff": fields.read_backoff,
    "grace": fields.read_wait,
    "max_lost": fields.read_losses,
    "image": read_image,
}
ONLY_TASK: dict[str, _Reader] = {
    "needs": fields.read_needs,
    "array": fields.read_array,
    "when": fields.read_when,
    "allow_failure": fields.flag,
    "exclusive": fields.flag,
    "archive": fields.read_archive,
    "function": read_function,
    "idempotent": fields.flag,
}
_READERS = COMMON | ONLY_TASK
SHARED_KEYS = ("resources", "env", "secrets", "workdir", *COMMON)
COMMAND_KEYS = ("run", "command", "args", "function", "payload")
_COMMAND_ONLY = ("run", "command", "args", "payload")
_TASK_KEYS = (*_COMMAND_ONLY, *SHARED_KEYS, *ONLY_TASK)

_ANYWHERE = Requirement()
_RUNS = "runs"  # the label by which a node says that it takes only such work, and a task that it is of this kind
_ONE_CPU = (Choice(),)


class TaskReader:
    """What all tasks of a document share. Relative working folders are meant from `cwd`."""

    def __init__(self, findings: Findings, cwd: str) -> None:
        self.findings = findings
        self.cwd = cwd
        self.defaults: dict[str, Any] = {}
        self.asked = _ANYWHERE
        self.env: fields.Pairs = ()
        self.secrets: tuple[str, ...] = ()
        self.sources: dict[str, SecretFrom] = {}  # of all tasks
        self._known: dict[Any, Resources] = {}
        self._ways = 0
        self._choices: dict[str, tuple[Choice, ...]] = {}  # what `asked` comes to, by what a task runs as

    def share(self, key: str, value: object) -> None:
        """Take a default for all tasks, one of SHARED_KEYS, from the top of the document."""
        findings, path = self.findings, (key,)
        if key == "resources":
            asked = read_requirement(findings, path, value)
            if asked is not None and few_enough(findings, path, asked):
                self.asked = asked
        elif key == "env":
            self.env = fields.read_env(findings, path, value) or ()
        elif key == "secrets":
            self.secrets = self._secrets(path, value)
        elif key == "workdir":
            self.defaults["workdir"] = fields.check_workdir(findings, path, value, self.cwd)
        else:
            self.defaults[key] = COMMON[key](findings, path, value)

    def read(self, name: str, raw: object, path: Path, elsewhere: tuple[str, ...] = ()) -> TaskSpec:
        """One task. `elsewhere` are keys that the caller has read from the same mapping. After findings, a placeholder
        that keeps its place in the graph, so that the graph is checked along with the rest."""
        findings = self.findings
        if not isinstance(raw, dict):
            hint = f"write {{run: {raw!r}}}" if isinstance(raw, str) and len(raw) < 60 else ""
            findings.value(path, f"a mapping with 'run' or 'command', got {got(raw)}", hint)
            return placeholder(name)
        before = len(findings.problems)
        values = dict(self.defaults)
        asked, env, secrets = self.asked, self.env, self.secrets
        for key, value in raw.items():
            reader = _READERS.get(key) if isinstance(key, str) else None
            if reader is not None:
                values[key] = reader(findings, (*path, key), value)
            elif key in _COMMAND_ONLY or key in elsewhere:
                continue
            elif key == "resources":
                own = read_requirement(findings, (*path, key), value, _context(name))
                asked = asked if own is None else own.over(self.asked)
                if own is not None and not few_enough(findings, (*path, key), asked):
                    asked = self.asked
            elif key == "env":
                env = _merge(env, fields.read_env(findings, (*path, key), value) or ())
            elif key == "secrets":
                secrets = tuple(dict.fromkeys(secrets + self._secrets((*path, key), value)))
            elif key == "workdir":
                values[key] = fields.check_workdir(findings, (*path, key), value, self.cwd)
            elif key == "labels":
                hint = "labels that a node must carry stand under 'resources'"
                findings.add((*path, key), f"unknown key 'labels'{_context(name)}", hint, key=True)
            else:
                findings.unknown(path, key, (*_TASK_KEYS, *elsewhere), _context(name))
        if secrets and env:
            for variable in sorted(set(secrets).intersection(dict(env))):
                findings.add(path, f"{variable!r} is a variable and a secret{_context(name)}", "leave it out of 'env'")
        command, shell = self._command(raw, path, name)
        if "function" in values and "image" not in raw:
            values.pop("image", None)  # what the top of the document says is for programs
        if len(findings.problems) > before or command is None:
            return placeholder(name, values.get("needs"))
        size = sum(map(len, command)) + sum(len(key) + len(value) for key, value in env)
        if size > MAX_ARGUMENTS:
            findings.add(path, f"command and environment are longer than {MAX_ARGUMENTS:,} bytes{_context(name)}")
            return placeholder(name, values.get("needs"))
        first, *others = self._places(asked, values)
        self._ways += len(others)
        if self._ways > MAX_WAYS:
            findings.add(path, f"all tasks together have more than {MAX_WAYS:,} alternatives", _FEWER)
            return placeholder(name, values.get("needs"))
        return TaskSpec(
            name=name,
            command=command,
            shell=shell,
            resources=first.resources,
            labels=first.labels,
            env=env,
            secrets=secrets,
            spot=first.spot,
            max_hourly=first.max_hourly,
            others=tuple(others),
            ordered=bool(asked.ordered),
            **values,
        )

    def _places(self, asked: Requirement, values: dict[str, Any]) -> tuple[Choice, ...]:
        """The alternatives of a task; most ask for what the top of the document says, and share them."""
        runs = "function" if values.get("function") else "image" if values.get("image") else ""
        if asked is _ANYWHERE and not runs:
            return _ONE_CPU
        if asked is not self.asked:
            return choices_of(asked, {_RUNS: runs} if runs else {}, self._known)
        found = self._choices.get(runs)
        if found is None:
            found = self._choices[runs] = choices_of(asked, {_RUNS: runs} if runs else {}, self._known)
        return found

    def _secrets(self, path: Path, value: object) -> tuple[str, ...]:
        found = read_secrets(self.findings, path, value, self.cwd)
        merge(self.findings, path, self.sources, found)
        return tuple(found)

    def _command(self, raw: dict[Any, Any], path: Path, name: str) -> tuple[tuple[str, ...] | None, bool]:
        """The argv and whether it is one line for a shell; None after noting why there is none. Of a function, its payload."""
        findings = self.findings
        if "function" in raw:
            return self._payload(raw, path, name), False
        for key, hint in (("payload", "a program gets its input by 'args' and 'env'"), ("idempotent", _ONLY_FUNCTIONS)):
            if key in raw:
                findings.add((*path, key), f"{key!r} belongs to a 'function'{_context(name)}", hint, key=True)
        if "run" in raw:
            for key in ("command", "args"):
                if key in raw:
                    hint = "keep 'run' for a shell line, or 'command' for a program without a shell"
                    findings.add((*path, key), f"'run' and {key!r} exclude each other{_context(name)}", hint, key=True)
            line = raw["run"]
            if not isinstance(line, str):
                findings.value((*path, "run"), f"a line for the shell, got {got(line)}", _run_hint(line))
            elif not line.strip():
                findings.value((*path, "run"), "a line for the shell, got nothing")
            elif fields.check_text(findings, (*path, "run"), line):
                return (line,), True
            return None, True
        if "command" not in raw:
            hint = "write run: 'a line for the shell', command: [program, argument], or function: NAME"
            what = f"task {name!r} has nothing to run" if name else "there is nothing to run"
            findings.add(path, what, hint)
            return None, False
        return self._argv(raw, path), False

    def _payload(self, raw: dict[Any, Any], path: Path, name: str) -> tuple[str, ...] | None:
        for key, hint in _NOT_WITH_FUNCTION.items():
            if key in raw:
                message = f"'function' and {key!r} exclude each other{_context(name)}"
                self.findings.add((*path, key), message, hint, key=True)
        text = read_payload(self.findings, (*path, "payload"), raw.get("payload", {}))
        return None if text is None else (text,)

    def _argv(self, raw: dict[Any, Any], path: Path) -> tuple[str, ...] | None:
        findings = self.findings
        where, command = (*path, "command"), raw["command"]
        words: list[Any] = []
        if isinstance(command, str):
            if not command.strip():
                findings.value(where, "a program, got nothing")
                return None
            if "args" not in raw and len(command.split()) > 1 and "/" not in command.split()[0]:
                hint = f"write run: {command[:60]!r} for the shell, or command: [{', '.join(command[:60].split())}]"
                findings.value(where, f"a program alone or a list with its arguments, got {got(command)}", hint)
                return None
            words = [command]
        elif isinstance(command, list):
            if not command or command[0] == "":
                findings.value(
                    where, "a list that begins with a program, got " + ("''" if command else "an empty list")
                )
                return None
            words = command
        else:
            findings.value(where, f"a list of a program and its arguments, got {got(command)}")
            return None
        argv = [fields.argument_text(word) for word in words]
        _check_words(findings, where, words, argv, isinstance(command, list))
        if "args" in raw:
            args = raw["args"]
            if not isinstance(args, list):
                findings.value((*path, "args"), f"a list of arguments, got {got(args)}", "write it as [one, two]")
                return None
            more = [fields.argument_text(word) for word in args]
            _check_words(findings, (*path, "args"), args, more, True)
            argv += more
        return tuple(word for word in argv if word is not None)


_ONLY_FUNCTIONS = "a program is started again only when its attempt was lost for certain, or `retries` asks for it"
_NOT_WITH_FUNCTION = {
    "run": "the function's code is where it was deployed; what it gets is its 'payload'",
    "command": "the function's code is where it was deployed; what it gets is its 'payload'",
    "args": "write the input of a function under 'payload'",
    "image": "a function brings its own; an image is for a program in a container",
}


def placeholder(name: str, needs: tuple[str, ...] | None = None) -> TaskSpec:
    return TaskSpec(name, ("false",), needs=needs or ())


def _check_words(findings: Findings, path: Path, raw: list[Any], words: list[str | None], listed: bool) -> None:
    for position, word in enumerate(words):
        if word is None:
            where = (*path, position) if listed else path
            findings.value(where, f"text or a number, got {got(raw[position])}", "quote it to pass it on as text")
        elif "\0" in word or len(word) > 32_000 or not word.isascii():
            fields.check_text(findings, (*path, position) if listed else path, word)
        if findings.full:
            return


def _run_hint(line: object) -> str:
    if isinstance(line, list):
        return "write command: [...] for a program with its arguments"
    if isinstance(line, dict):
        return "quote a line that has ': ' in it"
    return "quote it" if fields.argument_text(line) is not None else ""


def _context(name: str) -> str:
    return f" in task {name!r}" if name else ""


def _merge(base: fields.Pairs, over: fields.Pairs) -> fields.Pairs:
    return tuple({**dict(base), **dict(over)}.items()) if base and over else base or over
