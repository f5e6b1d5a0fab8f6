"""The source: connect, check each approved tool against what is offered now, call it with its fixed arguments.

Both generations of the protocol are spoken (a handshake to 2025-11-25, stateless from 2026-07-28); the SDK finds out
which. The client declares no capability, so a server can ask nothing of us. A tool that fails says so with `isError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from integrations.asking import Access, Now, utc_now
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.http import Egress, httpx2_async_client
from integrations.mcp.stdio import child
from integrations.mcp.tools import MissingField, ToolRule, approve, arguments_for, fingerprint
from integrations.reading import text
from integrations.records import Evidence, Findings, Question

if TYPE_CHECKING:
    from mcp import Client, MCPError

MAX_PAGES = 20
"""Of a list of tools."""
TITLE = 120


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is: an address, or a command that starts it. `environment` is all that a command is given."""

    url: str | None = None
    command: tuple[str, ...] = ()
    token: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool as the server offers it now, for a person to approve."""

    name: str
    description: str
    read_only: bool
    fingerprint: str
    schema: Mapping[str, Any]


class Mcp:
    """`Source` over one MCP server. Every item is the whole answer of one tool, cut at its limit."""

    kind = "mcp"

    def __init__(
        self,
        *,
        name: str,
        server: Server,
        egress: Egress,
        access: Access,
        deadline_seconds: float,
        tools: Sequence[ToolRule] = (),
        link_url: str | None = None,
        now: Now = utc_now,
    ) -> None:
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._server = server
        self._egress = egress
        self._access = access
        self._tools = tuple(tools)
        self._link_url = link_url
        self._now = now
        if server.url is not None:
            egress.require(name, server.url)

    async def fetch(self, question: Question) -> Findings:
        """One item a tool. Raises Unavailable, Denied or Malformed when the server itself cannot be asked; what is
        wrong with one tool is a note beside the others' answers."""
        async with self._connected() as client:
            offered = await self._offered(client)
            found = await asyncio.gather(*(self._ask(client, rule, offered, question) for rule in self._tools))
        return Findings(
            evidence=tuple(one for one in found if isinstance(one, Evidence)),
            notes=tuple(one for one in found if isinstance(one, str)),
        )

    async def offered(self) -> list[Offered]:
        """What the server offers now. Raises as `fetch` does."""
        async with self._connected() as client:
            tools = await self._offered(client)
        return [
            Offered(
                name, text(tool.get("description"), 500),
                (tool.get("annotations") or {}).get("readOnlyHint") is True, fingerprint(tool),
                tool.get("inputSchema") or {},
            )
            for name, tool in sorted(tools.items())
        ]  # fmt: skip

    # --- asking -----------------------------------------------------------------------------------------------------

    async def _ask(
        self, client: Client, rule: ToolRule, offered: Mapping[str, Mapping[str, Any]], question: Question
    ) -> Evidence | str:
        """The tool's answer, or why there is none as a sentence."""
        if refused := approve(rule, offered.get(rule.name), self.name):
            return refused
        try:
            arguments = arguments_for(rule, question)
        except MissingField as missing:
            return f"tool {rule.name} was not asked: the incident names no {missing}"
        from mcp import MCPError

        try:
            async with asyncio.timeout(rule.deadline_seconds):
                answer = await client.call_tool(rule.name, arguments)
        except TimeoutError:
            return f"tool {rule.name}: no answer in {rule.deadline_seconds:g} s"
        except MCPError as failed:
            return f"tool {rule.name} failed with code {failed.code}"
        except (ValidationError, ValueError, RuntimeError):
            return f"tool {rule.name}: its answer is not in its own format"
        told = answer.model_dump(mode="json", by_alias=True, exclude_none=True)
        if told.get("isError"):
            return f"tool {rule.name} answered with an error"
        said = _said(told)
        return self._item(rule, said, question) if said else f"tool {rule.name} answered nothing"

    def _item(self, rule: ToolRule, said: str, question: Question) -> Evidence:
        service = question.incident.service
        readers, model = self._access.of(service)
        data = said.encode("utf-8", "replace")
        if len(data) > rule.limit_bytes:
            cut = data[: rule.limit_bytes].decode("utf-8", "ignore")
            said = f"{cut}\n(cut at {rule.limit_bytes:,} of {len(data):,} bytes)"
        first = next((line.strip() for line in said.splitlines() if line.strip(" {[")), rule.name)
        return Evidence(
            id=f"{self.name}/{rule.kind}/{rule.name}",
            kind=rule.kind,
            source=self.name,
            observed_at=self._now(),
            fetched_at=self._now(),
            url=self._link_url or "",
            readers=readers.narrowed(rule.readers),
            model=model,
            title=f"{rule.name}: {first}"[:TITLE],
            text=said,
            service=service,
        )

    async def _offered(self, client: Client) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                found.setdefault(tool.name, tool.model_dump(mode="json", by_alias=True, exclude_none=True))
            cursor = page.next_cursor
            if not cursor:
                return found
        raise Malformed(self.name, f"its list of tools has more than {MAX_PAGES} pages")

    # --- connecting -------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        """A client for one question; whatever the SDK raises becomes one of our errors."""
        import httpx2
        from mcp import Client, MCPError

        refused: list[int] = []
        try:
            async with contextlib.AsyncExitStack() as stack:
                transport = self._transport(stack, refused) if self._server.url else self._child()
                client = Client(transport, cache=None, read_timeout_seconds=self.deadline_seconds)
                yield await stack.enter_async_context(client)
        except MCPError as failed:
            raise self._told(failed, refused) from failed
        except (httpx2.HTTPError, OSError) as failed:
            raise Unavailable(self.name, f"the server cannot be reached ({type(failed).__name__})") from failed
        except (ValidationError, ValueError) as failed:
            raise Malformed(self.name, "the server does not speak MCP as documented") from failed
        except BaseExceptionGroup as failed:
            raise self._of_group(failed, refused) from failed

    def _transport(self, stack: contextlib.AsyncExitStack, refused: list[int]) -> Any:
        """`refused` is told the HTTP statuses that say no: the SDK keeps none of them."""
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        assert self._server.url is not None
        http = httpx2_async_client(
            self._egress, self.name, self._server.url, timeout_seconds=self.deadline_seconds, connections=4
        )
        stack.push_async_callback(http.aclose)

        async def noticed(response: httpx2.Response) -> None:
            if response.status_code in (401, 403):
                refused.append(response.status_code)

        http.event_hooks = {"response": [noticed]}
        if self._server.token:
            http.headers["Authorization"] = f"Bearer {self._server.token}"
        return streamable_http_client(self._server.url, http_client=http)

    def _child(self) -> Any:
        return child(self._server.command, self._server.environment)

    def _told(self, failed: MCPError, refused: Sequence[int]) -> IntegrationError:
        if refused:
            return Denied(self.name, f"the server refused our credentials ({refused[0]})")
        return Unavailable(self.name, f"the server answered with code {failed.code}")

    def _of_group(self, failed: BaseExceptionGroup[BaseException], refused: Sequence[int]) -> BaseException:
        """The first error of a group of tasks that says what to do; a cancellation stays one."""
        from mcp import MCPError

        flat = _flat(failed)
        for one in flat:
            if isinstance(one, IntegrationError | asyncio.CancelledError | KeyboardInterrupt):
                return one
            if isinstance(one, MCPError):
                return self._told(one, refused)
        return Unavailable(self.name, f"the connection to the server failed ({type(flat[0]).__name__})")


def _flat(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for one in group.exceptions:
        found += _flat(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def _said(answer: Mapping[str, Any]) -> str:
    """The texts of an answer; its structured content where it has no text."""
    parts = []
    for block in answer.get("content") or []:
        if block.get("type") == "text":
            parts.append(text(block.get("text"), 1_000_000))
        elif block.get("type") == "resource":
            parts.append(text((block.get("resource") or {}).get("text"), 1_000_000))
        elif block.get("type") == "resource_link":
            parts.append(text(block.get("uri"), 500))
    said = "\n".join(part for part in parts if part)
    structured = answer.get("structuredContent")
    if not said and structured not in (None, {}, []):
        said = json.dumps(structured, ensure_ascii=False, indent=1)
    return said.strip()
