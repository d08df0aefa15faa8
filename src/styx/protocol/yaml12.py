"""YAML 1.2, core schema, for documents that people write: libyaml's events, resolved by the rules of the newer standard.

`on`, `yes` and `no` are words, `0o17` is octal and `017` is seventeen. Keys are text as it was written. Numbers remember how
they were written, so that `VERSION: 1.10` can reach a program as it stands there. What the standard allows but nobody should
meet in a task file is refused with its place: a key that stands twice, tags, keys that are not scalars, several documents,
nesting or aliases without bound. The result is built with a stack of its own, so depth cannot exhaust Python's.

A `Marked` mapping is a dict that can say at which line and column a JSON path stands. Marks are found by a second pass over
the text, and only when something is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from styx.errors import Problem, SpecError
from styx.protocol.findings import Path, path_text

__all__ = ["MAX_TEXT", "Marked", "parse_yaml"]

MAX_TEXT = 32 << 20  # bytes
MAX_DEPTH = 32
MAX_ALIASED = 100_000  # nodes that aliases repeat, in one document
MAX_DUPLICATES = 50

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NUMERIC = frozenset("0123456789+-.")
_LONGEST_NUMBER = 300


class _Integer(int):
    written: str


class _Float(float):
    written: str


class Marked(dict[str, Any]):
    """The top mapping of a text, with its text. `problems` are those that the parser itself has noted."""

    def __init__(self, values: dict[str, Any], text: str, problems: list[Problem]) -> None:
        super().__init__(values)
        self.text = text
        self.problems = problems
        self._marks: dict[str, tuple[_Mark, _Mark]] = {}

    def locate(self, path: str, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at a JSON path, or of its key; of the nearest thing around it that is
        there, when there is no such path."""
        if not self._marks:
            builder = _Builder(self.text, self._marks)
            builder.build()
        while path not in self._marks:
            cut = max(path.rfind("."), path.rfind("["))
            if cut < 1:
                return 1, 1
            path, at_key = path[:cut], False
        key, value = self._marks[path]
        return key if at_key else value


_Mark = tuple[int, int]


def parse_yaml(data: bytes | str) -> object:
    """Plain data from YAML text; a mapping comes as `Marked`. Raises SpecError with line and column."""
    if len(data) > MAX_TEXT:
        raise SpecError([Problem("$", f"the file is larger than {MAX_TEXT >> 20} MiB", "write alike tasks as arrays")])
    text = data if isinstance(data, str) else _decoded(data)
    builder = _Builder(text, None)
    value = builder.build()
    if isinstance(value, dict):
        return Marked(value, text, builder.problems)
    if builder.problems:
        raise SpecError(builder.problems)
    return value


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise SpecError(
            [Problem("$", "the file is not UTF-8 text", "save it in UTF-8", line=line, column=column)]
        ) from None


class _Frame:
    """A mapping or a list under construction. `key` is what the next value of a mapping belongs to."""

    __slots__ = ("anchor", "key", "key_mark", "keys", "path", "size", "value")

    def __init__(self, value: Any, anchor: str | None, path: Path) -> None:
        self.value = value
        self.anchor = anchor
        self.path = path
        self.key: str | None = None
        self.key_mark: _Mark = (1, 1)
        self.keys: dict[str, int] = {}
        self.size = 1


