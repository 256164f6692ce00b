"""How the commands say things in a line: paths and errors."""

from __future__ import annotations

import io
from typing import TextIO


def forgiving(stream: TextIO) -> TextIO:
    """The stream, which now shows what its encoding lacks (a letter in somebody's name) as an escape."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def shown(text: str) -> str:
    """A path as any terminal can show it: what is not printable, such as a line break or a byte that is no text, as an
    escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def in_a_line(said: object) -> str:
    """An error, or what one said, without its line breaks."""
    return shown(" ".join(str(said).split()))


def reason(error: BaseException) -> str:
    """What went wrong with a file, without its name."""
    if isinstance(error, SyntaxError):
        at = f" (line {error.lineno})" if error.lineno else ""
        return shown(f"{error.msg}{at}")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shown(f"{type(error).__name__}: {error}")
