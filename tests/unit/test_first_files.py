"""`sitrep init` and `sitrep services import`: what they write, and what they never write."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli import main, sitrep
from bot.cli.service_file import propose
from bot.settings import ServiceSection, load


def init(folder: Path, *options: str, answers: str | None = None) -> int:
    return main(["init", "--dir", str(folder), *([] if answers is not None else ["--yes"]), *options])


def loaded(folder: Path):
    return load({"SITREP_HOME": str(folder), "SITREP_CONFIG": str(folder / "sitrep.toml")})


def test_the_defaults_load_and_begin_with_a_silent_week(tmp_path, capsys):
    assert init(tmp_path) == 0
    settings = loaded(tmp_path)
    assert settings.file.mode == "shadow"
    assert settings.file.slack.shadow_channel == "#sitrep-shadow"
    assert settings.file.sources["pagerduty"].readers == ("everyone",)
    assert "sitrep doctor" in capsys.readouterr().out


def test_everything_that_was_asked_for_is_in_the_file(tmp_path):
    options = ["--channel", "#ops", "--shadow-channel", "", "--timezone", "Europe/Berlin", "--slack", "http"]
    options += ["--pagerduty", "webhook", "--readers", "sre, payments", "--admins", "sre", "--model", "own"]
    options += ["--github", "acme/checkout,acme/web", "--source", "jaeger=http://jaeger:16686"]
    options += ["--source", "prometheus=https://prometheus.acme.example"]
    assert init(tmp_path, *options) == 0
    file = loaded(tmp_path).file
    assert (file.mode, file.slack.channel, file.slack.mode, file.timezone) == ("live", "#ops", "http", "Europe/Berlin")
    assert file.pagerduty.intake == "webhook"
    assert file.sources["github"].allow.repositories == ("acme/checkout", "acme/web")
    assert file.sources["jaeger"].url == "http://jaeger:16686"
    assert file.sources["prometheus"].readers == ("sre", "payments")
    assert file.admins.groups == ("sre",)
    wanted = (tmp_path / ".env.example").read_text()
    for name in ("SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRETS", "PAGERDUTY_WEBHOOK_SECRETS", "GITHUB_TOKEN",
                 "SITREP_SOURCE_JAEGER_TOKEN", "SITREP_MODEL_URL"):  # fmt: skip
        assert f"{name}=" in wanted
    assert "SLACK_APP_TOKEN" not in wanted


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("environment", "SLACK_BOT_TOKEN=\n"),
        ("file", "SLACK_BOT_TOKEN_FILE=/run/secrets/slack_bot_token\n"),
        ("command", 'export SLACK_BOT_TOKEN="$(secret-manager read sitrep/slack-bot-token)"\n'),
    ],
)
def test_secrets_come_in_the_form_that_was_chosen_and_are_never_there(tmp_path, form, line):
    assert init(tmp_path, "--secrets", form) == 0
    assert line in (tmp_path / ".env.example").read_text()


@pytest.mark.parametrize("present", ["sitrep.toml", ".env.example"])
def test_a_file_that_is_there_is_never_touched(tmp_path, capsys, present):
    (tmp_path / present).write_text("mine")
    assert init(tmp_path) == 1
    assert "is there already and is not touched" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(present, "mine")]


SECRET = "xoxb-" + "123456789012-123456789012-AbCdEfGhIjKlMnOpQrStUvWx"


@pytest.mark.parametrize(
    "options",
    [
        ["--channel", SECRET],
        ["--readers", SECRET],
        ["--source", f"jaeger=http://jaeger:16686/{SECRET}"],
        ["--source", "jaeger=http://admin:hunter2@jaeger:16686"],
        ["--source", "jaeger"],
        ["--source", "nosuchsystem=http://x.example"],
        ["--channel", 'in"cidents\n[admins]'],
        ["--timezone", "Mars/Olympus"],
        ["--github", "acme/x\x00"],
    ],
)
def test_a_secret_or_a_wrong_answer_writes_nothing(tmp_path, capsys, options):
    assert init(tmp_path / "new", *options) == 2
    assert not (tmp_path / "new").exists()
    assert SECRET not in capsys.readouterr().err


def test_an_answer_cannot_break_out_of_its_quotes(tmp_path):
    assert init(tmp_path, "--readers", 'a"b, c\\d') == 0
    assert loaded(tmp_path).file.sources["pagerduty"].readers == ('a"b', "c\\d")


def test_it_asks_where_somebody_can_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("bot.cli.init._can_answer", lambda: True)
    lines = ["#ops", "#quiet", "UTC", "socket", "poll", "sre", "", "", "jaeger=http://j:16686", "", "none", "file"]
    result = CliRunner().invoke(sitrep, ["init", "--dir", str(tmp_path)], input="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.output
    file = loaded(tmp_path).file
    assert (file.slack.channel, file.slack.shadow_channel) == ("#ops", "#quiet")
    assert file.sources["jaeger"].readers == ("sre",)


# --- services import --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    source: str
    key: str
    services: tuple[tuple[str, str], ...]
    note: str = ""


PAGERDUTY = Named("pagerduty", "pagerduty", (("PSVC123", "Checkout API"), ("PSVC456", "Payments DB")))
JAEGER = Named("jaeger", "otel", (("checkout-api", "checkout-api"), ("payments", "payments"), ("web", "web")))
PROMETHEUS = Named("prometheus", "prometheus", (("checkout_api", "checkout_api"), ("node-exporter", "node-exporter")))
GITHUB = Named("github", "repositories", (("acme/checkout", "checkout"), ("acme/website-theme", "website-theme")))


def test_names_that_mean_one_service_become_one_section():
    text = propose([PAGERDUTY, JAEGER, PROMETHEUS, GITHUB], {})
    sections = tomllib.loads(text)["services"]
    assert sections["checkout-api"] == {
        "pagerduty": ["PSVC123"],
        "otel": ["checkout-api"],
        "prometheus": {"job": "checkout_api"},
        "repositories": ["acme/checkout"],
    }
    assert set(sections) == {"checkout-api", "payments-db", "payments", "web"}
    assert "# look: repositories 'acme/checkout' is put here for its likeness" in text
    for section in sections.values():
        ServiceSection.model_validate(section)


def test_what_is_there_is_only_completed_and_never_said_twice():
    known = {"checkout-api": ServiceSection(pagerduty=("PSVC123",), otel=("checkout-api",), team="payments")}
    text = propose([PAGERDUTY, JAEGER, PROMETHEUS], known)
    assert "checkout-api" not in tomllib.loads(text)["services"]
    assert '# [services.checkout-api] is there; it lacks:\n# prometheus = { job = "checkout_api" }' in text
    again = {"web": ServiceSection(otel=("web",))}
    assert "web" not in tomllib.loads(propose([Named("jaeger", "otel", (("web", "web"),))], again)).get("services", {})


def test_what_a_system_could_not_say_stands_as_a_comment():
    text = propose([Named("pagerduty", "pagerduty", (), "answered 401")], {})
    assert text.startswith("# pagerduty: no service (answered 401)")
    assert tomllib.loads(text) == {}


@pytest.mark.parametrize("name", ['a"]\n[admins]\ngroups = ["x', "\x00\x1b[31m", "é" * 300, "]]", "\\", "# x\ny"])
def test_a_hostile_name_stays_a_name(name):
    text = propose([Named("jaeger", "otel", ((name, name),)), PAGERDUTY], {})
    assert set(tomllib.loads(text)) == {"services"}
    assert "\x1b" not in text
