"""The running program: everything that `sitrep serve` holds, and how it starts and ends.

`build` enters everything on one AsyncExitStack, so that what was opened is closed in reverse, whatever fails.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from starlette.applications import Starlette

import prompts
from bot.cards.outbox import Outbox, OutboxLimits
from bot.clock import Clock, SystemClock
from bot.errors import ConfigurationError, SitrepError
from bot.experiment.hypothesis import version_of
from bot.experiment.live import LiveExperiments, seed_at
from bot.experiment.watch import CutlineWatch
from bot.flows.audience import AudienceEvents
from bot.flows.engine import Engine, Steps
from bot.flows.entitled import Entitled
from bot.flows.life import IncidentLife
from bot.flows.notices import SpendNotices
from bot.flows.parts import Parts, Timeouts
from bot.flows.refresh import RefreshFlow
from bot.flows.rounds import Rounds
from bot.flows.summarise import Pausable
from bot.flows.triage import TriageFlow
from bot.flows.uninstalled import Uninstalled
from bot.flows.views import IncidentView, Views
from bot.flows.warm import WarmWorker, prepare_review
from bot.flows.warm import redact_value as warm_redact_value
from bot.incidents import topology
from bot.incidents.applying import Start
from bot.incidents.book import Book
from bot.incidents.intake import Drainer
from bot.incidents.poller import Poller
from bot.incidents.signals import redacted_signal, store_signals
from bot.model.gateway import Gateway
from bot.report.weekly import WeeklyReports
from bot.settings import Settings
from bot.store import Store
from bot.store.retention import enforce
from bot.store.sqlite import SqliteStore
from bot.triage.collect import Collector
from bot.trust.directory import DirectoryCache
from bot.trust.redaction import Redactor
from bot.trust.redaction.values import redact_value
from bot.web.app import create_app
from bot.web.reviews import review_route
from bot.web.server import server_of
from bot.wiring.changes import flag_watch, stored_changes
from bot.wiring.desks import Behind, desks_of
from bot.wiring.hearing import ear_of, missed_of
from bot.wiring.models import approved_models, build_gateway, build_summarise, models_of
from bot.wiring.nightly import nightly_evals_of
from bot.wiring.outside import (
    NO_BOT_TOKEN,
    directory_of,
    doors_of,
    egress_of,
    group_sources,
    slack_door,
    slack_of,
    traces_of,
)
from bot.wiring.own_channel import own_channel_of, own_channels_of
from bot.wiring.reviewing import reviewing_of
from bot.wiring.sources import pagerduty_of, sources_of, stored_alerts, truncated_of
from bot.wiring.values import (
    alert_readers_of,
    change_readers_of,
    channels_of,
    declared_edges,
    incident_readers_of,
    link_hosts,
    report_channel,
    report_channels,
    routing_of,
    rules_of,
    secret_keys,
    service_names,
    usable,
)
from integrations.ports import PictureKeeper, ReadsElsewhere
from integrations.records import Signal
from integrations.slack import (
    ChannelNames,
    SlackDirectory,
    SlackFiles,
    SlackPoster,
)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class App:
    """What `serve` runs; `loops` never end by themselves."""

    settings: Settings
    clock: Clock
    store: SqliteStore
    book: Book
    engine: Engine
    outbox: Outbox
    drainer: Drainer
    directory: DirectoryCache
    parts: Parts
    refresh: RefreshFlow
    readers: AudienceEvents
    """What the doors tell about who reads what."""
    uninstalled: Uninstalled
    web: Starlette
    loops: dict[str, Callable[[], Awaitable[None]]]


Checkpoint = Callable[[str], None]


async def experiments_of(settings: Settings, store: Store, clock: Clock) -> LiveExperiments:
    """The hypothesis files with their seeds, `SITREP_HOME/experiments/<name>.seed`; one that was changed after its
    experiment started is refused. In shadow mode there are none: nobody is exposed, so nothing may be counted."""
    there = {version for name, version in prompts.names() if name == "triage"}
    unknown = [
        f"experiments/{one.name}.toml: arms: {arm!r} names a version of the prompt that is not installed; "
        f"there is {', '.join(f'facts+summary@v{n}' for n in sorted(there))}"
        for one in settings.experiments
        for arm in (*one.arms, one.rollout.otherwise)
        if (version := version_of(arm)) is not None and version not in there
    ]
    approved = approved_models(settings)
    unknown += [
        f"experiments/{one.name}.toml: models: {name!r} is not approved in models.toml"
        for one in settings.experiments
        for name in one.models
        if approved.named(name) is None
    ]
    if unknown:
        raise ConfigurationError(unknown)
    known = settings.experiments if settings.file.mode == "live" else ()
    seeds = {one.name: seed_at(settings.home / "experiments" / f"{one.name}.seed") for one in known}
    made = LiveExperiments(store, settings.file.workspace, clock, known, seeds)
    await made.verify()
    return made


def weekly_of(
    settings: Settings, store: Store, clock: Clock, outbox: Outbox, directory: DirectoryCache, channels: ChannelNames,
    experiments: LiveExperiments, pictures: PictureKeeper,
) -> WeeklyReports:  # fmt: skip
    async def report_to() -> list[str]:
        found = [await channels.channel_id(name) for name in report_channels(settings)]
        return list(dict.fromkeys(found))

    return WeeklyReports(
        store, settings.file.workspace, clock, ZoneInfo(settings.file.timezone),
        outbox=outbox, directory=directory, channels=report_to,
        incident_readers=incident_readers_of(settings),
        change_readers=change_readers_of(settings), experiments=experiments, pictures=pictures,
    )  # fmt: skip


def watch_of(
    settings: Settings, store: Store, clock: Clock, outbox: Outbox, channels: ChannelNames, experiments: LiveExperiments
) -> CutlineWatch:
    """Pauses are told in the report's channel and in that of the team that owns the experiment."""

    told = told_in(settings, channels)
    return CutlineWatch(store, settings.file.workspace, clock, experiments, outbox, told)


