"""The suite that proves a dispatcher."""

from headrace.testing.dispatcher.background import BackgroundTests
from headrace.testing.dispatcher.delivery import DeliveryTests
from headrace.testing.dispatcher.end import DispatcherEndTests
from headrace.testing.dispatcher.failures import ListenerFailureTests


class DispatcherContract(DeliveryTests, ListenerFailureTests, BackgroundTests, DispatcherEndTests):
    """Proves that a dispatcher keeps the promises: subclass it, and give it one.

        class TestMyDispatcher(DispatcherContract):
            def make_dispatcher(self):
                return MyDispatcher()

    capabilities  "accounts": it has `account()`, rows of `headrace.events.EventAccount`;
                  "background": listeners are called off the emitter's thread, each for itself;
                  "coroutines": listeners may be coroutine functions
    """


__all__ = ["DispatcherContract"]
