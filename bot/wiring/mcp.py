"""Every `[mcp.<name>]` as a source, with the tools that a person approved."""

from __future__ import annotations

from bot.errors import ConfigurationError
from bot.settings import McpSection, Settings
from bot.wiring.values import access_of, token_of
from integrations.http import Egress
from integrations.mcp import Mcp, Server, ToolRule
from integrations.ports import Source
from integrations.records import Readers


def mcp_servers(settings: Settings, egress: Egress) -> list[Source]:
    """Those with at least one tool; a server without is only there to be looked at."""
    return [made_of(settings, name, one, egress) for name, one in settings.file.mcp.items() if one.tools]


def made_of(settings: Settings, name: str, section: McpSection, egress: Egress) -> Mcp:
    """One server. Raises ConfigurationError for a template that names no field of an incident."""
    token = token_of(settings, name, "mcp")
    environment = dict(section.environment)
    if token and section.token_variable:
        environment[section.token_variable] = token
    try:
        tools = [
            ToolRule(
                name=one.name, approved=one.approved, arguments=one.arguments, kind=one.kind,
                readers=Readers.of(one.readers) if one.readers is not None else None,
                deadline_seconds=one.deadline_seconds, limit_bytes=one.limit_bytes,
            )
            for one in section.tools
        ]  # fmt: skip
    except ValueError as wrong:
        raise ConfigurationError([f"[[mcp.{name}.tools]] {wrong}"]) from None
    return Mcp(
        name=name, server=Server(section.url, section.command, token, environment), egress=egress,
        access=access_of(settings, section), deadline_seconds=section.deadline_seconds, tools=tools,
        link_url=section.link_url,
    )  # fmt: skip
