"""Names of metrics and spans."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

from bot import telemetry
from bot.model import measures
from bot.model.call import Answer, Refusal
from bot.types import Usage
from tests.support.calls import PIN, call


def constants() -> dict[str, str]:
    return {name: value for name, value in vars(telemetry).items() if name.isupper() and isinstance(value, str)}


def test_no_two_names_are_the_same() -> None:
    values = list(constants().values())
    assert len(values) == len(set(values))


def test_every_name_is_of_the_semantic_conventions_or_ours() -> None:
    for value in constants().values():
        assert re.fullmatch(r"(sitrep|chat|gen_ai|openai|error|server)(\.[a-z0-9_]+)*", value), value


def test_the_conventions_names_are_those_of_the_conventions() -> None:
    """The package that comes with the SDK holds the attributes and metrics of its version."""
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, openai_attributes
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
    from opentelemetry.semconv.attributes import error_attributes, server_attributes

    modules = (gen_ai_attributes, openai_attributes, gen_ai_metrics, error_attributes, server_attributes)
    known = {value for module in modules for name, value in vars(module).items() if name.isupper()}
    ours = {value for value in constants().values() if value.startswith(("gen_ai.", "openai.", "error.", "server."))}
    assert len(ours) > 15
    assert ours <= known
    assert gen_ai_attributes.GenAiProviderNameValues.AZURE_AI_OPENAI.value in measures.PROVIDERS.values()


def test_a_name_that_is_not_listed_is_refused() -> None:
    with pytest.raises(KeyError):
        telemetry.counter("sitrep.unheard_of")
    with pytest.raises(KeyError):
        telemetry.histogram(telemetry.RETRIES)


def test_every_listed_metric_can_be_used_without_an_sdk() -> None:
    for name in telemetry.COUNTERS:
        telemetry.counter(name).add(1, {telemetry.USE: "triage"})
    for name in telemetry.HISTOGRAMS:
        telemetry.histogram(name).record(0.5)
    for name in telemetry.LEVELS:
        telemetry.level(name).add(-1)
    with telemetry.tracer().start_as_current_span(telemetry.SPAN_STEP):
        pass


def test_importing_it_loads_no_opentelemetry() -> None:
    code = "import bot.telemetry, sys; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_is_used_by_the_product() -> None:
    """A metric that nobody counts is an empty panel, and a dashboard of them a false peace."""
    root = Path(telemetry.__file__).resolve().parent
    told = "\n".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py") if path.name != "telemetry.py")
    names = re.findall(r"^([A-Z_]+) = \"", Path(telemetry.__file__).read_text(encoding="utf-8"), flags=re.M)
    assert len(names) > 60
    unused = [name for name in names if name != "SCOPE" and not re.search(rf"(telemetry|names)\.{name}\b", told)]
    assert unused == []


def test_the_span_of_a_call_says_what_the_conventions_want() -> None:
    pin = replace(PIN, server="azure", endpoint="https://acme.openai.azure.com/openai/v1")
    usage = Usage(
        model=pin.name, answered_by=pin.name, prompt="triage/v1", prompt_sha256="0", tokens_in=100, tokens_cached=40,
        tokens_out=7,
    )  # fmt: skip
    told = {}
    for reply in (Answer("{}", usage), Refusal("wrong_model", "another model answered", usage)):
        span = TracerProvider().get_tracer("t").start_span("chat")
        measures.describe(span, call(), pin, reply, 0.2)
        told[type(reply).__name__] = (dict(span.attributes or {}), span.status.status_code)  # type: ignore[attr-defined]
    good, status = told["Answer"]
    assert good.items() >= {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "azure.ai.openai", "gen_ai.request.model": pin.name,
        "gen_ai.response.model": pin.name, "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.request.max_tokens": 100, "gen_ai.output.type": "json",
        "gen_ai.request.temperature": 0, "openai.api.type": "chat_completions",
        "server.address": "acme.openai.azure.com", "server.port": 443,
    }.items()  # fmt: skip
    assert "error.type" not in good
    assert status is StatusCode.UNSET
    bad, status = told["Refusal"]
    assert bad["error.type"] == "wrong_model"
    assert status is StatusCode.ERROR
