"""The executor `futures`: batches run on a ThreadPoolExecutor. Order, the bound, retries and the rest are inherited."""

from concurrent.futures import ThreadPoolExecutor, wait

from headrace.contracts import Leftovers
from headrace.flow.kernel import Control
from headrace.hookspecs import hookimpl

HEADRACE_API = 1


class FuturesLane:
    def __init__(self, pool, stage):
        self.pool, self.kernel, self.capacity, self.running = pool, stage.kernel, stage.degree or 4, set()

    def submit(self, batch):
        future = self.pool.submit(self.kernel.run, batch, Control())
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        return future

    def resize(self, degree):
        self.capacity = degree

    def close(self, *, cancel=False, timeout_s=2.0):
        held = {future for future in set(self.running) if not (cancel and future.cancel())}
        return Leftovers(tuple(map(str, wait(held, timeout_s).not_done)))


class FuturesExecutor(ThreadPoolExecutor):
    def open(self, stage):
        return FuturesLane(self, stage)

    def close(self, *, cancel=False, timeout_s=2.0):
        return self.shutdown(wait=False, cancel_futures=cancel) or Leftovers()  # the lanes name what is still held


@hookimpl
def headrace_make_executor():
    return FuturesExecutor(32)
