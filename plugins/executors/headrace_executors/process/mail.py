"""What a worker sends home besides results: log records, warnings, events, and what it prints where the caller's output
is not the process's own (in a notebook, say).

Both sides: `Sender` in the worker, `deliver` in the parent. It is sent at once, so that a worker which is lost has told
what it had to tell; but events go with the results of their items, or an item that has to run again told them twice.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from time import monotonic, time

from headrace.context import current, live_away, tell
from headrace.errors import shorten
from headrace_executors.process.packing import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any, TextIO


EVENTS = 256
"""So many events go home before the results of their items do: what waits has a bound."""


def expected() -> dict[str, Any]:
    """What the parent wants to hear of: the levels of its loggers, and whether its output has to come through it."""
    levels: dict[str, int] = {}
    logging = sys.modules.get("logging")
    if logging is not None:
        levels[""] = logging.root.level
        loggers = list(logging.root.manager.loggerDict.items())
        levels |= {name: each.level for name, each in loggers if getattr(each, "level", 0)}
    prints = [name for name in ("stdout", "stderr") if getattr(sys, name) is not getattr(sys, f"__{name}__")]
    return {"levels": levels, "prints": prints}


def deliver(data: Any) -> None:
    """Hand over what came from a worker, as if it had been said here."""
    with suppress(Exception):  # a handler or a filter that raises has no caller here to tell
        kind, content = unpack(data)
        if kind == "log":
            import logging

            record = logging.makeLogRecord(content)
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        elif kind == "warning":
            text, category, filename, line = content
            warnings.warn_explicit(text, _category(category), filename, line)
        elif kind == "events":
            for packed in content:
                _tell(packed)
        else:
            stream = getattr(sys, kind)
            stream.write(content)
            stream.flush()


def _tell(packed: bytes) -> None:
    with suppress(Exception):  # those of one event, whose class cannot be had here, do not concern the next
        tell(*unpack(packed))


def _category(packed: bytes | None) -> type[Warning]:
    with suppress(Exception):
        category = unpack(packed)
        if isinstance(category, type) and issubclass(category, Warning):
            return category
    return UserWarning


class Sender:
    """Takes what the worker's functions say. `send` may be called from any thread."""

    def __init__(self, send: Callable[[bytes], None], levels: dict[str, int], prints: list[str]) -> None:
        self._send = send
        self._levels = levels
        self._logs = False
        self._events: list[bytes] = []
        self._numbers: dict[str, int] = {}  # of the next event of each type
        warnings.showwarning = self._warn
        live_away(self._event)
        for name in prints:
            setattr(sys, name, _Printing(name, send))

    def look(self) -> None:
        """Take up log records, once anybody has imported what makes them: a worker is started faster without."""
        if not self._logs and "logging" in sys.modules:
            self._logs = True
            self._take_logs()

    def _take_logs(self) -> None:
        import logging

        class Home(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                sender.log(record)

        sender = self
        logging.root.handlers[:] = [Home()]
        for name, level in self._levels.items():
            logging.getLogger(name or None).setLevel(level)

    def _event(self, key: str, type: type, attributes: dict[str, Any]) -> None:
        if hasattr(type, "lifecycle"):
            attributes = {**self._facts(type.__name__), **attributes}
        try:
            packed = pack((key, type, attributes), beside=False)[0]
        except Exception:
            packed = pack((key, type, {name: _sendable(each) for name, each in attributes.items()}), beside=False)[0]
        self._events.append(packed)
        if len(self._events) >= EVENTS:
            self.send_events()

    def _facts(self, type: str) -> dict[str, Any]:
        number = self._numbers.get(type, 0)
        self._numbers[type] = number + 1
        source = f"headrace-process-{os.getpid()}/{type}"
        return {"source": source, "sequence": number, "at_s": monotonic(), "wall_s": time()}

    def send_events(self) -> None:
        """Send what has been told since: before the results of its items."""
        events, self._events = self._events, []
        if events:
            self._send(pack(("events", events), beside=False)[0])

    def log(self, record: logging.LogRecord) -> None:
        import logging

        content = {**record.__dict__, "msg": record.getMessage(), "args": None, "exc_info": None}
        if record.exc_info and not record.exc_text:
            content["exc_text"] = logging.Formatter().formatException(record.exc_info)
        content["operator"] = _operator()
        try:
            self._send(pack(("log", content), beside=False)[0])
        except Exception:  # something that was given as extra=
            plain = {name: value for name, value in content.items() if isinstance(value, str | int | float | None)}
            self._send(pack(("log", plain), beside=False)[0])

    def _warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        try:
            packed = pack(category, beside=False)[0]
        except Exception:
            packed = None
        operator = _operator()
        where = f"operator '{operator}', " if operator else ""
        text = f"{message} ({where}worker process {os.getpid()})"
        self._send(pack(("warning", (text, packed, filename, lineno)), beside=False)[0])

    def __repr__(self) -> str:
        return f"<Sender of {'logs and ' * self._logs}warnings>"


def _sendable(value: Any) -> Any:
    try:
        pack(value, beside=False)
    except Exception:
        return shorten(value)
    return value


def _operator() -> str:
    try:
        return current().operator
    except Exception:
        return ""


class _Printing:
    """Stands for a stream of the process: what is written goes home, line by line."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, name: str, send: Callable[[bytes], None]) -> None:
        self._name = name
        self._send = send
        self._line = ""

    def write(self, text: str) -> int:
        self._line += text
        if "\n" in text:
            whole, self._line = self._line.rsplit("\n", 1)
            self._post(whole + "\n")
        return len(text)

    def flush(self) -> None:
        if self._line:
            rest, self._line = self._line, ""
            self._post(rest)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def _post(self, text: str) -> None:
        self._send(pack((self._name, text), beside=False)[0])

    def __repr__(self) -> str:
        return f"<_Printing {self._name}>"
