"""What systems send that is no alert though it has a name, a time and an id: refused by its shape, with the reason.

Only what cannot be mistaken is here, since recognition by usual names must stay open to senders that nobody knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.errors import NotASignal
from integrations.reading import mapping, text

_SLACK_TYPES = frozenset(
    {
        "event_callback", "block_actions", "block_suggestion", "interactive_message", "message_action", "shortcut",
        "view_submission", "view_closed", "url_verification", "modal", "home",
    }
)  # fmt: skip
_SLACK_ANSWERS = frozenset({"channel", "channels", "user", "users", "team", "teamid", "members", "usergroups", "ts"})
_SPANS = frozenset({"resourcespans", "resourcelogs", "resourcemetrics", "scopespans", "batches", "streams"})


def refuse_what_is_something_else(payload: Mapping[str, Any]) -> None:
    """Raises NotASignal for a push, a deployment, an object, a trace, an answer: whatever name it came under."""
    keys = {plain(key) for key in payload}
    for refused in (_of_inventories, _of_repositories, _of_clusters, _of_telemetry, _of_slack, _of_others):
        if reason := refused(payload, keys):
            raise NotASignal(reason)


def plain(key: Any) -> str:
    """A field's name as it is compared: lower case without punctuation."""
    return re.sub(r"[\W_]+", "", text(key, 200).lower())


def _of_inventories(payload: Mapping[str, Any], keys: set[str]) -> str:
    if {"model", "snapshots"} <= keys or {"prechange", "postchange"} & keys:
        return "a change of an object in an inventory is no alert"
    return ""


def _of_repositories(payload: Mapping[str, Any], keys: set[str]) -> str:
    if {"before", "after", "repository"} <= keys or {"pusher", "commits"} <= keys:
        return "a push to a repository is a change, no alert"
    if "alert" not in keys and "sender" in keys and keys & {"repository", "organization", "installation"}:
        return "what happens in a repository is no alert (deployments go to /webhooks/github)"
    if "objectkind" in keys and keys & {"project", "projectid", "objectattributes", "repository", "user", "groupid"}:
        return "what happens in a project is no alert (deployments go to /webhooks/gitlab)"
    if "nodeid" in keys and text(payload.get("url"), 300).startswith("https://api.github.com/"):
        return "an object of GitHub's API is no alert"
    return ""


def _of_clusters(payload: Mapping[str, Any], keys: set[str]) -> str:
    if {"apiversion", "kind", "metadata"} <= keys:
        kind = text(payload.get("kind"), 60)
        if kind != "Event" or text(payload.get("type"), 20) == "Normal":
            return f"an object of Kubernetes ({kind or 'no kind'}) is no alert"
    return ""


def _of_telemetry(payload: Mapping[str, Any], keys: set[str]) -> str:
    answer = {plain(key) for key in mapping(payload.get("data"))}
    if {"resulttype"} & (keys | answer):
        return "an answer to a metric query is no alert"
    if keys & _SPANS or {"traceid", "spans"} <= keys:
        return "telemetry is no alert"
    if {"took", "hits"} <= keys or {"took", "timedout"} <= keys or {"took", "errors", "items"} <= keys:
        return "an answer to a search is no alert"
    return ""


def _of_slack(payload: Mapping[str, Any], keys: set[str]) -> str:
    if isinstance(payload.get("ok"), bool) and keys & _SLACK_ANSWERS:
        return "an answer of Slack's API is no alert"
    if payload.get("type") in _SLACK_TYPES and keys & {"token", "team", "teamid", "apiappid", "blocks", "challenge"}:
        return "what happens in Slack is no alert"
    return ""


def _of_others(payload: Mapping[str, Any], keys: set[str]) -> str:
    if "jsonrpc" in keys:
        return "a JSON-RPC message is no alert"
    if "$schema" in payload and keys & {"definitions", "defs", "properties", "flags"}:
        return "a schema, or a file after one, is no alert"
    if "_links" in payload and keys & {"titleverb", "accesses"}:
        return "an entry of an audit log is a change, no alert"
    kind = text(mapping(payload.get("context")).get("type"), 200)
    if re.match(r"(?:dev\.)?cdevents\.(?!incident\.)", kind):
        return f"{kind} is a change, no alert (it goes to /webhooks/changes)"
    return ""
