"""`headrace plugins`: what is installed, and whether it can be used."""

from __future__ import annotations

import json

import click

from headrace.cli.checkup import SOUND, Row, rows


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, for programs.")
@click.option("--check", is_flag=True, help="Import each plugin and check it.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool, check: bool) -> None:
    """List all plugins, with the profiles that ship.

    Each line has the kind of the plugin, its name, the distribution that brings it, the module that is its target, and
    its status: 'ok', 'not checked', or why it cannot be used. Without --check no plugin is imported, so only what its
    distribution says of it is looked at. With --check each is imported and held against its kind, but makes nothing.

    The exit status is 1 if any of them cannot be used.
    """
    found = rows(check=check)
    show(found, as_json=as_json)
    ctx.exit(int(any(row.status not in SOUND for row in found)))


def show(found: list[Row], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([row._asdict() for row in found], indent=2))
    else:
        from headrace.cli import listing  # rich takes longer to import than --help should take

        listing.show(found)
