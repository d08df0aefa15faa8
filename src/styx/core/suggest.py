"""Did you mean: the known word that a wrong one most resembles."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "one_of"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question naming the closest known word, or "" when none is close."""
    import difflib

    words = list(known)
    if len(word) > 100 or len(words) > 2_000:
        return ""
    lowered = {candidate.lower(): candidate for candidate in words}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f"did you mean {lowered[close[0]]!r}?" if close else ""


def one_of(known: Iterable[str]) -> str:
    """`'a', 'b' or 'c'`."""
    words = [repr(word) for word in known]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
