"""The sections of `sitrep.toml` as types: one class a section, an unknown key is a problem."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Use = Literal["allowed", "never"]
ModelUse = Literal["triage", "ask", "review", "validate", "batch"]


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


def _channel_pattern(pattern: str | None) -> str | None:
    if pattern is None:
        return None
    bare = pattern.removeprefix("#")
    if not re.fullmatch(r"(?=.*\{(?:number|id)\})(?:[a-z0-9_-]|\{number\}|\{id\}){1,80}", bare):
        raise ValueError(f"not a channel's name with {{number}} or {{id}}: {pattern!r}; write inc-{{number}}")
    return bare


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
    own_channel_name: Annotated[str | None, AfterValidator(_channel_pattern)] = None
    """The name of an incident's own channel: "inc-{number}"."""
    new_channels: Literal["private", "public", "never"] = "private"
    """What `/sitrep channel` makes, under the name of `own_channel_name`, else inc-{number}."""
    own_channel_by_topic: bool = False
    """Whether a channel whose topic names the incident is its own."""
    blocks: Literal["auto", "classic"] = "auto"
    mode: Literal["socket", "http"] = "socket"
    public_channel_audience: Literal["workspace", "members"] = "workspace"
    on_uninstall: Literal["keep", "purge"] = "keep"
    """What becomes of the data when Slack takes the app's token away; in both cases nothing is sent any more."""
    alert_channels: Annotated[
        tuple[ChannelName, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)
    ] = ()
    """Where monitoring bots write: each of their messages is an alert."""
    incident_channels: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,60}\*$")] | None = None
    """Names of channels that are made for an incident, `inc-*`; None: no channel is."""


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
    applications: Groups = ()
    flags: Groups = ()
    logs: dict[str, str] = Field(default_factory=dict)
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
    tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9!_.*'()|-]{1,600}$")
    """Of Loki or Tempo, where they have several."""
    queries: dict[str, str] = Field(default_factory=dict)
    fields: dict[str, str] = Field(default_factory=dict)
    """A generic webhook's declared mapping: title, severity, … to a dotted path."""


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,80}", name):
        raise ValueError(f"not the name of a variable: {name!r}")
    return name


class McpToolSection(Section):
    """One tool of an MCP server that may be called, as a person approved it."""

    name: str
    approved: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """What `sitrep mcp <server>` printed: a tool that changes afterwards is refused."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Fixed; `{service}` and other fields of the incident are filled in."""
    kind: Literal["metric", "log", "runbook", "past_incident", "ownership", "message"] = "message"
    readers: Groups | None = None
    """Narrows the server's."""
    deadline_seconds: float = Field(default=3.0, gt=0, le=60)
    limit_bytes: int = Field(default=20_000, ge=100, le=200_000)


class McpSection(Section):
    """An MCP server: an address, or a command that starts one."""

    url: Url | None = None
    link_url: Url | None = None
    command: Groups = ()
    environment: dict[Annotated[str, AfterValidator(_variable)], str] = Field(default_factory=dict)
    """All that a command is given, beside PATH, LANG and an empty HOME."""
    token_variable: Annotated[str, AfterValidator(_variable)] | None = None
    """The variable in which a command is given its own token."""
    readers: Groups | None = None
    deadline_seconds: float = Field(default=5.0, gt=0, le=60)
    model: Use = "allowed"
    tools: tuple[McpToolSection, ...] = ()


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


class ReportSection(Section):
    """Where the weekly report goes; each channel gets what all of its readers may read."""

    channels: Annotated[tuple[ChannelName, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)] = ()
    """Empty: [slack] channel."""
    team_channels: bool = False
    """Each team's own channel too."""


class AdminsSection(Section):
    groups: Groups = ()


class LinksSection(Section):
    hosts: Groups = ()


class BudgetSection(Section):
    usd_per_incident: float = Field(default=0.5, ge=0)
    usd_per_day: float = Field(default=20, ge=0)
    usd_per_month: float = Field(default=300, ge=0)
    usd_per_month_by_use: dict[ModelUse, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    tokens_per_triage: int = Field(default=6000, ge=256)
    tokens_per_review: int = Field(default=24_000, ge=4_000)


class BreakerSection(Section):
    """When the circuit to an endpoint opens, and for how long."""

    window_seconds: float = Field(default=60, gt=0)
    fewest_calls: int = Field(default=10, ge=1)
    error_rate: float = Field(default=0.5, gt=0, le=1)
    slow_rate: float = Field(default=0.8, gt=0, le=1)
    slow_seconds: float = Field(default=20, gt=0)
    open_seconds: float = Field(default=30, gt=0)
    open_seconds_most: float = Field(default=300, gt=0)
    probes: int = Field(default=1, ge=1)


class ModelSection(Section):
    """How models are asked; rates, slots and queue are of one endpoint."""

    chains: dict[ModelUse, Groups] = Field(default_factory=dict)
    """Approved models of a use: the first is asked, the others in turn when it does not answer."""
    validate_summaries: bool = False
    """A second model may reject what `check` released."""
    requests_per_minute: float = Field(default=500, gt=0)
    tokens_per_minute: float = Field(default=200_000, gt=0)
    live_share: float = Field(default=0.2, ge=0, lt=1)
    concurrency: int = Field(default=16, ge=1, le=1000)
    batch_share: float = Field(default=0.5, gt=0, le=1)
    queue: int = Field(default=256, ge=0, le=100_000)
    retries: int = Field(default=3, ge=0, le=10)
    retry_ratio: float = Field(default=0.1, ge=0, le=1)
    retry_floor: int = Field(default=10, ge=0, le=1000)
    backoff_seconds: float = Field(default=0.5, gt=0)
    backoff_most_seconds: float = Field(default=8, gt=0)
    cache_seconds: float = Field(default=300, ge=0)
    nightly_evals: str = Field(default="", pattern=r"^(?:|(?:[01]\d|2[0-3]):[0-5]\d)$")
    """Local time at which the golden cases are played; empty: never by the bot itself."""
    breaker: BreakerSection = BreakerSection()


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
    collecting_seconds: float = Field(default=1.8, ge=0)
    """A little less than the two seconds within which the first post is due: sending it takes time too."""
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


class SummarySection(Section):
    """What a model is shown and may say, beside what every summary is checked for."""

    suspicious: Literal["quoted", "dropped"] = "quoted"
    """Items that sound like orders to a machine: shown to it with a warning, or not at all."""
    policy_file: str = ""
    """A file of phrases that no summary may contain; a path that is not absolute is beside `sitrep.toml`."""


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
    mcp: dict[str, McpSection] = Field(default_factory=dict)
    teams: dict[str, TeamSection] = Field(default_factory=dict)
    tokens: dict[str, TokenSection] = Field(default_factory=dict)
    timeouts: TimeoutsSection = TimeoutsSection()
    groups: dict[str, Groups] = Field(default_factory=dict)
    directories: dict[str, DirectorySection] = Field(default_factory=dict)
    routes: tuple[RouteSection, ...] = ()
    admins: AdminsSection = AdminsSection()
    report: ReportSection = ReportSection()
    links: LinksSection = LinksSection()
    budget: BudgetSection = BudgetSection()
    summary: SummarySection = SummarySection()
    model: ModelSection = ModelSection()
    telemetry: TelemetrySection = TelemetrySection()
    retention: RetentionSection = RetentionSection()
