"""Settings: one reader, every problem at once, and no secret in a repr."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from bot.errors import ConfigurationError
from bot.settings import File, Section, load

ROOT = Path(__file__).resolve().parents[2]


def loaded(tmp_path: Path, toml: str = "", **environment: str):
    (tmp_path / "sitrep.toml").write_text(toml, encoding="utf-8")
    return load({"SITREP_HOME": str(tmp_path / "home"), **environment}, folder=tmp_path)


def problems(tmp_path: Path, toml: str = "", **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, toml, **environment)
    return str(caught.value)


def test_the_example_file_is_valid_and_names_every_key(tmp_path):
    text = (ROOT / "sitrep.example.toml").read_text(encoding="utf-8")
    loaded(tmp_path, text, SITREP_API_TOKENS="status-page=t", GITHUB_TOKEN="t")
    tables = tomllib.loads(text)

    def keys(model: type[Section], value: object, where: str) -> list[str]:
        missing = []
        for name, field in model.model_fields.items():
            if not isinstance(value, dict) or name not in value:
                missing.append(f"{where}{name}")
                continue
            for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(inner, type) and issubclass(inner, Section) and where.count(".") < 2:
                    child = value[name]
                    if isinstance(child, list):
                        child = child[0]
                    elif inner.__name__ in {
                        "ServiceSection",
                        "SourceSection",
                        "TeamSection",
                        "TokenSection",
                        "DirectorySection",
                        "McpSection",
                    }:
                        ordered = sorted(
                            child.values(), key=len
                        )  # the longest says most; the others add what it cannot
                        child = {key: given for one in ordered for key, given in one.items()}
                    if inner.__name__ != "Match":
                        missing += keys(inner, child, f"{where}{name}.")
        return missing

    assert keys(File, tables, "") == []


def test_every_setting_is_in_the_docs():
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    source = (ROOT / "bot" / "settings" / "environment.py").read_text(encoding="utf-8")
    variables = set(re.findall(r'(?:one|many)\("([A-Z_]+)"\)', source))
    assert len(variables) > 15
    assert [name for name in sorted(variables) if name not in text] == []


def test_all_problems_are_reported_at_once(tmp_path):
    said = problems(
        tmp_path,
        'timezone = "Mars/Base"\n[slack]\nchanel = "#x"\n[sources.jaeger]\nurl = "ftp://x"\n',
        PORT="eighty",
        SITREP_API_TOKENS="broken",
    )
    for part in ("Mars/Base", "did you mean 'channel'", "not an http(s) address", "PORT", "name=token"):
        assert part in said


def test_a_source_without_readers_is_named(tmp_path):
    assert "[sources.jaeger] has no readers" in problems(tmp_path, '[sources.jaeger]\nurl = "http://j:1"\n')


def test_the_slack_source_needs_no_readers(tmp_path):
    loaded(tmp_path, "[sources.slack]\n")


def test_tokens_and_their_sections_must_match_both_ways(tmp_path):
    said = problems(tmp_path, '[tokens.a]\ngroups = ["g"]\n', SITREP_API_TOKENS="b=secret-b")
    assert "no [tokens.b]" in said
    assert "[tokens.a] has no token" in said
    assert "secret-b" not in said


def test_secrets_come_from_files_too_and_never_show_in_a_repr(tmp_path):
    (tmp_path / "token").write_text("xoxb-very-secret\n", encoding="utf-8")
    settings = loaded(
        tmp_path, SLACK_BOT_TOKEN_FILE=str(tmp_path / "token"), PAGERDUTY_WEBHOOK_SECRETS="new-secret, old-secret"
    )
    assert settings.secrets.slack_bot_token.get_secret_value() == "xoxb-very-secret"
    assert [s.get_secret_value() for s in settings.secrets.pagerduty_webhook_secrets] == ["new-secret", "old-secret"]
    assert "secret" not in re.sub(r"secret_keys|\w*_secrets|secrets=|Secrets|SecretStr", "", repr(settings))


def test_a_variable_and_its_file_at_once_is_a_problem(tmp_path):
    (tmp_path / "token").write_text("x", encoding="utf-8")
    assert "both set" in problems(tmp_path, GITHUB_TOKEN="a", GITHUB_TOKEN_FILE=str(tmp_path / "token"))


@pytest.mark.parametrize(
    ("test", "severity", "holds"), [("<= 3", 3, True), ("<= 3", 4, False), (1, 1, True), ("> 2", 2, False)]
)
def test_severity_tests(tmp_path, test, severity, holds):
    value = test if isinstance(test, int) else f'"{test}"'
    settings = loaded(tmp_path, f"[triage]\nwhen = {{ severity = {value} }}\n")
    assert settings.file.triage.when.holds(severity=severity, service=None, team=None) is holds


def test_a_service_is_found_by_mapping_then_by_plain_name_else_not(tmp_path):
    settings = loaded(tmp_path, '[services."checkout-api"]\npagerduty = ["PSVC1"]\n')
    assert settings.service_for("PSVC1") == "checkout-api"
    assert settings.service_for("Checkout API") == "checkout-api"
    assert settings.service_for("payments") is None


def test_other_libraries_variables_change_nothing(tmp_path):
    plain = loaded(tmp_path)
    loud = loaded(
        tmp_path, OPENAI_BASE_URL="http://evil", OTEL_EXPORTER_OTLP_ENDPOINT="http://evil", HTTPS_PROXY="http://e"
    )
    assert plain == loud


def test_a_missing_named_file_says_so(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        load({"SITREP_CONFIG": str(tmp_path / "nope.toml"), "SITREP_HOME": str(tmp_path)}, folder=tmp_path)


def test_an_allow_list_that_its_source_would_ignore_is_refused(tmp_path):
    jaeger = '[sources.jaeger]\nurl = "http://j:1"\nreaders = ["everyone"]\nallow = { indices = ["logs"] }\n'
    assert "allow.indices restricts nothing" in problems(tmp_path, jaeger)
    loaded(tmp_path, '[sources.github]\nreaders = ["everyone"]\nallow = { repositories = ["acme/x"] }\n')


def test_a_tenant_is_for_those_that_have_several(tmp_path):
    loki = '[sources.loki]\nurl = "http://l:1"\nreaders = ["everyone"]\ntenant = "{}"\n'
    loaded(tmp_path, loki.format("shop|search"))
    assert "sources.loki.tenant" in problems(tmp_path, loki.format("a\\r\\nX-Evil: 1"))
    jaeger = loki.replace("loki", "jaeger").format("shop")
    assert "[sources.jaeger] tenant: kind 'jaeger' has none" in problems(tmp_path, jaeger)
