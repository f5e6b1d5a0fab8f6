"""Changes that come by webhook: which doors are open for them, and how they are read back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from bot.clock import Clock
from bot.incidents.changes import StoredChanges
from bot.incidents.flags import FlagWatch
from bot.settings import Settings, SourceSection
from bot.store import Store
from bot.wiring.values import access_of
from integrations.asking import Access
from integrations.changes import ChangeDoor, changes_door
from integrations.flagd import Flagd
from integrations.github import github_door
from integrations.gitlab import gitlab_door
from integrations.launchdarkly import launchdarkly_door
from integrations.ports import SignalDoor, Source
from integrations.records import Signal

log = logging.getLogger(__name__)

CHANGE_SENDERS: Mapping[str, Callable[[Sequence[str]], ChangeDoor]] = {
    "changes": changes_door, "github": github_door, "gitlab": gitlab_door, "launchdarkly": launchdarkly_door,
}  # fmt: skip
"""Senders of changes; each door opens with `<NAME>_WEBHOOK_SECRETS`."""


def open_for_changes(settings: Settings) -> list[str]:
    """The senders whose door is open."""
    return [sender for sender in CHANGE_SENDERS if sender in settings.secrets.system_webhook_secrets]


def change_doors(settings: Settings) -> list[SignalDoor]:
    """The open doors."""
    secrets = settings.secrets.system_webhook_secrets
    return [
        CHANGE_SENDERS[name]([one.get_secret_value() for one in secrets[name]]) for name in open_for_changes(settings)
    ]


def stored_changes(settings: Settings, store: Store, clock: Clock) -> list[Source]:
    """The changes that came by webhook, where a door for them is open."""
    senders, sections = open_for_changes(settings), settings.file.sources

    def section(sender: str) -> SourceSection | None:
        """The section of that name, else the first of that kind."""
        return sections.get(sender) or next((one for one in sections.values() if one.kind == sender), None)

    for sender in senders:
        if section(sender) is None:
            log.warning(
                "/webhooks/%s is open and sitrep.toml has no [sources.%s] with readers: nobody may read its changes",
                sender, sender,
            )  # fmt: skip

    def access(sender: str) -> Access:
        return access_of(settings, section(sender))

    watched = any((one.kind or name) == "flagd" for name, one in sections.items())
    return [StoredChanges(store, settings.file.workspace, clock, access, 2.0)] if senders or watched else []


def flag_watch(
    settings: Settings, sources: Sequence[Source], store: Store, clock: Clock,
    intake: Callable[[Sequence[Signal]], Awaitable[int]],
) -> FlagWatch | None:  # fmt: skip
    """The watch over the flags of every flagd that is configured."""
    watched = [source for source in sources if isinstance(source, Flagd)]
    every = settings.file.timeouts.poll_seconds
    return FlagWatch(watched, store, settings.file.workspace, clock, intake, every) if watched else None
