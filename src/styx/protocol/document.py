"""From plain data in the shape of a task file to a JobSpec, with everything that is wrong said at once.

The same reader serves task files, the bodies of POST /jobs and POST /tasks, and the Python builders. It is given what a JSON
or YAML parser makes (dict, list, str, int, float, bool, None) and never raises anything but SpecError. Numbers may be
subclasses that remember how they were written (`written`), so that `VERSION: 1.10` reaches a program as "1.10".

    name, priority, deadline, budget, labels,          of the job
      host, cwd
    resources, env, secrets, workdir, retries,         at the top: defaults for all tasks
      timeout, backoff, grace, max_lost, image
    tasks: a mapping of names to tasks, or a list of tasks with `name`
    run | command (+ args) | function (+ payload), ... at the top, without `tasks`: the document is one task
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from styx.core.graph import check_in_slices, name_problem
from styx.core.ids import MAX_TASKS
from styx.core.spec import JobSpec, Priority, SecretFrom, TaskSpec
from styx.core.units import got
from styx.errors import Problem, SpecError
from styx.protocol import fields
from styx.protocol.findings import Findings, Path, path_text
from styx.protocol.requirement import read_money
from styx.protocol.tasks import COMMAND_KEYS, ONLY_TASK, SHARED_KEYS, TaskReader, placeholder
from styx.protocol.yaml12 import Marked, parse_yaml

__all__ = ["parse_yaml", "read_job", "read_task"]

_NAME_HINT = "use letters, digits, '-', '_' and '.'"
_JOB_KEYS = ("name", "priority", "deadline", "budget", "labels", "host", "cwd")


def _nothing() -> None:
    pass


def read_job(
    document: object,
    *,
    host: str = "",
    cwd: str = "",
    default_name: str = "",
    between: Callable[[], None] = _nothing,
) -> JobSpec:
    """A JobSpec from a document: a DAG under `tasks`, or one task with `run`, `command` or `function` at its top.

    A job without a name gets `default_name`, else a task's program's, else "job". `host` and `cwd` say where the
    caller is, unless the document does; relative working folders are meant from `cwd`. `between` is called again and again
    meanwhile, for a caller who has to let others work.
    Raises SpecError with every problem; those of a document from `parse_yaml` have a line and a column.
    """
    return _read(document, host, cwd, default_name, False, between)


def read_task(document: object, *, host: str = "", cwd: str = "", between: Callable[[], None] = _nothing) -> JobSpec:
    """A JobSpec of one task from `{"name", "command", "args", ...}`; its name defaults to the program's."""
    return _read(document, host, cwd, "", True, between)


def _read(
    document: object, host: str, cwd: str, default_name: str, single: bool, between: Callable[[], None]
) -> JobSpec:
    reader = _Document(host, cwd, between)
    findings = reader.findings
    default_name = "" if name_problem(default_name) else default_name
    spec = None
    if not isinstance(document, dict):
        hint = "begin with 'run: ...' for one task or 'tasks:' for several"
        findings.add((), f"a task file is a mapping, this is {got(document)}", hint)
    elif single or ("tasks" not in document and any(key in document for key in COMMAND_KEYS)):
        spec = reader.single(document, default_name)
    else:
        spec = reader.dag(document, default_name)
        if spec is not None and not findings.full:
            findings.join(_graph_problems(spec, isinstance(document["tasks"], list), between))
    if isinstance(document, Marked):
        findings.locate(document)
    if spec is None or findings.problems:
        raise SpecError(findings.problems)
    return spec


