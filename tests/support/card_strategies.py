"""Card states out of whatever hostile text there is, for Hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from bot.cards.samples import LINKS
from bot.cards.state import CardEvidence, CardIncident, CardState, CardTimes, Confirmed, RuledOut, StormPart
from bot.types import Claim, Reason, ServiceScore, SourceStatus, Summary, Suspect, TimelineEntry

ATTACKS = [
    "<!channel>", "<!here>", "<!everyone>", "<!subteam^S0123|@sre>", "<@U0123>", "<#C0123|general>", "@here",
    "<!date^1392734382^{date}^https://evil.example|now>", "<https://evil.example|https://github.com>", "|evil>",
    "#general", "&lt;",
    "https://evil.example/x", "*", "`", "```", "~", "_", ":fire:" * 9, "\u202e", "\u200b", "\U000e0041", "\x00", "\n> ",
    "🔥" * 40, "z\u0335\u0336\u0337\u0338" * 8, "x" * 4000, "ß𝕏" * 900, "&" * 1200, "<" * 1200, "\u0000",
]  # fmt: skip
outside = st.one_of(
    st.sampled_from(ATTACKS),
    st.lists(st.one_of(st.sampled_from(ATTACKS), st.text(max_size=40)), max_size=6).map("".join),
    st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=200),
)
addresses = st.one_of(
    outside,
    outside.map(lambda text: f"https://github.com/{text}"),
    st.sampled_from(["https://github.com/a|b", "https://evil.example/x", "javascript:alert(1)", ""]),
)
times = st.integers(1_500_000_000, 2_100_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
mark_names = st.integers(1, 70).map(lambda number: f"e{number}")
cited_marks = st.lists(mark_names, max_size=4).map(tuple)
reasons = st.lists(st.builds(Reason, text=outside, evidence=cited_marks), max_size=5).map(tuple)
claims = st.lists(st.builds(Claim, text=outside, evidence=cited_marks), max_size=5).map(tuple)
probabilities = st.floats(0, 1)
numbers = st.floats(-1e12, 1e12)
change_ids = st.sampled_from(["c1", "c2", "c3", "<!channel>"])

evidence_items = st.builds(
    CardEvidence, mark=mark_names, kind=st.sampled_from(["alert", "change", "trace", "metric", "runbook"]),
    source=outside, title=outside, url=addresses, observed_at=times, service=st.none() | outside,
    commit=st.none() | st.sampled_from(["a1b2c3d9", "<!here>"]),
)  # fmt: skip
suspects = st.builds(
    Suspect, change_id=change_ids, mark=mark_names, service=st.none() | outside,
    kind=st.sampled_from(["deploy", "flag", "other"]), summary=outside, changed_at=times, seconds_before=numbers,
    score=numbers, probability=probabilities, reasons=reasons, url=addresses, rollback_url=st.none() | addresses,
    rollback=st.just("") | outside,
)  # fmt: skip


def many(strategy: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=3).flatmap(
        lambda few: st.sampled_from([tuple(few), tuple(few) * (most // max(len(few), 1))])
    )


states = st.builds(
    CardState,
    phase=st.sampled_from(["collecting", "facts", "summary", "acknowledged", "mitigated", "resolved", "reopened"]),
    incident=st.builds(
        CardIncident, id=outside.filter(bool), number=st.none() | st.integers(0, 10**12), severity=st.integers(1, 5),
        url=addresses, triggered_at=times, title=outside, service=st.none() | outside, on_call=st.none() | outside,
    ),
    headline=outside,
    evidence=many(evidence_items, 64),
    suspects=many(suspects, 12),
    services=many(
        st.builds(ServiceScore, service=outside, score=numbers, probability=probabilities, reasons=reasons), 10
    ),
    timeline=many(st.builds(TimelineEntry, at=times, text=outside, evidence=cited_marks), 60),
    storm=many(st.builds(StormPart, service=outside, alerts=st.integers(0, 10**9)), 40),
    alerts_in_storm=st.integers(0, 10**9),
    owner=st.none() | outside,
    summary=st.none() | st.builds(Summary, going_on=claims, cause=claims, next=claims),
    summary_about=st.sampled_from(["", "c1", "<!channel>"]),
    no_summary=outside,
    sources=many(st.builds(SourceStatus, name=outside, answered=st.booleans(), note=outside, seconds=numbers), 30),
    hidden=st.integers(0, 10**9),
    not_mapped=many(outside, 20),
    notices=many(outside, 20),
    fallback=st.none() | st.none() | outside,
    narrowed=st.booleans(),
    paused=outside,
    times=st.builds(
        CardTimes, acknowledged_at=st.none() | times, acknowledged_by=outside, mitigated_at=st.none() | times,
        resolved_at=st.none() | times, reopened_at=st.none() | times, reopened=st.integers(0, 10**6),
    ),
    facts_seconds=st.none() | numbers,
    summary_seconds=st.none() | numbers,
    model=outside,
    tokens=st.integers(0, 10**12),
    cost_usd=st.floats(0, 1e9),
    ruled_out=many(st.builds(RuledOut, change_id=change_ids, by=outside, at=times, undo_until_at=times), 4),
    confirmed=st.none() | st.builds(Confirmed, change_id=change_ids, by=outside, at=times),
    replies=st.lists(change_ids, max_size=2).map(tuple),
    links=st.sampled_from([LINKS, ()]),
)  # fmt: skip
