"""Waterfalls and curves: what may be drawn, how, and for whom."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cards import drawn
from bot.cards.details import sections
from bot.cards.limits import violations
from bot.cards.making import from_ranked
from bot.cards.page import page
from bot.cards.render import render
from bot.cards.samples import PLOT, WATERFALL, every_state, facts, ranked
from bot.triage.draw import MAX_BARS, MAX_POINTS, plot, waterfall
from bot.triage.permit import permit_ranked
from bot.trust.audience import Audience
from integrations.records import Readers, Series, Span, Window

AT = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
ALL = Readers.of(["everyone"])
NS = 1_000_000


def span(name: str, parent: str = "", start: int = 0, took: int = 10, **more: object) -> Span:
    """`start` and `took` in milliseconds."""
    made = Span("t1", name, parent, f"svc-{name}", f"GET /{name}", start * NS, (start + took) * NS)
    return replace(made, **more)


def shown_with(readers: Readers, *spans: Span) -> list[tuple[Span, Readers]]:
    return [(one, readers) for one in spans]


def test_a_waterfall_shows_each_call_under_its_caller_in_the_order_of_time():
    spans = [span("b", "root", 5, 4), span("root", "", 0, 100), span("a", "root", 1, 3), span("deep", "b", 6, 2)]
    made = waterfall("e1", "t1", shown_with(ALL, *spans))
    assert [(bar.service, bar.depth) for bar in made.bars] == [
        ("svc-root", 0), ("svc-a", 1), ("svc-b", 1), ("svc-deep", 2),
    ]  # fmt: skip
    assert (made.total_ms, made.spans) == (100, 4)


def test_of_a_long_trace_what_failed_and_what_took_the_time_is_kept_with_its_callers():
    noise = [span(f"n{i}", "root", i, 1) for i in range(60)]
    slow = [span("slow", "via", 200, 500), span("via", "root", 199, 502)]
    failed = span("bad", "root", 70, 1, error=True)
    made = waterfall("e1", "t1", shown_with(ALL, span("root", "", 0, 900), *noise, *slow, failed))
    names = [bar.service for bar in made.bars]
    assert len(names) == MAX_BARS
    assert {"svc-root", "svc-via", "svc-slow", "svc-bad"} <= set(names)
    assert [bar.failed for bar in made.bars if bar.service == "svc-bad"] == [True]


@pytest.mark.parametrize("parent", ["a", "b", "gone"])
def test_a_cycle_or_a_missing_caller_ends_nowhere(parent):
    made = waterfall("e1", "t1", shown_with(ALL, span("a", parent), span("b", "a")))
    assert {bar.service for bar in made.bars} == {"svc-a", "svc-b"}


def test_a_waterfall_is_for_those_who_may_read_every_call_on_it():
    payments = Readers.of(["payments"])
    made = waterfall("e1", "t1", [(span("a", "", 0, 9), ALL), (span("b", "a", 1, 2), payments)])
    assert made.readers == ALL.narrowed(payments)


def audience_of(*groups: str) -> Audience:
    return Audience.of([frozenset(groups)], AT)


def test_a_refresh_for_fewer_drops_what_they_may_not_see_and_keeps_the_rest():
    before = ranked().model_copy(
        update={
            "waterfalls": (WATERFALL.model_copy(update={"readers": Readers.of(["sre"])}),),
            "basis": Readers.of(["everyone"], ["sre"]),
        }
    )
    now = permit_ranked(before, audience_of("everyone"), ALL, AT)
    assert now.waterfalls == ()
    assert now.plots == (PLOT,)
    both = permit_ranked(before, audience_of("everyone", "sre"), ALL, AT)
    assert len(both.waterfalls) == 1


def test_a_drawing_of_an_item_that_is_hidden_goes_with_it():
    items = tuple(
        one.model_copy(update={"readers": Readers.of(["sre"])}) if one.mark == "e1" else one
        for one in ranked().evidence
    )
    before = ranked().model_copy(update={"evidence": items})
    now = permit_ranked(before, audience_of("everyone"), ALL, AT)
    assert now.plots == ()
    assert [one.mark for one in now.waterfalls] == ["e9"]


def series(values: list[float], step: float = 10.0, name: str = "error_ratio") -> Series:
    began = (AT - timedelta(minutes=30)).timestamp()
    return Series(name, "checkout", [began + step * i for i in range(len(values))], values, unit="percent")


def test_a_curve_keeps_the_worst_of_each_share_of_the_time_and_its_normal():
    values = [0.2] * 400
    values[333] = 38.0
    made = plot("e1", series(values), Window(AT, AT + timedelta(hours=2)), ALL)
    assert len(made.points) <= MAX_POINTS
    assert max(value for _, value in made.points) == 38.0
    assert made.usual == 0.2


def test_of_a_share_of_successes_the_worst_is_the_least():
    values = [99.9] * 400
    values[333] = 61.0
    made = plot("e1", series(values, name="success_ratio"), Window(AT, AT + timedelta(hours=2)), ALL)
    assert min(value for _, value in made.points) == 61.0


@pytest.mark.parametrize("values", [[], [1.0], [float("nan")] * 9, [float("inf")] * 9])
def test_a_curve_without_two_numbers_is_none(values):
    assert plot("e1", series(values), Window(AT, AT + timedelta(hours=1)), ALL) is None


def test_the_thread_draws_the_trace_and_the_metric_with_the_change_marked():
    told = {section.heading: section.drawings for section in sections(facts())}
    rows = told["Traces"][0].rows
    assert rows[0].startswith("web POST /orders")
    assert rows[-1] == "! failed"
    assert any("wait for a connection" in row and "4.9 s" in row and "█" in row for row in rows)
    curve, marked, axis = told["Metrics"][0].rows
    assert marked.strip() == "▲e3"
    assert curve[marked.index("▲") + 2 :].strip("▁") != ""
    assert axis.startswith("13:53")
    assert all(len(row) <= drawn.WIDTH for row in (*rows, curve, marked, axis))


@pytest.mark.parametrize("form", ["modern", "classic"])
def test_a_drawing_is_said_in_words_too(form):
    text = json.dumps(render(facts(), form).thread["thread"].blocks, ensure_ascii=False).replace("\u00a0", " ")
    assert "6 of 31 calls in 5 s, 2 of those shown failed" in text
    assert "change e3 at 14:01:12 UTC" in text


def test_a_ruled_out_change_is_no_longer_marked():
    struck = facts().rule_out("deploy-1", by="on-call", at=AT)
    assert drawn.changes_within(struck, PLOT) == ()


HOSTILE = st.text(alphabet=st.characters(codec="utf-8"), max_size=120) | st.sampled_from(
    ["```", "<!channel>", "<script>alert(1)</script>", "\u202eabc", "a\nb\x1b[31m", "&amp;<&>", "`" * 50]
)


@settings(max_examples=40, deadline=None)
@given(name=HOSTILE, service=HOSTILE, points=st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=MAX_POINTS))
def test_hostile_names_stay_data_in_the_thread_and_on_the_page(name, service, points):
    bars = tuple(bar.model_copy(update={"name": name, "service": service}) for bar in WATERFALL.bars)
    curve = PLOT.model_copy(
        update={"name": name, "service": service, "points": tuple((1.7e9 + i, v) for i, v in enumerate(points))}
    )
    told = ranked().model_copy(update={"waterfalls": (WATERFALL.model_copy(update={"bars": bars}),), "plots": (curve,)})
    card = from_ranked(told, links=("github.com",))
    for form in ("modern", "classic"):
        thread = render(card, form).thread["thread"]
        assert violations(thread.text, thread.blocks) == []
        for block in thread.blocks:
            text = block.get("text", {}).get("text", "")
            if text.startswith("```"):
                assert "```" not in text[3:-3]
                assert "<" not in text
    html = page(card, told)
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_holds_everything_and_leads_nowhere_else():
    html = page(every_state()["summary"], ranked())
    for part in ("Probably", "What is going on", "Suspects", "Timeline", "Traces", "Metrics", "Evidence", "Sources"):
        assert part in html
    assert html.count("<svg") == 2
    assert 'href="#e3"' in html
    assert 'id="e3"' in html
    addresses = [part.split('"')[0] for part in html.replace("src=", "href=").split('href="')[1:]]
    assert addresses
    assert all(one.startswith("#") for one in addresses)
    assert "url(" not in html
    assert "<script" not in html


def test_every_state_has_a_page():
    for name, state in every_state().items():
        assert "</html>" in page(state, ranked()), name


@pytest.mark.parametrize("name", ["fallback", "collecting"])
def test_a_restricted_card_has_a_page_of_its_fallback_fields_alone(name):
    html = page(every_state()[name], ranked())
    for secret in ("38 %", "checkout", "a1b2c3d", "jaeger.acme.example", "<svg"):
        assert secret not in html


def test_an_item_that_the_card_does_not_name_is_not_on_its_page():
    card = facts().model_copy(update={"evidence": facts().evidence[:2]})
    html = page(card, ranked())
    assert "wiki.acme.example" not in html
    assert 'id="e12"' not in html
