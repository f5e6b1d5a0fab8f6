"""`sitrep triage`: look at an incident now; show what would be posted; post a sample."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bot.flows.preview import Preview


@click.command("triage")
@click.argument("incident", metavar="INCIDENT", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would be posted, to whom, and why; write and post nothing.")
@click.option("--groups", metavar="A,B", help="With --dry-run: for somebody in these groups, in place of the channel.")
@click.option("--sample", is_flag=True, help="Post a marked sample card into --channel; it is never counted.")
@click.option("--channel", metavar="NAME", help="With --sample: where to, #name or its id.")
@click.option("--override", is_flag=True, help="Also what is held out for measurement; stands in the audit trail.")
@click.option("--by", default="", help="Who asks; default: the user of this shell.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: everything as JSON.")
def command(
    incident: str | None,
    dry_run: bool,
    groups: str | None,
    sample: bool,
    channel: str | None,
    override: bool,
    by: str,
    as_json: bool,
) -> None:
    """Queue one more triage of INCIDENT for `sitrep serve`, or show it (--dry-run), or post a sample (--sample)."""
    if sample:
        if incident or dry_run or override or groups or not channel:
            raise click.UsageError("--sample takes --channel and nothing else: sitrep triage --sample --channel '#ops'")
        _sample(channel)
    elif not incident:
        raise click.UsageError("name an incident, or use --sample --channel '#ops'")
    elif channel:
        raise click.UsageError("--channel belongs to --sample; where a card goes is said by sitrep.toml")
    elif dry_run:
        if override:
            raise click.UsageError("a dry run shows the facts; --override would ask for more of a real one")
        _dry_run(incident, groups, as_json)
    else:
        if groups or as_json:
            raise click.UsageError("--groups and --json belong to --dry-run")
        _ask(incident, by, override)


def _sample(channel: str) -> None:
    from bot.settings import load
    from bot.wiring.preview import post_sample

    where = asyncio.run(post_sample(load(), channel))
    click.echo(f"posted a sample to {channel} ({where}); it is marked as one and never counted")


def _ask(incident_id: str, by: str, override: bool) -> None:
    import getpass

    from bot.clock import SystemClock
    from bot.errors import SitrepError
    from bot.incidents.asked_for import ask_for_triage
    from bot.incidents.book import Book
    from bot.settings import load
    from bot.store.sqlite import SqliteStore

    settings = load()

    async def work() -> int:
        store = SqliteStore.open(settings.home / "sitrep.db")
        try:
            book = Book(store, settings.file.workspace)
            incident = await book.incident(incident_id)
            if incident is None:
                raise SitrepError(
                    f"no incident {incident_id!r} is stored; sitrep serve stores what PagerDuty tells, and "
                    f"sitrep triage --dry-run {incident_id} looks without storing"
                )
            return await ask_for_triage(
                book, incident, by or getpass.getuser(), str(uuid.uuid4()), SystemClock().now(), override=override,
                source="shell",
            )  # fmt: skip
        finally:
            await store.close()

    n = asyncio.run(work())
    click.echo(f"queued: run {n} of {incident_id}; sitrep serve begins it within seconds, or when it starts")


def _dry_run(incident_id: str, groups: str | None, as_json: bool) -> None:
    from bot.cards.render import render
    from bot.settings import load
    from bot.wiring.preview import dry_run
    from integrations.records import WORLD

    named = None
    if groups is not None:
        named = frozenset(one.strip() for one in groups.split(",") if one.strip()) | {WORLD}
    found = asyncio.run(dry_run(load(), incident_id, named))
    blocks = render(found.card, "classic").blocks
    if as_json:
        click.echo(json.dumps(_as_json(found, blocks), ensure_ascii=False, indent=1))
        return
    from rich.console import Console

    from bot.cards.terminal import draw

    click.echo(f"Dry run of {incident_id}: nothing is written, posted, or sent to a model.")
    for line in _to_whom(found, named):
        click.echo(line)
    Console().print(draw(blocks))
    for line in _why(found):
        click.echo(line)


def _to_whom(found: Preview, groups: frozenset[str] | None) -> list[str]:
    from bot.trust.audience import AudienceUnknown

    lines = [f"To: {found.channel} ({found.rule})"]
    if not found.gets_card:
        lines.append("    By itself it gets no card: [triage] when does not hold. Somebody would have to ask for it.")
    if groups is not None:
        return [*lines, f"For: somebody in {', '.join(sorted(groups))}, whoever reads the channel"]
    if isinstance(found.audience, AudienceUnknown):
        return [*lines, f"For: unknown ({found.audience.reason}); so only the fallback fields are shown"]
    people, kinds = found.audience.people, len(found.audience.signatures)
    alike = "all in the same groups" if kinds == 1 else f"of {kinds} kinds by their groups"
    lines.append(f"For: {people} {'reader' if people == 1 else f'readers, {alike}'}")
    return [*lines, *(f"    {notice}" for notice in found.audience.notices)]


def _why(found: Preview) -> list[str]:
    lines = [] if found.ranked.fallback is None else [f"Only the fallback fields are shown: {found.ranked.fallback}."]
    by_reason: dict[tuple[str, ...], list[str]] = {}
    for item in found.ranked.evidence:
        told = f"  {item.mark:<4} {item.kind} from {item.source}: {_one_line(item.title)}"
        by_reason.setdefault(tuple(found.why_shown[item.mark]), []).append(told)
    for (first, *rest), items in by_reason.items():
        lines += [f"Why it may be shown: {first}", *(f"    {sentence}" for sentence in rest), *items]
    lines.append(f"Hidden: {len(found.hidden) or 'nothing'}{' kinds of things' if found.hidden else ''}")
    for one in found.hidden:
        lines.append(f"  {_one_line(one.what)}")
        lines += [f"       {sentence}" for sentence in one.why]
    return lines


def _one_line(text: str) -> str:
    from bot.trust.neutralise import clean

    return clean(text, 120)


def _as_json(found: Preview, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    from bot.trust.audience import AudienceUnknown

    known = None if isinstance(found.audience, AudienceUnknown) else found.audience
    return {
        "incident": found.ranked.incident.model_dump(mode="json"),
        "channel": found.channel,
        "rule": found.rule,
        "gets_card": found.gets_card,
        "audience": {
            "people": known.people if known else None,
            "unknown": found.audience.reason if isinstance(found.audience, AudienceUnknown) else None,
            "notices": list(known.notices) if known else [],
        },
        "fallback": found.ranked.fallback,
        "evidence": [
            {
                "id": item.mark, "kind": item.kind, "source": item.source, "title": item.title,
                "readers": item.readers.model_dump(mode="json"), "why": list(found.why_shown[item.mark]),
            }
            for item in found.ranked.evidence
        ],
        "hidden": [
            {"what": one.what, "readers": one.readers.model_dump(mode="json"), "why": list(one.why)}
            for one in found.hidden
        ],
        "suspects": [one.model_dump(mode="json") for one in found.ranked.suspects],
        "facts": blocks,
    }  # fmt: skip
