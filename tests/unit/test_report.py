"""The weekly report: what it says of known rows, of odd ones, and that no form of it shows more than it may."""

from __future__ import annotations

import csv
import gc
import io
import json
import pathlib
import re
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner

from bot.cards.limits import violations
from bot.cli.report import command
from bot.errors import ConfigurationError
from bot.experiment.export import data_sha256, rows_csv
from bot.experiment.units import Unit, read_csv
from bot.listeners.clicks import REPORT_FILES
from bot.report.build import NO_EXPERIMENT, build
from bot.report.definitions import DEFINITIONS
from bot.report.figures import arm_figures, service_effects
from bot.report.html import as_html
from bot.report.judged import analysis_rows
from bot.report.png import weekly_png
from bot.report.rows import Given, IncidentRow, LabelRow, Material, SuspectRow, TriageRow
from bot.report.slack import CSV_ACTION, OPEN_ACTION, classic, modern
from bot.report.svg import interval_bar, minutes
from bot.report.table import as_csv, as_json
from bot.report.weeks import Week, last_complete, parse_week, unsent, week_of
from tests.support.report_material import START, material, without_experiment

BERLIN = ZoneInfo("Europe/Berlin")
W47 = parse_week("2026-W47")
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
TAU = timedelta(hours=72)


@pytest.fixture(scope="module")
def half_year() -> Material:
    return material()


@pytest.fixture(scope="module")
def report(half_year):
    return build(half_year, W47, BERLIN, now=NOW)


def incident(name: str, at: datetime, lasted: float | None, **more) -> IncidentRow:
    end = None if lasted is None else at + timedelta(minutes=lasted)
    base = {
        "incident_id": name,
        "unit_id": name,
        "service": "api",
        "severity": 2,
        "triggered_at": at,
        "resolved_at": end,
    }
    return IncidentRow(**{**base, **more})


# Weeks


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (NOW, ""),
        (NOW - timedelta(days=3), "This week is not over"),
        (NOW - timedelta(days=30), "This week has not begun."),
    ],
)
def test_a_week_that_is_not_over_is_said_to_be_that(now, says):
    found = [line for line in build(Material(), W47, BERLIN, now=now).odd if line.startswith("This week")]
    assert len(found) == bool(says) and all(line.startswith(says) for line in found)


def test_a_week_begins_on_the_teams_monday_and_daylight_saving_changes_its_length():
    autumn, spring = parse_week("2026-W43"), parse_week("2026-W13")
    assert autumn.begins_at(BERLIN) == datetime(2026, 10, 18, 22, tzinfo=UTC)
    assert autumn.ends_at(BERLIN) - autumn.begins_at(BERLIN) == timedelta(hours=169)
    assert spring.ends_at(BERLIN) - spring.begins_at(BERLIN) == timedelta(hours=167)
    assert week_of(autumn.ends_at(BERLIN) - timedelta(microseconds=1), BERLIN) == autumn
    assert week_of(autumn.ends_at(BERLIN), BERLIN).name == "2026-W44"
    assert parse_week("2026-W53").dates() == "28 December 2026 – 3 January 2027"
    assert parse_week("2026-W53").before() == Week(2026, 52) and Week(2027, 1).before() == Week(2026, 53)


@pytest.mark.parametrize("text", ["2026-W54", "2026-47", "2025-W53", "W47", "2026-W00", ""])
def test_a_week_that_does_not_exist_is_refused(text):
    with pytest.raises(ConfigurationError, match="no week"):
        parse_week(text)


def test_what_was_missed_while_the_process_was_down_is_due_once_and_oldest_first():
    now = datetime(2026, 11, 24, tzinfo=UTC)
    since = datetime(2026, 11, 2, tzinfo=UTC)
    assert last_complete(now, BERLIN) == W47
    assert [w.name for w in unsent(set(), since=since, now=now, zone=BERLIN)] == ["2026-W45", "2026-W46", "2026-W47"]
    assert [w.name for w in unsent({"2026-W46"}, since=since, now=now, zone=BERLIN)] == ["2026-W45", "2026-W47"]
    assert unsent({"2026-W45", "2026-W46", "2026-W47"}, since=since, now=now, zone=BERLIN) == []
    long_ago = datetime(2024, 1, 1, tzinfo=UTC)
    assert len(unsent(set(), since=long_ago, now=now, zone=BERLIN)) == 4


# Figures


