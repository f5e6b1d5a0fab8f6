"""`sitrep permissions`: who may read what, and by which rule."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from integrations.errors import Unavailable

if TYPE_CHECKING:
    from bot.settings import Settings
    from bot.store import Store
    from bot.trust.directory import DirectoryCache
    from bot.trust.explain import Explanation
    from bot.trust.principals import Principal
    from integrations.records import Channel, Person, Readers


@click.group("permissions")
def command() -> None:
    """Who may read what, and by which rule."""


@command.command("explain")
@click.option("--evidence", metavar="INCIDENT/MARK", help="An item that is stored: P8K2Q1/e3.")
@click.option("--source", metavar="NAME", help="What this source says, by the settings …")
@click.option("--service", metavar="NAME", help="… of this service.")
@click.option("--person", metavar="ID_OR_EMAIL", help="Somebody whom the directory knows.")
@click.option("--groups", metavar="A,B", help="Somebody in these groups.")
@click.option("--token", metavar="NAME", help="The holder of an API token.")
@click.option("--channel", metavar="ID", help="Everybody who reads a channel.")
@click.option("--json", "as_json", is_flag=True)
def explain_command(
    evidence: str | None,
    source: str | None,
    service: str | None,
    person: str | None,
    groups: str | None,
    token: str | None,
    channel: str | None,
    as_json: bool,
) -> None:
    """Which rule lets whom read an item. Nothing is asked of Slack: the directory is as it was last stored.

    Exit 0: may read; 1: may not.
    """
    from bot.settings import load

    if (evidence is None) == (source is None):
        raise click.UsageError("name one item: --evidence P8K2Q1/e3, or --source NAME with --service NAME")
    if sum(one is not None for one in (person, groups, token, channel)) != 1:
        raise click.UsageError("name one reader: --person, --groups, --token or --channel")
    settings = load()
    readers, told = asyncio.run(_explain(settings, evidence, source, service, person, groups, token, channel))
    if as_json:
        click.echo(json.dumps({"may": told.may, "readers": readers.model_dump(), "sentences": told.sentences}))
    else:
        click.echo("\n".join(told.sentences))
    if not told.may:
        raise click.exceptions.Exit(1)


async def _explain(
    settings: Settings,
    evidence: str | None,
    source: str | None,
    service: str | None,
    person: str | None,
    groups: str | None,
    token: str | None,
    channel: str | None,
) -> tuple[Readers, Explanation]:
    from contextlib import AsyncExitStack

    from bot.clock import SystemClock
    from bot.errors import ConfigurationError
    from bot.store.sqlite import SqliteStore
    from bot.trust.explain import explain, explain_audience
    from bot.trust.principals import Principal
    from bot.wiring import access_of, directory_of
    from bot.wiring.values import reader_rules
    from integrations.records import WORLD

    rules = reader_rules(settings)
    async with AsyncExitStack() as stack:
        store = SqliteStore.open(settings.home / "sitrep.db")
        stack.push_async_callback(store.close)
        if evidence is not None:
            readers = await _stored_readers(store, settings.file.workspace, evidence)
        else:
            section = settings.file.sources.get(source or "")
            if section is None:
                raise ConfigurationError(
                    [f"no [sources.{source}]; there are {', '.join(settings.file.sources) or 'none'}"]
                )
            readers = access_of(settings, section).of(service)[0]
        if groups is not None:
            named = [one.strip() for one in groups.split(",") if one.strip()]
            somebody = Principal(f"somebody in {' and '.join(named) or 'no group'}", frozenset(named) | {WORLD})
            return readers, explain(somebody, readers, rules)
        if token is not None:
            if token not in settings.file.tokens:
                raise ConfigurationError([f"no [tokens.{token}]"])
            return readers, explain(Principal.token(token, settings.file.tokens[token].groups), readers, rules)
        others = [StoredOnly(name) for name in settings.file.directories]
        directory = directory_of(settings, store, StoredOnly("slack"), SystemClock(), others)
        stack.push_async_callback(directory.close)
        if channel is not None:
            return readers, explain_audience(await directory.audience(channel), readers, rules)
        principal = await find_person(directory, person or "")
        return readers, explain(principal, readers, rules)


async def find_person(directory: DirectoryCache, person: str) -> Principal:
    """Somebody by id, or by e-mail where exactly one person has it."""
    from bot.errors import SitrepError
    from bot.trust.principals import normal_email

    if "@" not in person:
        return await directory.principal(person)
    people = await directory.stored_people()
    found = [one.id for one in people if one.email and normal_email(one.email) == normal_email(person)]
    if len(found) != 1:
        raise SitrepError(f"{len(found)} people of the directory have the address {person!r}; name the person's id")
    return await directory.principal(found[0])


async def _stored_readers(store: Store, workspace_id: str, item: str) -> Readers:
    """The readers of a stored item, named as INCIDENT/MARK."""
    from bot.errors import SitrepError
    from bot.trust.query import parse_readers

    incident_id, _, mark = item.rpartition("/")
    rows = await store.query(
        "SELECT readers FROM evidence WHERE workspace_id = :w AND incident_id = :i AND mark = :m",
        {"w": workspace_id, "i": incident_id, "m": mark},
    )
    if not rows:
        raise SitrepError(f"no stored item {item!r}; write it as the card does: P8K2Q1/e3")
    return parse_readers(rows[0]["readers"])


class StoredOnly:
    """A `Directory`, and a `GroupSource`, that is not asked: what counts is what the store remembers."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def team_id(self) -> str:
        raise self._not_asked()

    async def people(self) -> Sequence[Person]:
        raise self._not_asked()

    async def person(self, person_id: str) -> Person:
        raise self._not_asked()

    async def groups(self) -> Mapping[str, frozenset[str]]:
        raise self._not_asked()

    async def channel(self, channel_id: str) -> Channel:
        raise self._not_asked()

    async def members(self, channel_id: str) -> frozenset[str]:
        raise self._not_asked()

    def _not_asked(self) -> Unavailable:
        return Unavailable(self.name, "not asked by this command")
