"""PagerDuty as a source of evidence and as the system that owns an incident's life."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from integrations.asking import Access, Names, Now, Part, ask_parts, labels_in_words, patience, utc_now, within
from integrations.changes.shape import risk_of, role_of
from integrations.errors import Malformed, Unavailable
from integrations.http import Egress
from integrations.pagerduty.fields import described, identifier, log_entry_kind, said_by
from integrations.pagerduty.responders import responders
from integrations.pagerduty.rest import PAGE, REACH, Pace, PagerDutyApi, pages
from integrations.reading import mapping, moment, number, objects, storable, text, web_address, whole
from integrations.records import (
    ChangeEvent,
    ChangeKind,
    Evidence,
    EvidenceKind,
    Findings,
    Question,
    Signal,
)

ALERTS = 500
"""Alerts of one incident that are read; a storm has more, and the card counts what it shows."""
PAST_INCIDENTS = 5
SERVICES_LISTED = 500
OWNER_SECONDS = 10.0
"""Timeout of what is not part of a triage: polling, notes, acknowledging."""
PATIENT_SECONDS = 50.0
"""Of one exchange when a triage asks again, after it was late."""
SERVICES_ASKED = 4
"""Services whose own change events are read: 960 requests a minute are the account's, not ours."""
CHANGE_KINDS: dict[str, ChangeKind] = {
    "deploy": "deploy", "deployment": "deploy", "rollout": "rollout", "config": "config", "configuration": "config",
    "flag": "flag", "feature_flag": "flag", "scale": "scale", "scaling": "scale", "migration": "migration",
    "release": "release", "merge": "merge",
}  # fmt: skip
OVERLAP = timedelta(seconds=60)
"""How far back of the cursor the poller reads again: an entry may be written later than its own time says."""
FIRST_WINDOW = timedelta(hours=6)
SHORTEST_WINDOW = timedelta(seconds=1)


