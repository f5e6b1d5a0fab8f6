"""What a triage would post, without posting: the rooms in their order, nothing written, no model asked.

collect → permit → redact → rank → card
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.cards.making import from_ranked
from bot.cards.state import CardState
from bot.clock import Clock
from bot.triage.collect import Collected, Collector, Edge
from bot.triage.permit import Permitted, permit
from bot.triage.rank import rank
from bot.triage.redact import Redactor, redact
from bot.trust.audience import Audience, AudienceUnknown, may_all_read
from bot.trust.explain import Rules, explain_audience
from bot.types import Ranked
from integrations.records import Batch, Incident, Readers

NO_MODEL = "a dry run asks no model"


@dataclass(frozen=True, slots=True)
class Hidden:
    """Something that was found and that somebody who reads the channel may not see: never its text."""

    what: str
    readers: Readers
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """The card, for whom it is, and why each item may be shown."""

    channel: str
    rule: str
    """Which rule named the channel."""
    gets_card: bool
    """Whether `[triage] when` gives such an incident a card by itself."""
    audience: Audience | AudienceUnknown
    ranked: Ranked
    card: CardState
    why_shown: Mapping[str, tuple[str, ...]]
    """Mark of an item to the sentences that say who may read it."""
    hidden: tuple[Hidden, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewParts:
    """What a preview needs; all of it only reads."""

    collector: Collector
    clock: Clock
    redactor: Redactor
    rules: Rules
    links: Sequence[str]
    learnt: Sequence[Batch[Edge]] = ()
    marks: Mapping[str, str] | None = None
    routed: Callable[[Incident], tuple[str, str, bool]]
    """Channel, the rule that named it, and whether the incident gets a card."""


async def preview(incident: Incident, audience: Audience | AudienceUnknown, parts: PreviewParts) -> Preview:
    """Asks every source as a triage would."""
    channel, rule, gets_card = parts.routed(incident)
    collected = await parts.collector.collect(incident, parts.learnt)
    permitted = permit(collected, audience, parts.clock.now())
    ranked = rank(redact(permitted, parts.redactor), marks=parts.marks)
    card = from_ranked(ranked, links=parts.links, no_summary=NO_MODEL, offers=())
    return Preview(
        channel=channel,
        rule=rule,
        gets_card=gets_card,
        audience=audience,
        ranked=ranked,
        card=card,
        why_shown={
            item.mark: explain_audience(audience, item.readers, parts.rules).sentences for item in ranked.evidence
        },
        hidden=tuple(_hidden(collected, permitted, audience, parts.rules)),
    )


def _hidden(
    collected: Collected, permitted: Permitted, audience: Audience | AudienceUnknown, rules: Rules
) -> Iterable[Hidden]:
    """What was left out, by where it is from and what about, with who may read it; never what it says."""
    found: dict[tuple[str, str], int] = {}
    readers_of: dict[str, Readers] = {}

    def away(what: str, readers: Readers) -> None:
        if (
            isinstance(audience, AudienceUnknown)
            or permitted.fallback is not None
            or not may_all_read(audience, readers)
        ):
            found[what, readers.signature] = found.get((what, readers.signature), 0) + 1
            readers_of[readers.signature] = readers

    for item in collected.evidence:
        away(f"{item.kind} from {item.source} about {item.service or 'no service'}", item.readers)
    told = {one.attributes.get("change_id") for one in collected.evidence}
    for change in collected.telemetry.changes:
        if change.id not in told:
            away(f"change from {change.source} of {change.service or 'no service'}", change.readers)
    telemetry: Sequence[tuple[str, Sequence[Batch[Any]]]] = (
        ("spans", collected.telemetry.spans), ("log lines", collected.telemetry.logs),
        ("metrics", collected.telemetry.series),
    )  # fmt: skip
    for what, batches in telemetry:
        for batch in batches:
            if batch.records:
                services = sorted({record.service for record in batch.records})
                about = ", ".join(services[:3]) + (f" and {len(services) - 3} more" if len(services) > 3 else "")
                away(f"{what} from {batch.source} of {about}", batch.readers)
    for (what, signature), number in found.items():
        readers = readers_of[signature]
        count = f" ({number})" if number > 1 else ""
        yield Hidden(f"{what}{count}", readers, explain_audience(audience, readers, rules).sentences)
