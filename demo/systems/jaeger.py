"""Jaeger's HTTP API (jaeger-query, `/api`): services, traces, one trace, dependencies. Times in microseconds."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.promql_parse import QueryError, duration
from demo.systems.pages import jaeger_pages
from demo.tape import Tape

DEFAULT_LIMIT = 20
MAX_LIMIT = 1500


def jaeger(tape: Tape) -> Starlette:
    """The application."""
    services = sorted({one["serviceName"] for trace in tape.traces for one in trace["processes"].values()})

    async def list_services(_: Request) -> JSONResponse:
        return _answer(services, total=len(services))

    async def list_operations(request: Request) -> JSONResponse:
        service = request.path_params["service"]
        return _answer(sorted({span["operationName"] for trace in tape.traces for span in _spans(trace, service)}))

    async def search(request: Request) -> Response:
        asked = request.query_params
        if asked.getlist("traceID"):
            found = [tape.live_trace(one) for one in asked.getlist("traceID")]
            return _answer([one for one in found if one is not None])
        if not asked.get("service"):
            return _error(400, "parameter 'service' is required")
        try:
            end = int(asked.get("end", time.time() * 1e6)) / 1e6
            start = int(asked.get("start", (end - 3600) * 1e6)) / 1e6
            limit = min(int(asked.get("limit", DEFAULT_LIMIT)), MAX_LIMIT)
            least, most = (duration(asked.get(name) or "0") for name in ("minDuration", "maxDuration"))
            tags = json.loads(asked.get("tags") or "{}")
        except (ValueError, QueryError) as error:
            return _error(400, f"malformed parameter: {error}")

        def wanted(span: Mapping[str, Any]) -> bool:
            return (
                asked.get("operation") in (None, "", "all", span["operationName"])
                and span["duration"] >= least * 1e6
                and (not most or span["duration"] <= most * 1e6)
                and _tagged(span, tags)
            )

        # Newest first, as Jaeger's own storages answer; whoever wants all has to narrow the window.
        found = (
            tape.played(index, segment)
            for index, segment in tape.began_in(start, end)
            if any(map(wanted, _spans(tape.traces[index], asked["service"])))
        )
        return _texts(list(itertools.islice(found, limit)))

    async def one_trace(request: Request) -> JSONResponse:
        trace = tape.live_trace(request.path_params["trace_id"])
        return _answer([trace]) if trace else _error(404, "trace not found")

    async def dependencies(request: Request) -> JSONResponse:
        asked = request.query_params
        end = int(asked.get("endTs", time.time() * 1e3)) / 1e3
        start = end - int(asked.get("lookback", 86_400_000)) / 1e3
        # Counting a day of replayed traces would be slow and say the same: an hour is enough for a call graph.
        calls: Counter[tuple[str, str]] = Counter()
        for index, _ in tape.began_in(max(start, end - 3600), end):
            trace = tape.traces[index]
            by_id = {span["spanID"]: trace["processes"][span["processID"]]["serviceName"] for span in trace["spans"]}
            for span in trace["spans"]:
                for parent in span["references"]:
                    caller, callee = by_id.get(parent["spanID"]), by_id[span["spanID"]]
                    if caller and caller != callee:
                        calls[caller, callee] += 1
        return _answer([{"parent": one, "child": two, "callCount": n} for (one, two), n in sorted(calls.items())])

    return Starlette(
        routes=[
            *jaeger_pages(tape),
            Route("/api/services", list_services),
            Route("/api/services/{service}/operations", list_operations),
            Route("/api/traces", search),
            Route("/api/traces/{trace_id}", one_trace),
            Route("/api/dependencies", dependencies),
        ]
    )


def _spans(trace: Mapping[str, Any], service: str) -> list[dict[str, Any]]:
    mine = {key for key, process in trace["processes"].items() if process["serviceName"] == service}
    return [span for span in trace["spans"] if span["processID"] in mine]


def _tagged(span: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in tags.items()}
    return all(texts.get(key) == str(value) for key, value in wanted.items())


def _texts(data: list[str]) -> Response:
    body = f'{{"data":[{",".join(data)}],"total":0,"limit":0,"offset":0,"errors":null}}'
    return Response(body, media_type="application/json")


def _answer(data: list[Any], total: int = 0) -> JSONResponse:
    return JSONResponse({"data": data, "total": total, "limit": 0, "offset": 0, "errors": None})


def _error(code: int, message: str) -> JSONResponse:
    errors = [{"code": code, "msg": message}]
    return JSONResponse({"data": None, "total": 0, "limit": 0, "offset": 0, "errors": errors}, code)
