"""The room `permit`: what leaves it, for every kind of thing that comes in."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.triage.collect import Collected
from bot.triage.permit import NOT_FOR_THIS_CHANNEL, permit, permit_ranked, permit_released
from bot.trust.audience import Audience, AudienceUnknown
from bot.types import (
    Claim,
    Ranked,
    Reason,
    Rejected,
    Released,
    ServiceScore,
    SourceStatus,
    Summary,
    Suspect,
    TimelineEntry,
    Usage,
)
from integrations.records import (
    Baseline,
    Batch,
    ChangeEvent,
    Evidence,
    Incident,
    LogRecord,
    Readers,
    Series,
    Span,
    Telemetry,
    Window,
)

NOW = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(minutes=15), NOW)
SECRET = Readers.of(["secret"])
OPEN = Readers.of(["everyone"])
AUDIENCE = Audience.of([frozenset({"everyone", "world"}), frozenset({"everyone", "world", "secret"})], NOW)

INCIDENT = Incident(
    workspace_id="w",
    id="P8K2Q1",
    number=42,
    title="checkout-api: errors (canary-title)",
    service="canary-service",
    service_ref="PSVC1",
    severity=2,
    url="https://acme.pagerduty.com/incidents/P8K2Q1",
    triggered_at=NOW,
    teams=("canary-team",),
)


def evidence(name: str, readers: Readers, **more: object) -> Evidence:
    return Evidence.model_validate(
        {
            "id": f"pagerduty/alert/{name}",
            "kind": "alert",
            "source": "pagerduty",
            "observed_at": NOW,
            "fetched_at": NOW,
            "url": "https://example.com/x",
            "readers": readers,
            "title": name,
            "text": name,
            **more,
        }
    )


def change(name: str, readers: Readers) -> ChangeEvent:
    return ChangeEvent(
        id=name,
        kind="deploy",
        service=f"{name}-svc",
        changed_at=NOW,
        summary=name,
        source="github",
        url="",
        readers=readers,
    )


def span(service: str) -> Span:
    return Span("t", "s", "", service, "GET /", 1, 2)


def log(service: str) -> LogRecord:
    return LogRecord(1, service, "ERROR", "boom")


def collected(readers: Readers, alert_readers: Readers = OPEN, name: str = "canary") -> Collected:
    """One of everything, with these readers."""
    telemetry = Telemetry(
        window=WINDOW,
        spans=(Batch("jaeger", readers, [span(f"{name}-span")]),),
        logs=(Batch("loki", readers, [log(f"{name}-log")]),),
        series=(Batch("prometheus", readers, [Series("cpu", f"{name}-series", [1.0], [2.0])]),),
        changes=(change(f"{name}-change", readers),),
        baselines=(
            Baseline(
                WINDOW,
                (Batch("jaeger", readers, [span(f"{name}-normal")]),),
                (Batch("loki", readers, [log(f"{name}-normal")]),),
            ),
        ),
    )
    return Collected(
        incident=INCIDENT,
        telemetry=telemetry,
        collected_at=NOW,
        evidence=(evidence(f"{name}-item", readers),),
        sources=(SourceStatus(name="jaeger", answered=True),),
        on_call="on-call payments",
        owner="payments",
        not_mapped=(f"{name}-span", "PSVC1"),
        alert_readers=alert_readers,
        edge_batches=(Batch("jaeger", readers, [(f"{name}-caller", f"{name}-callee")]),),
    )


def test_what_all_may_read_passes_unchanged() -> None:
    before = collected(OPEN)
    after = permit(before, AUDIENCE, NOW)
    assert after.fallback is None
    assert after.hidden == 0
    assert after.telemetry == before.telemetry
    assert after.evidence == before.evidence
    assert after.edges == {("canary-caller", "canary-callee")}
    assert after.not_mapped == before.not_mapped
    assert after.incident == before.incident
    assert (after.audience, after.permitted_at) == (AUDIENCE.signature, NOW)


def test_what_one_reader_may_not_read_is_gone_and_counted() -> None:
    after = permit(collected(SECRET), AUDIENCE, NOW)
    assert after.fallback is None
    assert "canary-" not in repr(after).replace("canary-title", "").replace("canary-service", "").replace(
        "canary-team", ""
    )
    assert after.telemetry == Telemetry(window=WINDOW)
    assert after.hidden == 5, "item, change, and the batches of spans, logs and series"
    assert after.hidden_context == 3, "two baseline batches and one call"
    assert after.not_mapped == ("PSVC1",)


def test_every_field_that_holds_readers_is_filtered() -> None:
    """A new field of Collected or Telemetry has to be decided on here."""
    assert {one.name for one in fields(Telemetry)} == {"window", "spans", "logs", "series", "changes", "baselines"}
    assert {one.name for one in fields(Collected)} == {
        "incident", "telemetry", "collected_at", "evidence", "edges", "sources", "on_call", "owner", "alerts_in_storm",
        "not_mapped", "alerting", "alert_readers", "edge_batches",
    }  # fmt: skip


def test_edges_without_readers_do_not_pass() -> None:
    smuggled = replace(collected(OPEN), edges=frozenset({("a", "b")}), edge_batches=())
    assert permit(smuggled, AUDIENCE, NOW).edges == frozenset()


def test_an_edge_that_two_sources_saw_needs_only_one_that_all_may_read() -> None:
    both = replace(
        collected(OPEN),
        edge_batches=(Batch("jaeger", SECRET, [("a", "b"), ("b", "c")]), Batch("tempo", OPEN, [("a", "b")])),
    )
    after = permit(both, AUDIENCE, NOW)
    assert after.edges == {("a", "b")}
    assert after.hidden_context == 1


def test_a_change_and_the_item_that_shows_it_are_one_hidden_item() -> None:
    one = collected(OPEN)
    item = evidence("x", SECRET, kind="change", attributes={"change_id": "c1"})
    before = replace(one, evidence=(item,), telemetry=replace(one.telemetry, changes=(change("c1", SECRET),)))
    assert permit(before, AUDIENCE, NOW).hidden == 1


@pytest.mark.parametrize(
    ("audience", "alert_readers", "why"),
    [
        (AudienceUnknown("the list is too old"), OPEN, "the list is too old"),
        (AUDIENCE, SECRET, NOT_FOR_THIS_CHANNEL),
        (AUDIENCE, Readers.nobody(), NOT_FOR_THIS_CHANNEL),
    ],
)
def test_the_fallback_holds_the_fallback_fields_alone(
    audience: Audience | AudienceUnknown, alert_readers: Readers, why: str
) -> None:
    after = permit(collected(OPEN, alert_readers), audience, NOW)
    assert after.fallback == why
    assert "canary" not in repr(after)
    assert after.on_call == "on-call payments"
    assert (after.incident.number, after.incident.severity, after.incident.triggered_at) == (42, 2, NOW)
    assert after.incident.url == INCIDENT.url
    assert (after.sources, after.owner, after.alerting_service) == ((), None, None)
    assert after.hidden == 5


def test_readers_that_nobody_stated_are_nobody() -> None:
    bare = Collected(incident=INCIDENT, telemetry=Telemetry(window=WINDOW), collected_at=NOW)
    assert permit(bare, AUDIENCE, NOW).fallback == NOT_FOR_THIS_CHANNEL


def test_the_models_permission_stays_on_the_item() -> None:
    before = replace(collected(OPEN), evidence=(evidence("x", OPEN, model="never"),))
    assert permit(before, AUDIENCE, NOW).evidence[0].model == "never"


def test_the_local_operator_reads_all_but_a_public_reader_does_not() -> None:
    assert permit(collected(SECRET, SECRET), Audience.local_operator(NOW), NOW).hidden == 0
    assert permit(collected(SECRET), Audience.of([frozenset({"world"})], NOW), NOW).fallback


GROUPS = st.frozensets(st.sampled_from(["a", "b", "c", "everyone"]))
READERS = st.frozensets(GROUPS, min_size=1, max_size=3).map(lambda sets: Readers(sets=sets))


@given(st.lists(GROUPS, min_size=1, max_size=6), st.lists(READERS, max_size=8), READERS)
def test_nothing_passes_that_one_reader_may_not_read(
    people: list[frozenset[str]], items: list[Readers], alert_readers: Readers
) -> None:
    before = Collected(
        incident=INCIDENT,
        telemetry=Telemetry(
            window=WINDOW,
            spans=tuple(Batch("s", one, [span("s")]) for one in items),
            changes=tuple(change(f"c{n}", one) for n, one in enumerate(items)),
        ),
        collected_at=NOW,
        evidence=tuple(evidence(f"i{n}", one) for n, one in enumerate(items)),
        alert_readers=alert_readers,
    )
    after = permit(before, Audience.of(people, NOW), NOW)
    may = [one for one in items if all(one.admit(person) for person in people)]
    if not all(alert_readers.admit(person) for person in people):
        assert after.fallback
        may = []
    assert [one.readers for one in after.evidence] == may
    assert [one.readers for one in after.telemetry.spans] == may
    assert [one.readers for one in after.telemetry.changes] == may
    assert after.hidden == 3 * (len(items) - len(may))


# --- what was ranked before ------------------------------------------------------------------------------------------


def ranked(*, secret_item: bool = True) -> Ranked:
    items = [evidence("open", OPEN, mark="e1", service="checkout")]
    if secret_item:
        items.append(evidence("canary", SECRET, mark="e2", service="canary-unmapped"))
    suspect = {
        "change_id": "c", "service": "s", "kind": "deploy", "summary": "x", "changed_at": NOW, "seconds_before": 1,
        "score": 1, "probability": 0.9,
    }  # fmt: skip
    return Ranked(
        incident=INCIDENT.model_copy(update={"title": "the alert"}),
        headline="38 % (canary)",
        evidence=tuple(items),
        suspects=(
            Suspect.model_validate(
                {
                    **suspect,
                    "mark": "e1",
                    "reasons": (
                        Reason(text="kept", evidence=("e1",)),
                        Reason(text="canary", evidence=("e1", "e2")),
                        Reason(text="canary without a source"),
                    ),
                }
            ),
            Suspect.model_validate({**suspect, "mark": "e2", "summary": "canary", "reasons": ()}),
        ),
        services=(
            ServiceScore(service="canary", score=1, probability=1, reasons=(Reason(text="x", evidence=("e2",)),)),
            ServiceScore(service="checkout", score=1, probability=1, reasons=(Reason(text="x", evidence=("e1",)),)),
        ),
        timeline=(
            TimelineEntry(at=NOW, text="kept", evidence=("e1",)),
            TimelineEntry(at=NOW, text="canary", evidence=("e2",)),
            TimelineEntry(at=NOW, text="canary"),
        ),
        not_mapped=("canary-unmapped",),
        looked_at=("canary was looked at",),
        hidden=1,
        basis=OPEN.narrowed(SECRET) if secret_item else OPEN,
        collected_at=NOW,
        permitted_at=NOW,
    )


def test_an_edit_removes_everything_that_may_come_from_a_hidden_item() -> None:
    later = NOW + timedelta(hours=1)
    after = permit_ranked(ranked(), AUDIENCE, OPEN, later)
    assert after.hidden == 2
    assert after.headline == "the alert"
    assert [one.mark for one in after.evidence] == ["e1"]
    assert [(one.mark, [reason.text for reason in one.reasons]) for one in after.suspects] == [("e1", ["kept"])]
    assert [one.service for one in after.services] == ["checkout"]
    assert [one.text for one in after.timeline] == ["kept"]
    assert (after.permitted_at, after.audience) == (later, AUDIENCE.signature)
    texts = after.model_copy(update={"incident": after.incident.model_copy(update={"service": None, "teams": ()})})
    assert "canary" not in texts.model_dump_json()


def test_what_cites_no_item_is_for_the_readers_of_all_that_was_looked_at() -> None:
    """Everything that is an item may be read; a batch of spans that became none may not."""
    before = ranked(secret_item=False).model_copy(update={"basis": OPEN.narrowed(SECRET)})
    after = permit_ranked(before, AUDIENCE, OPEN, NOW)
    assert after.hidden == 1
    assert after.headline == "the alert"
    assert after.looked_at == ()
    assert [[reason.text for reason in one.reasons] for one in after.suspects] == [["kept"]]
    unknown = before.model_copy(update={"basis": Readers.nobody()})
    assert permit_ranked(unknown, AUDIENCE, OPEN, NOW).looked_at == ()


def test_every_field_of_what_was_ranked_is_decided_on() -> None:
    """A new field is left out for narrower readers until it is named in `permit_ranked`, and here."""
    whole = set(Ranked.model_fields)
    unnamed = {"looked_at", "fallback"}
    assert whole == unnamed | {
        "incident", "headline", "evidence", "suspects", "services", "timeline", "sources", "hidden", "model_withheld",
        "alerts_in_storm", "owner", "on_call", "not_mapped", "notices", "collected_at", "permitted_at", "audience",
        "basis", "snapshot", "waterfalls", "plots",
    }  # fmt: skip


def test_the_basis_is_the_readers_of_everything_that_is_left() -> None:
    mixed = replace(collected(OPEN), edge_batches=(Batch("jaeger", Readers.of(["world"]), [("a", "b")]),))
    assert permit(mixed, AUDIENCE, NOW).basis == Readers.of(["everyone"], ["world"])
    insiders = Audience.of([frozenset({"everyone", "world", "secret"})], NOW)
    for name in ("spans", "logs", "series", "baselines", "changes"):
        part = replace(collected(OPEN).telemetry, **{name: getattr(collected(SECRET).telemetry, name)})
        assert permit(replace(collected(OPEN), telemetry=part), insiders, NOW).basis == OPEN.narrowed(SECRET), name
        assert permit(replace(collected(OPEN), telemetry=part), AUDIENCE, NOW).basis == OPEN, name


def test_an_edit_for_the_same_readers_changes_nothing_but_when_and_for_whom() -> None:
    before = ranked(secret_item=False)
    after = permit_ranked(before, AUDIENCE, OPEN, NOW)
    assert after == before.model_copy(update={"audience": AUDIENCE.signature})


@pytest.mark.parametrize("audience", [AudienceUnknown("late"), AUDIENCE])
def test_an_edit_can_fall_back(audience: Audience | AudienceUnknown) -> None:
    after = permit_ranked(ranked(), audience, SECRET, NOW)
    assert after.fallback in ("late", NOT_FOR_THIS_CHANNEL)
    assert "canary" not in after.model_dump_json()
    assert after.hidden == 3


def test_a_card_that_fell_back_never_recovers_by_an_edit() -> None:
    fell = permit_ranked(ranked(), AudienceUnknown("late"), OPEN, NOW)
    assert permit_ranked(fell, AUDIENCE, OPEN, NOW).fallback == "late"


def test_a_summary_stays_only_while_all_may_read_what_the_model_saw() -> None:
    claim = Claim(text="x", evidence=("e1",))
    usage = Usage(model="m", prompt="p", prompt_sha256="0")
    released = Released(summary=Summary(going_on=(claim,), cause=(), next=()), usage=usage)
    before = ranked()
    assert permit_released(released, before, before) == released
    gone = permit_released(released, before, permit_ranked(before, AUDIENCE, OPEN, NOW))
    assert isinstance(gone, Rejected)
    assert gone.outcome == "superseded"
    assert permit_released(None, before, before) is None
