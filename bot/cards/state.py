"""CardState: everything that a card shows, as data. publish and refresh fill it, the outbox stores it, render draws it.

Holds only what is permitted and redacted. A state in `collecting` or with a `fallback` reason holds the fallback fields
alone (number, severity, time, on-call, link), so that what may not be shown is not in the database either. All changes
are pure functions that return a new state; no function here reads a clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from bot.cards.words import POSSIBLY, PROBABLY, SUMMARY_NOT_SHOWN
from bot.types import (
    Plot,
    Rejected,
    Released,
    ServiceScore,
    SourceStatus,
    Summary,
    Suspect,
    TimelineEntry,
    Waterfall,
)  # fmt: skip
from integrations.records import EvidenceKind, Record, UtcTime

Phase = Literal["collecting", "facts", "summary", "acknowledged", "mitigated", "resolved", "reopened"]
Offer = Literal["label", "acknowledge", "own_view", "feedback", "ask", "catchup", "life", "note", "draft"]
"""What the buttons of a card offer; only what the running bot can do is named."""

OFFERS: tuple[Offer, ...] = ("label", "acknowledge", "own_view", "feedback", "life", "ask", "catchup", "note", "draft")
MAX_SUSPECTS = 10
MAX_REPLIES = 2
UNDO_SECONDS = 600


class CardIncident(Record):
    """What a card says of its incident. `title` and `service` are empty where only the fallback may be shown."""

    id: str
    number: int | None = None
    severity: int
    url: str
    source: str = "pagerduty"
    triggered_at: UtcTime
    title: str = ""
    service: str | None = None
    on_call: str | None = None


class CardEvidence(Record):
    """One item as the card names it: the mark, a title, the item's own address. Never its text."""

    mark: str
    kind: EvidenceKind
    source: str
    title: str
    url: str
    observed_at: UtcTime
    service: str | None = None
    commit: str | None = None
    suspicious: bool = False
    """Its text sounds like orders to a machine: shown all the same, with a warning."""


class CardTimes(Record):
    """The incident's life as its source tells it. `…_by` is a role or team, never a person's name."""

    acknowledged_at: UtcTime | None = None
    acknowledged_by: str = ""
    mitigated_at: UtcTime | None = None
    resolved_at: UtcTime | None = None
    reopened_at: UtcTime | None = None
    reopened: int = 0


class StormPart(Record):
    """Alerts of one service in a storm."""

    service: str
    alerts: int


class RuledOut(Record):
    """A suspect that somebody struck. The button to take it back works until `undo_until_at`."""

    change_id: str
    by: str
    at: UtcTime
    undo_until_at: UtcTime


class Confirmed(Record):
    """A suspect that somebody confirmed as the cause."""

    change_id: str
    by: str
    at: UtcTime


class CauseSaid(Record):
    """What somebody named as the cause where it was none of the suspects."""

    cause: Literal["change", "service", "external", "unknown"]
    service: str | None = None
    by: str = ""
    at: UtcTime