class PagerDuty:
    """Alerts, log, change events, past incidents and on-call of an incident; its transitions; notes.

    `access` are the readers of `[sources.pagerduty]`; `email` is the login that notes are written as, which a token
    of the account (not of a person) needs. Build it in a running event loop's process and `aclose` it at the end.
    """

    kind = "pagerduty"

    def __init__(
        self,
        *,
        url: str,
        token: str,
        egress: Egress,
        access: Access,
        name: str = "pagerduty",
        deadline_seconds: float = 3.0,
        email: str | None = None,
        now: Now = utc_now,
        pace: Pace | None = None,
    ) -> None:
        """pace: of the requests as owner (polling, history), where they must leave others room."""
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._api = PagerDutyApi(name, url, token, egress, timeout_seconds=0.9 * deadline_seconds)
        self._patient = PagerDutyApi(name, url, token, egress, timeout_seconds=PATIENT_SECONDS)
        self._owner = PagerDutyApi(name, url, token, egress, timeout_seconds=OWNER_SECONDS, email=email, pace=pace)
        self._access = access
        self._now = now

    async def services(self) -> tuple[list[tuple[str, str]], bool]:
        """Id and name of every service that the token may see, at most `SERVICES_LISTED`, and whether there are more.
        Raises Unavailable, Denied or Malformed."""
        listed, more = await pages(self._owner, "/services", "services", {"sort_by": "name"}, SERVICES_LISTED)
        known = [(identifier(one.get("id")), text(one.get("name"), 200)) for one in listed]
        return [(ref, name) for ref, name in known if ref], more

    async def aclose(self) -> None:
        self._api.close()
        self._patient.close()
        self._owner.close()

    # --- Source ---------------------------------------------------------------------------------------------------

    async def fetch(self, question: Question) -> Findings:
        """Every request on its own: what one of them cannot have is a note, and all failing is the source's failure."""
        seconds = patience(self, question)
        api = self._api if seconds <= self.deadline_seconds else self._patient
        names = Names(question.services, "pagerduty")
        parts = []
        incident_id = identifier(question.incident.id) if question.incident.source == "pagerduty" else None
        if incident_id:
            path = f"/incidents/{incident_id}"
            parts = [
                Part("alerts", self._alerts(api, path, names, question)),
                Part("incident log", self._log(api, path, incident_id, question)),
                Part("related change events", self._changes(api, f"{path}/related_change_events", names, question)),
                Part("past incidents", self._past(api, path, question)),
                Part("on-call", self._on_call(api, path, question)),
            ]
        for service in question.services[:SERVICES_ASKED]:
            for service_ref in service.pagerduty[:1]:
                if identifier(service_ref):
                    parts.append(Part("change events", self._service_changes(api, service_ref, names, question)))
        return await ask_parts(self.name, parts, 0.95 * seconds)

    def _evidence(
        self, what: str, external_id: str, kind: EvidenceKind, at: datetime, url: str | None, title: str, body: str,
        service: str | None, attributes: dict[str, str] | None = None,
    ) -> Evidence:  # fmt: skip
        readers, model = self._access.of(service)
        return Evidence(
            id=f"{self.name}/{what}/{external_id}", kind=kind, source=self.name, observed_at=at,
            fetched_at=self._now(), url=url or "", readers=readers, model=model, title=title, text=body,
            service=service, attributes=attributes or {},
        )  # fmt: skip

    async def _alerts(self, api: PagerDutyApi, path: str, names: Names, question: Question) -> Findings:
        found, more = await pages(api, f"{path}/alerts", "alerts", {}, ALERTS)
        items = []
        for alert in found:
            external_id = identifier(alert.get("id"))
            if external_id is None:
                continue
            service = _service_of(alert.get("service"), names, question)
            at = moment(alert.get("created_at")) or question.incident.triggered_at
            title = text(alert.get("summary"), 500) or question.incident.title
            severity, status = text(alert.get("severity"), 40), text(alert.get("status"), 40)
            body = [title, " ".join(filter(None, (severity, status, f"since {at:%Y-%m-%d %H:%M:%S} UTC")))]
            details = mapping(mapping(alert.get("body")).get("details"))
            body += [labels_in_words(details)] if details else []
            key = text(alert.get("alert_key"), 300)
            attributes = {"severity": severity, "status": status, "dedupe_key": key}
            items.append(
                self._evidence(
                    "alert", external_id, "alert", at, web_address(alert.get("html_url")) or question.incident.url,
                    title, "\n".join(body), service, {k: v for k, v in attributes.items() if v},
                )
            )  # fmt: skip
        notes = (f"{self.name} alerts: the first {ALERTS} of more",) if more else ()
        return Findings(evidence=tuple(items), notes=notes)

    async def _log(self, api: PagerDutyApi, path: str, incident_id: str, question: Question) -> Findings:
        params = {"include[]": ["channels"], "is_overview": "false"}
        found, _ = await pages(api, f"{path}/log_entries", "log_entries", params, PAGE)
        dated = [(at, entry) for entry in found if (at := moment(entry.get("created_at")))]
        entries = sorted(dated, key=lambda one: one[0])
        lines = [line for at, entry in entries if (line := _log_line(at, entry))]
        if not lines:
            return Findings()
        item = self._evidence(
            "log", incident_id, "log", entries[-1][0], question.incident.url, "Incident log in PagerDuty",
            "\n".join(lines), question.incident.service,
        )  # fmt: skip
        return Findings(evidence=(item,))

    async def _changes(
        self, api: PagerDutyApi, path: str, names: Names, question: Question, params: Any = None
    ) -> Findings:
        page = await api.get(path, params)
        found = (self._change(event, names, question) for event in objects(page.get("change_events")))
        return Findings(changes=tuple(change for change in found if change and within(question, change.changed_at)))

    async def _service_changes(self, api: PagerDutyApi, service_ref: str, names: Names, question: Question) -> Findings:
        since = question.changes_since or question.window.start
        params = {"since": _iso(since), "until": _iso(question.window.end), "limit": PAGE}
        return await self._changes(api, f"/services/{service_ref}/change_events", names, question, params)

    def _change(self, event: Mapping[str, Any], names: Names, question: Question) -> ChangeEvent | None:
        external_id, at = identifier(event.get("id")), moment(event.get("timestamp"))
        if external_id is None or at is None:
            return None
        details = mapping(event.get("custom_details"))
        service = None
        for one in objects(event.get("services"), 20):
            service = service or _service_of(one, names, question, unknown=True)
        service = names.ours(text(details.get("service"), 200)) or service or text(details.get("service"), 200) or None
        links = [(web_address(one.get("href")), text(one.get("text"), 200)) for one in objects(event.get("links"), 20)]
        readers, model = self._access.of(service)
        size = whole(details.get("size"))
        return ChangeEvent(
            id=f"{self.name}/change/{external_id}",
            kind=CHANGE_KINDS.get(text(details.get("kind"), 40).lower(), "other"),
            service=service,
            changed_at=at,
            summary=text(event.get("summary"), 1024) or "change without a summary",
            source=self.name,
            url=next((href for href, _ in links if href), None) or web_address(event.get("html_url")) or "",
            readers=readers,
            model=model,
            environment=text(details.get("environment"), 100) or None,
            commit=text(details.get("commit") or details.get("sha"), 64) or None,
            author_role=role_of(details.get("role")),
            size=size if size is not None and size >= 0 else None,
            detail=labels_in_words(details),
            diff_url=_link_called(links, "diff", "compare") or web_address(details.get("diff_url")),
            rollback_url=_link_called(links, "roll", "revert") or web_address(details.get("rollback_url")),
            risk=risk_of(details.get("risk")),
        )

    async def _past(self, api: PagerDutyApi, path: str, question: Question) -> Findings:
        page = await api.get(f"{path}/past_incidents", {"limit": PAST_INCIDENTS})
        items = []
        for one in objects(page.get("past_incidents"), PAST_INCIDENTS):
            past, score = mapping(one.get("incident")), number(one.get("score"))
            external_id, at = identifier(past.get("id")), moment(past.get("created_at"))
            if external_id is None or at is None:
                continue
            title = text(past.get("title"), 500) or external_id
            similar = f", similarity {score:g} by PagerDuty" if score is not None else ""
            items.append(
                self._evidence(
                    "past_incident", external_id, "past_incident", at, _beside(question.incident.url, external_id),
                    title, f"{title}\nIncident of {at:%Y-%m-%d %H:%M} UTC{similar}.", question.incident.service,
                )
            )  # fmt: skip
        return Findings(evidence=tuple(items))

    async def _on_call(self, api: PagerDutyApi, path: str, question: Question) -> Findings:
        """Who is on call, by schedule or escalation policy: a role, never a person."""
        incident = mapping((await api.get(path)).get("incident"))
        policy = mapping(incident.get("escalation_policy"))
        policy_id = identifier(policy.get("id"))
        if policy_id is None:
            return Findings()
        page = await api.get("/oncalls", {"escalation_policy_ids[]": [policy_id], "earliest": "true", "limit": PAGE})
        levels: dict[int, list[str]] = {}
        for one in objects(page.get("oncalls"), 100):
            level = number(one.get("escalation_level"))
            schedule = text(mapping(one.get("schedule")).get("summary"), 200)
            policy_name = text(mapping(one.get("escalation_policy")).get("summary"), 200)
            role = schedule or policy_name
            if level is not None and role and role not in levels.setdefault(int(level), []):
                levels[int(level)].append(role)
        if not levels:
            return Findings(notes=(f"{self.name} on-call: nobody is on call for this escalation policy",))
        name = text(policy.get("summary"), 200) or policy_id
        lines = [f"Level {level}: {', '.join(roles)}" for level, roles in sorted(levels.items())]
        item = self._evidence(
            "oncall", policy_id, "ownership", self._now(), web_address(policy.get("html_url")),
            f"On call: {name}", "\n".join([f"Escalation policy {name}", *lines]), question.incident.service,
        )  # fmt: skip
        return Findings(evidence=(item,), on_call=levels[min(levels)][0])

    # --- IncidentSource -------------------------------------------------------------------------------------------

    async def incident(self, incident_id: str) -> Mapping[str, Any]:
        """The REST object of one incident; `incident_fields` and `described` read it."""
        found = (await self._owner.get(f"/incidents/{_safe(self.name, incident_id)}")).get("incident")
        if not isinstance(found, Mapping):
            raise Malformed(self.name, "an incident was due and is not in the answer")
        return found

    async def transitions(self, since: datetime) -> AsyncIterator[Signal]:
        """The account's log entries of life-cycle kinds since then, oldest first, as signals, not yet redacted.

        Reads a little further back than asked: an entry can be written later than its time says, and the delivery
        key (the entry's id) drops repeats. Windows of at most six hours bound the memory; one that holds more than
        the 10,000 entries that paging reaches is halved.
        """
        # PagerDuty is asked in whole seconds: the second that runs belongs to the last window.
        start, end = since - OVERLAP, (self._now() + timedelta(microseconds=999_999)).replace(microsecond=0)
        while start < end:
            until = min(start + FIRST_WINDOW, end)
            for signal in await self.transitions_between(start, until):
                yield signal
            start = until

    async def transitions_between(self, start: datetime, until: datetime) -> list[Signal]:
        """The transitions of one window, oldest first; a window that paging cannot reach the end of is halved."""
        entries = await self._entries(start, until)
        if entries is None:
            if until - start <= SHORTEST_WINDOW:
                raise Unavailable(self.name, f"more than {REACH} log entries within {SHORTEST_WINDOW.seconds} s")
            middle = start + max((until - start) / 2, SHORTEST_WINDOW)
            return [*await self.transitions_between(start, middle), *await self.transitions_between(middle, until)]
        return sorted(
            (signal for entry in entries if (signal := self._signal(entry))),
            key=lambda one: (one.occurred_at, one.delivery_key),
        )

    async def _entries(self, since: datetime, until: datetime) -> list[Mapping[str, Any]] | None:
        """All log entries of a window; None when paging cannot reach the last of them."""
        params = {"since": _iso(since), "until": _iso(until), "include[]": ["incidents"], "is_overview": "false"}
        found, more = await pages(self._owner, "/log_entries", "log_entries", params, REACH)
        return None if more else found

    def _signal(self, entry: Mapping[str, Any]) -> Signal | None:
        kind, at = log_entry_kind(entry.get("type")), moment(entry.get("created_at"))
        entry_id, incident = identifier(entry.get("id")), mapping(entry.get("incident"))
        incident_id = identifier(incident.get("id"))
        if kind == "unknown" or at is None or entry_id is None or incident_id is None:
            return None
        body = storable(dict(entry))
        return Signal(
            delivery_key=entry_id, source="poll", kind=kind, incident_id=incident_id, occurred_at=at,
            received_at=self._now(), body=body, incident=described(incident),
            sha256=hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest(),
            said_by=said_by(entry.get("agent")),
        )  # fmt: skip

    async def add_note(self, incident_id: str, text: str, email: str | None = None) -> str:
        """Writes a note and returns its id; as the PagerDuty user with this login, or as the one of the settings.

        Unavailable with `answer_lost` when it may stand there all the same.
        """
        path = f"/incidents/{_safe(self.name, incident_id)}/notes"
        answer = await self._owner.write("POST", path, {"note": {"content": text}}, email=email)
        note_id = identifier(mapping(answer.get("note")).get("id"))
        if note_id is None:
            raise Malformed(self.name, "a note was written and its id is not in the answer")
        return note_id

    async def find_note(self, incident_id: str, mark: str) -> str | None:
        """The id of the oldest note that contains this mark, if there is one."""
        answer = await self._owner.get(f"/incidents/{_safe(self.name, incident_id)}/notes")
        notes = [one for one in objects(answer.get("notes")) if mark in text(one.get("content"), 100_000)]
        notes.sort(key=lambda one: text(one.get("created_at"), 40))
        return next((found for one in notes if (found := identifier(one.get("id")))), None)

    async def responders(self, incident_id: str) -> tuple[str, ...]:
        """Logins of who is on call for it, assigned, paged, or asked to respond. Raises Unavailable, Denied or
        Malformed."""
        return await responders(self._owner, _safe(self.name, incident_id))

    async def acknowledge(self, incident_id: str, email: str) -> None:
        """Acknowledges as the PagerDuty user with this login. Raises Refused when PagerDuty knows no such user."""
        path = f"/incidents/{_safe(self.name, incident_id)}"
        body = {"incident": {"type": "incident_reference", "status": "acknowledged"}}
        await self._owner.write("PUT", path, body, email=email)


