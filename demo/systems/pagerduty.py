"""PagerDuty's REST API v2, as far as an incident tool asks it: classic pagination, one account, one incident."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from demo import scenario
from demo.systems.incident import IncidentState
from demo.tape import Tape

RATE_LIMITED = {"ratelimit-limit": "960", "ratelimit-remaining": "0", "ratelimit-reset": "2"}
MAX_LIMIT = 100
MAX_REACH = 10_000


class BadRequest(ValueError):
    """What PagerDuty answers 400 to; the texts are its `errors`."""


class _PagerDuty:
    def __init__(self, tape: Tape, state: IncidentState, token: str) -> None:
        self._tape = tape
        self._state = state
        self._token = token

    def routes(self) -> list[Route]:
        one = "/incidents/{id}"
        reads: dict[str, Callable[[Request], JSONResponse]] = {
            "/incidents": self._incidents,
            one: lambda request: _json({"incident": self._incident(request)}),
            f"{one}/alerts": lambda request: self._of_incident(request, "alerts", self._state.alerts),
            f"{one}/log_entries": lambda request: self._of_incident(request, "log_entries", self._entries()),
            f"{one}/notes": self._notes,
            f"{one}/related_change_events": self._related_changes,
            f"{one}/past_incidents": self._past,
            "/log_entries": self._log_entries,
            "/change_events": self._changes,
            "/oncalls": self._oncalls,
            "/services": lambda request: _page(request, "services", self._recorded("services")),
            "/services/{id}/change_events": self._changes,
            "/services/{id}": lambda request: self._by_id(request, "service", "services"),
            "/users": lambda request: _page(request, "users", self._recorded("users")),
            "/users/me": lambda request: _json({"user": self._recorded("users")[0]}),
            "/users/{id}": lambda request: self._by_id(request, "user", "users"),
            "/teams/{id}/members": lambda request: _page(request, "members", self._recorded("team_members")),
            "/priorities": lambda request: _page(request, "priorities", self._recorded("priorities")),
            "/abilities": lambda request: _json({"abilities": ["teams", "urgencies", "past_incidents"]}),
        }
        routes = [Route(path, self._guarded(answer), methods=["GET"]) for path, answer in reads.items()]
        writes = [
            ("/incidents", "PUT", self._update_many),
            (one, "PUT", self._update),
            (f"{one}/notes", "POST", self._add_note),
        ]
        return routes + [Route(path, self._guarded_write(answer), methods=[method]) for path, method, answer in writes]

    # --- who asks ---

    def _refused(self, request: Request) -> JSONResponse | None:
        if request.headers.get("authorization") in (f"Token token={self._token}", f"Bearer {self._token}"):
            return None
        return _json({"error": {"message": "Unauthorized", "code": 2006}}, 401)

    def _guarded(self, answer: Callable[[Request], JSONResponse]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> JSONResponse:
            try:
                return self._refused(request) or answer(request)
            except BadRequest as error:
                return _invalid(str(error))
            except LookupError:
                return _missing()

        return handle

    def _guarded_write(self, answer: Callable[[Request, Any], JSONResponse]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> JSONResponse:
            try:
                return self._refused(request) or answer(request, await request.json())
            except LookupError:
                return _missing()
            except (BadRequest, ValueError, TypeError, AttributeError) as error:
                return _invalid(str(error))

        return handle

    # --- what is read ---

    def _incident(self, request: Request) -> dict[str, Any]:
        incident = self._state.incident
        if incident is None or request.path_params["id"] not in (incident["id"], str(incident["incident_number"])):
            raise LookupError(request.path_params["id"])
        return incident

    def _entries(self) -> list[dict[str, Any]]:
        """Newest first, as PagerDuty lists them."""
        return sorted(self._state.log_entries, key=lambda one: one["created_at"], reverse=True)

    def _recorded(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._tape.shifted(self._tape.pagerduty[name])
        return found

    def _incidents(self, request: Request) -> JSONResponse:
        asked = request.query_params
        found = [self._state.incident] if self._state.incident else []
        statuses, services = asked.getlist("statuses[]"), asked.getlist("service_ids[]")
        found = [
            one for one in found
            if (not statuses or one["status"] in statuses)
            and (not services or one["service"]["id"] in services)
            and (asked.get("date_range") == "all" or _within(one["created_at"], asked))
            and asked.get("incident_key") in (None, one["incident_key"])
        ]  # fmt: skip
        return _page(request, "incidents", found)

    def _of_incident(self, request: Request, name: str, entries: list[dict[str, Any]]) -> JSONResponse:
        self._incident(request)
        return _page(request, name, self._state.visible(entries))

    def _notes(self, request: Request) -> JSONResponse:
        self._incident(request)
        return _json({"notes": list(reversed(self._state.notes))})

    def _log_entries(self, request: Request) -> JSONResponse:
        entries = [
            one for one in self._state.visible(self._entries()) if _within(one["created_at"], request.query_params)
        ]
        if request.query_params.get("is_overview") == "true":
            entries = [one for one in entries if one["type"] not in ("assign_log_entry", "notify_log_entry")]
        if "incidents" in request.query_params.getlist("include[]"):
            entries = [{**one, "incident": self._state.incident} for one in entries]
        return _page(request, "log_entries", entries)

    def _related_changes(self, request: Request) -> JSONResponse:
        incident = self._incident(request)
        reasons = [
            {**one, "correlation_reason": {"reason": "related_service" if other else "most_recent"}}
            for one in reversed(self._recorded("change_events"))
            if (other := one["services"][0]["id"] != incident["service"]["id"]) or True
        ]
        return _json({"change_events": reasons[: _limit(request)]})

    def _changes(self, request: Request) -> JSONResponse:
        only = request.path_params.get("id")
        found = [
            one for one in self._recorded("change_events")
            if _within(one["timestamp"], request.query_params) and only in (None, one["services"][0]["id"])
        ]  # fmt: skip
        return _page(request, "change_events", list(reversed(found)))

    def _past(self, request: Request) -> JSONResponse:
        self._incident(request)
        found = self._recorded("past_incidents")
        limit = min(_limit(request, 5), 999)
        return _json({"past_incidents": found[:limit], "total": len(found), "limit": limit})

    def _oncalls(self, request: Request) -> JSONResponse:
        asked = request.query_params
        policies = asked.getlist("escalation_policy_ids[]")
        found = [
            one for one in self._recorded("oncalls")
            if (not policies or one["escalation_policy"]["id"] in policies)
            and (asked.get("earliest") != "true" or one["escalation_level"] == 1)
        ]  # fmt: skip
        return _page(request, "oncalls", found)

    def _by_id(self, request: Request, name: str, many: str) -> JSONResponse:
        found = [one for one in self._recorded(many) if one["id"] == request.path_params["id"]]
        return _json({name: found[0]}) if found else _missing()

    # --- what is written ---

    def _person(self, request: Request) -> scenario.Person:
        sender = request.headers.get("from")
        for person in scenario.PEOPLE:
            if sender in (None, person.email):
                return person
        raise BadRequest("Requester User Not Found")

    def _update(self, request: Request, body: Any) -> JSONResponse:
        incident = self._incident(request)
        self._carry_out(request, body["incident"])
        return _json({"incident": incident})

    def _update_many(self, request: Request, body: Any) -> JSONResponse:
        changed = []
        for one in body["incidents"]:
            if self._state.incident is None or one["id"] != self._state.incident["id"]:
                raise BadRequest(f"Incident {one['id']} not found")
            self._carry_out(request, one)
            changed.append(self._state.incident)
        return _json({"incidents": changed})

    def _carry_out(self, request: Request, wanted: dict[str, Any]) -> None:
        status = wanted.get("status")
        if status not in (None, "acknowledged", "resolved", "triggered"):
            raise BadRequest("Status must be one of: triggered, acknowledged, resolved")
        if status == self._state.status == "resolved" or (self._state.status == "resolved" and status):
            raise BadRequest("Incident Already Resolved")
        if status:
            self._state.move(status, self._person(request))

    def _add_note(self, request: Request, body: Any) -> JSONResponse:
        self._incident(request)
        content = body["note"]["content"]
        if not isinstance(content, str) or not content.strip():
            raise BadRequest("Content cannot be blank")
        if len(content) > 25_000:
            raise BadRequest("Content is too long (maximum is 25000 characters)")
        return _json({"note": self._state.add_note(content, self._person(request))}, 200)


def pagerduty(tape: Tape, state: IncidentState, token: str) -> Starlette:
    """The application; `token` is the only one that it knows."""
    return Starlette(routes=_PagerDuty(tape, state, token).routes())


def _page(request: Request, name: str, found: list[Any]) -> JSONResponse:
    """Classic pagination: limit at most 100, offset and limit together at most 10,000, `total` null unless asked."""
    limit = _limit(request)
    try:
        offset = int(request.query_params.get("offset", 0))
    except ValueError:
        raise BadRequest("Offset must be an integer") from None
    if offset + limit > MAX_REACH:
        raise BadRequest("Offset plus limit must not exceed 10000")
    total = len(found) if request.query_params.get("total") == "true" else None
    page = {"limit": limit, "offset": offset, "total": total, "more": offset + limit < len(found)}
    return _json({name: found[offset : offset + limit], **page})


def _limit(request: Request, default: int = 25) -> int:
    try:
        limit = int(request.query_params.get("limit", default))
    except ValueError:
        raise BadRequest("Limit must be an integer") from None
    if limit < 1:
        raise BadRequest("Limit must be greater than 0")
    return min(limit, MAX_LIMIT)


def _within(at: str, asked: Any) -> bool:
    moment = datetime.fromisoformat(at)
    for name, wrong in (("since", lambda edge: moment < edge), ("until", lambda edge: moment >= edge)):
        text = asked.get(name)
        if text:
            try:
                edge = datetime.fromisoformat(text)
            except ValueError:
                raise BadRequest(f"{name} must be a valid ISO 8601 time") from None
            if edge.tzinfo is None:
                edge = edge.replace(tzinfo=moment.tzinfo)
            if wrong(edge):
                return False
    return True


def _json(body: Any, status: int = 200) -> JSONResponse:
    headers = {"ratelimit-limit": "960", "ratelimit-remaining": "950", "ratelimit-reset": "30"}
    return JSONResponse(body, status, headers)


def _missing() -> JSONResponse:
    return _json({"error": {"message": "Not Found", "code": 2100}}, 404)


def _invalid(message: str) -> JSONResponse:
    return _json({"error": {"message": "Invalid Input Provided", "code": 2001, "errors": [message]}}, 400)
