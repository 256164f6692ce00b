"""Ways to tell of an event, as each library's own documentation says.

A maker imports its library and gives, for a listener, an `Emitter`: `emit(number)` tells of an event with two facts, an
operator and that number; `flush` returns once all has been heard that can be; `close` ends what was begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from harness import Unable

Listener = Callable[[Any], Any]
MANY = 10_000


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Emitter:
    emit: Callable[[int], Any]
    flush: Callable[[], Any] = _nothing
    close: Callable[[], Any] = _nothing


Maker = Callable[[Listener], Emitter]


# Ours ---------------------------------------------------------------------------------------------------------------


def _ours() -> Any:
    try:
        import headrace

        headrace.BufferedEventNotifier  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise Unable(f"no events: {error}") from error
    return headrace


def headrace(kind: str = "buffered", *, listeners: int = 1, **options: Any) -> Maker:
    """`kind`: "buffered", "async" or "inline"; so many `listeners`, all the same."""

    def make(listener: Listener) -> Emitter:
        ours = _ours()
        event = ours.BatchCompleted
        if kind == "inline":
            from headrace import PluginRef, plugins

            dispatcher = notifier = plugins.make("dispatcher", PluginRef("inline"))
        else:
            dispatcher = notifier = ours.AsyncEventDispatcher()
            if kind == "buffered":
                notifier = ours.BufferedEventNotifier(dispatcher)
        for _ in range(listeners):
            dispatcher.subscribe(listener, event, **options)
        notify = notifier.notify

        def emit(number: int) -> None:
            notify(event, operator="parse", items=number)

        def close() -> None:
            notifier.close(1.0)
            dispatcher.close(1.0)

        return Emitter(emit, partial(notifier.flush, 60), close)

    return make


# What bare Python does ----------------------------------------------------------------------------------------------


def append(listener: Listener) -> Emitter:
    """The limit: nobody hears it."""
    kept: deque[Any] = deque(maxlen=MANY)
    add = kept.append

    def emit(number: int) -> None:
        add((monotonic(), "parse", number))

    return Emitter(emit)


def notify_by_hand(listener: Listener) -> Emitter:
    """The same behind a method that takes the facts by name. Nobody hears it either."""

    class Notifier:
        def __init__(self) -> None:
            self._kept: deque[Any] = deque(maxlen=MANY)

        def notify(self, type: type, /, **facts: Any) -> None:
            self._kept.append((monotonic(), type, facts))

    notify = Notifier().notify

    def emit(number: int) -> None:
        notify(int, operator="parse", items=number)

    return Emitter(emit)


def direct_call(listener: Listener) -> Emitter:
    return Emitter(listener)


def simple_queue(listener: Listener) -> Emitter:
    """A queue and a thread that calls the listener."""
    import threading
    from queue import SimpleQueue

    queue: SimpleQueue[Any] = SimpleQueue()

    def work() -> None:
        for number in iter(queue.get, None):
            listener(number) if not isinstance(number, threading.Event) else number.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def flush() -> None:
        done = threading.Event()
        queue.put(done)
        done.wait()

    def close() -> None:
        queue.put(None)
        thread.join()

    return Emitter(queue.put, flush, close)


def executor_submit(listener: Listener) -> Emitter:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)

    def emit(number: int) -> None:
        pool.submit(listener, number)

    return Emitter(emit, lambda: pool.submit(_nothing).result(), pool.shutdown)


def queue_handler(listener: Listener) -> Emitter:
    """`logging.handlers.QueueHandler` with its QueueListener."""
    import logging
    from logging.handlers import QueueHandler, QueueListener
    from queue import SimpleQueue

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            listener(record)

    queue: SimpleQueue[Any] = SimpleQueue()
    logger = logging.Logger("bench")
    logger.addHandler(QueueHandler(queue))
    hears = QueueListener(queue, Hears())
    hears.start()

    def emit(number: int) -> None:
        logger.info("batch of %d completed by %s", number, "parse")

    def flush() -> None:
        hears.stop()
        hears.start()

    return Emitter(emit, flush, hears.stop)


# Libraries ----------------------------------------------------------------------------------------------------------


def pyee(listener: Listener) -> Emitter:
    from pyee.base import EventEmitter

    events = EventEmitter()
    events.on("completed", lambda operator, items: listener(items))

    def emit(number: int) -> None:
        events.emit("completed", operator="parse", items=number)

    return Emitter(emit)


def blinker(listener: Listener) -> Emitter:
    from blinker import Signal

    completed = Signal("completed")

    def hear(sender: Any, operator: str, items: int) -> None:
        listener(items)

    completed.connect(hear)

    def emit(number: int) -> None:
        completed.send("bench", operator="parse", items=number)

    return Emitter(emit, close=lambda: completed.disconnect(hear))


def psygnal(listener: Listener) -> Emitter:
    from psygnal import Signal

    class Emits:
        completed = Signal(str, int)

    emits = Emits()
    emits.completed.connect(lambda operator, items: listener(items))

    def emit(number: int) -> None:
        emits.completed.emit("parse", number)

    return Emitter(emit, close=lambda: emits)


def opentelemetry(listener: Listener) -> Emitter:
    """A span per event through the BatchSpanProcessor."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Hears(SpanExporter):
        def export(self, spans: Any) -> Any:
            for span in spans:
                listener(span)
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Hears(), max_queue_size=MANY))
    tracer = provider.get_tracer("bench")

    def emit(number: int) -> None:
        tracer.start_span("completed", attributes={"operator": "parse", "items": number}).end()

    return Emitter(emit, provider.force_flush, provider.shutdown)
