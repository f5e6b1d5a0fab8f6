"""A dry run and a sample: parts of the running program, over a store that is thrown away."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from bot.cards.outbox import Outbox, OutboxLimits
from bot.cards.samples import marked_sample
from bot.clock import Clock, SystemClock
from bot.errors import MissingPart, SitrepError
from bot.flows.preview import Preview, PreviewParts, preview
from bot.incidents import topology
from bot.incidents.book import Book
from bot.incidents.routing import Routing
from bot.settings import Settings
from bot.store import Row
from bot.store.sqlite import SqliteStore
from bot.triage.collect import Collector
from bot.trust.audience import Audience, AudienceUnknown
from bot.trust.redaction import Redactor
from bot.wiring.doctor_local import schema
from bot.wiring.outside import directory_of, egress_of, group_sources, slack_of
from bot.wiring.sources import pagerduty_of, sources_of, stored_alerts
from bot.wiring.values import (
    alert_readers_of,
    declared_edges,
    link_hosts,
    reader_rules,
    routing_of,
    service_names,
)
from integrations.errors import IntegrationError
from integrations.pagerduty import PagerDuty, described, incident_fields
from integrations.records import Incident
from integrations.slack import ChannelNames, SlackDirectory, SlackPoster

DIRECTORY_SECONDS = 60.0
"""How long who reads the channel may take: nothing is remembered, so everybody is read."""
SENDING_SECONDS = 60.0


async def dry_run(settings: Settings, incident_id: str, groups: frozenset[str] | None = None) -> Preview:
    """What a triage of this incident would post now. `groups`: for somebody in these, in place of the channel.

    Nothing is written: what is remembered of people and channels goes to a folder that is thrown away, and the store is
    only read.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own = settings.home / "sitrep.db"
        there = own.exists()
        if there and (line := schema(own)).status != "ok":
            raise SitrepError(f"the database: {line.found}; {line.do}")
        aside = SqliteStore.open(folder / "sitrep.db")
        stack.push_async_callback(aside.close)
        store = SqliteStore.open(own) if there else aside
        if there:
            stack.push_async_callback(store.close)
        book = Book(store, settings.file.workspace)
        egress = egress_of(settings)
        pagerduty = pagerduty_of(settings, egress, stack)
        routing = routing_of(settings)
        incident = await book.incident(incident_id) or await _of_pagerduty(settings, routing, pagerduty, incident_id)
        row = await book.incident_row(incident_id)
        own_channel = row["own_channel"] if row else None
        sources = [*sources_of(settings, egress, stack, pagerduty), *stored_alerts(settings, store, clock)]

        def routed(one: Incident) -> tuple[str, str, bool]:
            channel, rule = routing.decide(one.severity, one.service, own_channel)
            return channel, rule, routing.gets_card(one.severity, one.service)

        parts = PreviewParts(
            collector=Collector(
                sources, clock, services=service_names(settings), owner=routing.team,
                alert_readers=alert_readers_of(settings), declared_edges=declared_edges(settings),
            ),
            clock=clock,
            redactor=Redactor([secrets.token_bytes(32)]),
            rules=reader_rules(settings),
            links=tuple(link_hosts(settings)),
            learnt=await topology.learnt(store, settings.file.workspace, clock.now()),
            marks=await book.marks(incident_id),
            routed=routed,
        )  # fmt: skip
        if groups is not None:
            audience: Audience | AudienceUnknown = Audience.of([groups], clock.now())
        else:
            audience = await _readers(settings, routed(incident)[0], aside, clock, stack)
        return await preview(incident, audience, parts)


async def _readers(
    settings: Settings, channel: str, aside: SqliteStore, clock: Clock, stack: AsyncExitStack
) -> Audience | AudienceUnknown:
    """Who reads the channel now."""
    if settings.secrets.slack_bot_token is None:
        return AudienceUnknown("SLACK_BOT_TOKEN is not set, so that nobody can say who reads the channel")
    egress = egress_of(settings)
    slack = await slack_of(settings, egress, stack)
    names = ChannelNames(slack.web)
    stack.push_async_callback(names.close)
    try:
        channel_id = await names.find(channel)
    except IntegrationError as wrong:
        return AudienceUnknown(wrong.message)
    directory = directory_of(settings, aside, SlackDirectory(slack.web), clock, group_sources(settings, egress, stack))
    stack.push_async_callback(directory.close)
    return await directory.audience(channel_id, DIRECTORY_SECONDS)


async def _of_pagerduty(
    settings: Settings, routing: Routing, pagerduty: PagerDuty | None, incident_id: str
) -> Incident:
    """An incident that no signal told of yet: on the first day there is no other."""
    if pagerduty is None:
        raise SitrepError(f"no incident {incident_id!r} is stored, and PAGERDUTY_API_TOKEN is not set to ask for it")
    try:
        raw = await pagerduty.incident(incident_id)
    except IntegrationError as wrong:
        raise SitrepError(f"no incident {incident_id!r} is stored; PagerDuty: {wrong.message}") from None
    fields, said = described(raw), incident_fields(raw)
    if fields is None or fields.created_at is None:
        raise SitrepError(f"PagerDuty's answer about {incident_id!r} does not say when it began")
    return Incident(
        workspace_id=settings.file.workspace,
        id=incident_id,
        number=fields.number,
        title=fields.title,
        service=routing.service(fields.service_ref, fields.service) or fields.service,
        service_ref=fields.service_ref,
        severity=routing.severity_of(fields.priority, fields.urgency),
        urgency=fields.urgency,
        priority=fields.priority,
        status=said.get("status", "triggered"),
        url=fields.url,
        triggered_at=fields.created_at,
        acknowledged_at=said.get("acknowledged_at"),
        resolved_at=said.get("resolved_at"),
        teams=fields.teams,
    )


async def post_sample(settings: Settings, channel: str) -> str:
    """Posts a card that says that it is a sample, with its thread; returns the channel's id. It is in no table of the
    store, so that no report and no experiment can count it, and it has no buttons."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        aside = SqliteStore.open(folder / "sitrep.db")
        stack.push_async_callback(aside.close)
        slack = await slack_of(settings, egress_of(settings), stack)
        names = ChannelNames(slack.web)
        stack.push_async_callback(names.close)
        try:
            channel_id = await names.find(channel)
        except IntegrationError as wrong:
            raise MissingPart(wrong.message) from None
        outbox = Outbox(
            aside, settings.file.workspace, SlackPoster(slack.web), clock,
            limits=OutboxLimits(blocks=settings.file.slack.blocks),
        )  # fmt: skip
        target = f"sample:{secrets.token_hex(8)}"
        state = marked_sample(clock.now())
        await outbox.change(target, channel_id, lambda _: state, permitted_at=clock.now())
        until = clock.monotonic() + SENDING_SECONDS
        refused: list[Row] = []
        while await outbox.waiting() and not refused and clock.monotonic() < until:
            await clock.sleep(min(await outbox.send_due(), 2.0))
            refused = await aside.query("SELECT last_error FROM posts WHERE status = 'failed'")
        if await outbox.waiting():
            why = str(refused[0]["last_error"]) if refused else f"no answer in {SENDING_SECONDS:g} s"
            raise SitrepError(f"the sample was not posted to {channel}: {why}")
    return channel_id
