"""`sitrep web` and `sitrep worker`: the parts of `sitrep serve` in processes of their own, which share one Postgres."""

from __future__ import annotations

from typing import NoReturn

import click

from bot.errors import ConfigurationError


def _refuse(name: str) -> NoReturn:
    raise ConfigurationError(
        [
            f"sitrep {name} needs SITREP_DATABASE_URL=postgresql://…, so that several processes share one store; this "
            "version has the embedded store only: run `sitrep serve`, one process that does everything"
        ]
    )


@click.command("web")
def web() -> None:
    """The doors alone: signed webhooks, Slack, health. Needs Postgres."""
    _refuse("web")


@click.command("worker")
def worker() -> None:
    """The workflows alone. Needs Postgres."""
    _refuse("worker")
