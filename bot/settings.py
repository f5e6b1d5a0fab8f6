"""The only reader of the environment, `sitrep.toml` and `models.toml`. Every problem is reported at once.

Secrets and addresses come from the environment (each also as `…_FILE`, plurals comma-separated and newest first);
everything else from `sitrep.toml`. Nothing is read at import; `load` takes the environment as a mapping.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from bot.errors import ConfigurationError
from bot.experiment.hypothesis import Hypothesis, parse
from bot.experiment.schedule import overlaps

SYSTEMS = (
    "github", "gitlab", "alertmanager", "grafana", "datadog", "sentry", "opsgenie", "cloudwatch_sns", "prometheus",
    "jaeger", "tempo", "loki", "elasticsearch", "argocd", "kubernetes", "launchdarkly", "flagd", "generic", "changes",
    "collector",
)  # fmt: skip
"""Systems whose `<SYSTEM>_TOKEN` and `<SYSTEM>_WEBHOOK_SECRETS` are read."""

ALLOWED_BY_KIND = {"github": ("repositories",), "cloudwatch_sns": ("topics",)}
"""Which lists of `allow` each kind of source obeys; any other list would be read and ignored, so it is refused."""

Use = Literal["allowed", "never"]


class Section(BaseModel):
    """Base of every section: immutable, and an unknown key is a problem."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"no time zone {name!r}; write one as Europe/Berlin") from None
    return name


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http(s) address: {url!r}")
    return url.rstrip("/")


def _channel(name: str) -> str:
    if not re.fullmatch(r"#[^\s#@<>]{1,79}|[CGD][A-Z0-9]{5,20}", name):
        raise ValueError(f"not a channel: {name!r}; write #name or its id (C0123ABCD)")
    return name


