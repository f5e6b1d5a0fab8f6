"""The door for Slack's commands, buttons and events, on Bolt's AsyncApp: parse, queue durably, acknowledge, answer.

What changes something is stored before it is acknowledged, unless that takes longer than ACK_SECONDS: Slack waits
three seconds, and a person should never see its "did not respond". What takes longer is acknowledged first. Answers
are private. An error becomes a fixed sentence with a reference; its kind stands in the log under the same reference.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.cards import actions
from bot.cards.actions import ActionValue
from bot.cards.render import Form
from bot.errors import NotPermitted
from bot.listeners import answers
from bot.listeners.commands import parse
from bot.listeners.desk import Desk, ReaderEvents, Vote
from integrations.errors import IntegrationError
from integrations.ports import Answer, Place, Replies

log = logging.getLogger(__name__)

ACK_SECONDS = 1.5
COMMAND = "/sitrep"
OVERRIDE = "--override"
Ack = Callable[..., Awaitable[Any]]
Body = Mapping[str, Any]
T = TypeVar("T")

CHANNEL_EVENTS = (
    "channel_archive", "channel_unarchive", "group_archive", "group_unarchive", "channel_shared", "channel_unshared",
    "channel_rename", "group_rename", "shared_channel_invite_accepted", "shared_channel_invite_approved",
    "shared_channel_invite_received",
)  # fmt: skip
CONVERSIONS = ("channel_convert_to_private", "channel_convert_to_public")
"""Subtypes of a message, which is how Slack tells that a channel changed its kind."""
GROUP_EVENTS = ("subteam_created", "subteam_updated", "subteam_members_changed")
PERSON_EVENTS = ("user_change", "team_join")


class Listeners:
    """Registers everything on one Bolt app. `form` is the form of blocks that this workspace takes."""

    def __init__(
        self, desk: Desk, replies: Replies, readers: ReaderEvents, form: Callable[[], Awaitable[Form]]
    ) -> None:
        self._desk = desk
        self._replies = replies
        self._readers = readers
        self._form = form
        self._working: set[asyncio.Task[Any]] = set()

    def bolt(self, client: AsyncWebClient) -> AsyncApp:
        """The Bolt app on our own client. Its signature and ssl_check middleware are off: the door checks before it."""
        app = AsyncApp(client=client, request_verification_enabled=False, ssl_check_enabled=False)
        app.command(COMMAND)(self.command)
        app.action(answers.PICK_INCIDENT)(self.picked)
        app.action(actions.FEEDBACK)(self.voted)
        app.action(actions.HELPFUL)(self.voted)
        app.action(actions.NOT_HELPFUL)(self.voted)
        app.action(actions.WAS_CHANGE)(self.was_change)
        app.action(actions.WAS_NOT)(self.was_not)
        app.action(actions.UNDO_WAS_NOT)(self.undo_was_not)
        app.action(actions.ACKNOWLEDGE)(self.acknowledge)
        app.action(actions.OWN_VIEW)(self.own_view)
        app.event("member_joined_channel")(self.member_joined)
        app.event("member_left_channel")(self.member_left)
        for name in CHANNEL_EVENTS:
            app.event(name)(self.channel_changed)
        for subtype in CONVERSIONS:
            app.event({"type": "message", "subtype": subtype})(self.channel_changed)
        for name in GROUP_EVENTS:
            app.event(name)(self.groups_changed)
        for name in PERSON_EVENTS:
            app.event(name)(self.person_changed)
        app.error(self.broken)
        return app

    async def close(self) -> None:
        """Waits for what was acknowledged and is not answered yet, at most a moment."""
        if self._working:
            await asyncio.wait(self._working, timeout=2)

    # --- /sitrep --------------------------------------------------------------------------------------------------

    async def command(self, ack: Ack, command: Body) -> None:
        typed = parse(str(command.get("text", "")))
        place = Place(str(command["channel_id"]), str(command["user_id"]), _text(command.get("response_url")))
        if typed.name == "triage":
            request_id = _text(command.get("trigger_id")) or secrets.token_hex(8)
            await self._do(ack, place, self._triage(place, typed.words, request_id), typed.words)
        elif typed.name == "status":
            await self._do(ack, place, self._status(place.user))
        elif typed.name in ("pause", "resume"):
            await self._do(ack, place, self._switched(place.user, typed.name, typed.words))
        else:
            await self._do(ack, place, _ready(answers.help_for(typed)))

    async def _triage(self, place: Place, words: str, request_id: str) -> Answer:
        override = OVERRIDE in words.split()
        words = " ".join(word for word in words.split() if word != OVERRIDE)
        found = await self._desk.find_incidents(place.user, words, place.channel)
        if words and not found:
            raise NotPermitted(words)
        if len(found) != 1:
            return answers.menu(found, words)
        if not override:
            return answers.triage_started(found[0], await self._desk.start_triage(found[0].id, place.user, request_id))
        try:
            n = await self._desk.start_triage(found[0].id, place.user, request_id, override=True)
        except NotPermitted:
            return answers.said(answers.ONLY_ADMINS)
        return answers.triage_started(found[0], n)

    async def _switched(self, user_id: str, name: str, reason: str) -> Answer:
        if not reason:
            return answers.said(answers.WHY_NEEDED)
        try:
            if name == "pause":
                return answers.paused(await self._desk.pause(user_id, reason))
            return answers.resumed(await self._desk.resume(user_id, reason))
        except NotPermitted:
            return answers.said(answers.ONLY_ADMINS)

    async def picked(self, ack: Ack, body: Body, action: Body) -> None:
        place = _place(body)
        chosen = _text((action.get("selected_option") or {}).get("value")) or ""
        request_id = _text(body.get("trigger_id")) or secrets.token_hex(8)
        await self._do(ack, place, self._triage(place, chosen, request_id), chosen)

    async def _status(self, user_id: str) -> Answer:
        return answers.status(await self._desk.status_for(user_id))

    # --- buttons --------------------------------------------------------------------------------------------------

    async def voted(self, ack: Ack, body: Body, action: Body) -> None:
        given, action_id = str(action.get("value", "")), action.get("action_id")
        vote: Vote = "helpful" if action_id == actions.HELPFUL else "not_helpful"
        if action_id == actions.FEEDBACK:
            vote, given = ("helpful" if given[:1] == "+" else "not_helpful"), given[1:]

        async def work(value: ActionValue, user_id: str) -> Answer:
            await self._desk.vote(value.incident_id, user_id, value.version, vote)
            return answers.voted(vote)

        await self._click(ack, body, given, work)

    async def was_change(self, ack: Ack, body: Body, action: Body) -> None:
        async def work(value: ActionValue, user_id: str) -> Answer:
            name = await self._desk.was_change(value.incident_id, user_id, value.version, value.mark)
            return answers.was_change(name)

        await self._click(ack, body, action.get("value"), work)

    async def was_not(self, ack: Ack, body: Body, action: Body) -> None:
        async def work(value: ActionValue, user_id: str) -> Answer:
            name, until_at = await self._desk.was_not(value.incident_id, user_id, value.version, value.mark)
            return answers.was_not(name, until_at)

        await self._click(ack, body, action.get("value"), work)

    async def undo_was_not(self, ack: Ack, body: Body, action: Body) -> None:
        async def work(value: ActionValue, user_id: str) -> Answer:
            return answers.undone(await self._desk.undo_was_not(value.incident_id, user_id, value.mark))

        await self._click(ack, body, action.get("value"), work)

    async def acknowledge(self, ack: Ack, body: Body, action: Body) -> None:
        async def work(value: ActionValue, user_id: str) -> Answer:
            outcome = await self._desk.acknowledge(value.incident_id, user_id)
            return answers.said(answers.ACKNOWLEDGED[outcome])

        await self._click(ack, body, action.get("value"), work)

    async def own_view(self, ack: Ack, body: Body, action: Body) -> None:
        async def work(value: ActionValue, user_id: str) -> Answer:
            state = await self._desk.own_view(user_id, value.incident_id)
            return answers.own_view(state, await self._form())

        await ack()
        await self._click(None, body, action.get("value"), work)

    async def _click(
        self, ack: Ack | None, body: Body, given: Any, work: Callable[[ActionValue, str], Awaitable[Answer]]
    ) -> None:
        place = _place(body)
        value = ActionValue.decode(given) if isinstance(given, str) else None
        doing = work(value, place.user) if value is not None else _not_ours()
        await self._do(ack, place, doing, value.incident_id if value is not None else "")

    # --- doing it -------------------------------------------------------------------------------------------------

    async def _do(self, ack: Ack | None, place: Place, work: Awaitable[Answer], about: str = "") -> None:
        """Work and acknowledge, the work first as long as it is quick; then answer in private."""
        task = asyncio.ensure_future(self._answered(work, about))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        if ack is not None:
            await asyncio.wait({task}, timeout=ACK_SECONDS)
            await ack()
        answer = await task
        try:
            await self._replies.to_person(place, answer)
        except IntegrationError as failed:
            log.warning("a private answer could not be shown: %s", failed.message)

    async def _answered(self, work: Awaitable[Answer], about: str) -> Answer:
        try:
            return await work
        except NotPermitted:
            return answers.said(answers.NO_SUCH)
        except Exception as failed:  # noqa: BLE001 - a door: the person gets a sentence and a reference, the log the kind
            reference = secrets.token_hex(4)
            log.error("reference %s: a request from Slack failed with %s", reference, type(failed).__name__)
            return answers.failed(reference, about if about.isalnum() else "")

    # --- events ---------------------------------------------------------------------------------------------------

    async def member_joined(self, event: Body) -> None:
        if (where := _text(event.get("channel"))) and (who := _text(event.get("user"))):
            await self._readers.joined(where, who)

    async def member_left(self, event: Body) -> None:
        if (where := _text(event.get("channel"))) and (who := _text(event.get("user"))):
            await self._readers.left(where, who)

    async def channel_changed(self, event: Body) -> None:
        found = event.get("channel") or event.get("channel_id")
        channel = found.get("id") if isinstance(found, Mapping) else found
        if isinstance(channel, str) and channel:
            await self._readers.channel_changed(channel)
        else:
            await self._readers.reconnected()  # something changed and Slack does not say where: look at all

    async def groups_changed(self) -> None:
        await self._readers.groups_changed()

    async def person_changed(self, event: Body) -> None:
        found = event.get("user")
        person = found.get("id") if isinstance(found, Mapping) else found
        if isinstance(person, str) and person:
            await self._readers.person_changed(person)

    async def broken(self, error: Exception) -> None:
        """What a listener let through: an event, whose hourly check comes anyway, or Bolt's own."""
        log.error("a message from Slack failed with %s", type(error).__name__)


async def _ready(answer: Answer) -> Answer:
    return answer


async def _not_ours() -> Answer:
    return answers.said("This button is from another version of Sitrep. Use the newest card, or `/sitrep status`.")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _place(body: Body) -> Place:
    """Where a click happened."""
    container = body.get("container") or {}
    channel = (body.get("channel") or {}).get("id") or container.get("channel_id") or ""
    return Place(
        channel=str(channel),
        user=str((body.get("user") or {}).get("id", "")),
        response_url=_text(body.get("response_url")),
        thread_ts=_text(container.get("thread_ts")),
    )
