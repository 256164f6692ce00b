"""The gate of a sink that takes items by the list: an object with `open`, `write` and `close`, or a function."""

from __future__ import annotations

import threading

from headrace.errors import HeadraceError, OperatorFailed, said
from headrace.flow.gates import Gate, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from headrace.batch import Batch
    from headrace.flow.ledger import Account


_lock = threading.Lock()
_in_use: set[int] = set()  # ids of the targets that are open now, guarded by `_lock`; each is kept alive by its gate


class Writer:
    """Makes a sink of a function of a list."""

    def __init__(self, write: Callable[[Sequence[Any]], Any]) -> None:
        self.write = write

    def open(self) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """There is nothing to close."""

    def __repr__(self) -> str:
        return getattr(self.write, "__qualname__", repr(self.write))


class WriterGate(Gate):
    """Opens `target` before the first items, gives it each list of them that comes, in order, and closes it when all
    items of the run have come through, or when the run is over for another reason: always, once it was opened.

    If it has a method `commit`, that is called after all sinks of a run that ended well were closed; if it has `abort`,
    that is called after `close` in any other case. An error in any of them ends the run and names the sink; behind
    another error, which ends the run already, it is warned of.
    """

    calls_user = True

    def __init__(self, account: Account, name: str, target: Any, ports: int = 1) -> None:
        self._account = account
        self._name = name
        self._target = target
        self._ports = ports
        self._opened = self._closed = self._committed = self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def feed(self, port: int, batch: Batch, now_s: float) -> Step:
        items, tally = len(batch), self._account.tallies[0]
        if self._cancelled:
            return Step()
        try:
            self._open()
        except Exception as error:
            return Step(error=self._failed("open", error))
        try:
            self._target.write(batch.data if isinstance(batch.data, list) else list(batch.data))
        except Exception as error:
            return Step(error=self._failed("write", error, batch))
        tally.taken += items
        tally.done += items
        self._account.batches += 1
        return Step(consumed=tuple(items * (at == port) for at in range(self._ports)))

    def end(self, port: int, now_s: float) -> Step:
        try:
            if not self._cancelled:
                self._open()
        except Exception as error:
            return Step(error=self._failed("open", error))
        return Step()

    def _open(self) -> None:
        if not self._opened:
            with _lock:
                if id(self._target) in _in_use:
                    raise HeadraceError("it is open for another operator or run; one object serves one at a time")
                _in_use.add(id(self._target))
            self._opened = True  # also one that failed half-way is closed
            self._target.open()

    def finish(self) -> None:
        try:
            self._close()
        except Exception as error:
            raise self._failed("close", error) from error

    def commit(self) -> None:
        if not self._opened:
            return
        try:
            getattr(self._target, "commit", _nothing)()
        except Exception as error:
            raise self._failed("commit", error) from error
        self._committed = True
        self._release()

    def abort(self) -> None:
        try:
            self.finish()
        finally:
            if self._opened and not self._committed:
                self._committed = True
                try:
                    getattr(self._target, "abort", _nothing)()
                except Exception as error:
                    raise self._failed("abort", error) from error
                finally:
                    self._release()

    def _close(self) -> None:
        if self._opened and not self._closed:
            self._closed = True
            self._target.close()

    def _release(self) -> None:
        with _lock:
            _in_use.discard(id(self._target))

    def _failed(self, what: str, error: BaseException, batch: Batch | None = None) -> OperatorFailed:
        of = "" if batch is None else f", given {len(batch)} items from item {batch.index[0]} on,"
        failed = OperatorFailed(self._name, None, None, f"`{what}` of {self._target!r}{of} raised {said(error)}")
        failed.__cause__ = error
        return failed

    def __repr__(self) -> str:
        return f"<WriterGate '{self._name}' {self._target!r}>"


def _nothing() -> None:
    """What a target does that does not say."""