def test_figures_of_a_known_list():
    at = datetime(2026, 11, 17, tzinfo=UTC)
    rows = [
        incident(f"i{m}", at, m, acknowledged_at=at + timedelta(minutes=m / 10), unit_id=f"u{m // 20}")
        for m in (10, 20, 30, 40, 100)
    ]
    found = arm_figures("x", [*rows, incident("open", at, None)], until=at + timedelta(hours=10), tau=TAU)
    assert (found.incidents, found.units, found.still_open, found.resolved, found.acknowledged) == (6, 5, 1, 5, 5)
    assert (found.mttr_mean, found.mttr_median, found.mttr_p90) == (40, 30, pytest.approx(76))
    assert (found.mtta_mean, found.mtta_median) == (4, 3)
    # The open one counts beyond the longest resolved one: a sixth of the curve stays up to τ.
    assert found.restricted_mean == pytest.approx((10 + 20 + 30 + 40 + 100 + 72 * 60) / 6)
    empty = arm_figures("x", [], until=at, tau=TAU)
    assert empty.incidents == 0 and empty.mttr_mean is None and empty.restricted_mean is None


def test_only_what_was_known_at_the_end_of_the_week_is_in_it():
    inside = W47.ends_at(BERLIN) - timedelta(minutes=30)
    rows = (
        incident("a", inside, 10),
        incident("b", inside, 45),
        incident("next", W47.ends_at(BERLIN), 5),
        incident("before", W47.begins_at(BERLIN) - timedelta(seconds=1), 5),
    )
    (arm,) = build(Material(incidents=rows), W47, BERLIN, now=NOW).arms
    assert (arm.incidents, arm.resolved, arm.still_open, arm.mttr_mean) == (2, 1, 1, 10)


def test_services_are_drawn_to_the_common_ratio_by_how_little_they_know():
    random = np.random.default_rng(6)

    def unit(service: str, arm: str, value: float) -> Unit:
        return Unit("u", "2", service, arm, START, START, value, 1.0, 1, False, "", 0, 0)

    units = [
        unit(name, arm, float(random.normal(4 + (arm == "treatment") * shift, 1.0)))
        for name, size, shift in (("big", 200, -0.9), ("small", 3, 0.9), ("other", 200, 0.0))
        for arm in ("control", "treatment")
        for _ in range(size)
    ]
    found = {s.service: s for s in service_effects([*units, unit("lone", "control", 3.0)])}
    big, small = found["big"], found["small"]
    assert abs(np.log(big.shrunk / big.ratio)) < 0.2 * abs(np.log(small.shrunk / small.ratio))
    assert found["lone"].ratio is None and found["lone"].control == 1


# The experiment's part


def test_the_report_names_the_contrast_and_says_the_fixed_sentence(report):
    e = report.experiment
    assert e.contrast == "facts+summary against facts" and e.look == 12
    assert report.sentence.startswith("No difference shown. The data fit anything from ")
    assert report.headline == "Week 47: no difference shown"
    assert e.not_derivable == 0 and e.lost_e == pytest.approx(1.0) and e.harm == "none"
    assert [arm.arm for arm in e.arms] == ["facts+summary", "facts"]
    assert sum(arm.units for arm in e.arms) == e.units_control + e.units_treatment + e.immature + e.excluded
    assert e.ratio[1] <= e.ratio[0] <= e.ratio[2] and 0 < e.alpha_spent < 0.05


def test_the_same_material_gives_the_same_report_and_other_data_another_hash(half_year, report):
    assert build(half_year, W47, BERLIN, now=NOW + timedelta(days=30)) == report
    first = half_year.incidents[0]
    moved = replace(first, resolved_at=first.resolved_at + timedelta(minutes=7))
    other = build(replace(half_year, incidents=(moved, *half_year.incidents[1:])), W47, BERLIN, now=NOW)
    assert other.experiment.data_sha256 != report.experiment.data_sha256


def test_the_figures_can_be_computed_again_from_the_exported_rows(half_year, report):
    """The CSV that admins may export gives the same analysis."""
    from bot.experiment.analyse import Options, analyse

    running = half_year.running
    text = rows_csv(analysis_rows(running, half_year.incidents))
    again = analyse(read_csv(text, name="export.csv"), Options(as_of=NOW, start=running.started_at))
    e = report.experiment
    assert (again.point, again.interval.low, again.interval.high) == pytest.approx(e.ratio)
    assert (again.e_faster, again.e_slower) == pytest.approx((e.e_faster, e.e_slower))


