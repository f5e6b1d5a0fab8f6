"""What stands behind the doors of Slack: one object a role, each asking the permission decision for one person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

import prompts
from bot.cards.outbox import Outbox
from bot.clock import Clock
from bot.experiment.live import LiveExperiments
from bot.experiment.switch import KillSwitch
from bot.flows.aside import Aside
from bot.flows.ask import Asking
from bot.flows.channels import IncidentChannels
from bot.flows.desk import IncidentDesk
from bot.flows.drafts import Drafts
from bot.flows.entitled import Entitled
from bot.flows.grouping import Grouping
from bot.flows.home import Home
from bot.flows.labels import Labels
from bot.flows.life import IncidentLife
from bot.flows.pages import Pages
from bot.flows.parts import Parts
from bot.flows.reading import Reading
from bot.flows.requests import RequestBook
from bot.flows.views import Views
from bot.incidents.intake import Drainer
from bot.listeners.desk import Desks
from bot.model.gateway import Gateway
from bot.report.personal import PersonalReports
from bot.report.weekly import WeeklyReports
from bot.settings import Settings
from bot.triage.check import Guards
from bot.trust.directory import DirectoryCache
from bot.trust.redaction import Redactor
from bot.trust.sealed import Seal
from bot.wiring.models import ceilings_of, policy_of
from bot.wiring.values import admins_of, reader_rules, report_channel
from integrations.pagerduty import PagerDuty
from integrations.ports import FileSender
from integrations.slack import ChannelNames, SlackScreens, SlackWeb


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What the desks are made of."""

    settings: Settings
    clock: Clock
    parts: Parts
    entitled: Entitled
    views: Views
    directory: DirectoryCache
    drainer: Drainer
    outbox: Outbox
    channels: ChannelNames
    gateway: Gateway
    experiments: LiveExperiments
    redactor: Redactor
    keys: Sequence[bytes]
    pagerduty: PagerDuty | None
    weekly: WeeklyReports
    web: SlackWeb
    own_channels: IncidentChannels
    files: FileSender
    model: Callable[[], str]
    """How the model is, as a sentence."""


def desks_of(behind: Behind, life: IncidentLife) -> Desks:
    """Every desk, on one `Entitled`."""
    settings, parts, clock = behind.settings, behind.parts, behind.clock
    file, store, admins = settings.file, parts.book.store, admins_of(settings)
    entitled = behind.entitled
    desk = IncidentDesk(
        entitled, wake=behind.drainer.wake, acknowledger=behind.pagerduty, model=behind.model,
        waiting=behind.outbox.waiting, switch=KillSwitch(store, file.workspace, clock, behind.experiments),
        admins=admins,
    )  # fmt: skip
    reading = Reading(entitled, behind.directory, reader_rules(settings))
    channel: Callable[[], Awaitable[str]] = partial(behind.channels.channel_id, report_channel(settings))

    def experiment_runs(at: datetime) -> bool:
        return behind.experiments.running(at) is not None

    return Desks(
        requests=RequestBook(
            store,
            file.workspace,
            clock,
            Seal(behind.keys, "requests.response_url"),
            Aside(settings.home / "requests", Seal(behind.keys, "requests")),
        ),
        desk=desk,
        life=life,
        labels=Labels(entitled),
        reading=reading,
        grouping=Grouping(entitled, admins, behind.drainer.wake),
        asking=_asking(behind, entitled, reading),
        drafts=Drafts(entitled, behind.directory, behind.outbox.say, behind.channels.channel_id),
        reports=PersonalReports(behind.weekly, behind.directory, channel, clock, ZoneInfo(file.timezone)),
        pages=Pages(entitled, behind.files),
        channels=behind.own_channels,
        home=Home(entitled, desk, ceilings_of(settings), experiment_runs),
        screens=SlackScreens(behind.web),
    )


def _asking(behind: Behind, entitled: Entitled, reading: Reading) -> Asking:
    redactor, file = behind.redactor, behind.settings.file
    return Asking(
        entitled=entitled,
        reading=reading,
        gateway=behind.gateway,
        prompt=prompts.load("ask", 1),
        fence_key=behind.keys[0],
        guards=Guards(
            redact=lambda text: redactor.redact(text).text,
            suspicious=lambda text: redactor.redact(text).suspicious,
            policy=policy_of(behind.settings),
        ),
        token_budget=file.budget.tokens_per_triage,
        deadline_seconds=file.timeouts.model_seconds,
        paused=behind.experiments.paused,
        suspicious=file.summary.suspicious,
    )