Url = Annotated[str, AfterValidator(_http_url)]
ChannelName = Annotated[str, AfterValidator(_channel)]
Groups = Annotated[tuple[str, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]


_COMPARISON = re.compile(r"\s*(<=|>=|<|>|==|=)?\s*([1-5])\s*$")


class SeverityTest(BaseModel):
    """`"<= 3"`, `1`, `">= 2"`: which severities (1 is worst)."""

    model_config = ConfigDict(frozen=True)
    operator: str
    value: int

    def holds(self, severity: int) -> bool:
        return {
            "<=": severity <= self.value,
            ">=": severity >= self.value,
            "<": severity < self.value,
            ">": severity > self.value,
        }.get(self.operator, severity == self.value)


def _severity_test(value: Any) -> Any:
    if isinstance(value, SeverityTest | dict):
        return value
    found = _COMPARISON.match(str(value))
    if not found:
        raise ValueError(f"not a severity test: {value!r}; write 1 or '<= 3'")
    return SeverityTest(operator=found[1] or "==", value=int(found[2]))


class Match(Section):
    """What an incident must be to match; every key that is given must hold."""

    severity: Annotated[SeverityTest | None, BeforeValidator(_severity_test)] = None
    service: str | None = None
    team: str | None = None

    def holds(self, *, severity: int, service: str | None, team: str | None) -> bool:
        return (
            (self.severity is None or self.severity.holds(severity))
            and (self.service is None or self.service == service)
            and (self.team is None or self.team == team)
        )


class SlackSection(Section):
    channel: ChannelName = "#incidents"
    shadow_channel: ChannelName | None = None
    blocks: Literal["auto", "classic"] = "auto"
    mode: Literal["socket", "http"] = "socket"
    public_channel_audience: Literal["workspace", "members"] = "workspace"


class PagerDutySection(Section):
    intake: Literal["webhook", "poll"] = "webhook"
    fallback_note: bool = True
    note_email: str | None = None
    """PagerDuty wants a user's e-mail address in `From` when an account-wide key writes a note."""


class TriageSection(Section):
    when: Match = Match(severity=SeverityTest(operator="<=", value=3))


class ServiceSection(Section):
    pagerduty: Groups = ()
    otel: Groups = ()
    repositories: Groups = ()
    kubernetes: Groups = ()
    prometheus: dict[str, str] = Field(default_factory=dict)
    team: str | None = None
    channel: ChannelName | None = None
    readers: Groups | None = None
    depends_on: Groups = ()
    model: Use = "allowed"


class AllowSection(Section):
    repositories: Groups = ()
    indices: Groups = ()
    dashboards: Groups = ()
    paths: Groups = ()
    topics: Groups = ()


class SourceSection(Section):
    kind: str | None = None
    url: Url | None = None
    link_url: Url | None = None
    """Where a person opens it, if that differs from `url`."""
    readers: Groups | None = None
    deadline_seconds: float = Field(default=3.0, gt=0, le=60)
    model: Use = "allowed"
    allow: AllowSection = AllowSection()
    queries: dict[str, str] = Field(default_factory=dict)
    fields: dict[str, str] = Field(default_factory=dict)
    """A generic webhook's declared mapping: title, severity, … to a dotted path."""


class TeamSection(Section):
    channel: ChannelName | None = None
    readers: Groups | None = None
    admins: Groups = ()
    usd_per_month: float | None = Field(default=None, ge=0)


class TokenSection(Section):
    groups: Groups


class DirectorySection(Section):
    """Another directory of groups, beside Slack's user groups and `[groups]`; it knows people by verified e-mail."""

    kind: Literal["scim", "github", "pagerduty"] | None = None
    path: Path | None = None
    """The export of `scim`."""
    organization: str | None = None
    """Of `github`."""
    repositories: Groups = ()
    """Of `github`, as owner/name: their collaborators are groups too."""


class RouteSection(Section):
    match: Match
    channel: ChannelName


class AdminsSection(Section):
    groups: Groups = ()


class LinksSection(Section):
    hosts: Groups = ()


class BudgetSection(Section):
    usd_per_incident: float = Field(default=0.5, ge=0)
    usd_per_day: float = Field(default=20, ge=0)
    usd_per_month: float = Field(default=300, ge=0)
    tokens_per_triage: int = Field(default=6000, ge=256)


class TelemetrySection(Section):
    """Where traces go. Metrics are at `/metrics`; OTEL_* variables change nothing."""

    otlp_url: Url | None = None
    spans_file: Path | None = None
    share: float = Field(default=0.1, ge=0, le=1)
    slow_seconds: float = Field(default=10, gt=0)


class RetentionSection(Section):
    signals_days: int = Field(default=30, ge=1)
    evidence_days: int = Field(default=90, ge=1)
    transcripts_days: int = Field(default=30, ge=1)
    posts_days: int = Field(default=90, ge=31)
    """Cards are checked again for 30 days, so they stay longer."""
    outcomes_days: int = Field(default=1095, ge=90)
    """Incidents, arms, times, votes, labels, costs: what the experiment counts."""
    audit_days: int = Field(default=1095, ge=1)
    directory_days: int = Field(default=2, ge=1)
    topology_days: int = Field(default=30, ge=1)
    changes_days: int = Field(default=90, ge=1)
    notices_days: int = Field(default=90, ge=1)


class CorrelationSection(Section):
    """When alerts are one incident."""

    within_minutes: float = Field(default=5, gt=0, le=120)
    """How far apart two alerts may begin."""
    hops: int = Field(default=2, ge=0, le=4)
    """How many calls apart their services may be; 0: only the same service."""
    incidents_at_most: int = Field(default=20, ge=1, le=1000)
    """Incidents that alerts open within that time; what is connected to nothing then goes to the last of them."""


class TimeoutsSection(Section):
    """Every waiting time of the product, in seconds, so that tests can shorten them."""

    slack_down_seconds: float = Field(default=60, gt=0)
    late_source_seconds: float = Field(default=60, gt=0)
    collecting_seconds: float = Field(default=2, ge=0)
    publish_wait_seconds: float = Field(default=60, gt=0)
    permit_seconds: float = Field(default=0.5, gt=0)
    people_hours: float = Field(default=24, gt=0)
    membership_minutes: float = Field(default=15, gt=0)
    model_seconds: float = Field(default=45, gt=0)
    model_attempt_seconds: float = Field(default=20, gt=0)
    poll_seconds: float = Field(default=10, gt=0)
    reconcile_seconds: float = Field(default=300, gt=0)
    recheck_seconds: float = Field(default=3600, gt=0)
    coalesce_seconds: float = Field(default=2, ge=0)


class File(Section):
    """`sitrep.toml` as written."""

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    workspace: str = "default"
    mode: Literal["live", "shadow"] = "live"
    slack: SlackSection = SlackSection()
    pagerduty: PagerDutySection = PagerDutySection()
    triage: TriageSection = TriageSection()
    correlation: CorrelationSection = CorrelationSection()
    severity: dict[str, Annotated[int, Field(ge=1, le=5)]] = Field(default_factory=dict)
    services: dict[str, ServiceSection] = Field(default_factory=dict)
    sources: dict[str, SourceSection] = Field(default_factory=dict)
    teams: dict[str, TeamSection] = Field(default_factory=dict)
    tokens: dict[str, TokenSection] = Field(default_factory=dict)
    timeouts: TimeoutsSection = TimeoutsSection()
    groups: dict[str, Groups] = Field(default_factory=dict)
    directories: dict[str, DirectorySection] = Field(default_factory=dict)
    routes: tuple[RouteSection, ...] = ()
    admins: AdminsSection = AdminsSection()
    links: LinksSection = LinksSection()
    budget: BudgetSection = BudgetSection()
    telemetry: TelemetrySection = TelemetrySection()
    retention: RetentionSection = RetentionSection()


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


class Settings(Section):
    """Everything that was set, checked. `home` is the state folder; `config` the file that was read, if any."""

    home: Path
    config: Path | None
    file: File
    secrets: Secrets
    experiments: tuple[Hypothesis, ...] = ()
    """`experiments/*.toml` beside `sitrep.toml`, by the day they start."""

    def service_for(self, source_name: str | None, system: Literal["pagerduty", "otel"] = "pagerduty") -> str | None:
        """Our name for what a system calls a service: an explicit mapping, else the same name without case and
        punctuation, else None ("not mapped")."""
        if not source_name:
            return None
        for name, service in self.file.services.items():
            if source_name in getattr(service, system) or source_name == name:
                return name
        plain = _plain(source_name)
        return next((name for name in self.file.services if _plain(name) == plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def load(environment: Mapping[str, str] | None = None, *, folder: Path | None = None) -> Settings:
    """Read and check everything. Raises ConfigurationError with every problem that was found."""
    reader = _Environment(os.environ if environment is None else environment)
    home = Path(reader.one("SITREP_HOME") or platformdirs.user_state_dir("sitrep")).expanduser()
    problems: list[str] = reader.problems
    path, text = _config_text(reader.one("SITREP_CONFIG"), folder or Path.cwd(), home, problems)
    file = _parse_file(path, text, problems)
    secrets = _parse_secrets(reader, problems)
    if file is not None and secrets is not None:
        problems += _cross_checks(file, secrets)
    experiments = _experiments((path.parent if path else folder or Path.cwd()) / "experiments", problems)
    if problems or file is None or secrets is None:
        raise ConfigurationError(problems)
    return Settings(home=home, config=path, file=file, secrets=secrets, experiments=experiments)


def secret_keys(environment: Mapping[str, str] | None = None) -> list[bytes]:
    """The keys of SITREP_SECRET_KEY, newest first, for commands that need no other setting; [] where it is unset."""
    reader = _Environment(os.environ if environment is None else environment)
    keys = [key.encode() for key in reader.many("SITREP_SECRET_KEY")]
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return keys


class _Environment:
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


def _config_text(named: str | None, folder: Path, home: Path, problems: list[str]) -> tuple[Path | None, str]:
    candidates = [Path(named).expanduser()] if named else [folder / "sitrep.toml", home / "sitrep.toml"]
    for path in candidates:
        try:
            return path, path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as failed:
            problems.append(f"{path} cannot be read ({type(failed).__name__}); it must be a UTF-8 text file")
            return path, ""
    if named:
        problems.append(f"SITREP_CONFIG={named!r} does not exist; copy sitrep.example.toml there")
    return None, ""


def _experiments(folder: Path, problems: list[str]) -> tuple[Hypothesis, ...]:
    """The hypothesis files of a folder; `*.example.toml` is documentation. At most one may run at a time."""
    found: list[Hypothesis] = []
    for path in sorted(folder.glob("*.toml")):
        if path.name.endswith(".example.toml"):
            continue
        name = f"experiments/{path.name}"
        try:
            hypothesis = parse(path.read_text(encoding="utf-8"), file=name)
        except ConfigurationError as wrong:
            problems += wrong.problems
            continue
        except (OSError, UnicodeDecodeError) as failed:
            problems.append(f"{name} cannot be read ({type(failed).__name__}); it must be a UTF-8 text file")
            continue
        if hypothesis.name != path.stem:
            problems.append(f"{name}: name = {hypothesis.name!r}; it must be the file's own, {path.stem!r}")
            continue
        found.append(hypothesis)
    problems += overlaps(found)
    return tuple(sorted(found, key=lambda one: (one.starts_on, one.name)))


def _parse_file(path: Path | None, text: str, problems: list[str]) -> File | None:
    name = path.name if path else "sitrep.toml"
    try:
        return File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as wrong:
        problems.append(f"{name} is not TOML: {wrong}")
    except ValidationError as wrong:
        problems += [_explain(name, error) for error in wrong.errors()]
    return None


def _explain(name: str, error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys_beside(error["loc"])
        close = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
        return f"{name}: {where} is not a setting; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {where}: {message} (found {error['input']!r})"


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    model: Any = File
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            continue  # the name of a service, source or team
        inner = [
            t for t in (field.annotation, *getattr(field.annotation, "__args__", ())) if hasattr(t, "model_fields")
        ]
        model = inner[-1] if inner else model
    return list(getattr(model, "model_fields", {}))


def _parse_secrets(env: _Environment, problems: list[str]) -> Secrets | None:
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


def _directory_problems(file: File, secrets: Secrets) -> list[str]:
    problems = []
    for name, one in file.directories.items():
        kind, where = one.kind or name, f"[directories.{name}]"
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name) or name in ("slack", "channel", "everyone", "world"):
            problems.append(f"{where} is no name for a directory; use small letters, and none of our own words")
        if kind not in ("scim", "github", "pagerduty"):
            problems.append(f'{where} kind = {kind!r} is not known; known: "scim", "github", "pagerduty"')
        if kind == "scim" and one.path is None:
            problems.append(f"{where} needs path, the file of the SCIM export")
        if kind == "github" and (one.organization is None or "github" not in secrets.system_tokens):
            problems.append(f"{where} needs organization, and GITHUB_TOKEN of one of its owners")
        if kind == "pagerduty" and secrets.pagerduty_api_token is None:
            problems.append(f"{where} needs PAGERDUTY_API_TOKEN")
    return problems


def _cross_checks(file: File, secrets: Secrets) -> list[str]:
    problems = [
        f'[sources.{name}] has no readers; say who may read what it returns, such as readers = ["everyone"]'
        for name, source in file.sources.items()
        if source.readers is None and (source.kind or name) != "slack"
    ]
    problems += [
        f"[sources.{name}] allow.{field} restricts nothing: kind {source.kind or name!r} asks for no {field}"
        for name, source in file.sources.items()
        for field in sorted(source.allow.model_fields_set)
        if getattr(source.allow, field) and field not in ALLOWED_BY_KIND.get(source.kind or name, ())
    ]
    problems += [
        f"[services.{name}] team = {service.team!r}, and there is no [teams.{service.team}]"
        for name, service in file.services.items()
        if service.team and service.team not in file.teams
    ]
    problems += _directory_problems(file, secrets)
    names = {name for name, _ in secrets.api_tokens}
    problems += [
        f"SITREP_API_TOKENS names {n!r}, and there is no [tokens.{n}]" for n in sorted(names - set(file.tokens))
    ]
    problems += [
        f"[tokens.{n}] has no token in SITREP_API_TOKENS; add {n}=<token> or remove the section"
        for n in sorted(set(file.tokens) - names)
    ]
    if file.mode == "shadow" and file.slack.shadow_channel is None:
        problems.append('mode = "shadow" needs [slack] shadow_channel')
    if secrets.database_url is not None:
        url = secrets.database_url.get_secret_value()
        if not url.startswith("sqlite"):
            problems.append(
                f"SITREP_DATABASE_URL has scheme {urlsplit(url).scheme!r}; this version stores in SQLite only: unset it"
            )
    for path, variable in ((secrets.ca_file, "SITREP_CA_FILE"), (secrets.models_file, "SITREP_MODELS")):
        if path is not None and not path.is_file():
            problems.append(f"{variable}={str(path)!r} is not a file")
    return problems