def told_in(settings: Settings, channels: ChannelNames) -> Callable[[str | None], Awaitable[list[str]]]:
    """Ids of the channels where a notice is told: the report's, and that of the team it is about."""

    async def told(about: str | None) -> list[str]:
        team = settings.file.teams.get(about) if about else None
        names = [report_channel(settings)]
        if team is not None and team.channel and settings.file.mode == "live":
            names.append(team.channel)
        return list(dict.fromkeys([await channels.channel_id(name) for name in names]))

    return told


def install_metrics() -> Callable[[], str]:
    """Metrics of this process in Prometheus' text form; no exporter of its own listens."""
    from opentelemetry import metrics
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import generate_latest

    metrics.set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
    return lambda: generate_latest().decode()


async def build(settings: Settings, stack: AsyncExitStack, *, checkpoint: Checkpoint | None = None) -> App:
    """Open everything. What fails here fails with a sentence; what was opened before it is closed by the stack."""
    if settings.secrets.slack_bot_token is None:
        raise ConfigurationError([NO_BOT_TOKEN])
    clock = SystemClock()
    file = settings.file
    engine = Engine(usable(settings.home), clock, checkpoint=checkpoint)
    engine.lock()  # before anything in the folder is read or settled: it may be another process's
    stack.push_async_callback(engine.close)
    keys = secret_keys(settings)
    egress = egress_of(settings, [pin.endpoint for chain in models_of(settings).values() for pin in chain])
    traces = traces_of(settings, clock, egress, stack)
    store = SqliteStore.open(settings.home / "sitrep.db")
    stack.push_async_callback(store.close)
    book = Book(store, file.workspace)
    redactor = Redactor(keys)
    worker, reader = WarmWorker(keys), WarmWorker(keys)  # redact and rank; large bodies and answers, beside them
    stack.callback(worker.close)
    stack.callback(reader.close)
    slack = await slack_of(settings, egress, stack)
    sources_of_groups = group_sources(settings, egress, stack)
    directory = directory_of(settings, store, SlackDirectory(slack.web), clock, sources_of_groups)
    stack.push_async_callback(directory.close)
    pagerduty = pagerduty_of(settings, egress, stack)
    sources = [*sources_of(settings, egress, stack, pagerduty), *stored_alerts(settings, store, clock)]
    sources += stored_changes(settings, store, clock)
    late: dict[str, RefreshFlow] = {}  # the outbox asks the flow that writes into it
    outbox = Outbox(
        store, file.workspace, SlackPoster(slack.web), clock,
        limits=OutboxLimits(
            coalesce=file.timeouts.coalesce_seconds,
            slack_down=file.timeouts.slack_down_seconds,
            blocks=file.slack.blocks,
        ),
        repermit=lambda target: late["refresh"].repermit(target),
        note_text=lambda target: late["refresh"].note_text(target),
        notes=pagerduty if file.pagerduty.fallback_note and file.mode == "live" else None,
        checkpoint=checkpoint,
    )  # fmt: skip
    routing, declared = routing_of(settings), declared_edges(settings)
    channels = ChannelNames(slack.web)
    stack.push_async_callback(channels.close)
    await channels.channel_id(routing.default_channel)  # reads every channel of the app: no incident waits for it
    experiments = await experiments_of(settings, store, clock)
    gateway = await build_gateway(
        settings, store, clock, egress, redactor, stack,
        may_stand_in=lambda pin: experiments.allows_model(pin.name, clock.now()),
    )  # fmt: skip
    parts = Parts(
        book=book,
        clock=clock,
        routing=routing,
        collector=Collector(
            sources, clock, services=service_names(settings), owner=routing.team,
            alert_readers=alert_readers_of(settings), declared_edges=declared,
        ),
        directory=directory,
        worker=worker,
        cards=outbox,
        assign=experiments,
        flag=experiments.flag,
        summarise=Pausable(
            build_summarise(settings, gateway, routing, redactor, keys[0], experiments.arm_of), experiments.paused
        ),
        channel_id=channels.channel_id,
        own_channel=own_channel_of(settings, channels),
        link_hosts=tuple(link_hosts(settings)),
        timeouts=Timeouts(
            collecting=file.timeouts.collecting_seconds, publish_wait=file.timeouts.publish_wait_seconds,
            late_source=file.timeouts.late_source_seconds, permit=file.timeouts.permit_seconds,
        ),
        shadow=file.mode == "shadow",
    )  # fmt: skip
    refresh = late["refresh"] = RefreshFlow(parts)
    triage = TriageFlow(parts)
    watch = watch_of(settings, store, clock, outbox, channels, experiments)
    money = SpendNotices(store, file.workspace, clock, outbox, told_in(settings, channels))

    async def run_triage(steps: Steps, incident_id: str, n: int) -> dict[str, Any]:
        recorded = await triage.run(steps, incident_id, n)
        watch.triage_recorded()
        return recorded

    engine.register("triage", run_triage)
    engine.register("refresh", refresh.run)
    views = Views(parts, triage)
    entitled = Entitled(parts, views, directory)
    making, own_channels = own_channels_of(
        settings, entitled, refresh, outbox, engine, slack.web, channels, pagerduty
    )  # fmt: skip
    engine.register("channel", making.run)

    async def start(wanted: Start) -> None:
        by_the_clock = wanted.kind == "refresh" and wanted.key.startswith(("started-", "hourly-"))
        if by_the_clock and await engine.stuck(wanted.kind, wanted.incident_id):
            return  # what crashes the process must not be begun anew under another id by every start
        workflow_id = f"{wanted.kind}:{wanted.incident_id}:{wanted.key}"
        argument: str | int = int(wanted.key) if wanted.kind == "triage" else wanted.key
        await engine.start(wanted.kind, workflow_id, wanted.incident_id, argument, priority=wanted.severity)

    async def neighbours() -> Mapping[str, frozenset[str]]:
        learnt = await topology.learnt(store, file.workspace, clock.now())
        return topology.neighbours([*learnt, *declared])

    drainer = Drainer(store, file.workspace, routing, clock, start, neighbours, checkpoint, rules_of(settings))

    async def intake(signals: Sequence[Signal]) -> int:
        new = await store_signals(store, file.workspace, signals)
        drainer.wake()
        return new

    async def polled(signals: Sequence[Signal]) -> int:
        """What the poller read has passed no door: it is redacted here, before it is stored."""
        return await intake([redacted_signal(signal, partial(redact_value, redactor)) for signal in signals])

    for source in sources:
        if isinstance(source, ReadsElsewhere):
            source.offload = reader.run
    await asyncio.gather(worker.warm(), reader.warm())
    await engine.launch()
    readers = AudienceEvents(store, file.workspace, directory, clock, start)
    files = SlackFiles(slack.web, slack.session, settings.secrets.slack_api_url)
    weekly = weekly_of(settings, store, clock, outbox, directory, channels, experiments, files)
    rounds = Rounds(
        parts,
        engine,
        directory,
        readers,
        recheck_seconds=file.timeouts.recheck_seconds,
        retention=lambda now: enforce(store, file.workspace, file.retention.model_dump(), now),
        channels=channels_of(settings),
        weekly=weekly.send_due,
    )
    life = IncidentLife(book, clock, routing, directory, views, intake)
    behind = Behind(
        settings=settings, clock=clock, parts=parts, entitled=entitled, own_channels=own_channels,
        views=views, directory=directory, drainer=drainer, outbox=outbox,
        channels=channels, gateway=gateway, experiments=experiments, redactor=redactor, keys=keys,
        pagerduty=pagerduty, weekly=weekly, web=slack.web,
        files=files,
        model=partial(_model_sentence, gateway),
    )  # fmt: skip
    desks = desks_of(behind, life)

    async def forget_all() -> None:
        shutil.rmtree(settings.home / "requests", ignore_errors=True)
        await engine.forget_all()

    uninstalled = Uninstalled(
        store, file.workspace, clock, slack.web.token_works, forget_all, purge=file.slack.on_uninstall == "purge"
    )
    await uninstalled.refuse_start()
    ear = ear_of(settings, slack, book, clock, channels, redactor, intake, making.found_by_name)
    routes, slack_loops = slack_door(
        settings, slack, egress, desks, readers, outbox, clock, redactor, uninstalled.heard, stack,
        ear, missed_of(settings, slack, book, clock, channels, ear),
    )  # fmt: skip
    tokens = [(name, token.get_secret_value()) for name, token in settings.secrets.api_tokens]
    review = reviewing_of(settings, gateway, book, clock, keys[0], partial(reader.run, prepare_review))
    web = create_app(
        doors=doors_of(settings, egress, stack),
        intake=intake,
        redact_small=lambda payload: redact_value(redactor, payload),
        redact_large=lambda payload: reader.run(warm_redact_value, payload),
        clock=clock,
        ready=partial(_not_ready, outbox),
        metrics=install_metrics(),
        tokens=tokens,
        incident_view=IncidentView(views, {n: frozenset(t.groups) for n, t in file.tokens.items()}).view,
        extra_routes=[*routes, review_route(review, tokens)],
    )
    app = App(
        settings, clock, store, book, engine, outbox, drainer, directory, parts, refresh, readers, uninstalled, web, {}
    )
    app.loops = {
        "drainer": drainer.run,
        "outbox": outbox.run,
        "rounds": rounds.run,
        "cutlines": watch.run,
        "money": money.run,
        **nightly_evals_of(settings, store, clock, gateway, outbox, told_in(settings, channels)),
        "readers": readers.run,
        **slack_loops,
    }
    if (flags := flag_watch(settings, sources, store, clock, polled)) is not None:
        app.loops["flags"] = flags.run
    if (cut_short := truncated_of(settings, egress, store, clock, polled, stack)) is not None:
        app.loops["alertmanager"] = cut_short.run
    if traces is not None:
        app.loops["traces"] = traces.run
    if pagerduty is not None:
        every = file.timeouts.poll_seconds if file.pagerduty.intake == "poll" else file.timeouts.reconcile_seconds
        app.loops["poller"] = Poller(pagerduty, store, file.workspace, clock, polled, every).run
    return app


