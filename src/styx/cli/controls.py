"""What programs write, made safe to stand beside a live view: colours may stay, and nothing moves the cursor, sets a title or
rings. Output of a single program, and output into a pipe, is passed on as it is and does not come here.
"""

from __future__ import annotations

import re

__all__ = ["calm", "last_line"]

_RESET = "\x1b[0m"
_TROUBLE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")  # C1 controls are escapes too, in UTF-8
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_SEQUENCE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links, the clipboard
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS and its like
    r"|[\x1b]\[[0-?]*[ -/]*[@-~]"  # CSI: the cursor, erasing, modes, colours
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]"
)


def calm(data: bytes, *, colour: bool) -> bytes:
    """Whole lines. Of a line that was written over with carriage returns, what was visible last is left."""
    if not _TROUBLE.search(data):
        return data
    text = data.decode(errors="replace")
    return "\n".join(_line(line, colour) for line in text.split("\n")).encode()


def _line(text: str, colour: bool) -> str:
    text = text.rstrip("\r").rpartition("\r")[2]
    kept = _SEQUENCE.sub(lambda found: found[0] if colour and _COLOUR.fullmatch(found[0]) else "", text)
    return kept + _RESET if "\x1b" in kept else kept


def last_line(data: bytes) -> str:
    """The last line that has something to read, without colours, and finished or not: progress bars have no line ends."""
    for part in reversed(re.split(rb"[\r\n]+", data)):
        text = _SEQUENCE.sub("", part.decode(errors="ignore")).expandtabs(2).strip()
        if text:
            return "".join(c if c.isprintable() else "�" for c in text)
    return ""
