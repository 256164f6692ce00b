"""The conformance suite of executors.

    from headrace.testing import ExecutorContract

    class TestMine(ExecutorContract):
        def make_executor(self):
            return MyExecutor(workers=4)

Each test holds one promise, and its name says which: order, bound, linger, batching, overlap, account, error, retries,
end, independence.
"""

from headrace.testing.executor.account import AccountPromises
from headrace.testing.executor.end import EndPromises
from headrace.testing.executor.flow import FlowPromises

__all__ = ["ExecutorContract"]


class ExecutorContract(FlowPromises, AccountPromises, EndPromises):
    """Proves an executor: subclass it, and say how to make one.

    The executor is used as `executor.execute(fn, items)` if it has that, else as
    `headrace.map(fn, items, executor=executor)`, and in pipelines as an operator's `executor=`. A new one is made for
    each test, and closed after it.

    capabilities  "overlap"     two batches of a stage can run at once
                  "linger"      items do not wait for later ones, also while nobody asks for a result; not for
                                executors that run in the calling thread (`inline = True`)
                  "in_process"  functions run in the process of the caller, and see its objects
                  By default all of them. One that an executor does not have is left out, and the tests that need it
                  are skipped by its name
    window        most items between source and consumer where `execute` of the executor is used
    """
