"""`sitrep services import`: proposes `[services]` from what PagerDuty, Jaeger, Prometheus and GitHub call them."""

from __future__ import annotations

import asyncio

import click


@click.group("services")
def command() -> None:
    """One service, many names: what each system calls it."""


@command.command("import")
def import_command() -> None:
    """Ask the configured systems for their services and print TOML to paste into sitrep.toml. Writes nothing.

    Exit 1: none of them answered.
    """
    from bot.cli.service_file import propose
    from bot.settings import load
    from bot.wiring.listing import listed

    settings = load()
    found = asyncio.run(listed(settings))
    click.echo(propose(found, settings.file.services))
    if found and not any(one.services for one in found):
        raise click.exceptions.Exit(1)
