"""An export is a plain file that explains itself, holds no text from outside, and gives a report's figures again."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import stat
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner

from bot.cli.db import command as db
from bot.cli.experiment import command as experiment
from bot.cli.report import command as report
from bot.report.weeks import parse_week
from bot.store.export_tables import EXPERIMENTS, QUERIES, ROWS, TABLES
from bot.store.sqlite import SqliteStore
from tests.support.big_store import END, SEED, fill, hypothesis
from tests.support.report_material import EXAMPLE

WEEK = parse_week("2026-W47")
SECRET = "hunter2-of-the-outside"


class Exported:
    """What the command wrote, read with nothing but sqlite3, csv and json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "export.db"
        self.metadata = json.loads((folder / "export.metadata.json").read_text())
        self.tables = {name: self.ask(f"SELECT * FROM {name}") for name in (*(t.name for t in TABLES), "experiments")}

    def ask(self, sql: str) -> list[dict]:
        database = sqlite3.connect(self.file)
        database.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in database.execute(sql)]
        finally:
            database.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """390 incidents in 39 weeks, the last 26 of them an experiment; exported whole, and its report in two forms."""
    import asyncio

    folder = tmp_path_factory.mktemp("export")
    (folder / "experiments").mkdir()
    text = EXAMPLE.read_text().replace("2026-12-07", hypothesis().starts_on.isoformat())
    (folder / "experiments" / "summary.toml").write_text(text)
    (folder / "sitrep.toml").write_text('timezone = "UTC"\n[slack]\nchannel = "#incidents"\n')
    home = folder / "home"
    (home / "experiments").mkdir(parents=True)
    (home / "experiments" / "summary.seed").write_text(SEED.hex())
    asyncio.run(_fill(home / "sitrep.db"))
    environment = {
        "SITREP_HOME": str(home), "SITREP_CONFIG": str(folder / "sitrep.toml"), "SITREP_SECRET_KEY": "k" * 32,
    }  # fmt: skip
    since = (END - timedelta(weeks=60)).date().isoformat()

    def run(command, *arguments: str) -> str:
        done = CliRunner(env=environment).invoke(command, arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    run(db, "export", "--since", since, "--output", str(folder / "export.db"))
    made = Exported(folder)
    made.run = run
    made.json = json.loads(run(report, "--week", WEEK.name))
    lines = csv.DictReader(io.StringIO(run(report, "--week", WEEK.name, "--format", "csv")))
    made.csv = {(one["part"], one["of"], one["figure"]): one for one in lines}
    return made


async def _fill(path: Path) -> None:
    await fill(path, 390, weeks=39)
    store = SqliteStore.open(path)
    at = END - timedelta(days=3)
    first = (await store.query("SELECT id FROM incidents ORDER BY triggered_at DESC LIMIT 1"))[0]["id"]
    key = {"workspace_id": "default", "incident_id": first}
    await store.upsert("incidents", [{"workspace_id": "default", "id": first, "title": SECRET}])
    await store.insert("evidence", [key | {
        "ulid": "U", "mark": "e1", "source": "s", "kind": "log", "external_id": "x", "title": SECRET, "text": SECRET,
        "url": "", "readers": "[]", "model": "never", "observed_at": at, "fetched_at": at,
    }])  # fmt: skip
    await store.insert("incident_marks", [key | {
        "mark": "test", "by": "U0PRIYA", "at": at, "reason": "mail of priya@example.com says so",
    }])  # fmt: skip
    await store.close()


# What it is


def test_it_is_its_owners_alone_and_holds_no_text_from_outside_no_person_and_no_seed(made):
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    written = made.file.read_bytes()
    for secret in (SECRET, SEED.hex(), "U0PRIYA", "priya@example.com", "is slow"):
        assert secret.encode() not in written
    (mark,) = made.tables["incident_marks"]
    assert mark["by"].startswith("person-") and "says so" in mark["reason"]
    assert {row["by"] for row in made.tables["votes"]} == {row["by"] for row in made.tables["labels"]}
    assert made.tables["experiments"][0]["seed"] is None


def test_metadata_explains_every_table_and_column_and_every_canned_query_runs(made):
    (told,) = made.metadata["databases"].values()
    columns = {t.name: t.columns for t in TABLES} | {"experiments": EXPERIMENTS, "experiment_rows": ROWS}
    assert set(told["tables"]) == set(columns)
    for name, known in columns.items():
        assert told["tables"][name]["description"]
        assert [c["name"] for c in made.ask(f"PRAGMA table_info({name})")] == list(known)
    assert set(told["queries"]) == set(QUERIES)
    for name, query in told["queries"].items():
        assert made.ask(query["sql"]), name


def test_the_period_is_cut_a_file_is_not_overwritten_and_making_one_is_audited(made):
    some = made.folder / "some.db"
    cut = END - timedelta(weeks=2)
    made.run(db, "export", "--since", cut.isoformat(), "--until", END.isoformat(), "--output", str(some))
    database = sqlite3.connect(some)
    (first, count) = database.execute("SELECT min(triggered_at), count(*) FROM incidents").fetchone()
    database.close()
    assert 10 <= count <= 30 and datetime.fromisoformat(first) >= cut
    again = CliRunner(env={"SITREP_HOME": str(made.folder / "home")}).invoke(
        db, ["export", "--since", "2026-11-01", "--output", str(some)]
    )
    assert "--replace" in str(again.exception) and again.exception.exit_code == 1
    for wrong in (["--since", "yesterday"], ["--since", "2026-11-20", "--until", "2026-11-10"]):
        refused = CliRunner().invoke(db, ["export", *wrong])
        assert refused.exception.exit_code == 2
    database = sqlite3.connect(made.folder / "home" / "sitrep.db")
    told = database.execute("SELECT by FROM audit WHERE action = 'db.export'").fetchall()
    database.close()
    assert len(told) == 2 and told[0][0].startswith("shell:")


# Every figure of the report again, from the export alone


def minutes(row: dict, name: str) -> float:
    return (datetime.fromisoformat(row[name]) - datetime.fromisoformat(row["triggered_at"])).total_seconds() / 60


def known_by(row: dict, at: datetime) -> dict:
    """The incident as it was known then."""
    late = [n for n in ("acknowledged_at", "resolved_at") if row[n] and datetime.fromisoformat(row[n]) > at]
    return row | dict.fromkeys(late)


def figures_of(rows: list[dict], until: datetime, tau: float = 72 * 60) -> dict[str, float]:
    acknowledged = [minutes(r, "acknowledged_at") for r in rows if r["acknowledged_at"]]
    resolved = [minutes(r, "resolved_at") for r in rows if r["resolved_at"]]
    spans = [
        (min(minutes(r, "resolved_at") if r["resolved_at"] else minutes(r | {"now": until.isoformat()}, "now"), tau),
         bool(r["resolved_at"]) and minutes(r, "resolved_at") <= tau)
        for r in rows
    ]  # fmt: skip
    area = survival = 1.0
    area, before = 0.0, 0.0
    for at in sorted({span for span, ended in spans if ended and span < tau}):
        area += survival * (at - before)
        at_risk = sum(span >= at for span, _ in spans)
        survival *= 1 - sum(span == at and ended for span, ended in spans) / at_risk
        before = at
    area += survival * (tau - before)
    return {
        "incidents": len(rows), "units": len({r["unit_id"] for r in rows}), "MTTA mean, minutes": np.mean(acknowledged),
        "MTTA median, minutes": np.median(acknowledged), "MTTR mean, minutes": np.mean(resolved),
        "MTTR median, minutes": np.median(resolved), "MTTR p90, minutes": np.quantile(resolved, 0.9),
        "restricted mean, minutes": area,
    }  # fmt: skip


def test_times_of_every_arm_this_week_to_date_and_before_come_out_again(made):
    begin, end = (at for at in (WEEK.begins_at(ZoneInfo("UTC")), WEEK.ends_at(ZoneInfo("UTC"))))
    arm_of = {row["unit_id"]: row["arm"] for row in made.tables["assignments"]}
    marked = {row["incident_id"] for row in made.tables["incident_marks"]}
    shown = {"control": "facts", "treatment": "facts+summary"}
    start = END - timedelta(weeks=26)
    checked = 0
    for part, since, until in (
        ("week", begin, end),
        ("to date", start, end),
        ("baseline", start - timedelta(weeks=13), start),
    ):
        groups: dict[str, list[dict]] = {}
        for row in made.tables["incidents"]:
            if since <= datetime.fromisoformat(row["triggered_at"]) < until and row["id"] not in marked:
                name = "13 weeks before" if part == "baseline" else shown.get(arm_of.get(row["unit_id"]), "")
                groups.setdefault(name, []).append(known_by(row, until))
        for name, rows in groups.items():
            for figure, value in figures_of(rows, until).items():
                line = made.csv[part, name, figure]
                if figure in ("incidents", "units"):
                    continue
                assert float(line["value"]) == pytest.approx(value, rel=1e-5), (part, name, figure)
                assert line["definition"]
                checked += 1
    assert checked == (2 + 2 + 1) * 6


def test_cost_outcomes_and_what_was_withheld_come_out_again(made):
    begin, end = (at.isoformat() for at in (WEEK.begins_at(ZoneInfo("UTC")), WEEK.ends_at(ZoneInfo("UTC"))))
    triages = [t for t in made.tables["triages"] if begin <= t["started_at"] < end]
    usd = sum(t["cost_usd"] for t in triages)
    outcomes = Counter(t["outcome"] for t in triages)

    def value(*key: str) -> float:
        return float(made.csv[key]["value"])

    assert value("cost", "", "usd this week") == pytest.approx(usd, rel=1e-5)
    assert value("cost", "", "usd per triage") == pytest.approx(usd / len(triages), rel=1e-5)
    assert value("cost", "", "usd per released summary") == pytest.approx(usd / outcomes["released"], rel=1e-5)
    spent = [row for row in made.tables["spend"] if begin <= row["reserved_at"] < end]
    paid = sum(row["settled_usd"] for row in spent)
    assert value("cost of requests", "triage, local-1", "usd per 1,000") == pytest.approx(
        1000 * paid / len(spent), rel=1e-5
    )
    assert int(made.csv["cost", "", "usd of all requests"]["n"]) == len(spent)
    for outcome, count in outcomes.items():
        assert value("outcomes", outcome, "triages") == count
    assert value("withheld", "", "items hidden from someone") == sum(t["hidden"] for t in triages)
    assert value("withheld", "", "triages with a hidden item") == sum(t["hidden"] > 0 for t in triages)
    reasons = Counter(t["outcome_reason"] or t["outcome"] for t in triages if t["outcome"] != "released")
    for reason, count in reasons.items():
        assert value("withheld", reason, "triages without a summary") == count


def test_suspects_votes_services_and_causes_come_out_again(made):
    end = WEEK.ends_at(ZoneInfo("UTC")).isoformat()
    begin = WEEK.begins_at(ZoneInfo("UTC")).isoformat()
    labels = {row["incident_id"]: row for row in made.tables["labels"] if row["at"] <= end}
    first = {row["incident_id"]: json.loads(row["suspects"]) for row in made.tables["triages"]}
    both = [(first[name], label) for name, label in labels.items()]
    right = sum(suspects[0]["change_id"] == label["change_id"] for suspects, label in both)
    quality = made.json["quality"]
    assert (quality["top1"]["part"], quality["top1"]["whole"]) == (right, len(both))
    stated = [(s, label) for s, label in both if s[0]["probability"] >= 0.9]
    band = quality["calibration"][0]
    assert (band["part"], band["whole"]) == (sum(s[0]["change_id"] == la["change_id"] for s, la in stated), len(stated))
    votes = [row for row in made.tables["votes"] if row["at"] <= end]
    assert quality["helpful"] == {
        "name": "helpful", "part": sum(v["vote"] == "helpful" for v in votes), "whole": len(votes)
    }  # fmt: skip
    of_week = [row for row in made.tables["incidents"] if begin <= row["triggered_at"] < end]
    services = Counter(row["service"] for row in of_week)
    assert {one["name"]: one["count"] for one in made.json["services"]}.items() <= services.items()
    caused = Counter(
        f"{labels[r['id']]['change_id']} ({labels[r['id']]['service']})" for r in of_week if r["id"] in labels
    )
    assert {one["name"]: one["count"] for one in made.json["changes"]}.items() <= caused.items()


def test_the_verdict_comes_out_again_from_the_export_and_from_the_csv_of_the_experiment(made):
    """`analyse` reads both, and says of them what the report says of the store."""
    rows = made.ask(QUERIES["analyse"][1])
    texts = []
    for part, exported in (("experiment", rows), ("baseline", made.ask(
        "SELECT * FROM experiment_rows WHERE part = 'baseline' ORDER BY triggered_at, incident_id"
    ))):  # fmt: skip
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(exported)
        texts.append(out.getvalue())
        arguments = ["export", "summary", *(["--baseline"] if part == "baseline" else [])]
        assert made.run(experiment, *arguments) == out.getvalue()
    for name, text in zip(("rows.csv", "before.csv"), texts, strict=True):
        (made.folder / name).write_text(text)
    told = json.loads(
        made.run(
            experiment, "analyse", "--csv", str(made.folder / "rows.csv"),
            "--baseline", str(made.folder / "before.csv"),
            "--as-of", END.isoformat(), "--start", (END - timedelta(weeks=26)).isoformat(), "--json",
        )
    )  # fmt: skip
    part = made.json["experiment"]
    assert told["verdict"] == part["verdict"] and told["look"] == part["look"] == 26
    assert [told["ratio"][n] for n in ("point", "low", "high")] == part["ratio"]
    assert (told["e"]["faster"], told["e"]["slower"]) == (part["e_faster"], part["e_slower"])
    assert told["units"] == {
        "treatment": part["units_treatment"], "control": part["units_control"], "immature": part["immature"],
        "capped": part["capped"], "excluded": part["excluded"],
    }  # fmt: skip
