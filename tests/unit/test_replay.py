"""`sitrep replay`: a recorded incident through the real rooms, from the user's hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from markupsafe import escape

from bot.cli import main, sitrep

BUNDLES = Path(__file__).resolve().parents[1] / "data" / "bundles"


@pytest.fixture
def bundle(tmp_path):
    """A copy of a recorded incident that a test may break."""
    found = sorted(path for path in BUNDLES.glob("tt-2*") if (path / "pagerduty.json").is_file())
    if not found:
        pytest.skip("no incident bundle under tests/data/bundles")
    baseline = BUNDLES / "baseline"
    if baseline.is_dir():
        shutil.copytree(baseline, tmp_path / "baseline")
    return Path(shutil.copytree(found[0], tmp_path / found[0].name))


def replayed(bundle: Path) -> dict:
    result = CliRunner().invoke(sitrep, ["replay", str(bundle), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_json_has_every_name_of_the_contract(bundle):
    out = replayed(bundle)
    names = {"incident", "evidence", "hidden", "suspects", "services", "facts", "summary", "timings"}
    assert names <= out.keys()
    assert {"id", "kind", "source", "readers", "text"} <= out["evidence"][0].keys()
    assert {"change_id", "service", "score", "probability", "reasons"} <= out["suspects"][0].keys()
    marks = {item["id"] for item in out["evidence"]}
    for suspect in out["suspects"]:
        assert all(set(reason["evidence"]) <= marks for reason in suspect["reasons"])
    assert out["summary"] is None


def test_the_cause_is_named_and_the_truth_is_never_read(bundle):
    truth = json.loads((bundle / "truth.json").read_text()) if (bundle / "truth.json").exists() else None
    (bundle / "truth.json").write_text("not even JSON")
    out = replayed(bundle)
    if truth and truth["root_cause_change"]:
        assert truth["root_cause_change"] in [s["change_id"] for s in out["suspects"]][:3]


@pytest.mark.parametrize(
    "name", ["alerts.json", "changes.jsonl", "traces.jsonl.gz", "logs.jsonl.gz", "metrics.json.gz"]
)
@pytest.mark.parametrize("content", [None, b"", b"\x00rubbish", b'{"a": [1, 2'])
def test_a_file_that_is_absent_or_broken_becomes_a_line_on_the_card(bundle, name, content):
    (bundle / name).unlink()
    if content is not None:
        (bundle / name).write_bytes(content)
    out = replayed(bundle)
    assert out["incident"]["id"]
    if content != b"":
        assert any(not source["answered"] or source["note"] for source in out["sources"])


def test_what_some_of_the_audience_may_not_read_is_hidden_and_counted(bundle):
    audience = {"members": {"U1": ["everyone", "sre"], "U2": ["everyone"]}, "readers": {"changes": [["sre"]]}}
    (bundle / "audience.json").write_text(json.dumps(audience))
    out = replayed(bundle)
    assert [item for item in out["evidence"] if item["kind"] == "change"] == []
    assert out["suspects"] == []


def test_an_audience_file_that_cannot_be_read_never_widens(bundle):
    (bundle / "audience.json").write_text("{")
    result = CliRunner().invoke(sitrep, ["replay", str(bundle), "--json"])
    assert result.exit_code != 0


def test_a_folder_that_is_no_bundle_is_one_clear_line_and_exit_2(tmp_path, capsys):
    assert main(["replay", str(tmp_path / "nope")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_the_page_is_one_file_without_script_and_escapes_what_came_from_outside(bundle, tmp_path):
    alerts = (bundle / "alerts.json").read_text().replace("is degraded", "<script>alert(1)</script>")
    (bundle / "alerts.json").write_text(alerts)
    out = tmp_path / "card.html"
    result = CliRunner().invoke(sitrep, ["replay", str(bundle), "--html", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    text = out.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "Content-Security-Policy" in text


def test_the_card_is_drawn_in_the_terminal(bundle):
    result = CliRunner().invoke(sitrep, ["replay", str(bundle)], catch_exceptions=False)
    assert "SEV2" in result.output


def test_the_page_is_filtered_for_the_audience_as_the_card_is(bundle, tmp_path):
    open_to_all, narrow = tmp_path / "all.html", tmp_path / "some.html"
    both = ["replay", str(bundle), "--json", "--html", str(open_to_all)]
    out = json.loads(CliRunner().invoke(sitrep, both, catch_exceptions=False).output)
    titles = {item["title"] for item in out["evidence"] if item["kind"] == "change"}
    hidden = {"changes": [["sre"]], "metrics": [["sre"]], "traces": [["sre"]], "logs": [["sre"]]}
    audience = {"members": {"U1": ["everyone", "sre"], "U2": ["everyone"]}, "readers": hidden}
    (bundle / "audience.json").write_text(json.dumps(audience))
    CliRunner().invoke(sitrep, ["replay", str(bundle), "--html", str(narrow)], catch_exceptions=False)
    everything, some = open_to_all.read_text(), narrow.read_text()
    assert "<svg" in everything
    assert "<svg" not in some
    assert "items hidden" in some.replace("\u00a0", " ")
    assert titles
    assert all(str(escape(title)) in everything and str(escape(title)) not in some for title in titles)
    assert "<h2>Suspects</h2>\n<p>No change was found.</p>" in some
