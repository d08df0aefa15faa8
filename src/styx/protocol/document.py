"""From plain data in the shape of a task file to a JobSpec, with everything that is wrong said at once.

The same reader serves task files, the bodies of POST /jobs and POST /tasks, and the Python builders. It is given what a JSON
or YAML parser makes (dict, list, str, int, float, bool, None) and never raises anything but SpecError. Numbers may be
subclasses that remember how they were written (`written`), so that `VERSION: 1.10` reaches a program as "1.10".

    name, priority, deadline, labels, host, cwd        of the job
    resources, env, workdir, retries, timeout,         at the top: defaults for all tasks
      backoff, grace, max_lost
    tasks: a mapping of names to tasks, or a list of tasks with `name`
    run | command (+ args), array, ...                 at the top, without `tasks`: the document is one task
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from styx.core.graph import check, name_problem
from styx.core.ids import MAX_TASKS
from styx.core.resources import Resources
from styx.core.spec import JobSpec, Priority, TaskSpec
from styx.core.units import got
from styx.errors import Problem, SpecError
from styx.protocol import fields
from styx.protocol.findings import Findings, Path, path_text
from styx.protocol.yaml12 import Marked, parse_yaml

__all__ = ["parse_yaml", "read_job", "read_task"]

MAX_ARGUMENTS = 1 << 20  # bytes of argv and environment together; Linux takes about twice that

_Reader = Callable[[Findings, Path, object], Any]
# Of a task, and at the top of a document a default for all of them.
_COMMON: dict[str, _Reader] = {
    "retries": fields.read_retries,
    "timeout": fields.duration,
    "backoff": fields.read_backoff,
    "grace": fields.read_wait,
    "max_lost": fields.read_losses,
}
_ONLY_TASK: dict[str, _Reader] = {
    "needs": fields.read_needs,
    "array": fields.read_array,
    "when": fields.read_when,
    "allow_failure": fields.flag,
    "exclusive": fields.flag,
}
_READERS = _COMMON | _ONLY_TASK
_SHARED_KEYS = ("resources", "env", "workdir", *_COMMON)
_COMMAND_KEYS = ("run", "command", "args")
_NAME_HINT = "use letters, digits, '-', '_' and '.'"
_TASK_KEYS = (*_COMMAND_KEYS, *_SHARED_KEYS, *_ONLY_TASK)
_JOB_KEYS = ("name", "priority", "deadline", "labels", "host", "cwd")


def read_job(document: object, *, host: str = "", cwd: str = "", default_name: str = "") -> JobSpec:
    """A JobSpec from a document: a DAG under `tasks`, or one task with `run` or `command` at its top.

    A job without a name gets `default_name`, else a task's program's, else "job". `host` and `cwd` say where the caller is, unless the document does; relative working folders are meant from `cwd`.
    Raises SpecError with every problem; those of a document from `parse_yaml` have a line and a column.
    """
    return _read(document, host, cwd, default_name, False)


def read_task(document: object, *, host: str = "", cwd: str = "") -> JobSpec:
    """A JobSpec of one task from `{"name", "command", "args", ...}`; its name defaults to the program's."""
    return _read(document, host, cwd, "", True)


def _read(document: object, host: str, cwd: str, default_name: str, single: bool) -> JobSpec:
    reader = _Document(host, cwd)
    findings = reader.findings
    default_name = "" if name_problem(default_name) else default_name
    spec = None
    if not isinstance(document, dict):
        hint = "begin with 'run: ...' for one task or 'tasks:' for several"
        findings.add((), f"a task file is a mapping, this is {got(document)}", hint)
    elif single or ("tasks" not in document and any(key in document for key in _COMMAND_KEYS)):
        spec = reader.single(document, default_name)
    else:
        spec = reader.dag(document, default_name)
        if spec is not None and not findings.full:
            findings.join(_graph_problems(spec, isinstance(document["tasks"], list)))
    if isinstance(document, Marked):
        findings.locate(document)
    if spec is None or findings.problems:
        raise SpecError(findings.problems)
    return spec


def _graph_problems(spec: JobSpec, listed: bool) -> list[Problem]:
    """What the graph has to say. It knows tasks by name; in a list their places are positions."""
    _, problems = check(spec)
    if not listed or not problems:
        return problems
    # Of two tasks with one name the later one is in the way.
    places = {path_text(("tasks", task.name)): path_text(("tasks", n)) for n, task in enumerate(spec.tasks)}
    return [replace(problem, path=_at_position(problem.path, places)) for problem in problems]