class CardState(Record):
    """Everything a card shows. `version` is given by the outbox when the state is written."""

    phase: Phase
    incident: CardIncident
    headline: str = ""
    evidence: tuple[CardEvidence, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    services: tuple[ServiceScore, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    waterfalls: tuple[Waterfall, ...] = ()
    plots: tuple[Plot, ...] = ()
    storm: tuple[StormPart, ...] = ()
    alerts_in_storm: int = 1
    owner: str | None = None
    summary: Summary | None = None
    summary_about: str = ""
    """The first suspect when the summary was made (change_id, "" for none): its cause is shown beside no other."""
    no_summary: str = ""
    """Why there is no summary, in words; empty while one is awaited."""
    sources: tuple[SourceStatus, ...] = ()
    hidden: int = 0
    model_withheld: int = 0
    not_mapped: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    fallback: str | None = None
    narrowed: bool = False
    paused: str = ""
    """Why a cutline pauses the model, in words."""
    times: CardTimes = CardTimes()
    facts_seconds: float | None = None
    """From the signal's receipt to the first facts."""
    summary_seconds: float | None = None
    model: str = ""
    tokens: int = 0
    cost_usd: float = 0.0
    helpful: int = 0
    not_helpful: int = 0
    ruled_out: tuple[RuledOut, ...] = ()
    confirmed: Confirmed | None = None
    cause_said: CauseSaid | None = None
    announced: str | None = None
    """The suspect that the channel was notified of: its change_id, "" for a post without one, None before any."""
    replies: tuple[str, ...] = Field(default=(), max_length=MAX_REPLIES)
    """Change ids of the suspects that replies to the channel told of; drawn from `suspects`, so narrowed with them."""
    offers: tuple[Offer, ...] = OFFERS
    links: tuple[str, ...] = ()
    """Hosts and origins that may be linked (see LinkPolicy)."""
    version: int = 0

    # -- what stands out -------------------------------------------------------------------------------------------

    @property
    def struck(self) -> frozenset[str]:
        """Change ids that are ruled out."""
        return frozenset(one.change_id for one in self.ruled_out) | {s.change_id for s in self.suspects if s.ruled_out}

    @property
    def first_suspect(self) -> Suspect | None:
        """The best suspect that is not ruled out and is at least "possibly"; the confirmed one before all."""
        if self.confirmed is not None:
            for suspect in self.suspects:
                if suspect.change_id == self.confirmed.change_id:
                    return suspect
        struck = self.struck
        for suspect in self.suspects:
            if suspect.change_id not in struck and suspect.probability >= POSSIBLY:
                return suspect
        return None

    @property
    def summary_fits(self) -> bool:
        """The summary's cause and steps are about the suspect that is first now."""
        first = self.first_suspect
        return self.summary is not None and self.summary_about == (first.change_id if first is not None else "")

    @property
    def everything_down(self) -> bool:
        """Sources were asked and none answered."""
        return bool(self.sources) and not any(source.answered for source in self.sources)

    @property
    def restricted(self) -> bool:
        """Only the fallback fields may be shown."""
        return self.fallback is not None or self.phase == "collecting"

    def item(self, mark: str) -> CardEvidence | None:
        """The evidence with this mark."""
        return next((one for one in self.evidence if one.mark == mark), None)

    # -- changes ---------------------------------------------------------------------------------------------------

    def with_summary(self, checked: Released | Rejected, *, seconds: float | None = None) -> CardState:
        """The state after `check`: the summary, or the reason why there is none."""
        if isinstance(checked, Rejected):
            usage = checked.usage
            return self._with(
                summary=None,
                no_summary=checked.reason,
                model=usage.model if usage else "",
                tokens=usage.tokens_in + usage.tokens_out if usage else 0,
                cost_usd=usage.cost_usd if usage else 0.0,
            )
        first = self.first_suspect
        return self._with(
            phase="summary" if self.phase == "facts" else self.phase,
            summary=None if self.fallback is not None else checked.summary,
            summary_about=first.change_id if first is not None else "",
            no_summary="",
            summary_seconds=seconds,
            model=checked.usage.model,
            tokens=checked.usage.tokens_in + checked.usage.tokens_out,
            cost_usd=checked.usage.cost_usd,
        )

    def without_summary(self, reason: str) -> CardState:
        """A summary that is withdrawn, or will not come: `reason` in words."""
        phase: Phase = "facts" if self.phase == "summary" else self.phase
        return self._with(phase=phase, summary=None, no_summary=reason, summary_seconds=None)

    def acknowledged(self, at: datetime, by: str = "") -> CardState:
        """`by` is a role or team ("on-call payments"). The first time stands; a later state is not taken back."""
        times = self.times
        if times.acknowledged_at is None or at < times.acknowledged_at:
            times = times.model_copy(update={"acknowledged_at": at, "acknowledged_by": by or times.acknowledged_by})
        later = self.phase in ("mitigated", "resolved")
        return self._with(times=times, phase=self.phase if later else "acknowledged")

    def unacknowledged(self) -> CardState:
        """The incident source took the acknowledgement back."""
        times = self.times.model_copy(update={"acknowledged_at": None, "acknowledged_by": ""})
        return self._with(times=times, phase=self._open_phase() if self.phase == "acknowledged" else self.phase)

    def mitigated(self, at: datetime) -> CardState:
        """Users are no longer hurt; the cause may remain."""
        times = self.times.model_copy(update={"mitigated_at": at})
        return self._with(times=times, phase=self.phase if self.phase == "resolved" else "mitigated")

    def resolved(self, at: datetime) -> CardState:
        return self._with(times=self.times.model_copy(update={"resolved_at": at}), phase="resolved")

    def reopened(self, at: datetime) -> CardState:
        """Fires again: the times of the first end are taken back, the acknowledgement with them."""
        times = CardTimes(reopened_at=at, reopened=self.times.reopened + 1)
        return self._with(times=times, phase="reopened")

    def voted(self, helpful: int, not_helpful: int) -> CardState:
        """The counts of votes as they now stand."""
        return self._with(helpful=helpful, not_helpful=not_helpful)

    def rule_out(self, change_id: str, *, by: str, at: datetime) -> CardState:
        """Strikes a suspect; the next one takes its place."""
        if change_id in self.struck:
            return self
        struck = RuledOut(change_id=change_id, by=by, at=at, undo_until_at=at + timedelta(seconds=UNDO_SECONDS))
        confirmed = None if self.confirmed and self.confirmed.change_id == change_id else self.confirmed
        return self._with(ruled_out=(*self.ruled_out, struck), confirmed=confirmed)

    def undo_rule_out(self, change_id: str, *, at: datetime) -> CardState:
        """Takes a strike back within its ten minutes; later nothing changes."""
        kept = tuple(one for one in self.ruled_out if one.change_id != change_id or at > one.undo_until_at)
        return self if kept == self.ruled_out else self._with(ruled_out=kept)

    def confirm(self, change_id: str, *, by: str, at: datetime) -> CardState:
        """Somebody says that it was this change."""
        kept = tuple(one for one in self.ruled_out if one.change_id != change_id)
        return self._with(confirmed=Confirmed(change_id=change_id, by=by, at=at), ruled_out=kept, cause_said=None)

    def cause_named(self, said: CauseSaid) -> CardState:
        """Somebody says that the cause was none of the suspects; the latest word stands."""
        return self._with(cause_said=said, confirmed=None)

    def announcing(self, *, posted: bool) -> CardState:
        """Decides whether the channel is told of a new first suspect, at most twice (CARD.md, principle 5).

        `posted` is whether a post of this card is out or in flight. Edits do not notify, so a reply to the channel is
        due when the first post had no suspect, or another one is now first at "probably" or above.
        """
        first = self.first_suspect
        named = first.change_id if first is not None else ""
        if not posted or self.announced is None:
            return self._with(announced=named)
        if first is None or named == self.announced or len(self.replies) >= MAX_REPLIES or named in self.replies:
            return self
        if self.announced and first.probability < PROBABLY:
            return self
        return self._with(announced=named, replies=(*self.replies, named))

    def after(self, before: CardState | None) -> CardState:
        """This state's content with what people and the incident source did to the card `before` it.

        `self` is fresh from `from_ranked` (another gather, or the audience of now); life cycle, votes, strikes,
        replies and, unless this one has its own, the summary come from the card that stands.
        """
        if before is None:
            return self
        carried = ["ruled_out", "confirmed", "cause_said", "helpful", "not_helpful", "announced", "replies", "paused"]
        if not before.restricted and not self.restricted:
            carried.append("offers")  # a restricted card offers less; that is no wish of anybody's
        kept = {name: getattr(before, name) for name in carried}
        kept["facts_seconds"] = self.facts_seconds if before.facts_seconds is None else before.facts_seconds
        kept["narrowed"] = self.narrowed or before.narrowed
        if self.times == CardTimes(reopened=self.times.reopened):
            kept["times"] = before.times
        if self.phase == "facts" and before.phase not in ("collecting", "summary"):
            kept["phase"] = before.phase
        merged = self._with(**kept)
        return merged if self.summary is not None else merged._with_summary_of(before)

    def _with_summary_of(self, before: CardState) -> CardState:
        """The earlier summary, less each claim that cites an item which is not (or no longer) on this card."""
        spent = {"model": before.model, "tokens": before.tokens, "cost_usd": before.cost_usd}
        if before.summary is None or self.restricted:
            return self._with(no_summary=self.no_summary or before.no_summary, **spent)
        marks = {item.mark for item in self.evidence}
        going_on, cause, steps = (
            tuple(claim for claim in claims if marks.issuperset(claim.evidence))
            for claims in (before.summary.going_on, before.summary.cause, before.summary.next)
        )
        if not going_on and not cause:
            return self._with(no_summary=self.no_summary or SUMMARY_NOT_SHOWN, **spent)
        return self._with(
            summary=Summary(going_on=going_on, cause=cause, next=steps),
            summary_about=before.summary_about,
            summary_seconds=before.summary_seconds,
            phase="summary" if self.phase == "facts" else self.phase,
            **spent,
        )

    def _open_phase(self) -> Phase:
        if self.times.reopened:
            return "reopened"
        return "summary" if self.summary is not None else "facts"

    def _with(self, **changes: object) -> CardState:
        return self.model_copy(update=changes)