def test_no_form_tells_the_seed_or_an_incidents_arm_before_the_end(half_year, report):
    seed = half_year.running.seed
    for form in (as_html(report), as_csv(report), as_json(report), json.dumps(modern(report).blocks)):
        assert seed.hex() not in form and seed.decode() not in form
        for row in half_year.incidents:
            assert row.incident_id not in form
    ended = build(replace(half_year, running=replace(half_year.running, ended=True)), W47, BERLIN, now=NOW)
    assert ended.experiment.seed == seed.hex() and ended.experiment.next_look is None


def test_a_verdict_that_was_given_stays_and_the_report_says_what_it_would_now_be(half_year):
    running = half_year.running
    rows = analysis_rows(running, half_year.incidents)
    at = running.started_at + timedelta(weeks=11)
    true = Given(verdict="faster", look=11, at=at, data_sha256=data_sha256(rows, at))
    kept = build(replace(half_year, running=replace(running, given=true)), W47, BERLIN, now=NOW)
    assert kept.experiment.verdict == "faster" and kept.experiment.corrections == ()
    assert "at most 5 %" in kept.sentence
    corrected = replace(true, data_sha256="0" * 64)
    told = build(replace(half_year, running=replace(running, given=corrected)), W47, BERLIN, now=NOW)
    assert told.experiment.verdict == "faster"
    assert "with them it would now be: not distinguishable" in told.experiment.corrections[0]


def test_units_that_somebody_assigned_otherwise_and_units_lost_from_one_arm_raise_the_alarm(half_year):
    flipped = tuple(
        replace(row, arm={"control": "treatment", "treatment": "control"}[row.arm]) if i == 3 else row
        for i, row in enumerate(half_year.incidents)
    )
    assert build(replace(half_year, incidents=flipped), W47, BERLIN, now=NOW).experiment.not_derivable == 1
    dark = tuple(replace(row, exposed=row.arm != "treatment") for row in half_year.incidents)
    found = build(replace(half_year, incidents=dark), W47, BERLIN, now=NOW)
    assert found.experiment.lost_e > 20
    assert 'class="alarm"' in as_html(found) and "Sample ratio" in json.dumps(modern(found).blocks)


# Odd data


def test_every_oddity_is_a_line_and_none_an_exception():
    at = datetime(2026, 10, 20, tzinfo=UTC)
    week = parse_week("2026-W43")
    rows = (
        incident("silent", at, 10),
        incident("backwards", at, -30),
        incident("long", at - timedelta(days=20), 60 * 24 * 15),
        incident("open", at, None),
        incident("again", at, 10, reopened=1, acknowledged_at=at),
        incident("test", at, 10, left_out="test incident"),
    )
    found = build(
        Material(incidents=rows, earlier_zone="UTC", odd=("PagerDuty was down for 20 min.",)), week, BERLIN, now=NOW
    )
    said = " | ".join(found.odd)
    for part in (
        "The week has 169 hours: clocks changed in Europe/Berlin.",
        "The time zone changed from UTC to Europe/Berlin",
        "incidents were resolved without an acknowledge",
        "1 incident was acknowledged or resolved before triggered",
        "1 incident was still open",
        "1 incident was reopened",
        "1 incident was left out: test incident.",
        "PagerDuty was down for 20 min.",
    ):
        assert part in said
    (arm,) = found.arms
    assert arm.incidents == 5 and arm.resolved == 2


def test_a_week_without_incidents_and_an_experiment_with_one_arm_empty_are_said(half_year):
    nothing = build(Material(), W47, BERLIN, now=NOW)
    assert "No incident began this week." in nothing.odd and nothing.sentence == NO_EXPERIMENT
    alone = tuple(row for row in half_year.incidents if row.arm == "control")
    found = build(replace(half_year, incidents=alone), W47, BERLIN, now=NOW)
    assert found.experiment.verdict == "too_early"
    assert "No incident yet in the arm 'facts+summary'." in found.odd
    just_begun = build(replace(half_year, incidents=()), W47, BERLIN, now=NOW)
    for one in (nothing, found, just_begun):
        assert as_html(one) and as_csv(one) and json.loads(as_json(one))
        for message in (modern(one), classic(one)):
            assert violations(message.text, message.blocks) == []


# Quality


