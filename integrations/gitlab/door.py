"""GitLab's webhook: `deployment` and `release` events as changes, the moment they happen.

The secret is sent as it is in `X-Gitlab-Token`. A deployment's event has only a short hash; the whole one ends
`commit_url`. Source: https://docs.gitlab.com/user/project/integrations/webhook_events/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from integrations.changes.asked import is_sha
from integrations.changes.door import ChangeDoor, HeaderSecret
from integrations.changes.shape import change, first_moment
from integrations.errors import NotASignal
from integrations.reading import mapping, text, web_address, whole
from integrations.records import ChangeEvent

NAME = "gitlab"


def gitlab_door(secrets: Sequence[str]) -> ChangeDoor:
    """`POST /webhooks/gitlab`."""
    return ChangeDoor(NAME, HeaderSecret(secrets, "GITLAB_WEBHOOK_SECRETS", "x-gitlab-token"), read)


def read(payload: Mapping[str, Any], headers: Mapping[str, str], received_at: datetime) -> ChangeEvent:
    """One delivery as a change. Raises NotASignal for an event that changes nothing that runs."""
    kind = text(payload.get("object_kind"), 40)
    project = text(mapping(payload.get("project")).get("path_with_namespace"), 300)
    if kind not in ("deployment", "release"):
        raise NotASignal(f"{kind!r} events are not read: send deployment and release events")
    if not project:
        raise NotASignal("the event names no project")
    return (
        _deployed(payload, project, received_at) if kind == "deployment" else _released(payload, project, received_at)
    )


def _deployed(payload: Mapping[str, Any], project: str, received_at: datetime) -> ChangeEvent:
    status, number = text(payload.get("status"), 40), whole(payload.get("deployment_id"))
    if status != "success":
        raise NotASignal(f"a deployment that is {status!r} is not deployed")
    if number is None:
        raise NotASignal("the deployment has no id")
    page = web_address(payload.get("commit_url"))
    sha = (page or "").rsplit("/", 1)[-1].lower()
    sha = sha if is_sha(sha) else text(payload.get("short_sha"), 64).lower()
    environment = text(payload.get("environment"), 100)
    place = "" if environment.lower() in ("", "production", "prod") else f" {environment}"
    title = text(payload.get("commit_title"), 300)
    return change(
        source=NAME, external_id=f"deployment/{project}/{number}", kind="deploy", service=project,
        at=first_moment(payload, "status_changed_at"), received_at=received_at, said={},
        summary=f"Deploy {sha[:7]} to {project}{place}" + (f": {title}" if title else ""),
        url=web_address(payload.get("deployable_url")) or page, diff_url=page, environment=environment or None,
        commit=sha if is_sha(sha) else None,
    )  # fmt: skip


def _released(payload: Mapping[str, Any], project: str, received_at: datetime) -> ChangeEvent:
    action, tag = text(payload.get("action"), 40), text(payload.get("tag"), 100)
    if action != "create" or not tag:
        raise NotASignal(f"a release that was {action!r}d is not new")
    title = text(payload.get("name"), 300)
    return change(
        source=NAME, external_id=f"release/{project}/{tag}", kind="release", service=project,
        at=first_moment(payload, "released_at", "created_at"), received_at=received_at, said={},
        summary=f"Release {tag} of {project}" + (f": {title}" if title and title != tag else ""),
        url=web_address(payload.get("url")), inferred=True,
    )  # fmt: skip
