"""Plain pages for what a card links to: a trace, a graph, a diff, an incident. So that every link of the demo works.

The real systems have better ones; these show what the link points at, from the same recording.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from demo.promql import evaluate_range
from demo.promql_parse import QueryError, duration
from demo.systems.incident import IncidentState
from demo.tape import Tape

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1d1c1d}
h1{font-size:1.3rem}.note{color:#666}pre{background:#f6f8fa;padding:1rem;overflow:auto}
table{border-collapse:collapse;width:100%}
td{padding:.15rem .5rem;border-bottom:1px solid #eee;vertical-align:top;white-space:nowrap}
.bar{height:.9rem;background:#4a90d9}.error .bar{background:#d33}.add{color:#176f2c}.del{color:#b31d28}
td.wide{width:45%}svg{width:100%;height:auto;background:#fafafa}
"""


def page(title: str, body: str, system: str) -> HTMLResponse:
    """A page; `body` is HTML, the title is text."""
    note = f"{system}, as the demo plays it from its recording"
    return HTMLResponse(
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<p class=note>{html.escape(note)}<h1>{html.escape(title)}</h1>{body}"
    )


def missing(what: str, system: str) -> Response:
    answer = page("Not found", f"<p>There is no {html.escape(what)} in the recording.", system)
    answer.status_code = 404
    return answer


# --- Jaeger --------------------------------------------------------------------------------------------------------


def jaeger_pages(tape: Tape) -> list[Route]:
    """`/trace/ID`: the spans of one trace on a time line."""

    def show(request: Request) -> Response:
        trace = tape.live_trace(request.path_params["trace_id"])
        if trace is None:
            return missing("such trace", "Jaeger")
        return page(f"Trace {trace['traceID'][:16]}…", _waterfall(trace), "Jaeger")

    return [Route("/trace/{trace_id}", show)]


def _waterfall(trace: Mapping[str, Any]) -> str:
    spans = trace["spans"]
    began = spans[0]["startTime"]
    whole = max(span["startTime"] + span["duration"] for span in spans) - began or 1
    depth: dict[str, int] = {}
    rows = []
    for span in spans:
        parent = span["references"][0]["spanID"] if span["references"] else None
        depth[span["spanID"]] = depth.get(parent or "", -1) + 1
        service = trace["processes"][span["processID"]]["serviceName"]
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        said = html.escape(str(tags.get("otel.status_description", "")))
        left, width = 100 * (span["startTime"] - began) / whole, max(0.3, 100 * span["duration"] / whole)
        rows.append(
            f"<tr class={'error' if tags.get('error') else 'ok'}><td style='padding-left:{depth[span['spanID']]}rem'>"
            f"<b>{html.escape(service)}</b> {html.escape(span['operationName'])}<br><span class=note>{said}</span>"
            f"<td class=wide><div class=bar style='margin-left:{left:.2f}%;width:{width:.2f}%'></div>"
            f"<td>{_milliseconds(span['duration'] / 1000)}"
        )
    at = datetime.fromtimestamp(began / 1e6, UTC)
    head = f"<p>{at:%d %B %Y, %H:%M:%S} UTC, {len(spans)} spans, {_milliseconds(whole / 1000)}"
    return f"{head}<table>{''.join(rows)}</table>"


def _milliseconds(value: float) -> str:
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.1f} ms"


# --- Prometheus ----------------------------------------------------------------------------------------------------


def prometheus_pages(tape: Tape) -> list[Route]:
    """`/graph?g0.expr=…&g0.range_input=1h&g0.end_input=…`: the series of one query."""

    def show(request: Request) -> Response:
        asked = request.query_params
        query = asked.get("g0.expr", "up")
        try:
            end = datetime.fromisoformat(asked["g0.end_input"]).replace(tzinfo=UTC).timestamp()
        except (KeyError, ValueError):
            end = time.time()
        try:
            span = min(max(duration(asked.get("g0.range_input", "1h")), 60.0), 86400.0)
            found = evaluate_range(query, end - span, end, span / 240, tape)
        except QueryError as error:
            return page(query, f"<p>{html.escape(str(error))}", "Prometheus")
        lines = {", ".join(f"{name}={value}" for name, value in labels): points for labels, points in found.items()}
        return page(query, _graph(lines, end - span, end), "Prometheus")

    return [Route("/graph", show)]