def test_suspects_are_judged_by_the_latest_label_and_silence_is_not_a_verdict():
    at = datetime(2026, 11, 17, tzinfo=UTC)

    def triage(name: str, *suspects: tuple[str, float], outcome: str = "released") -> TriageRow:
        named = tuple(SuspectRow(change_id=c, service="api", probability=p) for c, p in suspects)
        return TriageRow(triage_id=name, incident_id=name, started_at=at, suspects=named, outcome=outcome, hidden=1)

    def label(name: str, change: str, hours: float = 1, cause: str = "change") -> LabelRow:
        return LabelRow(incident_id=name, at=at + timedelta(hours=hours), cause=cause, change_id=change, service="api")

    found = build(
        Material(
            incidents=tuple(incident(n, at, 5) for n in "abcdef"),
            triages=(
                triage("a", ("c1", 0.95)),
                triage("b", ("c1", 0.5), ("c2", 0.45)),
                triage("c", ("c1", 0.8)),
                triage("d", ("c1", 0.3)),
                triage("e", ("c1", 0.9), outcome="rejected"),
                triage("f", ("c1", 0.8)),
            ),
            labels=(
                label("a", "c1"),
                label("b", "c2"),
                label("c", "c1"),
                label("c", "", 2, "external"),
                label("d", "c1"),
            ),
        ),
        W47,
        BERLIN,
        now=NOW,
    )
    q = found.quality
    assert (q.top1.part, q.top1.whole) == (1, 3)
    assert (q.top3.part, q.wrong, q.unused) == (2, 1, 2)
    assert (q.rejected.part, q.rejected.whole, q.hidden) == (1, 6, 6)
    assert [(b.part, b.whole) for b in q.calibration] == [(1, 1), (0, 1), (0, 1)]
    assert [(w.name, w.count) for w in found.wrong_suggestions] == [("c1 (api)", 2)]
    assert {c.name: c.count for c in found.causes} == {"change to api": 3, "external": 1}


def test_names_that_a_reader_may_not_see_are_in_no_form_and_the_counts_stay(half_year):
    shown = build(half_year, W47, BERLIN, now=NOW)
    hidden = {"service-3", "service-0"}
    veiled = build(replace(half_year, hidden_services=frozenset(hidden)), W47, BERLIN, now=NOW)
    changes = {s.change_id for t in half_year.triages for s in t.suspects if s.service in hidden}
    for form in (as_html(veiled), as_csv(veiled), as_json(veiled), json.dumps(modern(veiled).blocks)):
        assert not any(name in form for name in hidden | changes)
    assert "service-3" in as_html(shown)
    assert veiled.quality.top1 == shown.quality.top1 and veiled.sentence == shown.sentence
    assert sum(s.count for s in veiled.services) == sum(s.count for s in shown.services)


# Forms


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "action")]

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass


def test_the_page_has_everything_in_its_order_and_loads_nothing(report):
    page = as_html(report)
    outline = _Outline()
    outline.feed(page)
    wanted = (
        "What could have been found", "Units by arm", "Sample ratio", "How long incidents stay open", "Means to date",
        "Guards", "Cost", "Exposure", "By service", "Corrections", "The experiment", "Definitions",
    )  # fmt: skip
    places = [outline.headings.index(name) for name in wanted]
    assert places == sorted(places)
    assert page.index(report.sentence.replace("+", "&#43;")[:20]) < page.index("<svg")
    assert outline.addresses == [] and "<script" not in page and 'http-equiv="Content-Security-Policy"' in page
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "@media print" in page and 'name="viewport"' in page


def test_hostile_names_stay_text_in_every_form():
    at = datetime(2026, 11, 17, tzinfo=UTC)
    evil = '</script><img src=x onerror=alert(1)> <!channel> =HYPERLINK("http://x") *bold* `code`'
    rows = tuple(incident(f"i{i}", at, 10 + i, service=evil) for i in range(3))
    found = build(Material(incidents=rows, odd=(evil,)), W47, BERLIN, now=NOW)
    assert "<img" not in as_html(found) and "onerror=alert(1)&gt;" in as_html(found)
    for message in (modern(found), classic(found)):
        text = json.dumps(message.blocks)
        assert violations(message.text, message.blocks) == []
        for block in message.blocks:
            for part in [block.get("text"), *block.get("elements", ())]:
                if isinstance(part, dict) and part.get("type") == "mrkdwn":
                    assert "<!channel>" not in part["text"] and part["verbatim"]
        assert text
    lines = list(
        csv.DictReader(
            io.StringIO(
                as_csv(build(Material(incidents=tuple(replace(r, service="=1+1") for r in rows)), W47, BERLIN, now=NOW))
            )
        )
    )
    assert [row["of"] for row in lines if row["part"] == "incidents by service"] == ["'=1+1"]


