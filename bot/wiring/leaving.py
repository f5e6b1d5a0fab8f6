"""What leaves this machine, and to whom: every address that may be called, what is sent there, who may be sent what.

Pure: it reads the settings and asks nobody. The addresses are those of the egress list itself, so that one which no
line here explains is listed all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.model.pins import Pin
from bot.settings import Settings
from bot.wiring.changes import open_for_changes
from bot.wiring.models import models_of
from bot.wiring.outside import egress_of
from integrations.alerts.doors import SENDERS
from integrations.alerts.sns import origin_of_topic
from integrations.http import origin_of

ASKED_OF = {
    "github": "names of the repositories of your services, and times: for commits, deployments and pull requests",
    "alertmanager": "questions which alerts fire, where a webhook was cut short",
    "jaeger": "names of your services, and times: for traces",
    "gitlab": "names of the projects of your services, and times: for deployments and comparisons",
    "argocd": "names of your applications: for their syncs",
    "kubernetes": "namespaces of your workloads: for ReplicaSets, events, and ConfigMaps without their data",
    "launchdarkly": "projects and environments, and times: for entries of the audit log",
    "flagd": "nothing but the question for all its flags",
    "tempo": "names of your services, and times: for traces",
    "loki": "queries with the names and labels of your services, and times: for log lines",
    "elasticsearch": "names of your services and of the indices in `allow`, and times: for log lines",
    "opensearch": "names of your services and of the indices in `allow`, and times: for log lines",
    "prometheus": "queries with the names and labels of your services, and times",
}
"""What a source of this kind is sent, that is: asked. Any other kind is asked by services and times too."""

SENT_TO_MODEL = (
    "titles and texts of evidence items, changes and ranked suspects of one incident, secrets and personal data "
    "replaced, and only those that everyone who will read the answer may read"
)

REVIEWED_BY_MODEL = (
    "pieces of a diff that somebody gives to `sitrep review` or POST /reviews, secrets and personal data replaced"
)
MINED_BY_MODEL = (
    "for `sitrep labels`: notes and ranked changes of incidents that are over, secrets and personal data replaced"
)


@dataclass(frozen=True, slots=True)
class Destination:
    """One address. `sent` is empty where the address is allowed and no setting leads there."""

    address: str
    who: str
    named_by: str
    sent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelRule:
    """Whether what a source says, or what is about a service, may be sent to the model's owner."""

    kind: str
    """"source" or "service"."""
    name: str
    model: str
    """"allowed" or "never"; an item leaves only if its source and its service both allow it."""


@dataclass(frozen=True, slots=True)
class Door:
    """A path where others come in. `answered` says what they are told."""

    path: str
    who: str
    answered: str


@dataclass(frozen=True, slots=True)
class Leaving:
    destinations: tuple[Destination, ...]
    rules: tuple[ModelRule, ...]
    """Empty where no model is configured."""
    doors: tuple[Door, ...]


def leaving(settings: Settings) -> Leaving:
    """Everything that leaves under these settings. Raises ConfigurationError where start-up would."""
    pins = list({pin.endpoint: pin for chain in models_of(settings).values() for pin in chain}.values())
    told = [*_slack(settings), *_pagerduty(settings), *_sources(settings), *_mcp(settings), *_directories(settings)]
    told += [*_models(pins), *_telemetry(settings), *_topics(settings)]
    merged: dict[str, Destination] = {}
    for one in told:
        before = merged.get(one.address)
        merged[one.address] = one if before is None else _both(before, one)
    egress = egress_of(settings, [pin.endpoint for pin in pins])
    for origin in map(str, sorted(egress.allowed | egress.public)):
        by = "named by a setting" if any(origin == str(one) for one in egress.allowed) else "built in"
        merged.setdefault(origin, Destination(origin, "nobody: no setting leads there", by, ()))
    ordered = sorted(merged.values(), key=lambda one: (not one.sent, one.address))
    return Leaving(tuple(ordered), tuple(_rules(settings)) if pins else (), tuple(_doors(settings)))


def _both(one: Destination, other: Destination) -> Destination:
    def joined(a: str, b: str) -> str:
        return a if b in a.split("; ") else f"{a}; {b}"

    return Destination(
        one.address, joined(one.who, other.who), joined(one.named_by, other.named_by),
        tuple(dict.fromkeys((*one.sent, *other.sent))),
    )  # fmt: skip


def _at(url: str) -> str:
    return str(origin_of(url))


def _slack(settings: Settings) -> Iterator[Destination]:
    if settings.secrets.slack_bot_token is None:
        return
    posted = "shadow: cards and reports, to the shadow channel" if settings.file.mode == "shadow" else (
        "cards, their edits and threads, reports: each item only if everyone who reads the channel may read it"
    )  # fmt: skip
    sent = (
        posted,
        "answers to one person: what that person may read",
        "questions who is who, and who is in which channel",
    )
    yield Destination(_at(settings.secrets.slack_api_url), "Slack", "SLACK_API_URL", sent)
    if _at(settings.secrets.slack_api_url) == "https://slack.com":
        answers = ("answers to one person: what that person may read",)
        yield Destination("https://hooks.slack.com", "Slack", "built in", answers)
        page = ("the page that one person asked for: what that person may read",)
        yield Destination("https://files.slack.com", "Slack", "built in", page)
        if settings.file.slack.mode == "socket" and settings.secrets.slack_app_token is not None:
            for host in ("primary", "backup", "mobile"):
                acknowledged = ("acknowledgements of the events that Slack sends there",)
                yield Destination(f"https://wss-{host}.slack.com", "Slack (Socket Mode)", "built in", acknowledged)


