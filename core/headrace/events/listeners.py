"""Listeners that are ready to be used: `pipeline.on(ItemFailed, LogEvents())`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import attrs

from headrace.errors import SettingsError, said, shorten
from headrace.events.facts import BackpressureStarted, ItemFailed, ItemRetried, PipelineFinished, WorkerLost
from headrace.settings import whole_number


class LogEvents:
    """Writes each event to a logger, with its fields as `extra` in the attribute `event` of the record, so that a
    structured formatter has them all.

    logger  its name, or the logger itself
    level   the level of what is as it should be. What failed for good is an error; what was tried again, a worker that
            was lost and an operator that is held back are warnings
    """

    def __init__(self, logger: str | logging.Logger = "headrace.events", *, level: int = logging.INFO) -> None:
        whole_number(at_least=0, of="a level of logging").check("LogEvents.level", level)
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level = level

    def __call__(self, event: Any) -> None:
        level = self._level_of(event)
        if self._logger.isEnabledFor(level):
            fields = fields_of(event)
            self._logger.log(level, "%s", _sentence(event, fields), extra={"event": fields})

    def _level_of(self, event: Any) -> int:
        if isinstance(event, ItemFailed) or (isinstance(event, PipelineFinished) and event.error is not None):
            return logging.ERROR
        if isinstance(event, ItemRetried | WorkerLost | BackpressureStarted):
            return logging.WARNING
        return self._level

    def __repr__(self) -> str:
        return f"<LogEvents to {self._logger.name}>"


class WriteEvents:
    """Writes each event as a line of JSON: its type and its fields; what JSON has no word for as its `repr`.

    file  a path, opened to append in UTF-8 when the first event comes; or a text file, which its owner closes

    Each line is written whole and flushed. Use it as a context manager, or call `close`; the interpreter's end will
    do, too.
    """

    def __init__(self, file: str | Path | TextIO) -> None:
        if not (isinstance(file, str | Path) or callable(getattr(file, "write", None))):
            raise SettingsError(f"WriteEvents.file must be a path or an open text file; got {shorten(file)}")
        self._path = Path(file) if isinstance(file, str | Path) else None
        self._file: TextIO | None = None if isinstance(file, str | Path) else file

    def __call__(self, event: Any) -> None:
        if self._file is None:
            assert self._path is not None
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(fields_of(event), default=_as_json) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._path is not None and self._file is not None:
            file, self._file = self._file, None
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<WriteEvents to {self._path or self._file!r}>"


def fields_of(event: Any) -> dict[str, Any]:
    """`type`, and the event's fields by name; of what has no fields that are known, its `repr` as `value`."""
    kind = {"type": type(event).__name__}
    if attrs.has(type(event)):
        return kind | {each.name: getattr(event, each.name) for each in attrs.fields(type(event))}
    if isinstance(event, Mapping):
        return kind | {str(key): value for key, value in event.items()}
    return kind | (dict(vars(event)) if hasattr(event, "__dict__") else {"value": event})


_UNSAID = ("type", "at_s", "wall_s", "source", "sequence")


def _sentence(event: Any, fields: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{name}={_said(value)}" for name, value in fields.items() if name not in _UNSAID)
    return f"{type(event).__name__}: {facts}"


def _said(value: Any) -> str:
    return said(value) if isinstance(value, BaseException) else shorten(value)


def _as_json(value: Any) -> str:
    return _said(value)
