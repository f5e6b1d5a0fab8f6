"""MCP servers: real processes over stdio and HTTP, both generations of the protocol, and servers that mean no good."""

from __future__ import annotations

import asyncio
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.cli import main
from integrations.asking import Access
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.http import Egress
from integrations.mcp import Mcp, Server, ToolRule, fingerprint
from integrations.mcp.tools import MissingField, approve, arguments_for
from integrations.records import Incident, Question, Readers, Window
from tests.contract.conftest import Asked, as_json

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SERVER = (sys.executable, str(ROOT / "tests" / "support" / "mcp_server.py"))
T0 = datetime(2026, 11, 24, 14, 2, 10, tzinfo=UTC)
TOOL = {
    "name": "get_weather",
    "inputSchema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    "annotations": {"readOnlyHint": True},
}


def question(**more: Any) -> Question:
    given = {"service": "checkout-api", "number": 7, **more}
    incident = Incident(workspace_id="w", id="P1", title="it fails", severity=2, url="", triggered_at=T0, **given)
    return Question(incident=incident, services=(), window=Window(T0 - timedelta(minutes=15), T0))


def source(server: Server, *tools: ToolRule, seconds: float = 30.0, egress: Egress | None = None) -> Mcp:
    egress = egress or Egress([server.url] if server.url else [])
    access = Access(Readers.of(["everyone"]))
    return Mcp(
        name="notes", server=server, egress=egress, access=access, deadline_seconds=seconds, tools=tools,
        link_url="https://notes.example", now=lambda: T0,
    )  # fmt: skip


async def approved(server: Server) -> dict[str, str]:
    return {one.name: one.fingerprint for one in await source(server).offered()}


# --- real servers ---------------------------------------------------------------------------------------------------


async def test_a_server_of_ones_own_is_asked_what_was_approved_and_given_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    server = Server(command=SERVER, environment={"API_TOKEN": "its-own"})
    known = await approved(server)
    asked = {"service": "{service}", "since": "{since}", "limit": "{severity}"}
    found = await source(
        server,
        ToolRule("find_notes", known["find_notes"], asked, "runbook", Readers.of(["sre"]), 20),
        ToolRule("environment", known["environment"], deadline_seconds=20),
        ToolRule("restart_service", known["restart_service"], {"service": "{service}"}),
        ToolRule("huge", known["huge"], limit_bytes=100, deadline_seconds=20),
        ToolRule("slow", known["slow"], deadline_seconds=0.2),
        ToolRule("broken", known["broken"], deadline_seconds=20),
        ToolRule("counts", known["counts"], deadline_seconds=20),
        ToolRule("gone", known["slow"]),
    ).fetch(question())
    notes, environment, huge, counts = found.evidence
    assert notes.text.startswith("2 notes of checkout-api since 2026-11-24T13:47:10+00:00: pool was cut")
    assert (notes.id, notes.kind, notes.url) == ("notes/runbook/find_notes", "runbook", "https://notes.example")
    assert notes.readers == Readers.of(["everyone"], ["sre"])
    given = json.loads(environment.text)
    assert {name for name in given["environment"] if not name.startswith("LC_")} == {
        "PATH",
        "LANG",
        "HOME",
        "API_TOKEN",
    }
    assert given["home"] == []
    assert "secret" not in environment.text
    assert huge.text.endswith("(cut at 100 of 50,000 bytes)")
    assert len(huge.text) < 150
    assert json.loads(counts.text) == {"open": 3, "closed": 17}
    assert found.notes == (
        "tool restart_service was refused: it is not declared read-only",
        "tool slow: no answer in 0.2 s",
        "tool broken answered with an error",
        "tool gone is not offered any more",
    )


READ = {"type": "object", "properties": {}}


@pytest.mark.parametrize("name", ["ends", "gigantic"])
async def test_a_server_that_ends_or_answers_without_end_costs_its_answer_alone(name: str) -> None:
    known = fingerprint(
        {
            "inputSchema": {**READ, "title": f"{name}Arguments"}, "annotations": {"readOnlyHint": True},
            "outputSchema": {
                "properties": {"result": {"title": "Result", "type": "string"}}, "required": ["result"],
                "title": f"{name}Output", "type": "object",
            },
        }
    )  # fmt: skip
    found = await source(Server(command=SERVER), ToolRule(name, known, deadline_seconds=20)).fetch(question())
    assert found.evidence == ()
    assert [note.startswith(f"tool {name} failed") for note in found.notes] == [True], found.notes


