"""The one durable workflow of a triage: the only place that knows the order of its rooms.

    route + assign → gather (collect, permit, redact, rank) → publish.facts → infer (compose, infer, check)
    → publish.summary → record; beside infer, a second gather when a source was late.

Every step's result is stored, so that a process that dies resumes at the step that had not finished. Only what is
permitted and redacted crosses a step: ids in, `Ranked`, `Released` and `Rejected` out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot import telemetry
from bot.cards.making import collecting, from_ranked
from bot.cards.state import CardState
from bot.cards.words import HELD_OUT
from bot.errors import SitrepError
from bot.flows.asked import shown_for
from bot.flows.engine import StepFailed, Steps
from bot.flows.parts import Parts, target_of
from bot.flows.warm import redact_and_rank, redact_value
from bot.incidents import similar, topology
from bot.incidents.book import checked_of, incident_of
from bot.incidents.culprits import past_culprits
from bot.incidents.own_channel import DECLARED
from bot.model import transcript
from bot.store import Row
from bot.store.values import to_time
from bot.triage.permit import NOT_FOR_THIS_CHANNEL, Permitted, fallback_incident, permit, permit_ranked, permit_released
from bot.triage.rank import with_items
from bot.triage.record import record_triage
from bot.trust.audience import Audience, AudienceUnknown
from bot.types import Ranked, Rejected, Released, SourceStatus
from integrations.records import Incident

log = logging.getLogger(__name__)

LATE_CHANGED = "a late source changed the ranking"
GATHERS_AT_ONCE = 4
"""The others wait in the engine's queue order: a storm of incidents must not take the doors' processor time."""
AUDIENCE_SECONDS = 10.0
"""How long the directory may take while the sources are being asked anyway."""
LIFE = ("status", "acknowledged_at", "mitigated_at", "resolved_at", "reopened")
GATHER_FAILED = "gathering the evidence failed; the incident itself is below"


class TriageFlow:
    """`run` is the workflow's body; its methods are the steps."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._book = parts.book
        self._gathers = asyncio.Semaphore(GATHERS_AT_ONCE)

    async def run(self, steps: Steps, incident_id: str, n: int) -> dict[str, Any]:
        """One triage of one incident; `n` counts its triages."""
        route = await steps.run("route", partial(self.route, incident_id, n))
        if route["arm"] == "off":
            return dict(await steps.run("record", partial(self.record, incident_id, n, None)))
        ranked = await self._gather(steps, "gather", incident_id, route, 0.0)
        await steps.run("publish.facts", partial(self.publish_facts, incident_id, n, route, ranked))
        infer = steps.reserve("infer", partial(self.infer, incident_id, n, route, ranked, "infer"))
        if not _worth_asking_again(ranked):
            checked = await _settled(infer)
        else:
            ranked, checked = await self._beside_a_late_source(steps, incident_id, n, route, ranked, infer)
        await steps.run("publish.summary", partial(self.publish_summary, incident_id, n, checked))
        return dict(await steps.run("record", partial(self.record, incident_id, n, checked)))

    async def _gather(
        self, steps: Steps, name: str, incident_id: str, route: Mapping[str, Any], at_least: float
    ) -> Ranked:
        try:
            return Ranked.model_validate(await steps.run(name, partial(self.gather, incident_id, route, at_least)))
        except StepFailed:
            return Ranked.model_validate(await steps.run(f"{name}.bare", partial(self.bare, incident_id)))

    async def _beside_a_late_source(
        self,
        steps: Steps,
        incident_id: str,
        n: int,
        route: Mapping[str, Any],
        ranked: Ranked,
        infer: asyncio.Task[Any],
    ) -> tuple[Ranked, Released | Rejected]:
        """A second gather runs beside infer; what it finds replaces the first. If the first suspect changed, the
        summary of the old ranking is not shown, or withdrawn, and infer runs once more."""
        wait = self._parts.timeouts.late_source
        late = steps.reserve("gather.late", partial(self.gather, incident_id, route, wait))
        first = await steps.first(infer, late)
        checked = await _settled(infer) if 0 in first else None
        if checked is not None and 1 not in first:
            await steps.run("publish.summary.early", partial(self.publish_summary, incident_id, n, checked))
        try:
            again = Ranked.model_validate(await late)
        except StepFailed:
            return ranked, checked or await _settled(infer)
        changed = _first_suspect(again) != _first_suspect(ranked) or (ranked.fallback is None) != (
            again.fallback is None
        )
        await steps.run("publish.facts.late", partial(self.publish_facts, incident_id, n, route, again, changed))
        before = checked or await _settled(infer)
        if not changed:
            return again, before
        await steps.run("supersede", partial(self.supersede, incident_id, n, before))
        second = steps.reserve("infer.again", partial(self.infer, incident_id, n, route, again, "infer.again"))
        return again, await _settled(second)

    # --- steps --------------------------------------------------------------------------------------------------

    async def route(self, incident_id: str, n: int) -> dict[str, Any]:
        """Which channel, which arm; writes the wanted state `collecting`, due just before two seconds are over."""
        row = await self._book.incident_row(incident_id)
        if row is None:
            raise SitrepError(f"no incident {incident_id!r}")
        incident = incident_of(row)
        experiment, arm = await self._parts.assign(incident, row["unit_id"])
        shown = await shown_for(self._book, incident_id, n, experiment, arm)
        earlier = await self._book.triage_row(incident_id, 1) if n > 1 else None
        if earlier is not None and earlier["channel"]:
            name = earlier["channel"]  # where the card stands: it is filtered for the readers of that channel
        else:
            own = row["own_channel"]
            if not self._parts.shadow and incident.source != DECLARED:
                own = await self._parts.own_channel(incident, own)
                again = await self._book.incident_row(incident_id)
                if again is not None and again["own_channel"] != row["own_channel"]:
                    own = again["own_channel"]  # it was made, or found, while Slack was asked
            name = self._parts.routing.channel(incident.severity, incident.service, own)
        channel = await self._parts.channel_id(name)
        now = self._parts.clock.now()
        received_at = to_time(row["received_at"]) if n == 1 else now
        flag = await self._parts.flag(incident_id, row["unit_id"], n, experiment, arm) if self._parts.flag else {}
        await self._book.write_triage(
            incident_id, n,
            {"channel": channel, "arm": arm, "flag": flag, "experiment": experiment, "started_at": now,
             "reason": shown.reason,
             "timings": {"received_at": received_at.isoformat()}},
        )  # fmt: skip
        await self._book.store.upsert(
            "incidents", [{"workspace_id": incident.workspace_id, "id": incident_id, "channel": channel}]
        )
        if shown.arm != "off":
            due = received_at + timedelta(seconds=self._parts.timeouts.collecting)
            first = partial(_collecting_first, collecting(incident, links=self._parts.link_hosts))
            await self._parts.cards.change(target_of(incident_id), channel, first, permitted_at=now, not_before_at=due)
        return {
            "channel": channel, "arm": shown.arm, "received_at": received_at.isoformat(),
            "no_summary": shown.no_summary,
        }  # fmt: skip

    async def gather(self, incident_id: str, route: Mapping[str, Any], at_least_seconds: float) -> dict[str, Any]:
        """collect → permit → redact → rank. Nothing unpermitted or unredacted leaves this step."""
        async with self._gathers:
            return await self._gathered(incident_id, route, at_least_seconds)

    async def _gathered(self, incident_id: str, route: Mapping[str, Any], at_least_seconds: float) -> dict[str, Any]:
        incident = await self._incident(incident_id)
        now = self._parts.clock.now()
        edges = await topology.learnt(self._book.store, self._book.workspace_id, now)
        reading = asyncio.ensure_future(self._parts.directory.audience(route["channel"], AUDIENCE_SECONDS))
        with telemetry.tracer().start_as_current_span(telemetry.SPAN_COLLECT):
            collected = await self._parts.collector.collect(incident, edges, deadline_seconds=at_least_seconds or None)
        with telemetry.tracer().start_as_current_span(telemetry.SPAN_PERMIT):
            audience = await self._soon(reading, max(self._parts.timeouts.permit, at_least_seconds))
            permitted = permit(collected, audience, self._parts.clock.now())
        ranked = await self._beside_similar(await self.analyse(permitted), audience, now)
        await self._book.keep_evidence(incident_id, ranked.evidence, now)
        await topology.learn(self._book.store, self._book.workspace_id, collected.edge_batches, now)
        telemetry.counter(telemetry.HIDDEN).add(ranked.hidden)
        return ranked.model_dump(mode="json")

    async def _soon(
        self, reading: asyncio.Task[Audience | AudienceUnknown], seconds: float
    ) -> Audience | AudienceUnknown:
        """Who reads the channel, waited for at most this long after the sources have answered."""
        try:
            async with asyncio.timeout(seconds):
                return await reading
        except TimeoutError:
            return AudienceUnknown(f"who is in this channel could not be read within {seconds * 1000:.0f} ms")

    async def analyse(self, permitted: Permitted) -> Ranked:
        """redact → rank, in the warm worker."""
        marks = await self._book.marks(permitted.incident.id)
        readers = self._parts.collector.alert_readers
        culprits = await past_culprits(self._book.store, permitted.incident, readers)
        made = await self._parts.worker.run(redact_and_rank, permitted, marks, culprits)
        telemetry.past_span(telemetry.SPAN_REDACT, made.began_ns, made.redacted_ns)
        telemetry.past_span(telemetry.SPAN_RANK, made.redacted_ns, made.ended_ns)
        return made.ranked

    async def _beside_similar(self, ranked: Ranked, audience: Audience | AudienceUnknown, now: datetime) -> Ranked:
        """With the incidents that were like this one, for this audience; what this one looks like is remembered."""
        if ranked.fallback is not None or isinstance(audience, AudienceUnknown):
            return ranked
        store, incident, readers = self._book.store, ranked.incident, self._parts.collector.alert_readers
        await similar.remember(store, ranked, readers(incident), now)
        found = similar.as_evidence(await similar.similar_incidents(store, incident, audience, readers), now)
        if not found:
            return ranked
        # What a person wrote about the cause has passed no room yet.
        told = await self._parts.worker.run(redact_value, [{"title": one.title, "text": one.text} for one in found])
        items = [one.model_copy(update=clean) for one, clean in zip(found, told, strict=True)]
        return with_items(ranked, items, await self._book.marks(incident.id))

    async def bare(self, incident_id: str) -> dict[str, Any]:
        """What can still be said when gathering failed: the fallback fields."""
        incident = await self._incident(incident_id)
        now = self._parts.clock.now()
        return Ranked(
            incident=fallback_incident(incident), headline="", evidence=(), fallback=GATHER_FAILED,
            sources=(SourceStatus(name="gather", answered=False, note="gathering failed"),),
            collected_at=now, permitted_at=now,
        ).model_dump(mode="json")  # fmt: skip

    async def publish_facts(
        self, incident_id: str, n: int, route: Mapping[str, Any], ranked: Ranked, withdraw: bool = False
    ) -> dict[str, Any]:
        """Write the facts as the card's wanted state and wait until they are out."""
        target = target_of(incident_id)
        async with self._parts.cards.turn(target):
            version, seconds = await self._write_facts(incident_id, n, route, ranked, withdraw)
        out = await self._parts.cards.wait_for(target, version, self._parts.timeouts.publish_wait)
        telemetry.histogram(telemetry.FACTS_SECONDS).record(seconds)
        return {"version": version, "out": out, "seconds": round(seconds, 3)}

    async def _write_facts(
        self, incident_id: str, n: int, route: Mapping[str, Any], ranked: Ranked, withdraw: bool
    ) -> tuple[int, float]:
        """The version that was written, and the seconds since the signal."""
        now = self._parts.clock.now()
        incident = await self._incident(incident_id)
        if ranked.fallback is not None:
            incident = fallback_incident(incident)
        ranked = ranked.model_copy(update={"incident": incident.model_copy(update={"on_call": ranked.on_call})})
        await self._book.write_triage(
            incident_id, n, {"ranked": ranked.model_dump_json(), "hidden": ranked.hidden, "checked": None}
        )
        seconds = max(0.0, (now - datetime.fromisoformat(route["received_at"])).total_seconds())
        why = route.get("no_summary", HELD_OUT) if route["arm"] == "facts" else ""
        shown = await self._for_now(ranked, route["channel"])
        fresh = from_ranked(
            shown,
            links=self._parts.link_hosts,
            facts_seconds=round(seconds, 1),
            no_summary=why,
            narrowed=_narrower(shown, ranked),
        )

        def transform(before: CardState | None) -> CardState:
            if withdraw and before is not None and before.summary is not None:
                before = before.without_summary(LATE_CHANGED)
            return fresh.after(before)

        version = await self._parts.cards.change(
            target_of(incident_id), route["channel"], transform, permitted_at=shown.permitted_at
        )
        return version, seconds

    async def infer(
        self, incident_id: str, n: int, route: Mapping[str, Any], ranked: Ranked, step: str
    ) -> dict[str, Any]:
        """compose → infer → check, if this arm has a model."""
        if route["arm"] == "facts":
            return Rejected(outcome="off", reason=route.get("no_summary", HELD_OUT)).model_dump(mode="json")
        ranked = await self._for_now(ranked, route["channel"])
        if ranked.fallback is not None:
            return Rejected(outcome="off", reason="nothing that everyone here may read").model_dump(mode="json")
        checked = await self._parts.summarise(ranked, triage_id=f"{incident_id}/{n}", step=step)
        return checked.model_dump(mode="json")

    async def supersede(self, incident_id: str, n: int, checked: Released | Rejected) -> dict[str, Any]:
        """Count a summary that passed `check` and was then not shown, or withdrawn."""
        if isinstance(checked, Released):
            telemetry.counter(telemetry.SUMMARIES).add(1, {telemetry.OUTCOME: "superseded"})
            await self._book.write_triage(incident_id, n, {"outcome": "superseded", "outcome_reason": LATE_CHANGED})
            workspace_id, call_id = self._book.workspace_id, checked.usage.call_id
            await transcript.conclude(self._book.store, workspace_id, call_id, "superseded", LATE_CHANGED)
        return {}

    async def publish_summary(self, incident_id: str, n: int, checked: Released | Rejected) -> dict[str, Any]:
        """Write the summary, or the reason why there is none, as the card's wanted state and wait until it is out."""
        row = await self._book.triage_row(incident_id, n)
        if row is None or row["ranked"] is None:
            return {"out": False}
        await self._book.write_triage(incident_id, n, {"checked": checked.model_dump_json()})
        target = target_of(incident_id)
        async with self._parts.cards.turn(target):
            version, seconds = await self._write_summary(incident_id, row, checked)
        if isinstance(checked, Released):
            telemetry.histogram(telemetry.SUMMARY_SECONDS).record(seconds)
        out = await self._parts.cards.wait_for(target, version, self._parts.timeouts.publish_wait)
        return {"version": version, "out": out, "seconds": seconds}

    async def _write_summary(self, incident_id: str, row: Row, checked: Released | Rejected) -> tuple[int, float]:
        """The version that was written, and the seconds since the signal."""
        received_at = to_time(json.loads(row["timings"])["received_at"])
        seconds = round((self._parts.clock.now() - received_at).total_seconds(), 1)
        ranked = Ranked.model_validate_json(row["ranked"])
        now = await self._for_now(ranked, row["channel"])
        narrower = _narrower(now, ranked)
        allowed = permit_released(checked, ranked, now)

        def transform(before: CardState | None) -> CardState:
            state = before or from_ranked(now, links=self._parts.link_hosts)
            if narrower:
                state = from_ranked(now, links=self._parts.link_hosts, narrowed=True).after(
                    before and before.without_summary("")
                )
            if state.fallback is not None or allowed is None:
                return state
            return state.with_summary(allowed, seconds=seconds)

        version = await self._parts.cards.change(
            target_of(incident_id), row["channel"], transform, permitted_at=now.permitted_at
        )
        return version, seconds

    async def record(self, incident_id: str, n: int, checked: Released | Rejected | None) -> dict[str, Any]:
        """Write down what this triage was: outcome, cost, times, exposure."""
        return await record_triage(
            self._book, self._parts.cards, self._parts.clock, incident_id, n, checked, shadow=self._parts.shadow
        )

    async def _for_now(self, ranked: Ranked, channel: str) -> Ranked:
        """What the readers of this moment may read of it: somebody may have joined since it was gathered."""
        incident = await self._incident(ranked.incident.id)
        audience = await self._parts.directory.audience(channel, self._parts.timeouts.permit)
        readers = self._parts.collector.alert_readers(incident)
        shown = permit_ranked(ranked, audience, readers, self._parts.clock.now())
        life = {name: getattr(incident, name) for name in LIFE}  # it went on since it was gathered
        return shown.model_copy(update={"incident": shown.incident.model_copy(update=life)})

    async def _incident(self, incident_id: str) -> Incident:
        incident = await self._book.incident(incident_id)
        if incident is None:
            raise SitrepError(f"no incident {incident_id!r}")
        return incident


def _collecting_first(first: CardState, before: CardState | None) -> CardState:
    """A card that already stands is not taken back to `collecting`."""
    return first if before is None else before


def _narrower(now: Ranked, before: Ranked) -> bool:
    """Whether readers joined who may see less."""
    return before.fallback is None and (now.fallback is not None or len(now.evidence) < len(before.evidence))


def _worth_asking_again(ranked: Ranked) -> bool:
    """A source was late, or who reads the channel could not be said in time: both may be different in a minute."""
    late = any(not source.answered for source in ranked.sources)
    return late or (ranked.fallback is not None and ranked.fallback != NOT_FOR_THIS_CHANNEL)


def _first_suspect(ranked: Ranked) -> str | None:
    return ranked.suspects[0].change_id if ranked.suspects and ranked.suspects[0].probability >= 0.4 else None


async def _settled(task: asyncio.Task[Any]) -> Released | Rejected:
    try:
        data = await task
    except StepFailed:
        return Rejected(outcome="malformed", reason="the model step failed")
    found = checked_of(json.dumps(data))
    assert found is not None
    return found
