"""The environment: secrets and addresses, each also as `…_FILE`; plurals are comma-separated, newest first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError

from bot.settings.sections import Section, Url

SYSTEMS = (
    "github", "gitlab", "alertmanager", "grafana", "datadog", "sentry", "opsgenie", "cloudwatch_sns", "prometheus",
    "jaeger", "tempo", "loki", "elasticsearch", "argocd", "kubernetes", "launchdarkly", "flagd", "generic", "changes",
    "collector", "azure", "models",
)  # fmt: skip
"""Systems whose `<SYSTEM>_TOKEN` and `<SYSTEM>_WEBHOOK_SECRETS` are read."""


class Secrets(Section):
    """What the environment gives; SecretStr, so that no repr shows a value."""

    slack_bot_token: SecretStr | None = None
    slack_app_token: SecretStr | None = None
    slack_signing_secrets: tuple[SecretStr, ...] = ()
    slack_api_url: Url = "https://slack.com/api"
    pagerduty_api_token: SecretStr | None = None
    pagerduty_webhook_secrets: tuple[SecretStr, ...] = ()
    pagerduty_api_url: Url = "https://api.pagerduty.com"
    github_api_url: Url = "https://api.github.com"
    system_tokens: dict[str, SecretStr] = Field(default_factory=dict)
    system_webhook_secrets: dict[str, tuple[SecretStr, ...]] = Field(default_factory=dict)
    source_tokens: dict[str, SecretStr] = Field(default_factory=dict)
    openai_api_key: SecretStr | None = None
    model: str | None = None
    model_url: Url | None = None
    models_file: Path | None = None
    database_url: SecretStr | None = None
    bind: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    api_tokens: tuple[tuple[str, SecretStr], ...] = ()
    ca_file: Path | None = None
    secret_keys: tuple[SecretStr, ...] = ()


class Environment:
    """Reads NAME or NAME_FILE; both at once, or a file that cannot be read, is a problem."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.values = environment
        self.problems: list[str] = []

    def one(self, name: str) -> str | None:
        value, path = self.values.get(name), self.values.get(f"{name}_FILE")
        if value and path:
            self.problems.append(f"{name} and {name}_FILE are both set; unset one")
        if not value and path:
            try:
                value = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as failed:
                self.problems.append(f"{name}_FILE={path!r} cannot be read ({type(failed).__name__}); mend the path")
        return (value or "").strip() or None

    def many(self, name: str) -> list[str]:
        return [part.strip() for part in (self.one(name) or "").split(",") if part.strip()]


def parse_secrets(env: Environment, problems: list[str]) -> Secrets | None:
    raw: dict[str, Any] = {
        "slack_bot_token": env.one("SLACK_BOT_TOKEN"),
        "slack_app_token": env.one("SLACK_APP_TOKEN"),
        "slack_signing_secrets": env.many("SLACK_SIGNING_SECRETS"),
        "slack_api_url": env.one("SLACK_API_URL"),
        "pagerduty_api_token": env.one("PAGERDUTY_API_TOKEN"),
        "pagerduty_webhook_secrets": env.many("PAGERDUTY_WEBHOOK_SECRETS"),
        "pagerduty_api_url": env.one("PAGERDUTY_API_URL"),
        "github_api_url": env.one("GITHUB_API_URL"),
        "openai_api_key": env.one("OPENAI_API_KEY"),
        "model": env.one("SITREP_MODEL"),
        "model_url": env.one("SITREP_MODEL_URL"),
        "models_file": env.one("SITREP_MODELS"),
        "database_url": env.one("SITREP_DATABASE_URL"),
        "bind": env.one("SITREP_BIND"),
        "port": env.one("PORT"),
        "ca_file": env.one("SITREP_CA_FILE"),
        "secret_keys": env.many("SITREP_SECRET_KEY"),
        "system_tokens": {s: t for s in SYSTEMS if (t := env.one(f"{s.upper()}_TOKEN"))},
        "system_webhook_secrets": {s: many for s in SYSTEMS if (many := env.many(f"{s.upper()}_WEBHOOK_SECRETS"))},
        "source_tokens": {
            key.removeprefix("SITREP_SOURCE_").removesuffix("_FILE").removesuffix("_TOKEN").lower(): token
            for key in env.values
            if re.fullmatch(r"SITREP_SOURCE_[A-Z0-9_]+_TOKEN(_FILE)?", key)
            and (token := env.one(key.removesuffix("_FILE")))
        },
    }
    pairs = [entry.partition("=") for entry in env.many("SITREP_API_TOKENS")]
    if any(not name or not token for name, _, token in pairs):
        problems.append("SITREP_API_TOKENS is comma-separated name=token; one entry has no name or no token")
    raw["api_tokens"] = [(name.strip(), token.strip()) for name, _, token in pairs if name and token]
    try:
        return Secrets.model_validate({key: value for key, value in raw.items() if value not in (None, [], {})})
    except ValidationError as wrong:
        for error in wrong.errors():
            variable = str(error["loc"][0]).upper()
            variable = {"PORT": "PORT", "BIND": "SITREP_BIND", "MODEL_URL": "SITREP_MODEL_URL"}.get(variable, variable)
            problems.append(f"{variable}: {error['msg'].removeprefix('Value error, ')}")
        return None
