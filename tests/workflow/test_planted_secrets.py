"""Secrets planted in every input are nowhere afterwards: no table (decoded), log line, metric, post or transcript."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import pathlib
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator

import httpx
import pytest

from bot.cli import main
from demo.systems import Systems
from demo.tape import FOLDER
from tests.workflow.fake_model import FakeModel
from tests.workflow.fake_slack import FakeSlack
from tests.workflow.test_crash import CARD_OUT, RECORDED, Case

SECRETS = {
    "alert title": "AKIAQ3EGPLANTED7XW2Z",
    "alert body": "postgres://checkout:pl4ntedPassw0rd@payments-db:5432/shop",
    "log line": "ghp_Pl4ntedTokenInALogLine0000AbCdEfGh12",
    "span": "xoxb-210987654321-1098765432109-Pl4ntedSpanAttr1Bute99x",
    "commit": "planted.person@example.org",
    "note": "password=PlantedHunter2And4",
    "webhook": "glpat-Pl4ntedInAW3bh00kAb",
    "label": "sk_live_Pl4ntedInALabel0000AbCdEf",
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The demo's recording with a secret in each kind of input."""
    folder = pathlib.Path(shutil.copytree(FOLDER, tmp_path_factory.mktemp("planted") / "recording"))
    pagerduty = (folder / "pagerduty.json").read_text()
    title = json.loads(pagerduty)["incident"]["title"]
    said = f"{title} key {SECRETS['alert title']} at {SECRETS['alert body']} {SECRETS['note']}"
    (folder / "pagerduty.json").write_text(pagerduty.replace(json.dumps(title)[1:-1], json.dumps(said)[1:-1]))
    github = (folder / "github.json").read_text()
    (folder / "github.json").write_text(github.replace('"message": "', f'"message": "Mail {SECRETS["commit"]}: '))
    _replaced(
        folder / "logs.jsonl.gz", '"body":{"stringValue":"', f'"body":{{"stringValue":"token {SECRETS["log line"]} '
    )
    path = '"key":"url.path","type":"string","value":"'
    _replaced(folder / "traces.jsonl.gz", path, f"{path}/x?token={SECRETS['span']}&p=")
    return folder


def _replaced(path: pathlib.Path, what: str, by: str) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    assert what in text, f"{path.name} does not look as expected"
    path.write_bytes(gzip.compress(text.replace(what, by).encode()))


@pytest.fixture(scope="module")
def world(planted: pathlib.Path) -> Iterator[Systems]:
    with Systems(planted) as running:
        yield running


def _everything(case: Case) -> Iterator[tuple[str, str]]:
    """Every text that is left of a run, base64 decoded as well."""
    for name in ("sitrep.db", "engine.db"):
        connection = sqlite3.connect(case.home / name)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in filter(None, row):
                    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    yield f"{name}:{table}", text
                    try:
                        yield (
                            f"{name}:{table} decoded",
                            base64.b64decode(text, validate=True).decode("utf-8", "replace"),
                        )
                    except ValueError:
                        continue
        connection.close()
    for path in case.home.rglob("*"):
        if path.is_file() and path.suffix not in (".db", ".key"):
            yield path.name, path.read_bytes().decode("utf-8", "replace")
    yield "the log", (case.folder / "out.log").read_text(errors="replace")
    yield "Slack", json.dumps(case.slack.messages, ensure_ascii=False)


