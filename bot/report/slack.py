"""The report as a Slack message: the newer blocks with a native chart and table, or the classic ones with a picture.

The first line is the verdict, then one table, one chart, cost, quality, causes, what was odd. All text from outside
goes through the same neutralising as the cards'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.cards.limits import MAX_MESSAGE_TEXT
from bot.experiment.cost import usd
from bot.report.html import counted, time
from bot.report.model import ArmFigures, Share, WeeklyReport, WeekPoint
from bot.trust.neutralise import clean, escape, mrkdwn, mrkdwn_object, plain_text, text_element

Block = dict[str, Any]
OPEN_ACTION, CSV_ACTION = "sitrep.report_page", "sitrep.report_csv"
"""Their value is the week; whoever clicks gets the file for themselves alone."""
_POINTS = 13
_NOTE = (
    "With two groups of 65 incidents and no difference at all, MTTR looks at least 10 % better in 37 of 100 quarters."
)
_HEAD = ("arm", "incidents", "MTTA", "median", "mean (MTTR)", "p90", "restricted mean")

_NARROW = ("arm", "n", "MTTA", "median", "MTTR", "p90", "restricted")


@dataclass(frozen=True, slots=True)
class Message:
    """Text for the lock screen and screen readers, and blocks."""

    text: str
    blocks: list[Block]


def modern(report: WeeklyReport) -> Message:
    """With `table` and `data_visualization`."""
    blocks: list[Block] = [
        {"type": "header", "text": plain_text(report.headline, 150)},
        {"type": "context", "elements": [mrkdwn_object(mrkdwn(_context(report), 500))]},
        _paragraph("", report.sentence),
        {"type": "table", "rows": [[_cell(v) for v in row] for row in _table(report)]},
    ]
    chart = _chart(report.weekly)
    if chart is not None:
        blocks.append(chart)
    blocks.append({"type": "context", "elements": [mrkdwn_object(mrkdwn(_below(report), 1500))]})
    blocks += [_paragraph(name, words) for name, words in _lines(report)]
    blocks.append(_actions(report.week))
    return Message(_text(report), blocks)


def classic(report: WeeklyReport, *, picture: Mapping[str, Any] | None = None) -> Message:
    """Without the newer kinds. picture: `{"slack_file": {"id": …}}` or `{"image_url": …}` of the weekly chart."""
    # The narrow heads keep a line whole at the width of a laptop's channel.
    table = [_NARROW, *_table(report)[1:]]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    drawn = "\n".join("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in table)
    blocks: list[Block] = [
        {"type": "header", "text": plain_text(report.headline, 150)},
        {"type": "context", "elements": [mrkdwn_object(mrkdwn(_context(report), 500))]},
        {"type": "section", "text": mrkdwn_object(mrkdwn(report.sentence, 2900))},
        {"type": "section", "text": mrkdwn_object(f"```\n{_fenced(drawn)}\n```")},
    ]
    if picture is not None and any(point.median is not None for point in report.weekly):
        blocks.append({"type": "image", "alt_text": "Median time to resolve by week and arm", **picture})
    blocks.append({"type": "context", "elements": [mrkdwn_object(mrkdwn(_below(report), 1500))]})
    blocks += [
        {"type": "section", "text": mrkdwn_object(f"*{name}*  {mrkdwn(words, 2800)}")} for name, words in _lines(report)
    ]
    blocks.append(_actions(report.week))
    return Message(_text(report), blocks)


def _text(report: WeeklyReport) -> str:
    return clean(f"{report.headline}. {report.sentence}", MAX_MESSAGE_TEXT)


def _context(report: WeeklyReport) -> str:
    parts = [f"{report.dates}, {report.zone}"]
    if report.experiment is not None:
        e = report.experiment
        look = f"look {e.look} of {e.horizon_weeks}" if e.rule == "planned" else f"look {e.look}, rule: open"
        parts = [e.name, e.contrast, look, *parts]
    return " · ".join(parts)


def _table(report: WeeklyReport) -> list[tuple[str, ...]]:
    return [_HEAD, *(_row(arm) for arm in report.arms)]


def _row(arm: ArmFigures) -> tuple[str, ...]:
    return (
        clean(arm.arm, 60),
        str(arm.incidents),
        time(arm.mtta_mean),
        time(arm.mttr_median),
        time(arm.mttr_mean),
        time(arm.mttr_p90),
        time(arm.restricted_mean),
    )


def _chart(points: Sequence[WeekPoint]) -> Block | None:
    """The native line chart; None where no week has a median."""
    weeks = sorted({point.week for point in points})[-_POINTS:]
    series = []
    for arm in list(dict.fromkeys(point.arm for point in points))[::-1]:
        data = [
            {"label": p.week[5:], "value": round(p.median, 1)}
            for p in points
            if p.arm == arm and p.week in weeks and p.median is not None
        ]
        if data:
            series.append({"name": clean(arm, 20), "data": data})
    if not series:
        return None
    return {
        "type": "data_visualization",
        "title": "Median time to resolve by week, minutes",
        "chart": {
            "type": "line",
            "series": series,
            "axis_config": {"categories": [week[5:] for week in weeks], "x_label": "week", "y_label": "minutes"},
        },
    }


def _below(report: WeeklyReport) -> str:
    """What stands under the chart."""
    if report.experiment is None:
        return _NOTE
    e = report.experiment
    return (
        f"To date {e.units_treatment} and {e.units_control} units counted, {e.immature} not old enough, "
        f"{e.capped} capped, {e.excluded} excluded · {_NOTE}"
    )


def _lines(report: WeeklyReport) -> Iterator[tuple[str, str]]:
    """Bold name and words."""
    quality, experiment = report.quality, report.experiment
    cost = report.cost
    each = "" if cost.usd_per_released is None else f" {usd(cost.usd_per_released)} a summary that was shown."
    per = "; ".join(f"{u.use} by {u.model} {usd(u.usd_per_1000_requests)}" for u in cost.uses[:3])
    requests = f" Per 1,000 requests: {per}." if per else ""
    yield "Cost", f"{cost.sentence} {usd(cost.usd_week)} this week.{each}{requests}"
    if cost.outcomes:
        yield "Outcomes", f"{counted(cost.outcomes[:6])}; items hidden from someone: {report.withheld.hidden_items}."
    yield (
        "Quality",
        f"first suspect right in {_of(quality.top1)} labelled, helpful {_of(quality.helpful)} votes, "
        f"{_of(quality.rejected)} answers rejected.",
    )
    if report.causes:
        yield "Causes", f"{counted(report.causes)}."
    if report.changes:
        yield "Changes that caused most", f"{counted(report.changes[:3])}."
    if report.wrong_suggestions:
        yield "Wrong first suspects", f"{counted(report.wrong_suggestions[:3])}."
    elif report.services:
        yield "Most incidents", f"{counted(report.services)}."
    if experiment is not None:
        guards = [*experiment.paused]
        if experiment.harm != "none" and "harm" in experiment.guards:
            guards.append(f"Harm: the data speak for longer incidents ({experiment.harm}).")
        if "sample_ratio" in experiment.guards and (experiment.not_derivable or experiment.lost_e > 20):
            guards.append("Sample ratio: units are assigned or lost as they should not be; the page says which.")
        if guards:
            yield "Guards", " ".join(guards)
        if experiment.corrections:
            yield "Corrections", experiment.corrections[0]
    if report.odd:
        yield "Odd", " ".join(report.odd[:4]) + (f" And {len(report.odd) - 4} more." if len(report.odd) > 4 else "")


def _of(share: Share) -> str:
    return f"{share.part} of {share.whole}"


def _paragraph(name: str, words: str) -> Block:
    parts = [text_element(f"{name}  ", 60, bold=True)] if name else []
    section = {"type": "rich_text_section", "elements": [*parts, text_element(words, 2900)]}
    return {"type": "rich_text", "elements": [section]}


def _cell(value: str) -> Block:
    return {"type": "raw_text", "text": value}


def _fenced(words: str) -> str:
    """Text for a fence: nothing in it closes the fence or becomes a mention."""
    return escape(words.replace("`", "ˋ"))[:2900]


def _actions(week: str) -> Block:
    named = ((OPEN_ACTION, "Open the full report"), (CSV_ACTION, "CSV"))
    buttons = [
        {"type": "button", "action_id": action, "text": plain_text(label, 75), "value": week} for action, label in named
    ]
    return {"type": "actions", "elements": buttons}
