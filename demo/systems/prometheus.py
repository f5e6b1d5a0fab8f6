"""Prometheus' HTTP API (`/api/v1`): queries, ranges, series and labels over the recording."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from demo.promql import evaluate, evaluate_range
from demo.promql_parse import QueryError, duration, parse
from demo.systems.pages import prometheus_pages
from demo.tape import Tape

MAX_POINTS = 11_000
_HTTP = {"bad_data": 400, "execution": 422, "timeout": 503}


def prometheus(tape: Tape) -> Starlette:
    """The application."""

    async def query(request: Request) -> JSONResponse:
        asked = await _asked(request)
        try:
            at = _moment(asked, "time", tape.clock())
            node = parse(_query(asked))
            if node.kind == "string":
                return _success({"resultType": "string", "result": [at, node.value]})
            value = evaluate(_query(asked), at, tape)
        except QueryError as error:
            return _error(error)
        if not isinstance(value, dict):
            return _success({"resultType": "scalar", "result": [at, _text(value)]})
        result = [{"metric": dict(labels), "value": [at, _text(number)]} for labels, number in value.items()]
        return _success({"resultType": "vector", "result": result})

    async def query_range(request: Request) -> JSONResponse:
        asked = await _asked(request)
        try:
            start, end, step = _moment(asked, "start"), _moment(asked, "end"), duration(asked.get("step", ""))
            if end < start:
                raise QueryError('invalid parameter "end": end timestamp must not be before start time')
            if step <= 0:
                raise QueryError(
                    'invalid parameter "step": zero or negative query resolution step widths '
                    "are not accepted. Try a positive integer"
                )
            if (end - start) / step > MAX_POINTS:
                raise QueryError(
                    "exceeded maximum resolution of 11,000 points per timeseries. "
                    "Try decreasing the query resolution (?step=XX)"
                )
            found = evaluate_range(_query(asked), start, end, step, tape)
        except QueryError as error:
            return _error(error)
        result = [
            {"metric": dict(labels), "values": [[at, _text(number)] for at, number in points]}
            for labels, points in sorted(found.items())
        ]
        return _success({"resultType": "matrix", "result": result})

    async def series(request: Request) -> JSONResponse:
        try:
            return _success([dict(labels) for labels in await _matching(request, tape)])
        except QueryError as error:
            return _error(error)

    async def labels(request: Request) -> JSONResponse:
        try:
            return _success(sorted({name for found in await _matching(request, tape) for name in found}))
        except QueryError as error:
            return _error(error)

    async def label_values(request: Request) -> JSONResponse:
        name = request.path_params["name"]
        try:
            return _success(sorted({found[name] for found in await _matching(request, tape) if name in found}))
        except QueryError as error:
            return _error(error)

    async def build(_: Request) -> JSONResponse:
        return _success({"version": "2.42.0", "revision": "recording", "branch": "", "goVersion": ""})

    return Starlette(
        routes=[
            *prometheus_pages(tape),
            Route("/api/v1/query", query, methods=["GET", "POST"]),
            Route("/api/v1/query_range", query_range, methods=["GET", "POST"]),
            Route("/api/v1/series", series, methods=["GET", "POST"]),
            Route("/api/v1/labels", labels, methods=["GET", "POST"]),
            Route("/api/v1/label/{name}/values", label_values),
            Route("/api/v1/status/buildinfo", build),
        ]
    )


async def _matching(request: Request, tape: Tape) -> list[Mapping[str, str]]:
    selectors = request.query_params.getlist("match[]")
    selectors = [*selectors, *[value for key, value in await _form(request) if key == "match[]"]]
    if not selectors:
        return [one.labels for one in tape.series]
    wanted: list[Mapping[str, str]] = []
    for text in selectors:
        found = evaluate(text, tape.clock(), tape)
        if not isinstance(found, dict):
            raise QueryError(f'invalid parameter "match[]": {text!r} is no selector')
        wanted += [dict(labels) for labels in found]
    return wanted


async def _asked(request: Request) -> dict[str, str]:
    return {**request.query_params, **dict(await _form(request))}


async def _form(request: Request) -> list[tuple[str, str]]:
    return parse_qsl((await request.body()).decode(), keep_blank_values=True) if request.method == "POST" else []


def _query(asked: Mapping[str, str]) -> str:
    if asked.get("query"):
        return asked["query"]
    raise QueryError("unknown position: parse error: no expression found in input")


def _moment(asked: Mapping[str, str], name: str, default: float | None = None) -> float:
    text = asked.get(name)
    if text is None and default is not None:
        return default
    try:
        return float(text or "")
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        raise QueryError(f'invalid parameter "{name}": cannot parse {text!r} to a valid timestamp') from None


def _text(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value) if value % 1 else str(int(value))


def _success(data: Any) -> JSONResponse:
    return JSONResponse({"status": "success", "data": data})


def _error(error: QueryError) -> JSONResponse:
    text = f'invalid parameter "query": {error}' if "parse error" in str(error) else str(error)
    body = {"status": "error", "errorType": error.kind, "error": text}
    return JSONResponse(body, _HTTP.get(error.kind, 422))
