"""`sitrep privacy`: erase what is stored about a person."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.settings import Settings


@click.group("privacy")
def command() -> None:
    """Erase what is stored about a person."""


@command.command("forget")
@click.argument("user")
def forget_command(user: str) -> None:
    """Replace USER (a Slack id or an e-mail) by a random pseudonym in votes, labels and audit. There is no way back."""
    from bot.settings import load

    settings = load()
    if sys.stdin.isatty():
        click.confirm(f"Forget {user} in {settings.home}? There is no way back.", abort=True)
    counts = asyncio.run(_forget(settings, user))
    _shrink(settings)
    for table, rows in sorted(counts.items()):
        click.echo(f"{table:16} {rows}")
    click.echo(f"{sum(counts.values())} rows changed; {user} is forgotten")


async def _forget(settings: Settings, user: str) -> dict[str, int]:
    from datetime import UTC, datetime

    from bot.errors import SitrepError
    from bot.store.retention import forget, new_pseudonym
    from bot.store.sqlite import SqliteStore
    from bot.store.values import ulid
    from bot.trust.principals import normal_email

    workspace_id = settings.file.workspace
    store = SqliteStore.open(settings.home / "sitrep.db")
    try:
        person_id = user
        if "@" in user:
            rows = await store.query(
                "SELECT id, email FROM people WHERE workspace_id = :w AND email IS NOT NULL", {"w": workspace_id}
            )
            found = [row["id"] for row in rows if normal_email(row["email"]) == normal_email(user)]
            if len(found) != 1:
                raise SitrepError(f"{len(found)} people of the directory have the address {user!r}; name the Slack id")
            person_id = found[0]
        if not person_id.isalnum():
            raise SitrepError(f"{user!r} is no Slack id (U0123ABCD) and no e-mail")
        pseudonym = new_pseudonym()
        counts = await forget(store, workspace_id, person_id, pseudonym)
        now = datetime.now(UTC)
        told = {"rows": sum(counts.values())}
        row = {"workspace_id": workspace_id, "id": ulid(now), "at": now, "by": "shell", "action": "privacy.forget"}
        await store.insert("audit", [{**row, "detail": told}])
        return counts
    finally:
        await store.close()


def _shrink(settings: Settings) -> None:
    """What was overwritten must leave the write-ahead log too; while `serve` runs, that happens by itself later."""
    connection = sqlite3.connect(settings.home / "sitrep.db", timeout=5)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
