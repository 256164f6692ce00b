"""Run pipelines on the plugins of another profile than their own, without touching them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from headrace.pipeline import Pipeline
from headrace.profiles import Profile, profile


@contextmanager
def running_on(chosen: str | Profile) -> Iterator[Profile]:
    """Until the end of the `with` block, every pipeline of the process runs on the plugins of this profile.

        with running_on("serial"):
            code_that_makes_and_runs_pipelines()

    Also those that were made before, and `headrace.map`. What a pipeline's own profile says of the flow (window, bytes,
    linger) stays, and so does the executor of an operator that names one. Not for use by two threads at once.
    """
    other = profile(chosen)

    def switched(pipeline: Pipeline) -> Profile:
        own: Profile = vars(pipeline)["_profile"]
        return evolve(
            own,
            name=other.name,
            runner=other.runner,
            executor=other.executor,
            monitor=other.monitor,
            dispatcher=other.dispatcher,
        )

    def keep(pipeline: Pipeline, own: Profile) -> None:
        vars(pipeline)["_profile"] = own

    # A property goes before the attribute of the same name that each pipeline has in its own dictionary.
    before = vars(Pipeline).get("_profile")
    setattr(Pipeline, "_profile", property(switched, keep))  # noqa: B010 - to a type checker it is no property
    try:
        yield other
    finally:
        if before is None:
            delattr(Pipeline, "_profile")
        else:
            setattr(Pipeline, "_profile", before)  # noqa: B010
