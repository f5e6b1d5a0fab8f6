"""The post-incident draft: timeline and facts with citations. A person edits it and publishes it, or does not.

The draft holds what both the person and every reader of the incident's channel may read, and is stored nowhere until
it is published. Publishing asks again: if somebody came who may read less than it was made of, nothing is posted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from bot.cards import phrases, words
from bot.cards.limits import MAX_TEXT
from bot.cards.making import from_ranked
from bot.cards.state import CardState
from bot.flows.entitled import Entitled
from bot.flows.views import NotTriaged
from bot.triage.permit import permit_ranked
from bot.trust.audience import Audience, AudienceUnknown, may_all_read
from bot.trust.neutralise import LinkPolicy, escape, mrkdwn, mrkdwn_link, mrkdwn_object, plain_text, units
from bot.types import Ranked
from integrations.records import Incident

AUDIENCE_SECONDS = 5.0
MAX_DRAFT = 2900
_HALF = re.compile(r"(?:&[a-z]{0,4}|<[^<>]*)$")
_MARK = re.compile(r"\be[1-9]\d{0,5}\b")
Published = Literal["published", "narrower", "nowhere"]
"""`narrower`: somebody reads the channel who may read less than the draft was made of; `nowhere`: it has no channel."""


class Channels(Protocol):
    """Who reads a channel now."""

    async def audience(self, channel_id: str, deadline_seconds: float = 0.5) -> Audience | AudienceUnknown: ...


class Say(Protocol):
    """The outbox's message that is no card."""

    async def __call__(
        self, target: str, channel: str, text: str, blocks: Sequence[Mapping[str, Any]],
    ) -> int: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """A text to edit; `made_of` is what it was made of, for `publish` to ask about again."""

    text: str
    made_of: str


class Drafts:
    """`say` is the outbox's; `channel_id` resolves a name."""

    def __init__(
        self, entitled: Entitled, channels: Channels, say: Say, channel_id: Callable[[str], Awaitable[str]]
    ) -> None:
        self._entitled = entitled
        self._book = entitled.book
        self._channels = channels
        self._say = say
        self._channel_id = channel_id

    async def draft(self, user_id: str, incident_id: str) -> Draft:
        """Raises NotPermitted, NotTriaged."""
        incident = await self._entitled.seen(incident_id, user_id)
        theirs = await self._entitled.views.ranked_for(incident_id, await self._entitled.principal(user_id))
        if theirs is None:
            raise NotTriaged(f"{incident_id} has not been looked at yet")
        ranked, whole = await self._for_channel(incident, theirs)
        standing = await self._entitled.standing(incident_id)
        state = from_ranked(ranked, links=self._entitled.parts.link_hosts)
        if standing is not None and not state.restricted:
            seen = {suspect.change_id for suspect in state.suspects}
            confirmed = standing.confirmed if standing.confirmed and standing.confirmed.change_id in seen else None
            state = state.model_copy(update={"confirmed": confirmed, "cause_said": standing.cause_said})
        text = _text(state, await self._fixed_by(incident_id))
        marks = sorted(set(_MARK.findall(text)) & {item.mark for item in state.evidence})
        return Draft(text, json.dumps({"m": marks, "w": whole}, separators=(",", ":")))

    async def publish(self, user_id: str, incident_id: str, text: str, made_of: str) -> Published:
        """Post what this person made of the draft, with links behind its marks. The same incident again is an edit."""
        incident = await self._entitled.seen(incident_id, user_id)
        row = await self._book.incident_row(incident_id)
        found = await self._book.ranked(incident_id)
        if row is None or not row["channel"] or found is None:
            return "nowhere"
        ranked, whole = await self._for_channel(incident, found[0])
        marks, was_whole = _made_of(made_of)
        if not marks <= {item.mark for item in ranked.evidence} or (was_whole and not whole):
            return "narrower"
        state = from_ranked(ranked, links=self._entitled.parts.link_hosts)
        role = await self._entitled.role(incident_id, user_id) or "a responder"
        blocks = _blocks(state, text, role)
        told = f"Report on {phrases.reference(state)}, published by {role}."
        channel = await self._channel_id(str(row["channel"]))
        await self._say(f"draft:{incident_id}", channel, mrkdwn(told, 300), blocks)
        now = self._entitled.parts.clock.now()
        await self._book.audit(now, user_id, "draft.publish", incident_id, {"characters": len(text)})
        return "published"

    async def _for_channel(self, incident: Incident, ranked: Ranked) -> tuple[Ranked, bool]:
        """What of it the channel's readers of now may read, and whether that is all that was looked at."""
        row = await self._book.incident_row(incident.id)
        channel = str(row["channel"]) if row is not None and row["channel"] else ""
        audience: Audience | AudienceUnknown = AudienceUnknown("the incident has no channel")
        if channel:
            audience = await self._channels.audience(channel, AUDIENCE_SECONDS)
        parts = self._entitled.parts
        permitted = permit_ranked(ranked, audience, parts.collector.alert_readers(incident), parts.clock.now())
        whole = not isinstance(audience, AudienceUnknown) and may_all_read(audience, ranked.basis)
        return permitted, whole and permitted.fallback is None

    async def _fixed_by(self, incident_id: str) -> str:
        rows = await self._book.store.query(
            "SELECT fixed_by FROM labels WHERE workspace_id = :w AND incident_id = :i AND undone_at IS NULL"
            " AND fixed_by IS NOT NULL ORDER BY at DESC LIMIT 1",
            {"w": self._book.workspace_id, "i": incident_id},
        )
        return str(rows[0]["fixed_by"]) if rows else ""


