"""The `headrace` command: a group, to which every command is added here."""

from __future__ import annotations

from typing import Any

import click

from headrace.cli.demo import demo
from headrace.cli.plugins import plugins

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""


class Commands(click.Group):
    """A group whose commands end on Ctrl-C with one line and the status that shells expect, not click's 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headrace")
def main() -> None:
    """Data pipelines in parallel, in bounded memory, with nothing lost in silence."""


main.add_command(demo)
main.add_command(plugins)
