"""`sitrep db`: the database's own commands."""

from __future__ import annotations

import click


@click.group("db")
def command() -> None:
    """Migrate and export the database."""


@command.command("migrate")
def migrate_command() -> None:
    """Bring the database to this version (`serve` does it by itself)."""
    from bot.settings import load
    from bot.store.sqlite import migrate

    path = load().home / "sitrep.db"
    done = migrate(path)
    click.echo("\n".join(f"applied {name}" for name in done) or f"{path} is up to date")