def _made_of(value: str) -> tuple[set[str], bool]:
    """What a form says that it was made of; anything else than ours asks for all."""
    try:
        read = json.loads(value)
        return {str(mark) for mark in read["m"]}, bool(read["w"])
    except (ValueError, KeyError, TypeError):
        return set(), True


def _text(state: CardState, fixed_by: str) -> str:
    """Plain text with marks; the person writes what no evidence says."""
    incident = state.incident
    if state.restricted:
        head = f"{phrases.severity(state)} incident {phrases.reference(state)}"
    else:
        head = f"{phrases.severity(state)} {phrases.subject(state)}"
    lines = [f"{phrases.reference(state)}: {head}", "", _life(incident.triggered_at, state)]
    if not state.restricted:
        lines += ["", "Cause", _cause(state)]
        lines += ["", "What fixed it", fixed_by or "…"]
        lines += ["", "Timeline (UTC)"]
        lines += [f"{_clock(one.at)} {words.sentence(one.text)}{_cites(one.evidence)}" for one in state.timeline[-20:]]
        facts = [reason for one in state.suspects[:2] for reason in one.reasons[:3]]
        facts += [reason for one in state.services[:2] for reason in one.reasons[:2]]
        told = dict.fromkeys(f"- {words.sentence(one.text)}{_cites(one.evidence)}" for one in facts)
        lines += ["", "Facts", *(list(told)[:8] or ["…"])]
    lines += ["", "What we change", "…"]
    kept = ""
    for line in lines:
        if units(kept) + units(line) + 1 > MAX_DRAFT - 100:
            break
        kept += f"{line}\n"
    return kept.strip()


def _life(began: datetime, state: CardState) -> str:
    told = [f"Began {began:%Y-%m-%d %H:%M:%S} UTC"]
    for name, at in (
        ("acknowledged", state.times.acknowledged_at), ("mitigated", state.times.mitigated_at),
        ("resolved", state.times.resolved_at),
    ):  # fmt: skip
        if at is not None:
            told.append(f"{name} after {words.duration((at - began).total_seconds())}")
    return ", ".join(told).replace("\u00a0", " ") + "."


def _cause(state: CardState) -> str:
    first, said = state.first_suspect, state.cause_said
    if said is not None:
        return f"{words.CAUSES[said.cause]}{f' {said.service}' if said.service else ''}."
    if first is None:
        return "No change stood out. …"
    name = phrases.change_words(first, state.item(first.mark), 120)
    sure = state.confirmed is not None and state.confirmed.change_id == first.change_id
    word = "Confirmed" if sure else words.confidence_word(first)
    return f"{word}: {name}{f' to {first.service}' if first.service else ''} ({first.mark})."


def _cites(marks: Sequence[str]) -> str:
    return f" ({', '.join(marks)})" if marks else ""


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"


def _blocks(state: CardState, text: str, role: str) -> list[dict[str, Any]]:
    """A person's text: nothing in it mentions or formats; its marks lead to the items."""
    policy = LinkPolicy(state.links)
    header = {"type": "header", "text": plain_text(f"Report on {phrases.reference(state)}", 150)}
    sections, used = [], ""
    for line in text.splitlines():
        drawn = _linked(line, state, policy)
        if used and units(used) + units(drawn) + 1 > MAX_TEXT - 200:
            sections.append(used)
            used = ""
        used = f"{used}\n{drawn}" if used else drawn
    sections = [one for one in [*sections, used] if one.strip()][:20]
    made: list[dict[str, Any]] = [{"type": "section", "text": mrkdwn_object(_fitting(one))} for one in sections]
    note = f"Drafted from the evidence, edited and published by {role}. Times are UTC."
    return [header, *made, {"type": "context", "elements": [mrkdwn_object(mrkdwn(note, 300))]}]


def _fitting(markup: str) -> str:
    """At most MAX_TEXT of Slack's units; what was escaped or linked is not cut in two."""
    if units(markup) <= MAX_TEXT:
        return markup
    cut = markup.encode("utf-16-le", "replace")[: 2 * (MAX_TEXT - 1)].decode("utf-16-le", "ignore")
    return _HALF.sub("", cut) + "…"


def _linked(line: str, state: CardState, policy: LinkPolicy) -> str:
    """One line, neutralised piece by piece so that no link is cut."""
    parts, at = [], 0
    for found in _MARK.finditer(line):
        item = state.item(found.group())
        if item is None:
            continue
        parts.append(mrkdwn(line[at : found.start()], 600, edges=True))
        parts.append(mrkdwn_link(item.url, item.mark, policy) if item.url else escape(item.mark))
        at = found.end()
    return "".join([*parts, mrkdwn(line[at:], 900, edges=True)])