def _graph_problems(spec: JobSpec, listed: bool, between: Callable[[], None]) -> list[Problem]:
    """What the graph has to say. It knows tasks by name; in a list their places are positions."""
    problems: list[Problem] = []
    for _, found in check_in_slices(spec):
        problems += found
        between()
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
    """One reading of a document: what is said of the job, and the reader of its tasks."""

    def __init__(self, host: str, cwd: str, between: Callable[[], None]) -> None:
        self.findings = Findings()
        self.between = between
        self.job: dict[str, Any] = {"host": host, "cwd": cwd}
        self.tasks = TaskReader(self.findings, cwd)

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
        task = self.tasks.read(name, rest, (), _JOB_KEYS)
        if self.findings.problems:
            return None
        if not name:
            name = default_name or _program(task)
            task = TaskSpec(name, *[getattr(task, field) for field in TaskSpec.__struct_fields__[1:]])
        self.job["name"] = name
        return JobSpec(tasks=(task,), single=True, secrets=self._sources(), **self.job)

    def dag(self, document: dict[Any, Any], default_name: str) -> JobSpec | None:
        self._job_fields(document)
        findings = self.findings
        for key, value in document.items():
            if key in _JOB_KEYS or key == "tasks":
                continue
            path = (str(key),)
            if key in SHARED_KEYS:
                self.tasks.share(key, value)
            elif key in COMMAND_KEYS:
                hint = "move it into a task of its own under 'tasks'"
                findings.add(
                    path, f"{key!r} at the top makes a document one task, but it has 'tasks' too", hint, key=True
                )
            elif key in ONLY_TASK:
                findings.add(path, f"{key!r} belongs to a task", "move it into a task under 'tasks'", key=True)
            else:
                findings.unknown((), key, (*_JOB_KEYS, "tasks", *SHARED_KEYS, "run", "command", "function"))
        tasks = self._tasks(document)
        if not tasks:
            return None
        return JobSpec(tasks=tuple(tasks), secrets=self._sources(), **({"name": default_name or "job"} | self.job))

    def _sources(self) -> tuple[SecretFrom, ...]:
        return tuple(self.tasks.sources.values())

    def _job_fields(self, document: dict[Any, Any]) -> None:
        findings, job = self.findings, self.job
        for key in ("host", "cwd"):
            if key in document:
                value = document[key]
                if not isinstance(value, str):
                    findings.value((key,), f"text, got {got(value)}")
                elif fields.check_text(findings, (key,), value, 4_096):
                    job[key] = value
        self.tasks.cwd = job["cwd"]
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
            elif key == "budget":
                job["budget"] = read_money(findings, path, value)
            elif key == "labels":
                job["labels"] = fields.read_labels(findings, path, value)

    def _tasks(self, document: dict[Any, Any]) -> list[TaskSpec]:
        findings = self.findings
        if "tasks" not in document:
            hint = "write 'run: COMMAND' for one task, or 'tasks:' with a mapping of names to tasks"
            findings.add((), "there is nothing to run: neither 'run', 'command', 'function' nor 'tasks' is there", hint)
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
                self.between()
        else:
            for key, value in raw.items():
                name = fields.argument_text(key) or ""
                tasks.append(self.tasks.read(name, value, ("tasks", name)))
                if findings.full:
                    break
                self.between()
        return tasks

    def _listed(self, position: int, value: object) -> TaskSpec:
        path: Path = ("tasks", position)
        if not isinstance(value, dict):
            self.findings.value(path, f"a mapping with a name and a command, got {got(value)}")
            return placeholder(f"#{position + 1}")
        if "name" not in value:
            self.findings.add(path, "each task of a list needs a name", "add 'name: ...'")
            return self.tasks.read(f"#{position + 1}", value, path)
        name = fields.argument_text(value["name"])
        if name is None:
            self.findings.value((*path, "name"), f"text, got {got(value['name'])}")
        return self.tasks.read(f"#{position + 1}" if name is None else name, value, path, ("name",))


def _program(task: TaskSpec) -> str:
    """A name for a task that has none: its program's, or the first word of its line."""
    words = task.command[0].split() if task.shell else [task.function or task.command[0]]
    name = words[0].replace("\\", "/").rstrip("/").rpartition("/")[2][:60] if words else ""
    return "task" if name_problem(name) else name