@pytest.mark.parametrize("command", [("/bin/true",), ("/nonexistent/server",), ("/bin/cat",)])
async def test_what_is_no_server_is_unavailable(command: tuple[str, ...]) -> None:
    with pytest.raises(Unavailable):
        await source(Server(command=command)).fetch(question())


@pytest.fixture
def running() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [*SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"CHANGED": "1"}
    ) as process:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
        process.kill()


async def test_over_http_a_tool_that_changed_since_it_was_approved_is_refused(
    running: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await approved(Server(command=SERVER))
    server = Server(url=running, token="t")
    arguments = {"service": "{service}", "since": "{until}"}
    found = await source(
        server, ToolRule("find_notes", before["find_notes"], arguments), ToolRule("counts", before["counts"], {})
    ).fetch(question())
    assert [json.loads(one.text) for one in found.evidence] == [{"open": 3, "closed": 17}]
    assert found.notes == (
        "tool find_notes was refused: it changed since it was approved; look at it with sitrep mcp notes",
    )
    now = await approved(server)
    again = await source(server, ToolRule("find_notes", now["find_notes"], arguments, deadline_seconds=20)).fetch(
        question()
    )
    assert [one.text for one in again.evidence] == ["changed"]
    (tmp_path / "sitrep.toml").write_text(f'[mcp.notes]\nurl = "{running}"\nreaders = ["everyone"]\n')
    monkeypatch.setenv("SITREP_CONFIG", str(tmp_path / "sitrep.toml"))
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    assert await asyncio.to_thread(main, ["mcp", "notes"]) == 0
    said = capsys.readouterr().out
    assert "restart_service: NOT read-only" in said
    assert "takes service, since, limit, purge" in said
    assert await asyncio.to_thread(main, ["mcp", "other"]) == 1
    assert "known: notes" in capsys.readouterr().err


# --- both generations, from their own documents ---------------------------------------------------------------------


def replying(results: dict[str, Any], legacy: bool) -> Callable[[Asked], Any]:
    """A server that answers each method with a result; a legacy one does not know `server/discover`."""

    def answer(asked: Asked) -> Any:
        if asked.method != "POST":
            return 405, {}, b""
        message = json.loads(asked.body)
        if "id" not in message:
            return 202, {}, b""
        if message["method"] == "server/discover" and legacy:
            error = {"code": -32601, "message": "no such method"}
            return as_json({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return as_json({"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]})

    return answer


def listed(sample: dict[str, Any]) -> dict[str, Any]:
    """The documented list with one page and its tool declared read-only."""
    result = json.loads(json.dumps(sample.get("result", sample)))
    result.pop("nextCursor", None)
    result["tools"][0]["annotations"] = {"readOnlyHint": True}
    return result


@pytest.mark.parametrize("generation", ["2025-11-25", "2026-07-28"])
async def test_both_generations_are_spoken_and_a_tool_is_the_same_in_both(
    generation: str, serve: Any, wire: Any
) -> None:
    legacy = generation == "2025-11-25"
    samples = {name: sample for pattern in ("2025*", "2026*") for name, sample in wire("mcp", pattern).items()}
    if legacy:
        results = {
            "initialize": samples["2025-11-25_lifecycle_2_result.json"]["result"],
            "tools/list": listed(samples["2025-11-25_tools_2_result.json"]),
            "tools/call": samples["2025-06-18_tools_6_result.json"]["result"],
        }
    else:
        call = samples["2026-07-28_CallToolResultResponse_call-tool-result-response.json"]["result"]
        results = {
            "server/discover": samples["2026-07-28_DiscoverResult_server-capabilities-discovery.json"],
            "tools/list": listed(samples["2026-07-28_ListToolsResultResponse_list-tools-result-response.json"]),
            "tools/call": call,
        }
    served = await serve()
    served.answer = replying(results, legacy)
    server = Server(url=f"{served.url}/mcp", token="secret-token")
    known = await approved(server)
    assert known["get_weather"] == fingerprint(results["tools/list"]["tools"][0])
    assert known["get_weather"] == fingerprint({**listed(samples["2025-11-25_tools_2_result.json"])["tools"][0]})
    rule = ToolRule("get_weather", known["get_weather"], {"location": "{service}"}, deadline_seconds=20)
    (item,) = (await source(server, rule).fetch(question())).evidence
    assert item.text.startswith('{"temperature": 22.5' if legacy else "Current weather in New York")
    calls = [json.loads(one.body) for one in served.asked if b"tools/call" in one.body]
    assert [one["params"]["arguments"] for one in calls] == [{"location": "checkout-api"}]
    assert {one.headers["authorization"] for one in served.asked} == {"Bearer secret-token"}
    wrong = samples["2025-11-25_tools_8_result.json"]["result"] | ({} if legacy else {"resultType": "complete"})
    failed = {**results, "tools/call": wrong}
    served.answer = replying(failed, legacy)
    assert (await source(server, rule).fetch(question())).notes == ("tool get_weather answered with an error",)


# --- servers that mean no good --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, {}, b""), Denied),
        ((500, {}, b"oops"), Unavailable),
        ((200, {"content-type": "application/json"}, b"{not json"), IntegrationError),
        ((200, {"content-type": "text/html"}, b"<html>"), IntegrationError),
        ((200, {"content-type": "application/json"}, b'{"jsonrpc": "2.0", "id": 99, "result": 5}'), IntegrationError),
        ((307, {"location": "http://127.0.0.2:1/mcp"}, b""), IntegrationError),
    ],
)
async def test_whatever_it_answers_is_one_of_our_errors(serve: Any, answer: Any, error: type[Exception]) -> None:
    served = await serve()
    served.answer = lambda _: answer
    with pytest.raises(error):
        await source(Server(url=f"{served.url}/mcp"), seconds=2.0).fetch(question())


async def test_a_list_without_end_is_not_read_to_its_end(serve: Any) -> None:
    served = await serve()
    initialize = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "x", "version": "1"},
    }
    served.answer = replying({"initialize": initialize, "tools/list": {"tools": [TOOL], "nextCursor": "more"}}, True)
    with pytest.raises(Malformed, match="more than 20 pages"):
        await source(Server(url=f"{served.url}/mcp"), ToolRule("get_weather", fingerprint(TOOL))).fetch(question())


async def test_an_address_that_no_setting_names_is_not_called(serve: Any) -> None:
    served = await serve()
    with pytest.raises(Denied):
        source(Server(url=f"{served.url}/mcp"), egress=Egress(["http://127.0.0.1:1"]))
    assert served.asked == []


# --- what was approved ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        (TOOL, ""),
        ({**TOOL, "description": "another text, which nobody reads"}, ""),
        (None, "not offered any more"),
        ({**TOOL, "annotations": None}, "not declared read-only"),
        ({**TOOL, "annotations": {"readOnlyHint": False}}, "not declared read-only"),
        ({**TOOL, "annotations": {"readOnlyHint": True, "destructiveHint": True}}, "not declared read-only"),
        ({**TOOL, "annotations": {"readOnlyHint": True, "openWorldHint": True}}, "it changed since"),
        ({**TOOL, "inputSchema": {"type": "object"}}, "it changed since"),
        ({**TOOL, "outputSchema": {"type": "object"}}, "it changed since"),
    ],
)
def test_a_tool_is_called_only_as_it_was_approved(tool: dict[str, Any] | None, said: str) -> None:
    refused = approve(ToolRule("get_weather", fingerprint(TOOL)), tool, "notes")
    assert said in refused if said else refused == ""


def test_arguments_are_the_template_with_the_incidents_fields_and_nothing_else() -> None:
    template = {"q": "{service} {title}", "n": "{number}", "deep": [{"at": "{triggered_at}"}], "limit": 5, "on": True}
    assert arguments_for(ToolRule("x", "", template), question()) == {
        "q": "checkout-api it fails", "n": 7, "deep": [{"at": "2026-11-24T14:02:10+00:00"}], "limit": 5, "on": True,
    }  # fmt: skip
    with pytest.raises(ValueError, match="arguments name 'service"):
        ToolRule("x", "", {"a": "{service.__class__}"})
    with pytest.raises(MissingField, match="service"):
        arguments_for(ToolRule("x", "", template), question(service=None))
    hostile = question(service="{title} {number}" + "x" * 900)
    assert arguments_for(ToolRule("x", "", {"s": "{service}"}), hostile)["s"] == ("{title} {number}" + "x" * 900)[:500]
