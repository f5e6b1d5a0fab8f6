"""`sitrep eval rank` and the fit: figures that mean what they say, on bundles and on made-up numbers."""

from __future__ import annotations

import json
import pathlib
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bot.cli import main, sitrep
from bot.evals.rank import measure
from bot.evals.rank_across import across
from bot.evals.rank_cases import Case, bundle_folders, run_cases
from bot.evals.rank_figures import auc, hit_rate, leak_control, place, reliability, wilson
from bot.evals.rank_perturbed import PERTURBATIONS, perturbed
from bot.evals.rank_slow import slow_code, with_delay
from bot.ranking.calibrate import combined, probabilities
from bot.ranking.fit import Labelled, fit_weights
from bot.ranking.weights import shipped_weights
from bot.trust.redaction import Redactor

BUNDLES = pathlib.Path(__file__).resolve().parents[1] / "data" / "bundles"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return run_cases(bundle_folders(BUNDLES), Redactor([b"test"]), shipped_weights())


def evaluated(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(sitrep, ["eval", "rank", "--json", *arguments])
    return result.exit_code, json.loads(result.output)


def test_the_incident_of_the_checkout_is_solved_and_its_false_alarm_stays_quiet() -> None:
    code, out = evaluated("--bundles", str(BUNDLES))
    assert {"cases", "totals", "bars"} <= out.keys()
    by_case = {one["case"]: one for one in out["cases"]}
    incident = by_case["tt-2023-01-30-1409"]
    assert (incident["service_place"], incident["change_place"]) == (1, 1)
    assert incident["top_change_probability"] >= 0.4
    assert by_case["tt-none-2023-01-29-1447"]["confidence"] == "nothing stands out"
    assert all({"name", "value", "bar", "holds"} == set(bar) for bar in out["bars"])
    assert code == (0 if all(bar["holds"] for bar in out["bars"]) else 1)


def test_without_telemetry_the_ranking_is_the_youngest_change_and_says_nothing() -> None:
    code, out = evaluated("--bundles", str(BUNDLES), "--only", "changes")
    assert code == 0
    assert {bar["name"] for bar in out["bars"]} == {"away_from_most_recent_top1", "away_from_most_recent_top3"}
    assert all(one["top_change_probability"] < 0.4 for one in out["cases"])


def test_sources_can_be_taken_away() -> None:
    _, bare = evaluated("--bundles", str(BUNDLES), "--without", "traces", "--without", "logs", "--without", "metrics")
    assert bare["bars"] == []
    assert bare["totals"]["service_top1"] == 0.0


def test_a_folder_without_labelled_bundles_is_refused_with_its_name(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "rank", "--bundles", str(tmp_path)]) == 1
    assert "holds no labelled bundle" in capsys.readouterr().err
    shutil.copytree(BUNDLES / "tt-none-2023-01-29-1447", tmp_path / "one")
    (tmp_path / "one" / "truth.json").write_text("{")
    assert main(["eval", "rank", "--bundles", str(tmp_path)]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.slow
def test_all_bars_hold_on_the_full_set(shared_data: pathlib.Path) -> None:
    code, out = evaluated("--bundles", str(shared_data / "bundles"))
    failing = [bar for bar in out["bars"] if not bar["holds"] and bar["name"] != "cpu_seconds_a_bundle"]
    assert failing == []
    assert out["totals"]["incidents"] == 23
    assert code in (0, 1)


def test_petshop_is_solved_from_metrics_and_the_call_graph(shared_data: pathlib.Path) -> None:
    code, out = evaluated("--petshop", str(shared_data / "petshop"))
    assert code == 0
    assert len(out["cases"]) == 26


def test_every_pair_of_healthy_minutes_is_normal_once(cases: list[Case]) -> None:
    rows, totals = across(cases, shipped_weights())
    assert [one["healthy"] for one in rows] == [["baseline 2023-01-30", "tt-none-2023-01-29-1447"]]
    assert totals["service_top1"]["mean"] == 1.0
    assert rows[0]["false_alarms_quiet"] is None


def test_names_time_and_words_do_not_matter(cases: list[Case]) -> None:
    names = ["services renamed", "at another time", "three innocent services reword their lines"]
    rows, totals, bars = perturbed(cases, shipped_weights(), only=names)
    assert [one["perturbation"] for one in rows] == names
    assert totals["cases"] == 2
    assert all(one["service_top1"] == one["change_top1"] == 1.0 for one in rows)
    assert all(one["false_alarms_quiet"] == 1 for one in rows)
    assert all(bar.holds for bar in bars)
    first = rows[0]
    assert all(one["incidents_named"] == first["incidents_named"] for one in rows)


def test_a_perturbation_that_names_the_wrong_culprit_fails_the_bars(cases: list[Case]) -> None:
    wrong = [replace(one, truth=replace(one.truth, service="nobody")) if one.truth.service else one for one in cases]
    _, _, bars = perturbed(wrong, shipped_weights(), only=["services renamed"])
    assert not next(bar for bar in bars if bar.name == "worst_kept_service_top1").holds


@pytest.mark.slow
def test_the_full_set_stands_every_perturbation(shared_data: pathlib.Path) -> None:
    code, out = evaluated("--bundles", str(shared_data / "bundles"), "--perturbed")
    assert code == 0
    assert len(out["cases"]) == len(PERTURBATIONS)


def test_slow_code_in_a_healthy_minute_is_found_with_all_that_waits_for_it(cases: list[Case]) -> None:
    rows, totals = slow_code(cases, shipped_weights())
    assert totals["cases"] == len(rows) == 48
    assert totals["service_top1"] >= 0.8
    told = next(one for one in cases if one.truth.service is None).examined.telemetry
    operation = (told.spans[0].records[0].service, told.spans[0].records[0].name)
    slower = with_delay(told, operation, 100)
    before = {span.span_id: span for span in told.spans[0].records}
    for span in slower.spans[0].records:
        grown = (span.end_ns - span.start_ns) - (before[span.span_id].end_ns - before[span.span_id].start_ns)
        assert grown >= (100_000_000 if (span.service, span.name) == operation else 0)


def test_figures_change_when_a_label_does(cases: list[Case]) -> None:
    weights = shipped_weights()
    _, honest, _ = measure(cases, weights, fit=False)
    wrong = [
        replace(one, truth=replace(one.truth, service="nobody", change="none")) if one.truth.service else one
        for one in cases
    ]
    _, fooled, _ = measure(wrong, weights, fit=False)
    assert (honest["service_top1"], fooled["service_top1"]) == (1.0, 0.0)
    assert (honest["change_top1"], fooled["change_top1"]) == (1.0, 0.0)


def test_reliability_counts_every_case_once(cases: list[Case]) -> None:
    rows = reliability(cases, [one.causes for one in cases])
    assert sum(one["cases"] for one in rows) == len(cases)
    assert [one["word"] for one in rows] == ["almost certainly", "probably", "possibly", "nothing stands out"]


def test_the_leak_control_fails_when_span_counts_tell_the_false_alarms(cases: list[Case]) -> None:
    incident, quiet = (next(one for one in cases if (one.truth.service is None) is flag) for flag in (False, True))
    at = quiet.alerted_at
    honest = [replace(incident, alerted_at=at, spans=n, alert_title="a") for n in (10, 20, 30, 40, 50, 60)]
    alike = [replace(quiet, spans=n, alert_title="a") for n in (15, 25, 35, 45, 55)]
    leaky = [replace(quiet, spans=n, alert_title="a") for n in (115, 125, 135, 145, 155)]
    fair, leak = leak_control(honest + alike), leak_control(honest + leaky)
    assert fair is not None
    assert fair["contains_half"]
    assert leak is not None
    assert not leak["contains_half"]
    assert leak["fewer_spans"]["auc"] == 1.0
    assert leak_control([incident]) is None


def test_small_pieces_of_arithmetic() -> None:
    assert place("b", ["a", "b"]) == 2
    assert place("z", ["a", "b"]) is None
    assert hit_rate([{"p": 1}, {"p": 3}, {"p": None}], "p", 1) == pytest.approx(1 / 3)
    assert auc(np.array([1.0, 2.0, 2.0]), np.array([False, True, False])) == pytest.approx(0.75)
    low, high = wilson(7, 10)
    assert (round(low, 4), round(high, 4)) == (0.3968, 0.8922)
    assert wilson(0, 0) == (0.0, 1.0)


def test_probabilities_leave_a_share_for_nothing() -> None:
    equal = probabilities({"a": 4.0, "b": 4.0}, nothing=4.0, temperature=0.5)
    assert equal == {"a": pytest.approx(1 / 3), "b": pytest.approx(1 / 3)}
    assert probabilities({}, 4.0, 0.5) == {}
    assert probabilities({"a": 1e9}, 4.0, 1e-9) == {"a": 1.0}
    assert sum(probabilities({"a": 0.1, "b": 0.2}, 4.0, 0.2).values()) < 1e-6


def test_signs_add_in_quadrature() -> None:
    signs = shipped_weights().signs
    two_weak = combined({"pattern": 1.0, "transit": 1.0}, signs)
    assert two_weak < signs.pattern + signs.transit
    assert two_weak > max(signs.pattern, signs.transit)


def labelled(number: int, noise: str, culprit_sign: str) -> list[Labelled]:
    """`culprit_sign` marks the culprit, `noise` is loud elsewhere."""
    return [
        Labelled({"culprit": {culprit_sign: 1.6}, "other": {noise: 1.5 + 0.02 * (i % 5)}}, "culprit")
        for i in range(number)
    ]


def test_the_fit_follows_the_labels_and_is_held_by_the_shipped_weights() -> None:
    shipped = shipped_weights()
    assert fit_weights([], shipped) == shipped
    few = fit_weights(labelled(2, "own_time", "pattern"), shipped)
    many = fit_weights(labelled(60, "own_time", "pattern"), shipped)
    assert many.signs.pattern > few.signs.pattern > shipped.signs.pattern
    assert 0 < many.signs.own_time < few.signs.own_time < shipped.signs.own_time
    assert many.pattern == shipped.pattern


def test_a_fit_of_the_decision_alone_leaves_the_signs() -> None:
    shipped = shipped_weights()
    loud = [Labelled({"a": {"pattern": 2.4}}, None) for _ in range(20)]
    fitted = fit_weights(loud, shipped, only_decision=True)
    assert fitted.signs == shipped.signs
    assert fitted.decision.nothing > shipped.decision.nothing


def test_a_culprit_without_any_sign_teaches_nothing() -> None:
    shipped = shipped_weights()
    assert fit_weights([Labelled({"a": {"pattern": 1.0}}, "silent")], shipped).signs == shipped.signs
