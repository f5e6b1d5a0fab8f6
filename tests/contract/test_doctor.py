"""`sitrep doctor` against servers of our own: what each answer means, what to do, and that no secret shows."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import prompts
from bot.clock import SystemClock
from bot.model import pins
from bot.settings import load
from bot.store.sqlite import SqliteStore
from bot.wiring import doctor_local
from bot.wiring.doctor import examine
from bot.wiring.doctor_lines import Line, exit_code
from bot.wiring.doctor_outside import SCOPES

PINS = pins.read(prompts.models_text(), "models.toml").pins
SECRETS = {
    "SLACK_BOT_TOKEN": "xoxb-not-for-anybody-1",
    "SLACK_APP_TOKEN": "xapp-not-for-anybody-2",
    "PAGERDUTY_API_TOKEN": "pd-not-for-anybody-3",
    "PAGERDUTY_WEBHOOK_SECRETS": "wh-not-for-anybody-4",
    "OPENAI_API_KEY": "sk-not-for-anybody-5",
}
TOML = """
[slack]
channel = "#incidents"
[services.checkout]
pagerduty = ["PSVC123", "PGONE99"]
[sources.jaeger]
url = "{jaeger}"
readers = ["everyone"]
deadline_seconds = 5
"""


class World:
    """What the outside answers; a test changes one thing."""

    def __init__(self) -> None:
        self.scopes: str | None = ",".join(SCOPES)
        self.at = datetime.now(UTC)
        self.auth: Mapping[str, Any] = {"ok": True, "team": "Acme", "team_id": "T1", "user_id": "UBOT"}
        self.socket: Mapping[str, Any] = {"ok": True, "url": "wss://wss-primary.slack.com/x"}
        self.channel: Mapping[str, Any] = {"id": "C0INCIDENTS", "is_member": True, "is_private": True}
        self.services = [{"id": "PSVC123", "name": "Checkout"}, {"id": "PNEW123", "name": "Search"}]
        self.jaeger = 200
        self.models: Any = {"data": [{"id": pin.name} for pin in PINS]}

    def slack(self, asked: Any) -> Any:
        method = urlsplit(asked.target).path.rsplit("/", 1)[-1]
        headers = {"content-type": "application/json", "date": format_datetime(self.at, usegmt=True)}
        if self.scopes is not None:
            headers["x-oauth-scopes"] = self.scopes
        body = {
            "auth.test": self.auth,
            "apps.connections.open": self.socket,
            "users.conversations": {"ok": True, "channels": [{"id": "C0INCIDENTS", "name": "incidents"}]},
            "conversations.list": {"ok": True, "channels": []},
            "conversations.info": {"ok": True, "channel": self.channel},
        }[method]
        return 200, headers, json.dumps(body).encode()

    def pagerduty(self, asked: Any) -> Any:
        path = urlsplit(asked.target).path
        assert path == "/services", path
        assert parse_qs(urlsplit(asked.target).query)["limit"] == ["100"]
        body = {"services": self.services, "more": False, "limit": 100, "offset": 0}
        return 200, {"content-type": "application/json"}, json.dumps(body).encode()

    def jaeger_answer(self, _: Any) -> Any:
        return self.jaeger, {"content-type": "application/json"}, b'{"data": []}'

    def model(self, asked: Any) -> Any:
        assert asked.target.endswith("/models"), asked.target
        return 200, {"content-type": "application/json"}, json.dumps(self.models).encode()


@pytest.fixture
async def found(serve, tmp_path):
    """`await found(world)` is every line by its name."""

    async def run(world: World, **environment: str) -> dict[str, Line]:
        slack, jaeger, model, pagerduty = await serve(), await serve(), await serve(), await serve(tls=True)
        slack.answer, jaeger.answer = world.slack, world.jaeger_answer
        model.answer, pagerduty.answer = world.model, world.pagerduty
        (tmp_path / "ca.pem").write_bytes(pagerduty.ca_pem)
        (tmp_path / "sitrep.toml").write_text(TOML.format(jaeger=jaeger.url))
        settings = load(
            {
                **SECRETS,
                "SITREP_HOME": str(tmp_path / "home"),
                "SITREP_CONFIG": str(tmp_path / "sitrep.toml"),
                "SITREP_CA_FILE": str(tmp_path / "ca.pem"),
                "SLACK_API_URL": f"{slack.url}/api",
                "PAGERDUTY_API_URL": pagerduty.url,
                "SITREP_MODEL_URL": f"{model.url}/v1",
                **environment,
            }
        )
        lines = await examine(settings, deadline_seconds=20)
        told = json.dumps([(line.name, line.found, line.do) for line in lines])
        for secret in SECRETS.values():
            assert secret not in told
        assert all(line.do for line in lines if line.status != "ok")
        return {line.name: line for line in lines}

    return run


async def test_what_is_in_order_is_ok_and_what_is_not_mapped_is_said(found):
    lines = await found(World())
    assert {name: line for name, line in lines.items() if line.status in ("failed", "missing")} == {}
    assert lines["Slack bot token"].found == "accepted by Acme"
    assert lines["clock"].status == "ok"
    assert lines["channel #incidents"].found == "private"
    assert lines["source jaeger"].found == "answered, and says: jaeger: no traces of checkout in the window"
    assert lines["model"].status == "ok", lines["model"]
    assert lines["PagerDuty"].found == "token accepted, 2 services"
    assert lines["PagerDuty services"].status == "warning"
    assert "PGONE99" in lines["PagerDuty services"].found
    assert exit_code(lines.values()) == 0


async def test_unmapped_services_of_pagerduty_are_named(found):
    world = World()
    world.services.append({"id": "PGONE99", "name": "Old"})
    line = (await found(world))["PagerDuty services"]
    assert line.found == "not in [services]: Search"


async def test_a_missing_scope_is_named_with_what_it_is_for(found):
    world = World()
    world.scopes = "chat:write,commands"
    line = (await found(world))["Slack scopes"]
    assert line.status == "failed"
    assert "users:read (who is a full member, a guest, a partner)" in line.found


async def test_a_scope_that_only_a_setting_needs_is_a_warning(found):
    world = World()
    line = (await found(world))["Slack scope groups:write"]
    assert (line.status, line.found) == ("warning", 'missing; it is for /sitrep channel, with new_channels = "private"')
    world.scopes += ",groups:write"
    assert "Slack scope groups:write" not in await found(world)


@pytest.mark.parametrize(
    ("seconds", "status"), [(-2, "ok"), (45, "warning"), (-45, "warning"), (900, "failed"), (-900, "failed")]
)
async def test_the_clock_is_compared_with_slacks(found, seconds, status):
    world = World()
    world.at += timedelta(seconds=seconds)
    assert (await found(world))["clock"].status == status


async def test_a_revoked_token_fails_with_what_to_do_and_the_other_checks_go_on(found):
    world = World()
    world.auth = world.socket = {"ok": False, "error": "token_revoked"}
    lines = await found(world)
    assert lines["Slack bot token"].status == "failed"
    assert "install the app again" in lines["Slack bot token"].do
    assert "connections:write" in lines["Slack app token"].do
    assert lines["PagerDuty"].status == "ok"
    assert exit_code(lines.values()) == 1


@pytest.mark.parametrize(
    ("channel", "status", "said"),
    [
        ({"is_member": False}, "failed", "the app is not in it"),
        ({"is_archived": True}, "failed", "it is archived"),
        ({"is_member": True, "is_ext_shared": True}, "warning", "shared with another company"),
    ],
)
async def test_a_channel_that_cannot_take_a_card_is_said(found, channel, status, said):
    world = World()
    world.channel = {"id": "C0INCIDENTS", **channel}
    line = (await found(world))["channel #incidents"]
    assert (line.status, said in line.found) == (status, True)


@pytest.mark.parametrize("status", [500, 401])
async def test_a_source_that_does_not_answer_fails_alone(found, status):
    world = World()
    world.jaeger = status
    lines = await found(world)
    assert lines["source jaeger"].status == "failed"
    assert lines["Slack bot token"].status == "ok"


async def test_a_model_that_the_endpoint_does_not_offer_is_a_warning(found):
    world = World()
    world.models = {"data": [{"id": "another"}]}
    assert (await found(world))["model"].status == "warning"


@pytest.mark.parametrize("answer", [[], {"data": 3}, {"nothing": 1}, "text"])
async def test_an_answer_that_is_no_list_of_models_is_one_line(found, answer):
    world = World()
    world.models = answer
    assert (await found(world))["model"].status == "failed"


async def test_without_tokens_a_needed_part_is_missing(found):
    lines = await found(World(), SLACK_BOT_TOKEN="", SLACK_APP_TOKEN="")
    assert lines["Slack bot token"].status == "missing"
    assert exit_code(lines.values()) == 3


async def test_in_http_mode_the_signing_secret_is_needed_instead_of_the_app_token(found, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.TOML", TOML.replace("[slack]\n", '[slack]\nmode = "http"\n'))
    lines = await found(World(), SLACK_APP_TOKEN="")
    assert lines["Slack signing secret"].status == "missing"
    assert "Slack app token" not in lines


async def test_a_shadow_channel_that_everybody_may_read_is_a_warning(found, monkeypatch):
    more = 'mode = "shadow"\n[slack]\nshadow_channel = "#incidents"\n'
    monkeypatch.setattr(f"{__name__}.TOML", TOML.replace("[slack]\n", more))
    world = World()
    assert (await found(world))["channel #incidents"].status == "ok"
    world.channel = {"id": "C0INCIDENTS", "is_member": True, "is_private": False}
    assert (await found(world))["channel #incidents"].status == "warning"


# --- this machine -----------------------------------------------------------------------------------------------------


def test_a_stranger_with_our_package_name_is_named(tmp_path):
    assert doctor_local.packages([str(tmp_path)])[0].status == "ok"
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "__init__.py").touch()
    (line,) = doctor_local.packages([str(tmp_path)])
    assert line.status == "failed"
    assert f"prompts in {tmp_path}" in line.found


async def stored(path: pathlib.Path, table: str, **row: Any) -> None:
    opened = SqliteStore.open(path)
    await opened.upsert(table, [{"workspace_id": "default", **row}])
    await opened.close()


async def test_what_waits_in_the_database_is_said(tmp_path):
    now = datetime.now(UTC)
    settings = load({"SITREP_HOME": str(tmp_path), "PAGERDUTY_API_TOKEN": "t"}, folder=tmp_path)
    path = tmp_path / "sitrep.db"
    old = now - timedelta(hours=5)
    await stored(
        path, "posts", target="incident:P1", part="card", version=3, sent_version=2, state={}, kind="card",
        channel="C1", mark="m", status="wanted", created_at=old, updated_at=old, permitted_at=old,
    )  # fmt: skip
    await stored(
        path, "incidents", id="P1", source="pagerduty", title="t", service="Search", severity=2, first_severity=2,
        status="triggered",
        url="", triggered_at=old, received_at=old, first_signal_at=old, updated_at=old,
    )  # fmt: skip
    await stored(
        path, "notices", id="cursor:pagerduty", kind="cursor", detail={"since": old.isoformat()}, created_at=now
    )
    lines = {line.name: line for line in await doctor_local.store(settings, SystemClock())}
    assert lines["database"].status == "ok"
    assert lines["waiting posts"].status == "failed"
    assert lines["waiting re-checks"].status == "warning"
    assert lines["intake cursor"].status == "warning"
    assert "Search (1)" in lines["unmapped services"].found


async def test_a_database_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "sitrep.db").write_bytes(b"not a database" * 100)
    settings = load({"SITREP_HOME": str(tmp_path)}, folder=tmp_path)
    (line,) = await doctor_local.store(settings, SystemClock())
    assert line.status == "failed"


def test_a_key_that_others_may_read_fails(tmp_path):
    (tmp_path / "secret.key").write_text("00")
    (tmp_path / "secret.key").chmod(0o644)
    settings = load({"SITREP_HOME": str(tmp_path)}, folder=tmp_path)
    (line,) = doctor_local.secret_key(settings)
    assert (line.status, "chmod 600" in line.do) == ("failed", True)
