"""`/sitrep report`: the weekly report for one person, veiled for that person, on the spot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from bot.cards.render import Form
from bot.clock import Clock
from bot.errors import ConfigurationError, NotPermitted
from bot.report.html import as_html
from bot.report.slack import classic, modern
from bot.report.table import as_csv
from bot.report.weekly import WeeklyReports
from bot.report.weeks import Week, parse_week, week_of
from bot.trust.audience import Audience, AudienceUnknown, audience_of_person
from bot.trust.principals import CHANNEL_PREFIX, Principal
from integrations.ports import Answer

NOT_A_WEEK = "Name an ISO week: `/sitrep report 2026-W47`. Without one it is this week so far."
NOT_YET = "That week has not begun yet."


class People(Protocol):
    """Who somebody is, and whether they read a channel (the directory cache)."""

    async def principal(self, person_id: str, deadline_seconds: float = 0.5) -> Principal: ...

    async def placed(self, principal: Principal, channel_id: str, deadline_seconds: float = 0.5) -> Principal: ...


class PersonalReports:
    """For those who read the report's channel: what they may see of the same report."""

    def __init__(
        self,
        reports: WeeklyReports,
        people: People,
        channel: Callable[[], Awaitable[str]],
        clock: Clock,
        zone: ZoneInfo,
    ) -> None:
        self._reports = reports
        self._people = people
        self._channel = channel
        self._clock = clock
        self._zone = zone

    async def weekly(self, user_id: str, week: str, form: Form) -> Answer:
        """This week so far, or the one that is named. Raises NotPermitted."""
        audience = await self._audience(user_id)
        now = self._clock.now()
        wanted = self._week(week, now)
        if wanted is None:
            return Answer(NOT_A_WEEK)
        if wanted.begins_at(self._zone) > now:
            return Answer(NOT_YET)
        report = await self._reports.report_for(wanted, audience)
        message = modern(report) if form == "modern" else classic(report)
        return Answer(message.text, tuple(message.blocks))

    async def whole(self, user_id: str, week: str, form: Literal["html", "csv"]) -> str | None:
        """The whole report, veiled for this person. Raises NotPermitted."""
        audience = await self._audience(user_id)
        wanted = self._week(week, self._clock.now())
        if wanted is None or wanted.begins_at(self._zone) > self._clock.now():
            return None
        report = await self._reports.report_for(wanted, audience)
        return await asyncio.to_thread(as_html if form == "html" else as_csv, report)

    async def _audience(self, user_id: str) -> Audience:
        """This one reader, who must read the report's channel. Raises NotPermitted."""
        channel = await self._channel()
        reader = await self._people.placed(await self._people.principal(user_id), channel)
        audience = audience_of_person(reader, self._clock.now())
        if isinstance(audience, AudienceUnknown) or f"{CHANNEL_PREFIX}{channel}" not in reader.groups:
            raise NotPermitted("the report is for those who read its channel")
        return audience

    def _week(self, typed: str, now: datetime) -> Week | None:
        if not typed:
            return week_of(now, self._zone)
        try:
            return parse_week(typed.split()[0].upper())
        except ConfigurationError:
            return None
