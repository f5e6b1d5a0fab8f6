"""The weekly report goes out: once per week, also when the process was down, and for the readers of its channel.

What was sent is remembered in `notices`. The message is written before that, under a target of its own; so a process
that dies between the two writes the same message again, which is an edit and no second post.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from bot.cards.render import Form
from bot.clock import Clock
from bot.experiment.live import LiveExperiments, started_key
from bot.experiment.pauses import audit_in
from bot.experiment.schedule import starts_at
from bot.experiment.units import WEEK, look_at_or_before
from bot.report.build import LOOK_WITHIN, build
from bot.report.material import read_material
from bot.report.model import WeeklyReport
from bot.report.permitted import permitted
from bot.report.png import weekly_png
from bot.report.rows import Material
from bot.report.slack import Message, classic, modern
from bot.report.weeks import Week, parse_week, unsent
from bot.store import Store, Transaction
from bot.store.values import to_text, to_time, ulid
from bot.trust.audience import Audience, AudienceUnknown
from integrations.errors import IntegrationError
from integrations.ports import PictureKeeper
from integrations.records import Readers

log = logging.getLogger(__name__)

NOT_BEFORE = time(9)
"""Local time on Monday: nobody is woken by a report."""
AUDIENCE_SECONDS = 10.0
SINCE = "report:since"
AGAIN = "report.again"


class ReportBox(Protocol):
    """The outbox, as a report needs it."""

    async def say(
        self,
        target: str,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        *,
        simpler: Sequence[Mapping[str, Any]] = (),
    ) -> int: ...

    async def form(self) -> Form: ...


class Readership(Protocol):
    """Who reads a channel now (the directory cache)."""

    async def audience(self, channel_id: str, deadline_seconds: float = 0.5) -> Audience | AudienceUnknown: ...


class WeeklyReports:
    """One workspace's weekly reports. `send_due` is called by the clock, and sends what is due and not out."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        clock: Clock,
        zone: ZoneInfo,
        *,
        outbox: ReportBox,
        directory: Readership,
        channels: Callable[[], Awaitable[Sequence[str]]],
        incident_readers: Callable[[str, str], Readers],
        change_readers: Callable[[str], Readers],
        experiments: LiveExperiments,
        pictures: PictureKeeper | None = None,
    ) -> None:
        """`channels()`: where reports go, by id, the first one first. `incident_readers(source, service)` and
        `change_readers(service)` are who may read of an incident of that service, and of a change to it.
        `pictures` keeps the chart of the classic form; None: it goes without."""
        self._store = store
        self._workspace_id = workspace_id
        self._clock = clock
        self._zone = zone
        self._outbox = outbox
        self._directory = directory
        self._channels = channels
        self._incident_readers = incident_readers
        self._change_readers = change_readers
        self._experiments = experiments
        self._pictures = pictures

    async def send_due(self) -> list[str]:
        """Send the report of every complete week that is due and was not sent; returns their names, oldest first.

        What a person asked for again is sent first, as a new post.
        """
        now = self._clock.now()
        names: list[str] = []
        for number, channel in enumerate(await self._channels()):
            key = channel if number else ""  # the first channel's are known by their week alone
            since = await self._since(now, key)
            sent = await self._sent(key)
            due = [week for week in unsent(sent, since=since, now=now, zone=self._zone) if self.due_at(week) <= now]
            earlier = next(reversed(sent.values()), "")
            for week in due:
                await self._send(week, channel, earlier, _name_of(week, key))
            names += [week.name for week in due]
        again = await self._send_again()
        return list(dict.fromkeys([*again, *sorted(names)]))

    async def _send_again(self) -> list[str]:
        """Reports that a person asked for once more (`ask_again`), in every channel."""
        asked = await self._store.query(
            "SELECT id, detail FROM notices WHERE workspace_id = :w AND kind = :k AND sent_at IS NULL"
            " ORDER BY created_at, id",
            {"w": self._workspace_id, "k": AGAIN},
        )
        names = []
        for row in asked:
            week = parse_week(str(json.loads(row["detail"])["week"]))
            for channel in await self._channels():
                report = await self._report(week, channel, "", self._clock.now())
                await self._say(report, channel, f"report:{week.name}:{channel}:{row['id']}")
            done = {"workspace_id": self._workspace_id, "id": row["id"], "sent_at": self._clock.now()}
            await self._store.upsert("notices", [done])
            names.append(week.name)
        return names

    def due_at(self, week: Week) -> datetime:
        """Monday morning after it, or when the experiment's look that belongs to it has come, if that is later."""
        ends = week.ends_at(self._zone)
        morning = datetime.combine(ends.astimezone(self._zone).date(), NOT_BEFORE, self._zone).astimezone(ends.tzinfo)
        hypothesis = self._experiments.reported(ends)
        if hypothesis is None:
            return morning
        start = starts_at(hypothesis)
        look = start + look_at_or_before(ends + LOOK_WITHIN, start) * WEEK
        return max(morning, look) if look > ends else morning

    async def report(self, week: Week, channel: str) -> WeeklyReport:
        """The report of a week as the readers of this channel may see it."""
        return await self._report(week, channel, "", self._clock.now())

    async def report_for(self, week: Week, audience: Audience) -> WeeklyReport:
        """The report of a week, complete or not, as these readers may see it."""
        now = self._clock.now()
        until = min(week.ends_at(self._zone), now) + LOOK_WITHIN
        material = await read_material(
            self._store, self._workspace_id, until, hidden_services=frozenset(), experiments=self._experiments,
            week=(week.begins_at(self._zone), week.ends_at(self._zone)),
        )  # fmt: skip
        material = await self._permitted(material, audience)
        return await asyncio.to_thread(build, material, week, self._zone, now=now)

    async def _send(self, week: Week, channel: str, earlier_zone: str, name: str) -> None:
        now = self._clock.now()
        report = await self._report(week, channel, earlier_zone, now)
        await self._say(report, channel, name)
        await self._store.transaction(lambda tx: self._remember(tx, name, channel, report, now))
        log.info("the report of %s is on its way", week.name)

    async def _say(self, report: WeeklyReport, channel: str, target: str) -> None:
        simple = classic(report)
        if await self._outbox.form() == "modern":
            newer = modern(report)
            await self._outbox.say(target, channel, newer.text, newer.blocks, simpler=simple.blocks)
        else:
            drawn = await self._with_picture(report) or simple
            await self._outbox.say(target, channel, drawn.text, drawn.blocks, simpler=simple.blocks)

    async def _with_picture(self, report: WeeklyReport) -> Message | None:
        """The classic form with the chart of the report that these readers may see; None where there is none to show.

        A picture that cannot be had keeps no report waiting.
        """
        if self._pictures is None or all(point.median is None for point in report.weekly):
            return None
        name, title = f"sitrep-{report.week}.png", f"Median time to resolve, to {report.week}"
        try:
            content = await asyncio.to_thread(weekly_png, report.weekly)
            kept = await self._pictures.keep_picture(name, title, content)
        except IntegrationError as failed:
            log.warning("the report of %s goes out without its picture: %s", report.week, failed.message)
            return None
        return classic(report, picture={"slack_file": {"id": kept}})

    async def _report(self, week: Week, channel: str, earlier_zone: str, now: datetime) -> WeeklyReport:
        until = week.ends_at(self._zone) + LOOK_WITHIN
        material = await read_material(
            self._store, self._workspace_id, until, hidden_services=frozenset(), experiments=self._experiments,
            week=(week.begins_at(self._zone), week.ends_at(self._zone)),
        )  # fmt: skip
        audience = await self._directory.audience(channel, AUDIENCE_SECONDS)
        material = await self._permitted(replace(material, earlier_zone=earlier_zone), audience)
        return await asyncio.to_thread(build, material, week, self._zone, now=now)

    # --- who may read what --------------------------------------------------------------------------------------

    async def _permitted(self, material: Material, audience: Audience | AudienceUnknown) -> Material:
        return await permitted(
            self._store, self._workspace_id, material, audience, self._incident_readers, self._change_readers
        )

    # --- what was sent ------------------------------------------------------------------------------------------

    async def _since(self, now: datetime, key: str) -> datetime:
        """Since when there are reports in a channel: the first time that this ran. Nothing older is sent by itself."""
        name = f"{SINCE}:{key}" if key else SINCE
        known = await self._store.query(
            "SELECT created_at FROM notices WHERE workspace_id = :w AND id = :i", {"w": self._workspace_id, "i": name}
        )
        if known:
            return to_time(known[0]["created_at"])
        row = {"workspace_id": self._workspace_id, "id": name, "kind": "cursor", "created_at": now}
        await self._store.insert("notices", [row], ignore=True)
        return now

    async def _sent(self, key: str) -> dict[str, str]:
        """By week, the time zone of its report in a channel; in the order in which they were sent."""
        rows = await self._store.query(
            "SELECT id, detail FROM notices WHERE workspace_id = :w AND kind = 'report' ORDER BY created_at, id",
            {"w": self._workspace_id},
        )
        found = {}
        for row in rows:
            week, _, channel = row["id"].removeprefix("report:").partition(":")
            if channel == key:
                found[week] = str(json.loads(row["detail"]).get("zone", ""))
        return found

    def _remember(self, tx: Transaction, name: str, channel: str, report: WeeklyReport, now: datetime) -> None:
        part = report.experiment
        row = {
            "workspace_id": self._workspace_id, "id": name, "kind": "report", "created_at": now,
            "detail": {"channel": channel, "zone": self._zone.key, "verdict": part.verdict if part else None},
        }  # fmt: skip
        tx.insert("notices", [row], ignore=True)
        if part is None or part.verdict not in ("faster", "slower") or part.looked_at is None:
            return
        key = {"w": self._workspace_id, "i": started_key(part.name)}
        rows = tx.query("SELECT detail FROM notices WHERE workspace_id = :w AND id = :i", key)
        detail = json.loads(rows[0]["detail"]) if rows else {}
        if rows and "given" not in detail:  # the first verdict stays, whatever is corrected later
            detail["given"] = {
                "verdict": part.verdict, "look": part.look, "at": to_text(part.looked_at),
                "data_sha256": part.data_sha256,
            }  # fmt: skip
            tx.upsert("notices", [{"workspace_id": self._workspace_id, "id": key["i"], "detail": detail}])


def _name_of(week: Week, key: str) -> str:
    """The target of a report's post, and the id under which it is remembered."""
    return f"report:{week.name}:{key}" if key else f"report:{week.name}"


async def ask_again(store: Store, workspace_id: str, week: Week, *, by: str, at: datetime) -> None:
    """Ask for a report once more: whoever sends reports posts it anew within half a minute. Audited."""

    def work(tx: Transaction) -> None:
        detail = {"week": week.name, "by": by}
        row = {"workspace_id": workspace_id, "id": ulid(at), "kind": AGAIN, "created_at": at, "detail": detail}
        tx.insert("notices", [row])
        audit_in(tx, workspace_id, at, by, "report.again", {"week": week.name})

    await store.transaction(work)
