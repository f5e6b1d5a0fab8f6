"""The door for Slack's commands, buttons and events, on Bolt's AsyncApp: parse, store, acknowledge, answer.

What somebody asks is stored before it is acknowledged. Slack waits three seconds, and a person should never see its
"did not respond": where the store takes longer than ACK_SECONDS it is kept in a file until it is stored. Then it is
done and answered in private, by this process or, if it dies, by the next one. An error becomes a fixed sentence with a
reference; its kind stands in the log under the same reference.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.cards.render import Form
from bot.clock import Clock
from bot.errors import NotPermitted
from bot.flows.heard import Ear
from bot.flows.home import HomeTold
from bot.flows.requests import MAX_ATTEMPTS, Request
from bot.flows.views import NotTriaged
from bot.listeners import answers, doing, home, incoming, modals, talking
from bot.listeners.asked import Asked
from bot.listeners.desk import Desks, ReaderEvents
from bot.listeners.incoming import ASSISTANT_EVENTS, Body, text
from integrations.errors import Denied, IntegrationError, Refused
from integrations.ports import Answer, Place, Replies

log = logging.getLogger(__name__)

ACK_SECONDS = 1.5
SLOW_SECONDS = 4.0
"""After this a person is told that the answer is on its way."""
COMMAND = "/sitrep"
_TAKEN = "sitrep_taken"
OURS = re.compile(r"sitrep\.")
"""Our action ids begin so."""
Ack = Callable[..., Awaitable[Any]]

CHANNEL_EVENTS = (
    "channel_archive", "channel_unarchive", "group_archive", "group_unarchive", "channel_shared", "channel_unshared",
    "channel_rename", "group_rename", "shared_channel_invite_accepted", "shared_channel_invite_approved",
    "shared_channel_invite_received",
)  # fmt: skip
CONVERSIONS = ("channel_convert_to_private", "channel_convert_to_public")
"""Subtypes of a message, which is how Slack tells that a channel changed its kind."""
GROUP_EVENTS = ("subteam_created", "subteam_updated", "subteam_members_changed")
TRIAGE_MESSAGE = "sitrep.triage_message"
"""The message shortcut."""
HOME_AGAIN_SECONDS = 60.0
HOME_LOOKED_AT = timedelta(hours=8)
"""A Home tab is kept up to date for this long after somebody opened it."""
PERSON_EVENTS = ("user_change", "team_join")


class Listeners:
    """Registers everything on one Bolt app. `form` is the form of blocks that this workspace takes; `redact` is for
    what people type, before it is stored; `gone` hears that the app was uninstalled."""

    def __init__(
        self,
        desks: Desks,
        replies: Replies,
        readers: ReaderEvents,
        form: Callable[[], Awaitable[Form]],
        clock: Clock,
        redact: Callable[[str], str],
        gone: Callable[[str], Awaitable[None]] | None = None,
        ear: Ear | None = None,
    ) -> None:
        """`ear` hears what bots write in alert channels, and of new channels; None: nothing is heard."""
        self._ear = ear
        self._desks = desks
        self._replies = replies
        self._readers = readers
        self._form = form
        self._clock = clock
        self._redact = redact
        self._gone = gone
        self._working: set[asyncio.Task[Any]] = set()

    def bolt(self, client: AsyncWebClient) -> AsyncApp:
        """The Bolt app on our own client. Its signature and ssl_check middleware are off: the door checks before it."""
        app = AsyncApp(client=client, request_verification_enabled=False, ssl_check_enabled=False)
        app.command(COMMAND)(self.command)
        app.action(OURS)(self.clicked)
        app.view(OURS)(self.submitted)
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
        app.middleware(self.stored_first)
        for name in ("app_mention", "app_home_opened", *ASSISTANT_EVENTS):
            app.event(name)(self.told)
        app.event("message")(self.told)
        app.event("app_uninstalled")(self.uninstalled)
        app.event("tokens_revoked")(self.uninstalled)
        if self._ear is not None:
            app.event("channel_created")(self.told)
        app.shortcut(TRIAGE_MESSAGE)(self.triage_message)
        app.error(self.broken)
        return app

    async def resume(self) -> int:
        """At start-up: answer what an earlier process took and did not answer. Returns how many there were."""
        left = await self._desks.requests.take_over()
        for request in left:
            await self._answer(request, None)
        return len(left)

    async def run(self) -> None:
        """What an earlier process left; then Home tabs, for ever."""
        try:
            if left := await self.resume():
                log.info("answered %d requests that an earlier process had taken", left)
        except Exception as failed:  # noqa: BLE001 - a loop: new requests must be taken whatever was left behind
            log.error("answering what was left failed with %s", type(failed).__name__)
        shown: dict[str, str] = {}
        while True:
            await self._clock.sleep(HOME_AGAIN_SECONDS)
            try:
                await self.refresh_homes(shown)
            except Exception as failed:  # noqa: BLE001 - a loop that must not end; the next round tries again
                log.error("refreshing Home tabs failed with %s", type(failed).__name__)

    async def refresh_homes(self, shown: dict[str, str]) -> int:
        """Publish the Home tabs of those who opened theirs lately, where something changed. Returns how many did.

        `shown` is what was published, by person: a digest.
        """
        published = 0
        for person_id in await self._desks.requests.lately(talking.HOME, HOME_LOOKED_AT):
            told = await self._desks.home.home(person_id)
            digest = hashlib.sha256(repr(replace(told, at=None)).encode()).hexdigest()  # type: ignore[arg-type]
            if shown.get(person_id) != digest:
                await self._home(person_id, told)
                shown[person_id] = digest
                published += 1
        return published

    async def _home(self, person_id: str, told: HomeTold | None = None) -> None:
        try:
            await self._desks.screens.publish_home(person_id, home.view(told or await self._desks.home.home(person_id)))
        except IntegrationError as failed:
            log.warning("a Home tab could not be shown: %s", failed.message)

    async def close(self) -> None:
        """Waits for what was acknowledged and is not answered yet, at most a moment; the rest is for the next start."""
        if self._working:
            await asyncio.wait(self._working, timeout=2)

    # --- what people ask ------------------------------------------------------------------------------------------

    async def command(self, ack: Ack, command: Body) -> None:
        """`/sitrep …`"""
        request = incoming.of_command(command, self._clock.now(), self._redact)
        await self._take(ack, request, text(command.get("trigger_id")))

    async def clicked(self, ack: Ack, body: Body, action: Body) -> None:
        """A button, or a choice in a menu."""
        await self._take(ack, incoming.of_click(body, action, self._clock.now()), text(body.get("trigger_id")))

    async def submitted(self, ack: Ack, body: Body, view: Body) -> None:
        """A form that comes back; what has to be mended is said at its field."""
        form = modals.read(view)
        if form is not None and form.errors:
            await ack(response_action="errors", errors=dict(form.errors))
            return
        request = incoming.of_form(body, view, form, self._clock.now(), self._redact)
        await self._take(ack, request, text(body.get("trigger_id")))

    async def triage_message(self, ack: Ack, shortcut: Body) -> None:
        """ "Triage this": the incident that the message names, else the channel's own, else a new one."""
        request = incoming.of_message(shortcut, self._clock.now(), self._redact)
        await self._take(ack, request, text(shortcut.get("trigger_id")))

    async def stored_first(self, body: Body, context: dict[str, Any], next_: Callable[[], Awaitable[Any]]) -> None:
        """Bolt acknowledges an event before its listener runs; so what is said to the app is stored here."""
        event = body.get("event")
        if body.get("type") == "event_callback" and isinstance(event, Mapping):
            if self._ear is not None:
                await self._heard(self._ear, event)
            request = incoming.of_event(event, text(body.get("event_id")), self._clock.now(), self._redact)
            if request is not None:
                context[_TAKEN] = (await self._kept(request), request)
        await next_()

    async def _heard(self, ear: Ear, event: Body) -> None:
        """Alerts and new channels are stored before Slack is told that they arrived, unless that takes too long."""
        hear = {"message": ear.message, "channel_created": ear.channel_created}.get(str(event.get("type")))
        if hear is None or event.get("channel_type") == "im":
            return
        task = asyncio.ensure_future(hear(event))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        done, _ = await asyncio.wait({task}, timeout=ACK_SECONDS)
        if done and (failed := task.exception()) is not None:
            log.error("an event of kind %s could not be stored: %s", event.get("type"), type(failed).__name__)

    async def told(self, context: Mapping[str, Any]) -> None:
        """A mention, a direct message, the assistant's panel or the Home tab: it was stored before."""
        taken = context.get(_TAKEN)
        if taken is not None:
            task = asyncio.ensure_future(self._do(*taken))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            await task

    # --- doing it -------------------------------------------------------------------------------------------------

    async def _take(self, ack: Ack, request: Request, trigger_id: str | None) -> None:
        """Store, acknowledge, then work and answer; a request that came twice is acknowledged twice and done once."""
        stored = await self._kept(request)
        await ack()
        task = asyncio.ensure_future(self._do(stored, request, trigger_id))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        await task

    async def _kept(self, request: Request) -> asyncio.Future[bool]:
        """Durable when this returns, in time for Slack: in the store, else in a file until the store has it."""
        stored = asyncio.ensure_future(self._desks.requests.accept(request))
        done, _ = await asyncio.wait({stored}, timeout=ACK_SECONDS)
        if not done:
            await self._desks.requests.keep_aside(request)
        return stored

    async def _do(self, stored: asyncio.Future[bool], request: Request, trigger_id: str | None = None) -> None:
        try:
            new = await stored
        except Exception as failed:  # noqa: BLE001 - a door: it was acknowledged, so the person is told
            await self._show(request, self._failed(failed, ""))
            return
        if new:
            await self._answer(request, trigger_id)

    async def _answer(self, request: Request, trigger_id: str | None) -> None:
        """Work, answer, and end the request. Whoever dies before that leaves it to the next start."""
        if request.attempts > MAX_ATTEMPTS:
            log.error("request %s was begun %d times and never ended", request.kind, request.attempts)
            answer: Answer | None = answers.lost()
        else:
            work = asyncio.ensure_future(self._answered(request, trigger_id))
            await asyncio.wait({work}, timeout=SLOW_SECONDS)
            if not work.done():
                await self._show(request, answers.working())
            answer = await work
        if answer is not None:
            await self._show(request, answer)
        if request.kind.startswith(doing.CLICK) and not request.channel:
            await self._home(request.by)  # a button of the Home tab: it shows what became of it
        await self._desks.requests.end(request.id)

    async def _answered(self, request: Request, trigger_id: str | None) -> Answer | None:
        try:
            asked = Asked(self._desks, request, await self._form(), trigger_id=trigger_id)
            return await doing.answer_to(asked)
        except NotTriaged:
            return answers.said(answers.NOT_TRIAGED)
        except NotPermitted:
            return answers.said(answers.NO_SUCH)
        except Exception as failed:  # noqa: BLE001 - a door: the person gets a sentence and a reference, the log the kind
            return self._failed(failed, request.value or request.words)

    def _failed(self, failed: Exception, about: str) -> Answer:
        reference = secrets.token_hex(4)
        log.error("reference %s: a request from Slack failed with %s", reference, type(failed).__name__)
        return answers.failed(reference, answers.incident_in(about))

    async def _show(self, request: Request, answer: Answer) -> None:
        place = Place(request.channel, request.by, request.response_url, request.thread_ts)
        try:
            if request.response_url is None and request.channel[:1] in ("", "D"):
                await self._desks.screens.say_in_direct(request.channel or request.by, request.thread_ts, answer)
                return
            await self._replies.to_person(place, answer)
        except (Denied, Refused):
            await self._show_in_direct(request.by, answer)  # the app is not in that channel, or the answer has none
        except IntegrationError as failed:
            log.warning("a private answer could not be shown: %s", failed.message)

    async def _show_in_direct(self, person_id: str, answer: Answer) -> None:
        """In the person's own conversation with the app."""
        try:
            await self._desks.screens.say_in_direct(person_id, None, answer)
        except IntegrationError as failed:
            log.warning("a private answer could not be shown: %s", failed.message)

    # --- events ---------------------------------------------------------------------------------------------------

    async def member_joined(self, event: Body) -> None:
        if (where := text(event.get("channel"))) and (who := text(event.get("user"))):
            await self._readers.joined(where, who)
            await self._desks.channels.arrived(where, who)

    async def member_left(self, event: Body) -> None:
        if (where := text(event.get("channel"))) and (who := text(event.get("user"))):
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

    async def uninstalled(self, event: Body) -> None:
        """The app is gone, or the token that it posts with; other people's tokens are theirs."""
        tokens = event.get("tokens")
        ours = event.get("type") == "app_uninstalled" or (isinstance(tokens, Mapping) and bool(tokens.get("bot")))
        if ours and self._gone is not None:
            await self._gone(str(event.get("type")))

    async def broken(self, error: Exception) -> None:
        """What a listener let through: an event, whose hourly check comes anyway, or Bolt's own."""
        log.error("a message from Slack failed with %s", type(error).__name__)
