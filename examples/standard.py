"""The standard pipeline: a source, a function of each item in parallel, a filter, and an account of what happened.

python examples/standard.py
"""

from __future__ import annotations

from hashlib import sha256

from headrace import Pipeline

data_source = [f"document {number}\n".encode() * 100 for number in range(2_000)]


def process_func(document: bytes) -> str:
    return sha256(document).hexdigest()


def filter_func(digest: str) -> bool:
    return digest.startswith("00")


pipeline = (
    Pipeline("standard")
    .source("data", data_source)
    .map("process", process_func, parallel_degree=4)
    .filter("filter", filter_func, parallel_degree=2)
)
result = pipeline.execute()

print(pipeline.describe())
print()
print(result.report)
print()
print(f"{len(result.outputs)} of {len(data_source)} digests begin with two zeros:")
for digest in result.outputs:
    print(" ", digest)
