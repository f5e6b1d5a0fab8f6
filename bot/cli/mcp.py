"""`sitrep mcp NAME`: what an MCP server offers, with the fingerprint that approves each tool."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from bot.errors import SitrepError

if TYPE_CHECKING:
    from integrations.mcp import Offered


@click.command("mcp")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="names, schemas and fingerprints on standard output")
def command(name: str, as_json: bool) -> None:
    """Ask the server of [mcp.NAME] for its tools. Nothing is called.

    Read what a tool takes, then put its fingerprint into [[mcp.NAME.tools]] as `approved`. Only tools that declare
    themselves read-only can be used.
    """
    tools = asyncio.run(_offered(name))
    if as_json:
        told = [
            {"name": one.name, "description": one.description, "read_only": one.read_only,
             "fingerprint": one.fingerprint, "schema": one.schema}
            for one in tools
        ]  # fmt: skip
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    for one in tools:
        click.echo(f"{one.name}: {'read-only' if one.read_only else 'NOT read-only: it cannot be used'}")
        if one.description:
            click.echo(f"  {' '.join(one.description.split())[:200]!r}")
        click.echo(f"  takes {', '.join(one.schema.get('properties') or {}) or 'nothing'}")
        click.echo(f'  approved = "{one.fingerprint}"')


async def _offered(name: str) -> list[Offered]:
    from bot.settings import load
    from bot.wiring.mcp import made_of
    from bot.wiring.outside import egress_of
    from integrations.errors import IntegrationError

    settings = load()
    section = settings.file.mcp.get(name)
    if section is None:
        known = ", ".join(settings.file.mcp) or "none"
        raise SitrepError(f"there is no [mcp.{name}]; known: {known}")
    try:
        async with asyncio.timeout(30):
            return await made_of(settings, name, section, egress_of(settings)).offered()
    except TimeoutError:
        raise SitrepError(f"{name}: no answer in 30 s") from None
    except IntegrationError as failed:
        raise SitrepError(str(failed)) from None
