"""Settings of the model: every one reaches what it is for, chains are approved, warnings and egress are told."""

from __future__ import annotations

import logging
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bot.clock import ManualClock
from bot.errors import ConfigurationError
from bot.experiment.hypothesis import Hypothesis
from bot.experiment.live import LiveExperiments
from bot.flows.notices import SpendNotices
from bot.model import spend
from bot.model.attempts import GatewayLimits
from bot.model.spend import Ceilings, Payer
from bot.settings import load
from bot.store.sqlite import SqliteStore
from bot.wiring.models import ceilings_of, limits_of, models_of
from bot.wiring.outside import egress_of
from integrations.errors import Denied
from integrations.http import Egress
from tests.support.ranked import AT

MINI, FIVE = "gpt-4.1-mini-2025-04-14", "gpt-5-mini-2025-08-07"


def settings(tmp_path: Path, toml: str = "", **environment: str) -> Any:
    (tmp_path / "sitrep.toml").write_text(toml, encoding="utf-8")
    return load({"SITREP_HOME": str(tmp_path), **environment}, folder=tmp_path)


def chosen(tmp_path: Path, toml: str = "", **environment: str) -> dict[str, list[str]]:
    found = models_of(settings(tmp_path, toml, **environment))
    return {use: [pin.name for pin in chain] for use, chain in found.items()}


def problems(tmp_path: Path, toml: str, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        chosen(tmp_path, toml, **environment)
    return str(caught.value)


def test_without_a_chain_the_named_model_answers_every_use_it_is_approved_for(tmp_path):
    assert chosen(tmp_path, OPENAI_API_KEY="k")["ask"] == [MINI]
    assert chosen(tmp_path, OPENAI_API_KEY="k", SITREP_MODEL=FIVE)["batch"] == [FIVE]
    assert chosen(tmp_path) == {}


def test_a_chain_says_who_is_asked_and_who_stands_in(tmp_path):
    toml = f'[model.chains]\ntriage = ["{FIVE}", "{MINI}"]\nvalidate = ["gpt-4.1-nano-2025-04-14"]\n'
    found = chosen(tmp_path, toml, OPENAI_API_KEY="k")
    assert found["triage"] == [FIVE, MINI]
    assert found["validate"] == ["gpt-4.1-nano-2025-04-14"]
    assert found["ask"] == [MINI]
    url = "http://127.0.0.1:8089/v1"
    small = chosen(tmp_path, toml, SITREP_MODEL="smollm2-135m-instruct-q4_1", SITREP_MODEL_URL=url)
    assert small == {"triage": ["smollm2-135m-instruct-q4_1"]}, "the environment goes before the file"
    assert chosen(tmp_path, toml) == {}, "without a key cards show facts, and the file still serves"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('chains = { triage = ["gpt-4o"] }', "'gpt-4o' is not approved in models.toml; approved are: gpt-4.1-mini"),
        (
            'chains = { triage = ["gpt-4.1-nano-2025-04-14"] }',
            "not approved for 'triage'; it is for batch, validate",
        ),
        ("chains = { ask = [] }", "chains.ask must name at least one model"),
        (f'chains = {{ ask = ["{MINI}", "{MINI}"] }}', "each once"),
    ],
)
def test_a_chain_of_what_is_not_approved_is_refused(tmp_path, toml, said):
    assert said in problems(tmp_path, f"[model]\n{toml}\n", OPENAI_API_KEY="k")


def test_a_link_without_its_key_is_refused_because_it_would_break_when_it_is_needed(tmp_path):
    shipped = (Path(__file__).resolve().parents[2] / "prompts" / "models.toml").read_text(encoding="utf-8")
    head, mark, tail = shipped.partition(f'name = "{FIVE}"\n')
    (tmp_path / "models.toml").write_text(f'{head}{mark}key = "azure"\n{tail}', encoding="utf-8")
    toml, where = f'[model]\nchains = {{ triage = ["{MINI}", "{FIVE}"] }}\n', str(tmp_path / "models.toml")
    said = problems(tmp_path, toml, OPENAI_API_KEY="k", SITREP_MODELS=where)
    assert said.endswith(f"'{FIVE}' has no key; set AZURE_TOKEN")
    both = chosen(tmp_path, toml, OPENAI_API_KEY="k", AZURE_TOKEN="a", SITREP_MODELS=where)
    assert both["triage"] == [MINI, FIVE]


def test_a_second_opinion_without_a_model_for_it_is_refused(tmp_path):
    toml, url = "[model]\nvalidate_summaries = true\n", "http://127.0.0.1:8089/v1"
    said = problems(tmp_path, toml, SITREP_MODEL="smollm2-135m-instruct-q4_1", SITREP_MODEL_URL=url)
    assert "no model is approved for 'validate', which is switched on" in said
    assert chosen(tmp_path, toml, OPENAI_API_KEY="k")["validate"] == [MINI]


