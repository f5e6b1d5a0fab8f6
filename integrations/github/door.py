"""GitHub's webhook: `deployment_status`, `workflow_run` and `release` as changes, the moment they happen.

GitHub does not deliver again what it could not deliver, so that the source fills the holes; a change has the same id
from both. Source: https://docs.github.com/webhooks/webhook-events-and-payloads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from integrations.alerts.doors import HexHmac
from integrations.changes.door import ChangeDoor
from integrations.changes.shape import change
from integrations.errors import NotASignal
from integrations.github.inferred import deploys, run_summary
from integrations.reading import mapping, moment, text, web_address, whole
from integrations.records import ChangeEvent

NAME = "github"
_SHA = re.compile(r"[0-9a-fA-F]{7,64}")


def github_door(secrets: Sequence[str]) -> ChangeDoor:
    """`POST /webhooks/github`, signed with `X-Hub-Signature-256`; the content type must be application/json."""
    return ChangeDoor(NAME, HexHmac(secrets, "GITHUB_WEBHOOK_SECRETS", "x-hub-signature-256"), read)


def read(payload: Mapping[str, Any], headers: Mapping[str, str], received_at: datetime) -> ChangeEvent:
    """One delivery as a change. Raises NotASignal for an event that changes nothing that runs."""
    event = headers.get("x-github-event", "")
    repository = text(mapping(payload.get("repository")).get("full_name"), 200)
    made = {"deployment_status": _deployed, "workflow_run": _ran, "release": _released}.get(event)
    if event == "deployment":
        raise NotASignal("a deployment without a status is not deployed yet: deployment_status events tell of it")
    if made is None:
        raise NotASignal(f"{event[:40]!r} events are not read: send deployment_status, workflow_run and release")
    if not repository:
        raise NotASignal("the event names no repository")
    return made(payload, repository, received_at)


def _deployed(payload: Mapping[str, Any], repository: str, received_at: datetime) -> ChangeEvent:
    status, deployment = mapping(payload.get("deployment_status")), mapping(payload.get("deployment"))
    state = text(status.get("state"), 40)
    if state != "success":
        raise NotASignal(f"a deployment that is {state!r} is not deployed")
    if deployment.get("transient_environment") is True:
        raise NotASignal("a deployment to a transient environment changes no service")
    number, sha = whole(deployment.get("id")), text(deployment.get("sha"), 64).lower()
    if number is None or not _SHA.fullmatch(sha):
        raise NotASignal("the deployment has no id or commit")
    environment = text(deployment.get("environment"), 100) or text(status.get("environment"), 100)
    place = "" if environment.lower() in ("", "production", "prod") else f" {environment}"
    words = text(deployment.get("description"), 300)
    return change(
        source=NAME, external_id=f"deployment/{repository}/{number}", kind="deploy", service=repository,
        at=moment(status.get("created_at")), received_at=received_at, said=told_beside(deployment),
        summary=f"Deploy {sha[:7]} to {repository}{place}" + (f": {words}" if words else ""),
        url=web_address(status.get("log_url")) or web_address(status.get("target_url")) or _page(payload, sha),
        diff_url=_page(payload, sha), environment=environment or None, commit=sha,
        author_role=_role(deployment.get("creator")),
    )  # fmt: skip


def told_beside(deployment: Mapping[str, Any]) -> Mapping[str, Any]:
    """What whoever made a deployment said of it beside GitHub's own fields, in its `payload` (an object, or its JSON):
    the risk that a gate gave it, and a role."""
    said = deployment.get("payload")
    if isinstance(said, str) and len(said) <= 65_536:
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            said = None
    return {key: mapping(said).get(key) for key in ("risk", "role")}


def _ran(payload: Mapping[str, Any], repository: str, received_at: datetime) -> ChangeEvent:
    run = mapping(payload.get("workflow_run"))
    name = text(mapping(payload.get("workflow")).get("name"), 100)
    run = run if text(run.get("name"), 10) else {**run, "name": name}
    if (payload.get("action"), run.get("conclusion")) != ("completed", "success"):
        raise NotASignal("a workflow run that did not end well changes nothing")
    if not deploys(run):
        raise NotASignal("a workflow that does not deploy by its name changes nothing that runs")
    number, sha = whole(run.get("id")), text(run.get("head_sha"), 64).lower()
    if number is None or not _SHA.fullmatch(sha):
        raise NotASignal("the run has no id or commit")
    return change(
        source=NAME, external_id=f"run/{repository}/{number}", kind="deploy", service=repository,
        at=moment(run.get("run_started_at")) or moment(run.get("created_at")), received_at=received_at, said={},
        summary=run_summary(run, sha, repository), url=web_address(run.get("html_url")), diff_url=_page(payload, sha),
        commit=sha, author_role=_role(run.get("actor")), inferred=True,
    )  # fmt: skip


def _released(payload: Mapping[str, Any], repository: str, received_at: datetime) -> ChangeEvent:
    release, action = mapping(payload.get("release")), text(payload.get("action"), 40)
    number = whole(release.get("id"))
    if action not in ("published", "released") or release.get("draft") is True or number is None:
        raise NotASignal(f"a release that is {action!r} is not out")
    tag, title = text(release.get("tag_name"), 100), text(release.get("name"), 300)
    return change(
        source=NAME, external_id=f"release/{repository}/{number}", kind="release", service=repository,
        at=moment(release.get("published_at")), received_at=received_at, said={},
        summary=f"Release {tag} of {repository}" + (f": {title}" if title and title != tag else ""),
        url=web_address(release.get("html_url")), author_role=_role(release.get("author")), inferred=True,
    )  # fmt: skip


def _role(who: Any) -> str | None:
    """A role, never a name: what a machine did is said, whatever a person did is not."""
    return "automation" if mapping(who).get("type") == "Bot" else None


def _page(payload: Mapping[str, Any], sha: str) -> str | None:
    """Where the commit can be seen."""
    home = web_address(mapping(payload.get("repository")).get("html_url"))
    return f"{home}/commit/{sha}" if home else None
