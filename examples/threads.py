"""An executor by itself: a function over an endless input, in bounded memory, until enough has been found.

python examples/threads.py
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import count

from headrace import PipelineThreadExecutor

BLOCK = b"headrace" * 1_000
ENOUGH = 5


def large_dataset() -> Iterator[bytes]:
    """Does not end: the executor pulls no more than its bound ahead of the loop below."""
    for nonce in count():
        yield nonce.to_bytes(8) + BLOCK


def process_func(data: bytes) -> str:
    return sha256(data).hexdigest()  # releases the interpreter lock, so that threads compute at the same time


executor = PipelineThreadExecutor(max_workers=4, max_memory_items=1_000, pipeline_depth=3, adaptive_batching=True)
found = 0
for nonce, digest in enumerate(executor.execute(process_func, large_dataset())):
    if digest.startswith("000"):
        found += 1
        print(f"nonce {nonce}: {digest}")
        if found == ENOUGH:
            break  # the threads are gone, and the generator is closed, when this line is through

# The threads of an executor that is used as a context manager are kept for several calls.
with PipelineThreadExecutor(max_workers=2) as executor:
    for data in ([b"a", b"b", b"c"], [b"d", b"e"]):
        print([digest[:8] for digest in executor.execute(process_func, data)])