def _graph(lines: Mapping[str, Sequence[tuple[float, float]]], start: float, end: float) -> str:
    values = [
        value for points in lines.values() for _, value in points if value == value and abs(value) != float("inf")
    ]
    if not values:
        return "<p>No points."
    top = max(values) or 1.0
    colours = ("#4a90d9", "#d33", "#2a9d55", "#e8a33d", "#7a5cc7")
    drawn, names = [], []
    for index, (name, points) in enumerate(lines.items()):
        colour = colours[index % len(colours)]
        path = " ".join(
            f"{900 * (at - start) / (end - start):.1f},{290 - 270 * value / top:.1f}" for at, value in points
        )
        drawn.append(f"<polyline fill=none stroke='{colour}' stroke-width=2 points='{path}'/>")
        names.append(f"<span style='color:{colour}'>■</span> {html.escape(name or 'value')}")
    ends = (datetime.fromtimestamp(at, UTC) for at in (start, end))
    begins, stops = (f"{at:%H:%M:%S} UTC" for at in ends)
    return (
        f"<p>highest {top:.4g}<svg viewBox='0 0 900 300'>{''.join(drawn)}</svg>"
        f"<p>{begins} to {stops}<p>{'<br>'.join(names)}"
    )


# --- GitHub --------------------------------------------------------------------------------------------------------


def github_pages(tape: Tape) -> list[Route]:
    """`/OWNER/NAME/compare/A...B`, `/commit/SHA`, `/pull/N`, `/deployments`."""

    def show(request: Request) -> Response:
        owner, name, kind = (request.path_params[key] for key in ("owner", "name", "kind"))
        repo = tape.github.get(f"{owner}/{name}")
        if repo is None:
            return missing("such repository", "GitHub")
        rest = unquote(request.path_params.get("rest", ""))
        if kind in ("compare", "commit", "pull"):
            wanted = _merged(repo, rest) if kind == "pull" else rest.split("...")[-1].removesuffix(".diff")
            for key, compare in repo["compare"].items():
                if wanted and key.endswith(wanted):
                    return page(
                        f"{owner}/{name}: {compare['commits'][-1]['commit']['message']}",
                        _diff(compare["files"]),
                        "GitHub",
                    )
        rows = [
            (one["created_at"], one["sha"][:7], one["environment"], one["description"]) for one in repo["deployments"]
        ]
        return page(f"{owner}/{name}: deployments", _table(tape.shifted([list(row) for row in rows])), "GitHub")

    return [Route("/{owner}/{name}/{kind}", show), Route("/{owner}/{name}/{kind}/{rest:path}", show)]


def _merged(repo: Mapping[str, Any], number: str) -> str:
    return next((str(one["merge_commit_sha"]) for one in repo["pulls"] if str(one["number"]) == number), "")


def _diff(files: Iterable[Mapping[str, Any]]) -> str:
    shown = []
    for file in files:
        lines = []
        for line in file["patch"].splitlines():
            kind = {"+": "add", "-": "del"}.get(line[:1], "")
            lines.append(f"<span class='{kind}'>{html.escape(line)}</span>")
        shown.append(f"<h2>{html.escape(file['filename'])}</h2><pre>{chr(10).join(lines)}</pre>")
    return "".join(shown)


# --- PagerDuty -----------------------------------------------------------------------------------------------------


def pagerduty_pages(tape: Tape, state: IncidentState) -> list[Route]:
    """`/pagerduty/…`: the incident as it stands, or whatever else the recording holds under that id."""

    def show(request: Request) -> Response:
        wanted = request.path_params["rest"].rstrip("/").split("/")
        incident = state.incident
        if incident and wanted[:2] == ["incidents", incident["id"]]:
            facts = [[key, incident[key]] for key in ("status", "urgency", "created_at", "resolved_at")]
            entries = [[one["created_at"], one["summary"]] for one in state.log_entries]
            alerts = [[one["created_at"], one["status"], one["summary"]] for one in state.visible(state.alerts)]
            notes = [[one["created_at"], one["content"]] for one in state.notes]
            parts = (("", facts), ("Alerts", alerts), ("Log", entries), ("Notes", notes))
            body = "".join(f"<h2>{name}</h2>{_table(rows)}" for name, rows in parts if rows)
            return page(incident["summary"], body, "PagerDuty")
        for entry in _with_ids(state.alerts, tape.shifted(tape.pagerduty)):
            if entry.get("id") == wanted[-1]:
                shown = html.escape(json.dumps(entry, indent=1))
                return page(
                    str(entry.get("summary") or entry.get("title") or wanted[-1]), f"<pre>{shown}</pre>", "PagerDuty"
                )
        return missing(" ".join(wanted), "PagerDuty")

    return [Route("/pagerduty/{rest:path}", show)]


def _with_ids(*values: Any) -> Iterable[Mapping[str, Any]]:
    for value in values:
        if isinstance(value, Mapping):
            if "id" in value:
                yield value
            yield from _with_ids(*value.values())
        elif isinstance(value, list):
            yield from _with_ids(*value)


def _table(rows: Iterable[Sequence[Any]]) -> str:
    cells = ("".join(f"<td>{html.escape(str(cell if cell is not None else '–'))}" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}' for row in cells)}</table>"
