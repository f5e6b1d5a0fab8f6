"""`sitrep db`: the database's own commands."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli.reader import FOR
from bot.errors import ConfigurationError
from bot.experiment.units import instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.experiment.units import Row
    from bot.settings import Settings
    from bot.store.export import Shows


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


@command.command("export")
@click.option("--since", required=True, metavar="DATE", help="A date (00:00 UTC) or an ISO instant.")
@click.option("--until", metavar="DATE", help="Default: now.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("sitrep-export.db"),
              show_default=True, help="The file to make.")  # fmt: skip
@click.option("--for", "person", metavar="ID_OR_EMAIL", help=FOR + " An admin's: it names arms.")
@click.option("--replace", is_flag=True, help="Replace a file that is there.")
def export_command(since: str, until: str | None, output: Path, person: str | None, replace: bool) -> None:
    """A plain SQLite file of a period, for Datasette or a notebook, and a metadata file that explains it.

    It names arms: whoever may read the database may make one, and should give it to admins alone. No text from outside
    and no person's name is in it. With --for it holds what this person, an admin, may read. That it was made stands in
    the audit trail.
    """
    from bot.clock import SystemClock
    from bot.settings import load
    from bot.store.export import export
    from bot.trust.redaction import Redactor
    from bot.wiring.values import secret_keys

    settings, now = load(), SystemClock().now()
    begin, end = _moment("--since", since), _moment("--until", until) if until else now
    if end <= begin:
        raise ConfigurationError([f"--until {end:%Y-%m-%d} is not after --since {begin:%Y-%m-%d}"])
    shows = asyncio.run(_shows(settings, person, now))
    experiments, rows = asyncio.run(_experiments(settings, begin, end, now))
    redactor = Redactor(secret_keys(settings))
    made = export(
        settings.home / "sitrep.db", output, workspace_id=settings.file.workspace, since=begin, until=end,
        clean=lambda text: redactor.redact(text).text, shows=shows, experiments=experiments, rows=rows, replace=replace,
    )  # fmt: skip
    asyncio.run(_audit(settings, now, {"since": begin.isoformat(), "until": end.isoformat(), "for": person}))
    told = ", ".join(f"{count} {name}" for name, count in made.rows.items() if count) or "nothing in that time"
    click.echo(f"{made.path}: {told}\nto look at it: datasette {made.path} --metadata {made.metadata}")


async def _shows(settings: Settings, person: str | None, now: datetime) -> Shows:
    """What the reader of the export may see, decided once for each source and service."""
    import functools

    from bot.cli.reader import reader_of
    from bot.store.export import Shows
    from bot.store.sqlite import SqliteStore
    from bot.trust.audience import may_all_read
    from bot.wiring.values import change_readers_of, incident_readers_of

    store = SqliteStore.open(settings.home / "sitrep.db")
    try:
        audience = await reader_of(settings, store, person, now, "export")
    finally:
        await store.close()
    of_incidents, of_changes = incident_readers_of(settings), change_readers_of(settings)

    @functools.cache
    def incident(source: str, service: str | None) -> bool:
        return may_all_read(audience, of_incidents(source, service))

    @functools.cache
    def changes(service: str) -> bool:
        return may_all_read(audience, of_changes(service))

    return Shows(incident, changes)


def _moment(option: str, text: str) -> datetime:
    try:
        return instant(text)
    except ValueError as wrong:
        raise ConfigurationError([f"{option}: {wrong}"]) from None


async def _experiments(
    settings: Settings, begin: datetime, end: datetime, now: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The hypotheses that have begun, and their incidents as their analysis reads them."""
    from bot.clock import SystemClock
    from bot.experiment.export import recorded_rows
    from bot.experiment.recorded import read_recorded
    from bot.experiment.schedule import starts_at
    from bot.store.sqlite import SqliteStore
    from bot.wiring import experiments_of

    store = SqliteStore.open(settings.home / "sitrep.db")
    try:
        live = await experiments_of(settings, store, SystemClock())
        told, rows = [], []
        for one in settings.experiments if settings.file.mode == "live" else ():
            if starts_at(one) > now:
                continue
            told.append(live.told(one, now))
            found = await read_recorded(store, settings.file.workspace, one, end)
            parts: tuple[tuple[str, tuple[Row, ...], Mapping[str, int]], ...] = (
                ("experiment", found.rows, found.ordinals),
                ("baseline", found.baseline, {}),
            )
            rows += [
                {"experiment": one.name, "part": part, **row}
                for part, of_it, ordinals in parts
                for row in recorded_rows((r for r in of_it if begin <= r.triggered_at < end), ordinals)
            ]
        return told, rows
    finally:
        await store.close()


async def _audit(settings: Settings, now: datetime, detail: dict[str, Any]) -> None:
    import getpass

    from bot.incidents.book import Book
    from bot.store.sqlite import SqliteStore

    store = SqliteStore.open(settings.home / "sitrep.db")
    try:
        await Book(store, settings.file.workspace).audit(now, f"shell:{getpass.getuser()}", "db.export", None, detail)
    finally:
        await store.close()