def _safe(system: str, incident_id: str) -> str:
    if identifier(incident_id) is None:
        raise Malformed(system, f"{incident_id[:40]!r} is no PagerDuty incident id")
    return incident_id


def _service_of(value: Any, names: Names, question: Question, *, unknown: bool = False) -> str | None:
    """Our name for a service reference; a reference to one we do not know keeps PagerDuty's word.

    `unknown` says that an absent reference means "no service", not "the incident's own".
    """
    service = mapping(value)
    said = text(service.get("summary"), 200) or text(service.get("name"), 200)
    ours = names.ours(text(service.get("id"), 64), said)
    return ours or said or (None if unknown else question.incident.service)


def _link_called(links: Sequence[tuple[str | None, str]], *words: str) -> str | None:
    """The first link whose text has one of these words."""
    return next((href for href, said in links if href and any(word in said.lower() for word in words)), None)


def _beside(incident_url: str, incident_id: str) -> str:
    """The web address of another incident of the same account; the API gives only its own address for it."""
    head, found, _ = incident_url.rpartition("/incidents/")
    return f"{head}{found}{incident_id}" if found else ""


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _log_line(at: datetime, entry: Mapping[str, Any]) -> str:
    """One line of the incident's log: kind and role, and the words of a note; no person's name."""
    kind = log_entry_kind(entry.get("type"))
    if kind == "unknown":
        return ""
    channel = mapping(entry.get("channel"))
    by = said_by(entry.get("agent"))
    note = text(entry.get("note"), 1000) or text(channel.get("content"), 1000)
    if kind == "annotated" and not note:
        note = text(channel.get("summary"), 1000)
    words = kind.replace("_", " ") + (f" by a {by}" if by == "responder" else f" by an {by}" if by else "")
    return f"{at:%H:%M:%S} {words}" + (f": {note}" if note else "")
