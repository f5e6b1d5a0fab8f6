"""`sitrep replay DIR`: one recorded incident, offline, through the rooms of a live triage."""

from __future__ import annotations

import asyncio
import json
import pathlib
import secrets

import click

from bot.errors import SitrepError


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
    from bot.flows.replay import replay
    from bot.trust.audience import Audience, AudienceUnknown
    from bot.trust.redaction import Redactor
    from integrations.bundle import open_bundle
    from integrations.errors import IntegrationError

    try:
        bundle = open_bundle(folder, baselines)
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
    done = asyncio.run(replay(bundle, audience, readers, redactor))
    if html is not None:
        from bot.cards.page import page

        html.write_text(page(done.card, done.ranked), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(to_json(done, render(done.card, "classic").blocks), ensure_ascii=False, indent=1))
    elif html is None:
        from rich.console import Console

        from bot.cards.terminal import draw

        Console().print(draw(render(done.card, "classic").blocks))