def _deliver(case: Case, world: Systems) -> None:
    """A signed webhook of PagerDuty and one of Alertmanager, each with a secret in what an outsider writes."""
    until = time.monotonic() + 60
    while not (listening := re.search(r"listening on (http://\S+)", case.said())):
        assert time.monotonic() < until, case.said()
        time.sleep(0.05)
    incident = {**world.state.incident, "id": "PPLANTED1", "title": f"Checkout fails with {SECRETS['webhook']}"}
    event = {
        "id": "01PLANTED",
        "event_type": "incident.triggered",
        "occurred_at": incident["created_at"],
        "data": incident,
    }
    body = json.dumps({"event": event}).encode()
    signature = hmac.new(world.secret.encode(), body, "sha256").hexdigest()
    alert = {
        "status": "firing", "startsAt": incident["created_at"], "fingerprint": "f1",
        "labels": {"alertname": "Fails", "severity": "critical", "service": "checkout-api", "key": SECRETS["label"]},
        "annotations": {"summary": f"it says {SECRETS['label']}"},
    }  # fmt: skip
    storm = {"version": "4", "groupKey": "g", "status": "firing", "receiver": "sitrep", "alerts": [alert]}
    for path, content, headers in (
        ("/webhooks/pagerduty", body, {"X-PagerDuty-Signature": f"v1={signature}"}),
        ("/webhooks/alertmanager", json.dumps(storm).encode(), {"Authorization": "Bearer am-secret"}),
    ):
        answer = httpx.post(listening[1] + path, content=content, headers=headers, timeout=30)
        assert answer.status_code == 202, (path, answer.text)


def _told_at_the_shell(case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the story of a post, an export with its description, and the egress list say."""
    monkeypatch.setenv("SITREP_HOME", str(case.home))
    monkeypatch.setenv("SITREP_CONFIG", str(case.home / "sitrep.toml"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-key-000000")
    (triage,) = case.rows("SELECT id FROM triages WHERE recorded_at IS NOT NULL LIMIT 1")
    export = case.folder / "export.db"
    assert main(["audit", "show", str(triage[0]), "--texts"]) == 0
    assert main(["db", "export", "--since", "2020-01-01", "--output", str(export)]) == 0
    assert main(["doctor", "egress"]) == 0
    files = b"".join(path.read_bytes() for path in case.folder.glob("export*"))
    return capsys.readouterr().out + files.decode("utf-8", "replace")


def test_planted_secrets_are_nowhere_afterwards(tmp_path, world, monkeypatch, capsys):
    with FakeSlack() as slack, FakeModel() as model:
        case = Case(tmp_path, slack, world)
        for kind in ("jaeger", "prometheus"):
            case.add(f'[sources.{kind}]\nreaders = ["everyone"]\nurl = "{world.url[kind]}"\ndeadline_seconds = 10\n')
        case.add(
            '[sources.github]\nreaders = ["everyone"]\n'
            '[services.checkout-api]\nrepositories = ["tea-shop/checkout-api"]\n'
        )
        case.add('[sources.alertmanager]\nreaders = ["everyone"]\n')
        case.add(f'[telemetry]\nspans_file = "{case.home / "spans.jsonl"}"\nshare = 1.0\n')
        case.start(
            ALERTMANAGER_WEBHOOK_SECRETS="am-secret",
            SITREP_MODEL_URL=model.url,
            SITREP_MODEL="smollm2-135m-instruct-q4_1",
            OPENAI_API_KEY="sk-planted-key-000000",
        )
        _deliver(case, world)
        case.wait_for(RECORDED, 90)
        case.wait_for(CARD_OUT)
        case.stop()
        texts = list(_everything(case))
        texts.append(("the shell", _told_at_the_shell(case, monkeypatch, capsys)))
        kinds = {row[0] for row in case.rows("SELECT DISTINCT kind FROM evidence")}
        prompts = model.prompts
    assert {"alert", "change"} <= kinds
    assert any(where == "spans.jsonl" for where, _ in texts), "no span was exported"
    assert sum(where == "sitrep.db:signals" and "<secret:" in text for where, text in texts) >= 2
    assert prompts, "the model was not asked"
    found = [(where, name) for where, text in texts for name, secret in SECRETS.items() if secret in text]
    assert found == []
    assert not [name for name, secret in SECRETS.items() for prompt in prompts if secret in prompt]
    assert any("<secret:" in text for where, text in texts if where == "sitrep.db:evidence")
    assert not [where for where, text in texts if "sk-planted-key-000000" in text]