class _Builder:
    def __init__(self, text: str, marks: dict[str, tuple[_Mark, _Mark]] | None) -> None:
        self.text = text
        self.marks = marks
        self.problems: list[Problem] = []
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.aliased = 0
        self.root: Any = None
        self.documents = 0

    def build(self) -> Any:
        import yaml

        handlers = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.DocumentStartEvent: self._document,
        }
        try:
            for event in self._events(yaml):
                handler = handlers.get(type(event))
                if handler is not None:
                    handler(event)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            message = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
            context = getattr(error, "context", None)
            raise SpecError(
                [
                    *self.problems,
                    Problem(
                        "$",
                        f"not YAML: {message}{f' {context}' if context else ''}",
                        _syntax_hint(str(message)),
                        mark.line + 1 if mark else 1,
                        mark.column + 1 if mark else 1,
                    ),
                ]
            ) from None
        return self.root

    def _events(self, yaml: Any) -> Iterator[Any]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(self.text)
        try:
            while loader.check_event():
                yield loader.get_event()
        finally:
            loader.dispose()

    def _refuse(self, event: Any, message: str, hint: str = "") -> SpecError:
        line, column = _mark(event)
        path = path_text(self.stack[-1].path) if self.stack else "$"
        return SpecError([*self.problems, Problem(path, message, hint, line, column)])

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            raise self._refuse(event, "a second document begins here", "a task file holds one; take the '---' out")

    def _start(self, event: Any) -> None:
        if event.tag is not None:
            raise self._tag(event)
        if len(self.stack) >= MAX_DEPTH:
            raise self._refuse(event, f"nested more than {MAX_DEPTH} deep")
        import yaml

        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._place(event, value, collection=True)
        self.stack.append(_Frame(value, event.anchor, path))

    def _end(self, event: Any) -> None:
        frame = self.stack.pop()
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.value, frame.size)
        if self.stack:
            self.stack[-1].size += frame.size

    def _alias(self, event: Any) -> None:
        known = self.anchors.get(event.anchor)
        if known is None:
            inside = any(frame.anchor == event.anchor for frame in self.stack)
            what = "refers to itself" if inside else "refers to nothing before it"
            raise self._refuse(event, f"the alias *{event.anchor[:60]} {what}")
        value, size = known
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            raise self._refuse(
                event, f"aliases repeat more than {MAX_ALIASED:,} values", "write them out, or use 'array: N'"
            )
        self._place(event, value)
        if self.stack:
            self.stack[-1].size += size

    def _scalar(self, event: Any) -> None:
        if event.tag is not None:
            raise self._tag(event)
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            self._key(frame, event)
            value: Any = event.value
        else:
            value = self._resolved(event) if event.implicit[0] else event.value
            self._place(event, value)
            if frame is not None:
                frame.size += 1
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)

    def _key(self, frame: _Frame, event: Any) -> None:
        text: str = event.value
        line, column = _mark(event)
        if text in frame.keys and len(self.problems) < MAX_DUPLICATES:
            hint = f"it stands in line {frame.keys[text]} already; keep one of them"
            path = path_text((*frame.path, text))
            self.problems.append(Problem(path, f"duplicate key {text[:60]!r}", hint, line, column))
        frame.keys.setdefault(text, line)
        frame.key, frame.key_mark = text, (line, column)

    def _place(self, event: Any, value: Any, *, collection: bool = False) -> Path:
        """Put a value where it belongs, and return its path."""
        if not self.stack:
            self.root = value
            self._remember((), (1, 1), (1, 1))
            return ()
        frame = self.stack[-1]
        if isinstance(frame.value, list):
            path = (*frame.path, len(frame.value))
            frame.value.append(value)
            self._remember(path, _mark(event), _mark(event))
            return path
        if frame.key is None:
            raise self._refuse(event, "a key must be plain text", "quote it")
        key, frame.key = frame.key, None
        path = (*frame.path, key)
        if self.marks is None or path_text(path) not in self.marks:
            frame.value.setdefault(key, value)
            self._remember(path, frame.key_mark, frame.key_mark if collection else _mark(event))
        return path

    def _remember(self, path: Path, key: _Mark, value: _Mark) -> None:
        if self.marks is not None:
            self.marks[path_text(path)] = (key, value)

    def _tag(self, event: Any) -> SpecError:
        return self._refuse(
            event, f"the tag {event.tag[:60]!r} is not understood", "leave tags out; quote what is text"
        )

    def _resolved(self, event: Any) -> Any:
        text: str = event.value
        if text in _NULL:
            return None
        if text[0] not in _NUMERIC:
            return _BOOLEANS.get(text, text)
        if len(text) > _LONGEST_NUMBER:
            return text
        if _INTEGER.fullmatch(text):
            value = int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
            if str(value) == text:
                return value
            whole = _Integer(value)
            whole.written = text
            return whole
        special = _SPECIAL.fullmatch(text)
        if special or _FLOAT.fullmatch(text):
            number = _Float(text.replace(".", "") if special else text)
            number.written = text
            return number
        return text


def _mark(event: Any) -> _Mark:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _syntax_hint(message: str) -> str:
    if "mapping values are not allowed" in message:
        return "quote a value that has ': ' in it, and look at the indentation"
    if "cannot start any token" in message:
        return "indent with spaces, not with tabs; quote a value that begins with @, ` or %"
    if "did not find expected" in message:
        return "look at the indentation here and in the line before, and for a missing quote or bracket"
    return ""