def _pagerduty(settings: Settings) -> Iterator[Destination]:
    if settings.secrets.pagerduty_api_token is None:
        return
    sent = ["ids of incidents and services, and times: for alerts, log entries, changes, past incidents, on-call roles"]
    sent.append("acknowledgements that a person asked for, with that person's e-mail address as PagerDuty's user")
    if settings.file.pagerduty.fallback_note:
        sent.append("one note on an incident while Slack is down: what the group \"pagerduty\" may read, else number, "
                    "severity, times, on-call role")  # fmt: skip
    yield Destination(_at(settings.secrets.pagerduty_api_url), "PagerDuty", "PAGERDUTY_API_URL", tuple(sent))


def _sources(settings: Settings) -> Iterator[Destination]:
    for name, source in settings.file.sources.items():
        kind = source.kind or name
        url = source.url or (settings.secrets.github_api_url if kind == "github" else None)
        if url is None or kind in ("pagerduty", "slack"):
            continue
        asked = ASKED_OF.get(kind, "names of your services, and times")
        yield Destination(_at(url), f"source {name}", f"[sources.{name}]", (asked,))


def _mcp(settings: Settings) -> Iterator[Destination]:
    for name, server in settings.file.mcp.items():
        if server.url is not None:
            tools = ", ".join(one.name for one in server.tools) or "none yet"
            asked = (f"the arguments that [[mcp.{name}.tools]] fix, fields of one incident filled in (tools: {tools})",)
            yield Destination(_at(server.url), f"MCP server {name}", f"[mcp.{name}]", asked)


def _directories(settings: Settings) -> Iterator[Destination]:
    for name, one in settings.file.directories.items():
        kind = one.kind or name
        where = f"[directories.{name}]"
        if kind == "github":
            asked = ("names of your organisation and its repositories: for teams, members and collaborators",)
            yield Destination(_at(settings.secrets.github_api_url), f"directory {name}", where, asked)
        elif kind == "pagerduty" and settings.secrets.pagerduty_api_token is not None:
            asked = ("questions for the account's teams and their members",)
            yield Destination(_at(settings.secrets.pagerduty_api_url), f"directory {name}", where, asked)


def _models(pins: Sequence[Pin]) -> Iterator[Destination]:
    for pin in pins:
        whose = "own server" if pin.hosting == "own" else "hosted"
        who = f"model {pin.name} ({whose}; {pin.residency})"
        sent = [SENT_TO_MODEL] if pin.uses & {"triage", "ask", "validate"} else []
        sent += [REVIEWED_BY_MODEL] if "review" in pin.uses else []
        sent += [MINED_BY_MODEL] if "batch" in pin.uses else []
        yield Destination(_at(pin.endpoint), who, "models.toml, SITREP_MODEL, SITREP_MODEL_URL", tuple(sent))


def _telemetry(settings: Settings) -> Iterator[Destination]:
    if url := settings.file.telemetry.otlp_url:
        spans = ("traces of Sitrep's own work: ids, counts, durations, outcomes, no texts",)
        yield Destination(_at(url), "collector of traces", "[telemetry] otlp_url", spans)


def _topics(settings: Settings) -> Iterator[Destination]:
    source = settings.file.sources.get("cloudwatch_sns")
    for topic in source.allow.topics if source else ():
        asked = ("requests for the certificate that signed an alarm, and the confirmation of a subscription",)
        yield Destination(_at(origin_of_topic(topic)), "Amazon SNS", "[sources.cloudwatch_sns] allow.topics", asked)


def _rules(settings: Settings) -> Iterator[ModelRule]:
    for name, source in settings.file.sources.items():
        yield ModelRule("source", name, source.model)
    for name, server in settings.file.mcp.items():
        yield ModelRule("source", name, server.model)
    for name, service in settings.file.services.items():
        yield ModelRule("service", name, service.model)


def _doors(settings: Settings) -> Iterator[Door]:
    """Webhooks bring data in; the paths that answer with data say to whom."""
    with_secret = settings.secrets.system_webhook_secrets
    senders = ["pagerduty"] if settings.secrets.pagerduty_webhook_secrets else []
    senders += [name for name in SENDERS if name in with_secret]
    if "generic" in with_secret:
        senders += [n for n, one in settings.file.sources.items() if (one.kind or n) == "generic"] or ["generic"]
    senders += open_for_changes(settings)
    if any(_topics(settings)):
        senders.append("cloudwatch_sns")
    for name in senders:
        yield Door(f"POST /webhooks/{name}", f"{name}, signed", "whether it was stored and read, nothing else")
    if settings.file.slack.mode == "http":
        yield Door("POST /slack/events", "Slack, signed", "acknowledgements, and forms that a person opens")
    names = {name for name, _ in settings.secrets.api_tokens}
    for name in sorted(names):
        groups = ", ".join(settings.file.tokens[name].groups)
        yield Door("GET /incidents/<id>", f"token {name}", f"what the groups {groups} may read")
        yield Door("POST /reviews", f"token {name}", "the risk of the diff that it sends, nothing that is stored")
    yield Door("GET /metrics", "whoever reaches the port", "counts and durations, no texts")
