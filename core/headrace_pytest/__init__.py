"""Fixtures for tests of pipelines and of plugins.

headrace_serial  every pipeline of the test runs on the plugins of the profile `serial`
headrace_leaks   fails a test that leaves threads, child processes, descriptors or shared memory behind

Nothing of Headrace is imported before a fixture is used, so that a measurement of coverage sees all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headrace.profiles import Profile
    from headrace.testing.leaks import Resources

pytest.register_assert_rewrite("headrace.testing")


@pytest.fixture
def headrace_serial() -> Iterator[Profile]:
    """Runs every pipeline of the test on the plugins of the profile `serial`, whatever profile it was made with.

    So `breakpoint()` works in an operator's function, a failure is raised in the test's own thread, and nothing
    happens at the same time as something else. That holds for pipelines that were made before the test too, and for
    `headrace.map`. Windows and the like stay those of the pipeline, and an operator that names its executor keeps it.

    The value is the profile `serial`.
    """
    from headrace.testing.switch import running_on

    with running_on("serial") as profile:
        yield profile


@pytest.fixture
def headrace_leaks() -> Iterator[Resources]:
    """Fails the test if it leaves something behind, and names it: threads, child processes, descriptors, and names in
    /dev/shm that were not there before.

    Waits up to 2 s for them to go. Fixtures that the test asks for after this one are over by then, those before it
    count as having been there. The value is what was there before; its `left()` can be asked at any time.
    """
    from headrace.testing.leaks import Resources

    before = Resources.now()
    yield before
    left = before.left()
    if left:
        pytest.fail(f"left behind by the test: {', '.join(left)}", pytrace=False)