def test_every_setting_of_the_gateway_reaches_it(tmp_path):
    toml = """
[model]
requests_per_minute = 11
tokens_per_minute = 12
live_share = 0.13
concurrency = 14
batch_share = 0.15
queue = 16
retries = 7
retry_ratio = 0.18
retry_floor = 19
backoff_seconds = 0.2
backoff_most_seconds = 2.1
[model.breaker]
window_seconds = 31
fewest_calls = 32
error_rate = 0.33
slow_rate = 0.34
slow_seconds = 35
open_seconds = 36
open_seconds_most = 37
probes = 38
[timeouts]
model_attempt_seconds = 41
[retention]
transcripts_days = 42
[budget]
usd_per_month_by_use = { ask = 5 }
"""
    told, shipped = settings(tmp_path, toml), GatewayLimits()
    limits = limits_of(told)
    groups = [(limits, shipped), *((getattr(limits, part), getattr(shipped, part)) for part in ("rates", "admission"))]
    for ours, default in [*groups, (limits.breaker, shipped.breaker)]:
        for one in fields(ours):
            assert getattr(ours, one.name) != getattr(default, one.name), one.name
    assert limits.breaker.error_rate == 0.33
    assert limits.admission.queue == 16
    assert limits.rates.live_share == 0.13
    assert ceilings_of(told).use_month_usd == {"ask": 5}
    assert limits_of(settings(tmp_path)) == shipped


# --- the chain while an experiment runs ------------------------------------------------------------------------------


def hypothesis(**more: Any) -> Hypothesis:
    return Hypothesis(
        name="summaries", changes="a summary is shown", arms=("facts", "facts+summary"), expected_ratio=0.8,
        starts_on=date(2026, 1, 5), owner="sre", **more,
    )  # fmt: skip


def test_while_an_experiment_runs_only_models_that_it_names_may_stand_in(tmp_path):
    store, clock = object(), ManualClock(AT)
    during, before = AT.replace(year=2026, month=2), AT.replace(year=2025, month=1)
    for named, allowed in ((hypothesis(), False), (hypothesis(models=(FIVE,)), True)):
        live = LiveExperiments(store, "T1", clock, [named], {"summaries": b""})  # type: ignore[arg-type]
        assert live.allows_model(FIVE, during) is allowed
        assert live.allows_model(FIVE, before)


def test_a_file_without_models_keeps_the_hash_that_it_started_with():
    assert hypothesis().sha256 == hypothesis(models=()).sha256
    assert hypothesis().sha256 != hypothesis(models=(FIVE,)).sha256
    assert "models" in hypothesis(models=(FIVE,)).model_dump()


# --- warnings ---------------------------------------------------------------------------------------------------------


class Said:
    def __init__(self) -> None:
        self.messages: list[tuple[str, str, str]] = []

    async def say(self, target: str, channel: str, text: str, blocks: Any) -> int:
        self.messages.append((target, channel, text))
        return 1


async def test_a_ceiling_that_is_four_fifths_used_is_told_once_where_it_concerns_people(tmp_path):
    store, said, clock = SqliteStore.open(tmp_path / "sitrep.db"), Said(), ManualClock(AT)
    ceilings = Ceilings(day_usd=1.0, team_month_usd={"payments:eu": 1.0})
    payer = Payer("T1", "triage:P1:1", "infer", "triage", MINI, "P1", "payments:eu")
    await store.transaction(lambda tx: spend.reserve(tx, payer, 0.85, ceilings, clock.now()))

    async def channels(team: str | None) -> list[str]:
        return ["C1"] if team is None else ["C1", f"C-{team}"]

    notices = SpendNotices(store, "T1", clock, said, channels)
    assert await notices.tell() == 3
    assert await notices.tell() == 0
    assert sorted(channel for _, channel, _ in said.messages) == ["C-payments:eu", "C1", "C1"]
    assert len({target for target, _, _ in said.messages}) == 3
    for _, _, text in said.messages:
        assert "has reached 80 % of its ceiling: $0.85 of $1.00" in text.replace("80%", "80 %")
        assert text.endswith("At the ceiling, cards show facts without a summary.")
    await store.close()


async def test_every_outbound_host_is_counted_and_logged_with_its_caller(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    heard: list[tuple[str, str, str]] = []
    egress = egress_of(
        settings(tmp_path, '[sources.jaeger]\nurl = "http://jaeger.example:16686"\nreaders = ["everyone"]')
    )
    egress.sent("jaeger", "jaeger.example")
    egress.sent("jaeger", "jaeger.example")
    with pytest.raises(Denied):
        egress.require("model", "https://evil.example/v1")
    assert [r.getMessage() for r in caplog.records] == [
        "egress: jaeger calls jaeger.example",
        "egress: model wanted to call 'evil.example', which no setting allows; nothing was sent",
    ]
    told = Egress([], heard=lambda *one: heard.append(one))
    with pytest.raises(Denied):
        told.require("model", "https://evil.example/v1")
    told.failed("jaeger", "j")
    assert heard == [("evil.example", "model", "refused"), ("j", "jaeger", "failed")]
    assert egress.counts["evil.example"].refused == 1
    assert egress.counts["jaeger.example"].requests == 2