def _at_position(path: str, places: dict[str, str]) -> str:
    cut = len(path)
    while cut > 0 and path[:cut] not in places:
        cut = max(path.rfind(".", 0, cut), path.rfind("[", 0, cut))
    return places[path[:cut]] + path[cut:] if cut > 0 else path


class _Document:
    """One reading: the findings, and the defaults that the top of the document sets for its tasks."""

    def __init__(self, host: str, cwd: str) -> None:
        self.findings = Findings()
        self.job: dict[str, Any] = {"host": host, "cwd": cwd}
        self.defaults: dict[str, Any] = {}
        self.parts: dict[str, Any] = {}
        self.labels: fields.Pairs = ()
        self.env: fields.Pairs = ()
        self.known: dict[Any, Resources] = {}

    def single(self, document: dict[Any, Any], default_name: str) -> JobSpec | None:
        self._job_fields(document)
        rest = {key: value for key, value in document.items() if key not in _JOB_KEYS}
        if "tasks" in rest:
            hint = "put the command into a task of its own under 'tasks', or send this to /jobs"
            self.findings.add(("tasks",), "a document is one task or has 'tasks', not both", hint, key=True)
            del rest["tasks"]
        if "needs" in rest:
            self.findings.add(("needs",), "a single task has no others to need", "leave 'needs' out", key=True)
            del rest["needs"]
        name = self.job.get("name", "")
        task = self._task(name, rest, (), _JOB_KEYS)
        if self.findings.problems:
            return None
        if not name:
            name = default_name or _program(task)
            task = TaskSpec(name, *[getattr(task, field) for field in TaskSpec.__struct_fields__[1:]])
        self.job["name"] = name
        return JobSpec(tasks=(task,), single=True, **self.job)

    def dag(self, document: dict[Any, Any], default_name: str) -> JobSpec | None:
        self._job_fields(document)
        findings = self.findings
        for key, value in document.items():
            if key in _JOB_KEYS or key == "tasks":
                continue
            path = (str(key),)
            if key == "resources":
                requirement = fields.read_requirement(findings, path, value)
                if requirement is not None:
                    self.parts, self.labels = requirement
            elif key == "env":
                self.env = fields.read_env(findings, path, value) or ()
            elif key == "workdir":
                self.defaults["workdir"] = fields.check_workdir(findings, path, value, self.job["cwd"])
            elif key in _COMMON:
                self.defaults[key] = _COMMON[key](findings, path, value)
            elif key in _COMMAND_KEYS:
                hint = "move it into a task of its own under 'tasks'"
                findings.add(
                    path, f"{key!r} at the top makes a document one task, but it has 'tasks' too", hint, key=True
                )
            elif key in _ONLY_TASK:
                findings.add(path, f"{key!r} belongs to a task", "move it into a task under 'tasks'", key=True)
            else:
                findings.unknown((), key, (*_JOB_KEYS, "tasks", *_SHARED_KEYS, "run", "command"))
        tasks = self._tasks(document)
        if not tasks:
            return None
        return JobSpec(tasks=tuple(tasks), **({"name": default_name or "job"} | self.job))

    def _job_fields(self, document: dict[Any, Any]) -> None:
        findings, job = self.findings, self.job
        for key in ("host", "cwd"):
            if key in document:
                value = document[key]
                if not isinstance(value, str):
                    findings.value((key,), f"text, got {got(value)}")
                elif fields.check_text(findings, (key,), value, 4_096):
                    job[key] = value
        for key in _JOB_KEYS:
            if key not in document:
                continue
            value, path = document[key], (key,)
            if key == "name":
                name = fields.argument_text(value)
                if name is None:
                    findings.value(path, f"text, got {got(value)}")
                elif wrong := name_problem(name):
                    findings.add(path, f"the name {got(name)} {wrong}", _NAME_HINT)
                else:
                    job["name"] = name
            elif key == "priority":
                job["priority"] = fields.read_priority(findings, path, value) or Priority.LOW
            elif key == "deadline":
                job["deadline"] = fields.duration(findings, path, value)
            elif key == "labels":
                job["labels"] = fields.read_labels(findings, path, value)

    def _tasks(self, document: dict[Any, Any]) -> list[TaskSpec]:
        findings = self.findings
        if "tasks" not in document:
            hint = "write 'run: COMMAND' for one task, or 'tasks:' with a mapping of names to tasks"
            findings.add((), "there is nothing to run: neither 'run', 'command' nor 'tasks' is there", hint)
            return []
        raw = document["tasks"]
        if not isinstance(raw, (dict, list)):
            findings.value(("tasks",), f"a mapping of names to tasks, got {got(raw)}")
            return []
        if not raw:
            findings.add(
                ("tasks",), "there is no task under 'tasks'", "write at least one, such as hello: {run: echo hi}"
            )
            return []
        if len(raw) > MAX_TASKS:
            findings.value(("tasks",), f"at most {MAX_TASKS:,} tasks", "write many alike tasks as one with 'array: N'")
            return []
        tasks: list[TaskSpec] = []
        if isinstance(raw, list):
            for position, value in enumerate(raw):
                tasks.append(self._listed(position, value))
                if findings.full:
                    break
        else:
            for key, value in raw.items():
                name = fields.argument_text(key) or ""
                tasks.append(self._task(name, value, ("tasks", name)))
                if findings.full:
                    break
        return tasks

    def _listed(self, position: int, value: object) -> TaskSpec:
        path: Path = ("tasks", position)
        if not isinstance(value, dict):
            self.findings.value(path, f"a mapping with a name and a command, got {got(value)}")
            return _placeholder(f"#{position + 1}")
        if "name" not in value:
            self.findings.add(path, "each task of a list needs a name", "add 'name: ...'")
            return self._task(f"#{position + 1}", value, path)
        name = fields.argument_text(value["name"])
        if name is None:
            self.findings.value((*path, "name"), f"text, got {got(value['name'])}")
        return self._task(f"#{position + 1}" if name is None else name, value, path, ("name",))

    def _task(self, name: str, raw: object, path: Path, elsewhere: tuple[str, ...] = ()) -> TaskSpec:
        """One task. `elsewhere` are keys that the caller has read from the same mapping. After findings, a placeholder
        that keeps its place in the graph, so that the graph is checked along with the rest."""
        findings = self.findings
        if not isinstance(raw, dict):
            hint = f"write {{run: {raw!r}}}" if isinstance(raw, str) and len(raw) < 60 else ""
            findings.value(path, f"a mapping with 'run' or 'command', got {got(raw)}", hint)
            return _placeholder(name)
        before = len(findings.problems)
        values = dict(self.defaults)
        parts, labels, env = self.parts, self.labels, self.env
        for key, value in raw.items():
            reader = _READERS.get(key) if isinstance(key, str) else None
            if reader is not None:
                values[key] = reader(findings, (*path, key), value)
            elif key in _COMMAND_KEYS or key in elsewhere:
                continue
            elif key == "resources":
                requirement = fields.read_requirement(findings, (*path, key), value, _context(name))
                if requirement is not None:
                    parts = {**parts, **requirement[0]}
                    labels = _merge(labels, requirement[1])
            elif key == "env":
                env = _merge(env, fields.read_env(findings, (*path, key), value) or ())
            elif key == "workdir":
                values[key] = fields.check_workdir(findings, (*path, key), value, self.job["cwd"])
            elif key == "labels":
                hint = "labels that a node must carry stand under 'resources'"
                findings.add((*path, key), f"unknown key 'labels'{_context(name)}", hint, key=True)
            else:
                findings.unknown(path, key, (*_TASK_KEYS, *elsewhere), _context(name))
        command, shell = self._command(raw, path, name)
        if len(findings.problems) > before or command is None:
            return _placeholder(name, values.get("needs"))
        size = sum(map(len, command)) + sum(len(key) + len(value) for key, value in env)
        if size > MAX_ARGUMENTS:
            findings.add(path, f"command and environment are longer than {MAX_ARGUMENTS:,} bytes{_context(name)}")
            return _placeholder(name, values.get("needs"))
        return TaskSpec(
            name=name,
            command=command,
            shell=shell,
            resources=fields.resources_of(parts, self.known) if parts else _ONE_CPU,
            labels=labels,
            env=env,
            **values,
        )

    def _command(self, raw: dict[Any, Any], path: Path, name: str) -> tuple[tuple[str, ...] | None, bool]:
        """The argv and whether it is one line for a shell; None after noting why there is none."""
        findings = self.findings
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
            hint = "write run: 'a line for the shell', or command: [program, argument]"
            what = f"task {name!r} has nothing to run" if name else "there is nothing to run"
            findings.add(path, what, hint)
            return None, False
        return self._argv(raw, path), False

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


_ONE_CPU = Resources()


def _placeholder(name: str, needs: tuple[str, ...] | None = None) -> TaskSpec:
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


def _program(task: TaskSpec) -> str:
    """A name for a task that has none: its program's, or the first word of its line."""
    words = task.command[0].split() if task.shell else [task.command[0]]
    name = words[0].replace("\\", "/").rstrip("/").rpartition("/")[2][:60] if words else ""
    return "task" if name_problem(name) else name
