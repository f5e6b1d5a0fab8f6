"""The first CardState of an incident: from what left the gather step, or before anything has. Pure.

Where only the fallback may be shown, nothing else of what was ranked is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from bot.cards.state import (
    MAX_SUSPECTS,
    OFFERS,
    CardEvidence,
    CardIncident,
    CardState,
    CardTimes,
    Offer,
    Phase,
    StormPart,
)  # fmt: skip
from bot.types import Ranked
from integrations.records import Evidence, Incident

_COMMIT = re.compile(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{7,40}\b")


def collecting(incident: Incident, *, links: Iterable[str] = (), number_of_sources: int = 0) -> CardState:
    """The post for an incident whose facts are not out two seconds after its signal: fallback fields alone."""
    return CardState(
        phase="collecting",
        incident=_restricted_incident(incident, None),
        links=tuple(links),
        notices=(f"{number_of_sources} sources asked",) if number_of_sources else (),
        offers=("acknowledge", "own_view"),
    )


def from_ranked(
    ranked: Ranked,
    *,
    links: Iterable[str] = (),
    facts_seconds: float | None = None,
    no_summary: str = "",
    offers: tuple[Offer, ...] = OFFERS,
    storm: tuple[StormPart, ...] = (),
    narrowed: bool = False,
    paused: str = "",
    acknowledged_by: str = "",
) -> CardState:
    """The facts card of what left the gather step. `links` are the hosts that may be linked.

    `storm` counts alerts by service; without it they are counted from the alerts among the evidence. Where only the
    fallback may be shown, nothing else of `ranked` is kept.
    """
    incident = ranked.incident
    if ranked.fallback is not None:
        return CardState(
            phase=_phase_of(incident),
            incident=_restricted_incident(incident, ranked.on_call),
            fallback=ranked.fallback,
            times=_times_of(incident, acknowledged_by),
            facts_seconds=facts_seconds,
            links=tuple(links),
            offers=tuple(o for o in offers if o in ("acknowledge", "own_view")),
            hidden=ranked.hidden,
            narrowed=narrowed,
            paused=paused,
        )
    return CardState(
        phase=_phase_of(incident),
        incident=CardIncident(
            id=incident.id,
            number=incident.number,
            severity=incident.severity,
            url=incident.url,
            source=incident.source,
            triggered_at=incident.triggered_at,
            title=incident.title,
            service=incident.service,
            on_call=ranked.on_call or incident.on_call,
        ),
        headline=ranked.headline,
        evidence=tuple(_named(item) for item in ranked.evidence if item.mark),
        suspects=ranked.suspects[:MAX_SUSPECTS],
        services=ranked.services[:MAX_SUSPECTS],
        timeline=ranked.timeline,
        waterfalls=ranked.waterfalls,
        plots=ranked.plots,
        storm=storm or _alerts_by_service(ranked),
        alerts_in_storm=ranked.alerts_in_storm,
        owner=ranked.owner,
        no_summary=no_summary,
        sources=ranked.sources,
        hidden=ranked.hidden,
        model_withheld=ranked.model_withheld,
        not_mapped=ranked.not_mapped,
        notices=ranked.notices,
        narrowed=narrowed,
        paused=paused,
        times=_times_of(incident, acknowledged_by),
        facts_seconds=facts_seconds,
        offers=offers,
        links=tuple(links),
    )


def _restricted_incident(incident: Incident, on_call: str | None) -> CardIncident:
    return CardIncident(
        id=incident.id,
        number=incident.number,
        severity=incident.severity,
        url=incident.url,
        source=incident.source,
        triggered_at=incident.triggered_at,
        on_call=on_call or incident.on_call,
    )


def _named(item: Evidence) -> CardEvidence:
    commit = item.attributes.get("commit")
    if commit is None and item.kind == "change":
        found = _COMMIT.search(f"{item.title} {item.id}")
        commit = found.group() if found else None
    return CardEvidence(
        mark=item.mark,
        kind=item.kind,
        source=item.source,
        title=item.title[:300],
        url=item.url,
        observed_at=item.observed_at,
        service=item.service,
        commit=commit,
        suspicious=item.suspicious,
    )


def _alerts_by_service(ranked: Ranked) -> tuple[StormPart, ...]:
    if ranked.alerts_in_storm < 2:
        return ()
    counted: Counter[str] = Counter()
    for item in ranked.evidence:
        if item.kind == "alert":
            said = item.attributes.get("alerts", "")
            counted[item.service or "unrouted"] += int(said) if said.isascii() and said.isdigit() else 1
    return tuple(StormPart(service=service, alerts=alerts) for service, alerts in counted.most_common(20))


def _times_of(incident: Incident, acknowledged_by: str) -> CardTimes:
    return CardTimes(
        acknowledged_at=incident.acknowledged_at,
        acknowledged_by=acknowledged_by if incident.acknowledged_at else "",
        mitigated_at=incident.mitigated_at,
        resolved_at=incident.resolved_at,
        reopened=incident.reopened,
    )


def _phase_of(incident: Incident) -> Phase:
    if incident.status == "triggered":
        return "reopened" if incident.reopened else "facts"
    return incident.status
