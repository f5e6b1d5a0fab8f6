"""`sitrep experiment baseline --weeks`: the installed command against a PagerDuty on a TLS server of this machine."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner

from bot.cli.experiment import command
from bot.experiment.hypothesis import parse
from tests.unit.test_experiment_hypothesis import EXAMPLE

CONFIG = """
[slack]
channel = "#incidents"
[sources.pagerduty]
readers = ["everyone"]
[services.checkout]
pagerduty = ["PSVC1"]
"""


def log_of(today: datetime) -> list[dict]:
    """Two incidents a day for two weeks, one of them acknowledged; 211 log entries a page do not fit on one."""
    entries = []
    for day in range(14):
        for hour, minutes in ((1, 30 + 7 * day), (9, 200 - 9 * day)):
            at = today - timedelta(days=day, hours=-hour)
            name = f"P{day:02d}{hour}"
            incident = {
                "id": name, "type": "incident", "title": "mail to priya@example.com fails", "urgency": "high",
                "created_at": at.isoformat(), "service": {"id": "PSVC1", "summary": "Checkout"},
            }  # fmt: skip
            for kind, after in (("trigger", 0), ("acknowledge", 5), ("resolve", minutes)):
                if kind != "acknowledge" or hour == 1:
                    entries.append(
                        {
                            "id": f"R{name}{kind}", "type": f"{kind}_log_entry", "incident": incident,
                            "created_at": (at + timedelta(minutes=after)).isoformat(),
                            "agent": {"type": "user_reference"},
                        }
                    )  # fmt: skip
    return entries


async def test_it_reads_in_pages_prints_the_figures_and_writes_what_cannot_be_found(serve, tmp_path, monkeypatch):
    served = await serve(tls=True)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    log = log_of(today)

    def answer(asked):
        query = parse_qs(urlsplit(asked.target).query)
        since, until = (datetime.fromisoformat(query[name][0]) for name in ("since", "until"))
        inside = [one for one in log if since <= datetime.fromisoformat(one["created_at"]) < until]
        offset = int(query["offset"][0])
        page = {"log_entries": inside[offset : offset + 100], "more": offset + 100 < len(inside)}
        return 200, {}, json.dumps(page).encode()

    served.answer = answer
    (tmp_path / "experiments").mkdir()
    starts = datetime.now(UTC).date() + timedelta(days=7)
    file = tmp_path / "experiments" / "summary.toml"
    file.write_text(EXAMPLE.read_text().replace("2026-12-07", starts.isoformat()))
    (tmp_path / "sitrep.toml").write_text(CONFIG)
    (tmp_path / "ca.pem").write_bytes(served.ca_pem)
    for name, value in {
        "SITREP_HOME": tmp_path / "home", "SITREP_CONFIG": tmp_path / "sitrep.toml", "PAGERDUTY_API_TOKEN": "token",
        "PAGERDUTY_API_URL": served.url, "SITREP_CA_FILE": tmp_path / "ca.pem", "SITREP_SECRET_KEY": "k" * 32,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    # Nobody waits in a test: the pace has a test of its own.
    monkeypatch.setattr("bot.wiring.past.REQUESTS_A_MINUTE", 1e6)

    async def run(*arguments: str):
        return await asyncio.to_thread(CliRunner().invoke, command, ["baseline", *arguments])

    done = await run("--weeks", "3", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["incidents"] == 28 and found["all"]["acknowledged"] == 14 and found["all"]["mtta_median"] == 5
    assert found["by_service"][0]["group"] == "checkout" and found["cost_per_triage"] is None
    assert "28 incidents are new in the database" in done.stderr and "%" not in done.stderr.splitlines()[0]
    written = parse(file.read_text(), file="x").cannot_find
    assert written.startswith("cannot find an effect below ") and written.endswith(" %")
    database = sqlite3.connect(tmp_path / "home" / "sitrep.db")
    assert database.execute("SELECT count(*), count(DISTINCT unit_id) FROM incidents").fetchone() == (28, 28)
    assert "priya@example.com" not in "".join(map(str, database.execute("SELECT title FROM incidents")))
    database.close()
    assert not (tmp_path / "home" / "baseline" / "pagerduty.jsonl").exists()

    again = await run("--weeks", "3")
    assert "0 incidents are new" in again.stdout and "minutes to acknowledge" in again.stdout
    served.answer = lambda asked: (403, {}, b"{}")
    refused = await run("--weeks", "3")
    assert refused.exception is not None and "PAGERDUTY_API_TOKEN" in str(refused.exception)
    assert refused.exception.exit_code == 3


async def test_without_a_token_the_file_is_named_as_the_other_way(tmp_path, monkeypatch):
    monkeypatch.setenv("SITREP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    done = await asyncio.to_thread(CliRunner().invoke, command, ["baseline", "--weeks", "12"])
    assert done.exception.exit_code == 3 and "--csv" in str(done.exception)
