"""`sitrep report`: the weekly report from the store, in any of its forms."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from bot.cli.reader import FOR
from bot.errors import ConfigurationError

if TYPE_CHECKING:
    from bot.report.model import WeeklyReport
    from bot.settings import Settings


@click.command("report")
@click.option("--week", metavar="2026-W47", help="An ISO week. Default: the last complete one.")
@click.option(
    "--format", "form", type=click.Choice(["slack", "html", "csv", "json"]), default="json", show_default=True
)
@click.option("--for", "person", metavar="ID_OR_EMAIL", help=FOR)
@click.option("--send", is_flag=True, help="Have the running bot post it once more, in every channel of the report.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def command(week: str | None, form: str, person: str | None, send: bool, output: Path | None) -> None:
    """Print the report of one week: how long incidents took, per arm, at what price, and how sure we are."""
    from bot.report.html import as_html
    from bot.report.slack import classic, modern
    from bot.report.table import as_csv, as_json
    from bot.settings import load

    gc.disable()  # one report and no cycles: with many incidents collecting takes a third of the time
    settings = load()
    if send:
        click.echo(asyncio.run(_send(settings, week)))
        return
    report = asyncio.run(_report(settings, week, person))
    if form == "slack":
        message = (classic if settings.file.slack.blocks == "classic" else modern)(report)
        text = json.dumps({"text": message.text, "blocks": message.blocks}, ensure_ascii=False, indent=1)
    else:
        text = {"html": as_html, "csv": as_csv, "json": as_json}[form](report)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text, encoding="utf-8")


async def _send(settings: Settings, week: str | None) -> str:
    import getpass

    from bot.clock import SystemClock
    from bot.report.weekly import ask_again
    from bot.report.weeks import last_complete, parse_week
    from bot.store.sqlite import SqliteStore

    zone, now = ZoneInfo(settings.file.timezone), SystemClock().now()
    wanted = parse_week(week) if week else last_complete(now, zone)
    if wanted.ends_at(zone) > now:
        raise ConfigurationError([f"--week: {wanted.name} is not over; it ends on {wanted.ends_at(zone):%Y-%m-%d}"])
    store = SqliteStore.open(settings.home / "sitrep.db")
    try:
        await ask_again(store, settings.file.workspace, wanted, by=f"shell:{getpass.getuser()}", at=now)
    finally:
        await store.close()
    return f"the report of {wanted.name} is posted once more as soon as `sitrep serve` runs"


async def _report(settings: Settings, week: str | None, person: str | None) -> WeeklyReport:
    from bot.cli.reader import reader_of
    from bot.clock import SystemClock
    from bot.report.build import LOOK_WITHIN, build
    from bot.report.material import read_material
    from bot.report.permitted import permitted
    from bot.report.weeks import last_complete, parse_week
    from bot.store.sqlite import SqliteStore
    from bot.wiring import experiments_of
    from bot.wiring.values import change_readers_of, incident_readers_of

    zone, now = ZoneInfo(settings.file.timezone), SystemClock().now()
    try:
        wanted = parse_week(week) if week else last_complete(now, zone)
    except ValueError as wrong:
        raise ConfigurationError([f"--week: {wrong}"]) from None
    store = SqliteStore.open(settings.home / "sitrep.db")
    try:
        until = wanted.ends_at(zone) + LOOK_WITHIN
        # Whoever can read the database at the shell may read the report of all of it; a person, what theirs shows.
        audience = await reader_of(settings, store, person, now)
        material = await read_material(
            store, settings.file.workspace, until, hidden_services=frozenset(),
            experiments=await experiments_of(settings, store, SystemClock()),
            week=(wanted.begins_at(zone), wanted.ends_at(zone)),
        )  # fmt: skip
        material = await permitted(
            store, settings.file.workspace, material, audience, incident_readers_of(settings),
            change_readers_of(settings),
        )  # fmt: skip
    finally:
        await store.close()
    return build(material, wanted, zone, now=now)
