"""`sitrep experiment pause|resume|status|export`: what a person does with the experiment that runs, at the shell."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from bot.cli.reader import FOR
from bot.errors import ConfigurationError

if TYPE_CHECKING:
    from bot.experiment.live import LiveExperiments
    from bot.settings import Settings
    from bot.store.sqlite import SqliteStore

T = TypeVar("T")


@click.command()
@click.argument("name", required=False)
@click.option("--reason", required=True, help="Stands in the report and in the audit trail.")
@click.option("--by", default="", help="Who pauses; default: the user of this shell.")
def pause(name: str | None, reason: str, by: str) -> None:
    """Pause the model for the experiment NAME; without a name, every summary. The facts cards stay."""

    async def work(settings: Settings, store: SqliteStore, live: LiveExperiments) -> bool:
        from bot.clock import SystemClock
        from bot.experiment.pauses import pause as write

        made = await write(
            store, settings.file.workspace, experiment=_known(settings, name), by=by or _user(), reason=reason,
            at=SystemClock().now(),
        )  # fmt: skip
        return made is not None

    what = name or "every summary"
    click.echo(f"paused: {what}" if _run(work) else f"{what} is paused already; nothing was changed")


@click.command()
@click.argument("name", required=False)
@click.option("--reason", required=True, help="Stands in the audit trail.")
@click.option("--by", default="", help="Who resumes; default: the user of this shell.")
def resume(name: str | None, reason: str, by: str) -> None:
    """End the pause of the experiment NAME; without a name, the pause of every summary."""

    async def work(settings: Settings, store: SqliteStore, live: LiveExperiments) -> int:
        from bot.clock import SystemClock
        from bot.experiment.pauses import resume as write

        ended = await write(
            store, settings.file.workspace, experiment=_known(settings, name), by=by or _user(), reason=reason,
            at=SystemClock().now(),
        )  # fmt: skip
        return len(ended)

    what = name or "every summary"
    click.echo(f"resumed: {what}" if _run(work) else f"{what} was not paused; nothing was changed")


@click.command()
@click.argument("incident_id")
@click.argument("mark", type=click.Choice(["test", "duplicate"]))
@click.option("--reason", default="", help="Stands in the audit trail and the export; needed unless --undo.")
@click.option("--undo", is_flag=True, help="Take the mark back.")
@click.option("--by", default="", help="Who says so; default: the user of this shell.")
def mark(incident_id: str, mark: str, reason: str, undo: bool, by: str) -> None:
    """Say that the incident INCIDENT_ID was a test or a duplicate; the hypothesis' rules then leave it out.

    It keeps its unit and its arm. Units that are left out are counted, and an alarm says when more are of one arm.
    """
    if not reason and not undo:
        raise ConfigurationError(["--reason is needed: it stands in the audit trail"])

    async def work(settings: Settings, store: SqliteStore, live: LiveExperiments) -> bool:
        from bot.clock import SystemClock
        from bot.experiment.marks import mark_incident

        return await mark_incident(
            store, settings.file.workspace, incident_id, mark, by=by or _user(), reason=reason,
            at=SystemClock().now(), undo=undo,
        )  # fmt: skip

    told = "is no longer marked as" if undo else "is marked as"
    changed = _run(work)
    click.echo(f"{incident_id} {told} {mark}" if changed else "nothing was changed: it stood so already")


@click.command()
def status() -> None:
    """Which experiment runs, how many units it has, and whether it is paused. No arm and no seed is told."""

    async def work(settings: Settings, store: SqliteStore, live: LiveExperiments) -> list[str]:
        from bot.clock import SystemClock
        from bot.experiment.live import read_assignments
        from bot.experiment.pauses import read_pauses
        from bot.experiment.schedule import ends_at, starts_at

        now, lines = SystemClock().now(), []
        running = live.running(now)
        for one in settings.experiments:
            units = await read_assignments(store, settings.file.workspace, one.name)
            end = ends_at(one)
            until = f" to {end:%Y-%m-%d}" if end else ", without an end"
            if settings.file.mode == "shadow":
                lines.append(f"{one.name}: waits; in shadow mode nobody is exposed, so nothing is assigned")
                continue
            state = "runs" if one is running else ("is over" if end and end <= now else "has not begun")
            lines.append(f"{one.name}: {one.contrast}; {state} ({starts_at(one):%Y-%m-%d}{until}); {len(units)} units")
            lines.append(f"  hypothesis {one.sha256}")
        for held in await read_pauses(store, settings.file.workspace, running.name if running else None):
            lines.append(f"  {held.told}")
        return lines or ["no experiment: there is no experiments/<name>.toml beside sitrep.toml"]

    click.echo("\n".join(_run(work)))


@click.command()
@click.argument("name")
@click.option("--baseline", "before", is_flag=True, help="The incidents of the 13 weeks before it instead.")
@click.option("--for", "person", metavar="ID_OR_EMAIL", help=FOR + " An admin's: it names arms.")
def export(name: str, before: bool, person: str | None) -> None:
    """Print the incidents of the experiment NAME as the CSV that `analyse` reads. It names arms: keep it for admins.

    With `analyse --start` (the experiment's first day) and `--baseline` (a file made with that option here) the figures
    are the report's.
    """

    async def work(settings: Settings, store: SqliteStore, live: LiveExperiments) -> str:
        from bot.cli.reader import hidden_incidents, reader_of
        from bot.clock import SystemClock
        from bot.experiment.export import recorded_csv
        from bot.experiment.recorded import read_recorded

        _known(settings, name)
        now = SystemClock().now()
        audience = await reader_of(settings, store, person, now, "export")
        hidden = await hidden_incidents(settings, store, audience)
        (hypothesis,) = (one for one in settings.experiments if one.name == name)
        found = await read_recorded(store, settings.file.workspace, hypothesis, now)
        rows = [row for row in (found.baseline if before else found.rows) if row.incident_id not in hidden]
        return recorded_csv(rows, {} if before else found.ordinals)

    click.echo(_run(work), nl=False)


def _run(work: Callable[[Settings, SqliteStore, LiveExperiments], Awaitable[T]]) -> T:
    from bot.clock import SystemClock
    from bot.settings import load
    from bot.store.sqlite import SqliteStore
    from bot.wiring import experiments_of

    settings = load()

    async def inside() -> T:
        store = SqliteStore.open(settings.home / "sitrep.db")
        try:
            return await work(settings, store, await experiments_of(settings, store, SystemClock()))
        finally:
            await store.close()

    return asyncio.run(inside())


def _known(settings: Settings, name: str | None) -> str | None:
    names = [one.name for one in settings.experiments]
    if name is not None and name not in names:
        raise ConfigurationError(
            [f"no experiment {name!r}; there is {', '.join(names) or 'none'} in experiments/ beside sitrep.toml"]
        )
    return name


def _user() -> str:
    """The shell's user: whoever can write the database may pause; the audit trail says who it was."""
    return f"shell:{getpass.getuser()}"