def test_the_slack_message_keeps_slacks_limits_in_both_forms(report):
    for message in (modern(report), classic(report)):
        assert violations(message.text, message.blocks) == []
        assert message.text.startswith("Week 47: no difference shown. No difference shown.")
        buttons = [one["action_id"] for one in message.blocks[-1]["elements"]]
        assert buttons == [OPEN_ACTION, CSV_ACTION] == [*REPORT_FILES], "each is answered"
    kinds = [block["type"] for block in modern(report).blocks]
    assert kinds[:5] == ["header", "context", "rich_text", "table", "data_visualization"]
    pictured = classic(report, picture={"image_url": "https://sitrep.example.com/w47.png"})
    assert "image" in [block["type"] for block in pictured.blocks]
    assert violations(pictured.text, pictured.blocks) == []


def test_every_figure_in_the_csv_has_its_definition_where_there_is_one(report):
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert {line["week"] for line in lines} == {"2026-W47"}
    for line in lines:
        if "MTTR" in line["figure"] or "MTTA" in line["figure"]:
            assert line["definition"] and line["n"] != ""
    assert any(line["figure"] == "ratio low" and float(line["value"]) < 1 for line in lines)


def test_without_an_experiment_the_report_says_that_it_shows_nothing_about_sitrep(half_year):
    found = build(without_experiment(half_year), W47, BERLIN, now=NOW)
    assert found.experiment is None and found.sentence == NO_EXPERIMENT
    assert [arm.arm for arm in found.arms] == ["all incidents"]
    assert "By service" not in as_html(found)


def test_durations_and_bars_are_drawn_for_any_size():
    assert [minutes(v) for v in (0.5, 41.2, 119, 120, 186, 4320, 2880)] == [
        "30 s", "41 min", "119 min", "2 h", "3.1 h", "3 d", "2 d",
    ]  # fmt: skip
    for ratio in ((0.5, 0.01, 100.0), (1.0, 0.99, 1.01), (0.02, 0.01, 0.03), (40.0, 20.0, 90.0)):
        for bounded in ((True, True), (False, False)):
            assert interval_bar(ratio, bounded).startswith("<svg")


def test_the_picture_for_the_classic_form_is_a_png_that_shows_both_arms(report):
    picture = weekly_png(report.weekly)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and len(picture) < 100_000
    pixels = decoded(picture)
    assert pixels.shape == (520, 1200, 3)
    for colour in ((180, 68, 12), (31, 58, 147)):
        assert np.all(np.abs(pixels.astype(int) - colour) < 4, axis=2).sum() > 200
    assert decoded(weekly_png([])).shape == (520, 1200, 3)


def decoded(picture: bytes) -> np.ndarray:
    """The pixels of a PNG without filters, by the specification."""
    place, data, size = 8, b"", (0, 0)
    while place < len(picture):
        length, kind = struct.unpack(">I4s", picture[place : place + 8])
        body = picture[place + 8 : place + 8 + length]
        assert struct.unpack(">I", picture[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        data += body if kind == b"IDAT" else b""
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(size[1], 1 + 3 * size[0])
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(size[1], size[0], 3)


def test_the_docs_say_what_the_report_says():
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name, what in DEFINITIONS:
        assert f"| {name} | {what} |" in page


@pytest.mark.parametrize(("blocks", "kind"), [("auto", "table"), ("classic", "section")])
def test_the_command_prints_the_post_in_the_form_that_the_settings_ask_for(tmp_path, monkeypatch, blocks, kind):
    (tmp_path / "sitrep.toml").write_text(f'[slack]\nblocks = "{blocks}"\n', encoding="utf-8")
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    monkeypatch.setenv("SITREP_CONFIG", str(tmp_path / "sitrep.toml"))
    printed = CliRunner().invoke(command, ["--week", "2026-W40", "--format", "slack"], catch_exceptions=False)
    gc.enable()  # the command switches it off, as a process of its own may
    told = json.loads(printed.stdout)
    kinds = [block["type"] for block in told["blocks"]]
    assert kind in kinds and ("table" in kinds) == (blocks == "auto")
    assert not violations(told["text"], told["blocks"])
