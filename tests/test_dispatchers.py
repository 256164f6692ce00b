"""The conformance suite on the dispatchers that ship."""

from __future__ import annotations

from typing import Any

from headrace import PluginRef, plugins
from headrace.testing import DispatcherContract
from headrace_events.buffered import BufferedEventNotifier
from headrace_events.inline import InlineDispatcher


class TestInline(DispatcherContract):
    capabilities = frozenset({"accounts"})

    def make_dispatcher(self) -> Any:
        return plugins.make("dispatcher", PluginRef("inline"))


class TestAsync(DispatcherContract):
    def make_dispatcher(self) -> Any:
        return plugins.make("dispatcher", PluginRef("async"))


class TestAsyncThatBlocks(DispatcherContract):
    """A policy that nothing is dropped by, as long as its time limit lasts."""

    def make_dispatcher(self) -> Any:
        return plugins.make("dispatcher", PluginRef("async", {"overflow": "block", "block_s": 0.001}))


class TestAsyncThatCoalesces(DispatcherContract):
    def make_dispatcher(self) -> Any:
        return plugins.make("dispatcher", PluginRef("async", {"overflow": "coalesce"}))


class TestBuffered(DispatcherContract):
    def make_dispatcher(self) -> Any:
        return plugins.make("dispatcher", PluginRef("buffered"))


class TestBufferedThatDropsTheNewest(DispatcherContract):
    def make_dispatcher(self) -> Any:
        return plugins.make("dispatcher", PluginRef("buffered", {"overflow": "drop_newest"}))


class TestBufferedBeforeAnother(DispatcherContract):
    """In front of a dispatcher that knows nothing of buffers: its listeners are called by the drain."""

    capabilities = frozenset({"accounts"})

    def make_dispatcher(self) -> Any:
        return BufferedEventNotifier(InlineDispatcher(), flush_s=0.01)