def _model_sentence(gateway: Gateway) -> str:
    pin = gateway.pin("triage")
    if pin is None:
        return "no model is configured"
    states = gateway.state().values()
    open_ones = {one["breaker"] for one in states} - {"closed"}
    said = f"{pin.name}, {'not asked for now: it failed too often' if open_ones else 'answering'}"
    changes = sum(one["fingerprint_changes"] for one in states)
    return f"{said}; changed beneath its name {changes} times since the start" if changes else said


async def _not_ready(outbox: Outbox) -> Mapping[str, str]:
    """What is not in order, for load balancers and `doctor`."""
    waiting = await outbox.waiting()
    return {"outbox": f"{waiting} posts wait"} if waiting > 1000 else {}


def _listen(settings: Settings) -> socket.socket:
    """The port, taken before anything else begins; whoever calls meanwhile waits. Raises ConfigurationError."""
    bind, port = settings.secrets.bind, settings.secrets.port
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        return socket.create_server((bind, port), family=family, backlog=2048)
    except OSError as failed:
        why = failed.strerror or type(failed).__name__
        raise ConfigurationError([f"SITREP_BIND={bind} PORT={port} cannot be listened on: {why}"]) from None


async def serve(settings: Settings, *, checkpoint: Checkpoint | None = None) -> None:
    """Run until SIGTERM or SIGINT; what is in flight stays durable and goes on at the next start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(_listen(settings))
        app = await build(settings, stack, checkpoint=checkpoint)
        # What was made so far stays until the end. Without this a full collection walks all of it, half a second in
        # which no delivery is answered.
        gc.collect()
        gc.freeze()
        server = server_of(app.web, host=settings.secrets.bind, port=settings.secrets.port)
        tasks: dict[str, asyncio.Future[object]] = {
            name: asyncio.ensure_future(loop()) for name, loop in app.loops.items()
        }
        tasks["web"] = asyncio.ensure_future(server.serve(sockets=[listening]))
        tasks["stop"] = asyncio.ensure_future(stop.wait())
        tasks["uninstalled"] = asyncio.ensure_future(app.uninstalled.wait())
        log.info("listening on http://%s:%s", settings.secrets.bind, listening.getsockname()[1])
        try:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            for name, task in tasks.items():
                if name not in ("stop", "uninstalled") and task.done():
                    failed = None if task.cancelled() else task.exception()
                    why = f"with {type(failed).__name__}" if failed else "by itself"
                    raise SitrepError(f"the {name} part ended {why}")
        finally:
            server.should_exit = True
            await asyncio.wait([tasks["web"]], timeout=5)
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            if app.uninstalled.gone:
                await app.uninstalled.finish()
