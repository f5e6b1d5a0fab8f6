"""deploy/: every metric that a dashboard or a rule asks for is one that Sitrep really exports, under that name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "sitrep.json"
EXPORT = """
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import generate_latest
from bot import telemetry as t

metrics.set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
for name in t.COUNTERS:
    t.counter(name).add(1, {t.USE: "u"})
for name in t.HISTOGRAMS:
    t.histogram(name).record(4.0, {t.USE: "u"})
for name in t.LEVELS:
    t.level(name).add(1)
print(generate_latest().decode())
"""


@pytest.fixture(scope="module")
def exported() -> str:
    """`/metrics` of a process in which every metric was used once."""
    return subprocess.run([sys.executable, "-c", EXPORT], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [*asked, RULES.read_text(encoding="utf-8")]


def test_every_metric_that_is_asked_for_is_exported(exported: str) -> None:
    names = {line.split("{")[0].split(" ")[0] for line in exported.splitlines() if not line.startswith("#")}
    asked = {name for text in expressions() for name in re.findall(r"(?<![\w:])(?:sitrep|gen_ai)_\w+(?=[{\[)])", text)}
    asked -= {"sitrep_use", "sitrep_outcome", "sitrep_label", "sitrep_reason", "sitrep_priority"}
    asked -= {"sitrep_caller", "sitrep_verdict", "sitrep_source_name", "sitrep_part"}
    asked -= {"gen_ai_request_model", "gen_ai_token_type"}
    assert len(asked) > 15
    assert asked <= names


def test_every_recorded_series_that_is_asked_for_is_recorded() -> None:
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text(encoding="utf-8")))
    asked = {name for text in expressions() for name in re.findall(r"sitrep:\w+:\w+", text)}
    assert asked <= recorded


def test_the_bounds_of_service_levels_are_bucket_bounds(exported: str) -> None:
    bounds = set(re.findall(r'_seconds_bucket\{[^}]*le="([0-9.]+)"', exported))
    asked = set(re.findall(r'le="([0-9.]+)"', RULES.read_text(encoding="utf-8")))
    assert asked == {"5.0", "20.0"}
    assert asked <= bounds


def test_every_alert_is_tested_by_promtools_file() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8")))
    tested = RULES.with_name("rules.test.yml").read_text(encoding="utf-8")
    assert {name for name in alerts if f"alertname: {name}" in tested} == alerts


def test_the_rules_are_valid_and_fire_when_they_must(without_part) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        without_part("prometheus", "`make test-parts` installs promtool")
    assert promtool is not None
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]):
        ended = subprocess.run([promtool, *command], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_panel_has_a_title_a_unit_and_a_sentence() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"].endswith((".", "stacked"))
            assert panel["fieldConfig"]["defaults"]["unit"]
