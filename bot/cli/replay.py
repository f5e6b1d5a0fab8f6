"""`sitrep replay DIR`: one recorded incident, offline, through the rooms of a live triage."""

from __future__ import annotations

import asyncio
import json
import pathlib
import secrets
from functools import partial
from typing import TYPE_CHECKING

import click

from bot.errors import ConfigurationError, SitrepError

if TYPE_CHECKING:
    from bot.flows.replay import Replayed
    from bot.trust.audience import Audience, AudienceUnknown
    from bot.trust.redaction import Redactor
    from integrations.bundle import Bundle
    from integrations.records import Readers


@click.command("replay")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--baseline", "baselines", multiple=True, type=click.Path(path_type=pathlib.Path), metavar="PATH",
    help="What normal looks like, without suffix; may be repeated. Default: ../baseline/<day> beside DIR.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON instead of drawing the card.")
@click.option("--html", "html", type=click.Path(path_type=pathlib.Path, dir_okay=False), help="Write one page to FILE.")
def command(
    folder: pathlib.Path, baselines: tuple[pathlib.Path, ...], as_json: bool, html: pathlib.Path | None
) -> None:
    """Run the incident in DIR offline and draw its card."""
    from bot.cards.render import render
    from bot.flows.replay import as_json as to_json
    from bot.trust.audience import Audience, AudienceUnknown
    from bot.trust.redaction import Redactor
    from integrations.bundle import open_bundle
    from integrations.errors import IntegrationError, Unavailable

    try:
        bundle = open_bundle(folder, baselines)
    except Unavailable as missing:
        raise ConfigurationError([missing.message]) from None
    except IntegrationError as wrong:
        raise SitrepError(wrong.message) from None
    incident = bundle.incident
    audience: Audience | AudienceUnknown = Audience.local_operator(incident.triggered_at)
    if bundle.audience is not None:
        members = list(bundle.audience.members.values())
        audience = (
            Audience.of(members, incident.triggered_at) if members else AudienceUnknown("audience.json names nobody")
        )
    redactor = Redactor([secrets.token_bytes(32)])
    readers = bundle.readers("alerts", incident.service)
    from rich.console import Console

    with Console(stderr=True).status(f"replaying {incident.id}"):  # draws on a terminal, nothing in a pipe
        done = asyncio.run(_run(bundle, audience, readers, redactor))
    if html is not None:
        from bot.cards.page import page

        html.write_text(page(done.card, done.ranked), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(to_json(done, render(done.card, "classic").blocks), ensure_ascii=False, indent=1))
    elif html is None:
        from bot.cards.terminal import draw

        Console().print(draw(render(done.card, "classic").blocks))


async def _run(bundle: Bundle, audience: Audience | AudienceUnknown, readers: Readers, redactor: Redactor) -> Replayed:
    """With a model if the settings name one; its spending is bounded as ever, its records are thrown away."""
    import tempfile
    from contextlib import AsyncExitStack

    from bot.clock import SystemClock
    from bot.flows.replay import replay
    from bot.settings import load
    from bot.store.sqlite import SqliteStore
    from bot.wiring import build_gateway, build_summarise, egress_of, models_of, routing_of

    settings = load()
    if not models_of(settings):
        return await replay(bundle, audience, readers, redactor)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        store = SqliteStore.open(pathlib.Path(folder) / "sitrep.db")
        stack.push_async_callback(store.close)
        clock = SystemClock()
        endpoints = [pin.endpoint for chain in models_of(settings).values() for pin in chain]
        gateway = await build_gateway(settings, store, clock, egress_of(settings, endpoints), redactor, stack)
        summarise = build_summarise(settings, gateway, routing_of(settings), redactor, secrets.token_bytes(32))
        model = partial(summarise, triage_id=f"{bundle.incident.id}/1", step="infer")
        return await replay(bundle, audience, readers, redactor, summarise=model)
