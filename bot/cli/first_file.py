"""The first sitrep.toml and .env.example, from a few answers. Pure but for the machine's own time zone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bot.errors import ConfigurationError
from bot.wiring.sources import known_kinds


@dataclass(frozen=True, slots=True)
class Answers:
    """What `sitrep init` was told; lists are texts with commas."""

    channel: str
    shadow_channel: str
    timezone: str
    slack_mode: str
    pagerduty: str
    readers: str
    admins: str
    repositories: str
    sources: tuple[str, ...]
    model: str
    form_of_secrets: str


def local_timezone() -> str:
    """The machine's zone by name, "UTC" where it has none."""
    zone = Path("/etc/localtime")
    try:
        name = str(zone.resolve()).partition("zoneinfo/")[2]
    except OSError:
        return "UTC"
    if name in ("Etc/UTC", "Etc/UCT", "Universal", "Zulu") or name.startswith(("posix", "right")):
        return "UTC"
    return name or "UTC"


def settings(answers: Answers) -> str:
    """sitrep.toml, commented."""
    return "\n".join(_lines(answers)).rstrip() + "\n"


def _lines(a: Answers) -> Iterator[str]:
    yield "# Sitrep's settings. Every key with its default and a comment: sitrep.example.toml, docs/configuration.md."
    yield "# No secret belongs here: tokens come from the environment (.env.example)."
    yield ""
    yield _said(f"timezone = {_text(a.timezone)}", "weeks and quiet hours of reports")
    if a.shadow_channel:
        yield _said('mode = "shadow"', "everything runs, posts go to shadow_channel alone, nothing is counted;")
        yield _said("", 'make it "live" when the cards convince you')
    else:
        yield 'mode = "live"'
    yield ""
    yield "[slack]"
    yield _said(f"channel = {_text(a.channel)}", "where a card goes when neither incident, service nor route says")
    if a.shadow_channel:
        yield f"shadow_channel = {_text(a.shadow_channel)}"
    yield _said(f"mode = {_text(a.slack_mode)}", "socket: no public address; http: signed requests at /slack/events")
    yield from _pagerduty(a)
    yield ""
    yield "[triage]"
    yield _said('when = { severity = "<= 3" }', "which incidents get a card")
    if a.admins:
        yield ""
        yield _said("[admins]", "may pause, resume, merge, split, override; Slack user groups or [groups]")
        yield f"groups = {_list(a.admins)}"
    if a.repositories:
        yield ""
        yield _said("[sources.github]", "deployments, merges, releases")
        yield f"readers = {_list(a.readers)}"
        yield f"allow = {{ repositories = {_list(a.repositories)} }}"
    for given in a.sources:
        kind, url = source_of(given)
        yield ""
        yield f"[sources.{kind}]"
        yield f"url = {_text(url)}"
        yield f"readers = {_list(a.readers)}"
    yield ""
    yield "# One section a service: what each system calls it. `sitrep services import` proposes them."
    yield "# Who may read what is about a service can be narrowed there, never widened."
    yield '# [services."checkout-api"]'
    yield '# pagerduty = ["PSVC123"]'
    yield '# otel = ["checkout"]'
    yield '# repositories = ["acme/checkout"]'
    yield '# channel = "#payments"'


def _pagerduty(a: Answers) -> Iterator[str]:
    if a.pagerduty == "none":
        return
    yield ""
    yield "[pagerduty]"
    yield _said(f"intake = {_text(a.pagerduty)}", "webhook: /webhooks/pagerduty; poll: asked every 10 s")
    yield ""
    yield _said("[sources.pagerduty]", "who may read alerts; a card shows what all of its readers may see")
    yield f"readers = {_list(a.readers)}"


def _said(setting: str, comment: str) -> str:
    return f"{setting:<34} # {comment}"


def problems(toml: str) -> list[str]:
    """What start-up would say of this file; [] where it would take it."""
    import tempfile

    from bot.settings import load

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sitrep.toml"
        path.write_text(toml, encoding="utf-8")
        try:
            load({"SITREP_CONFIG": str(path), "SITREP_HOME": folder})
        except ConfigurationError as wrong:
            return list(wrong.problems)
    return []


def environment(answers: Answers) -> str:
    """.env.example: which secrets are needed, in the form that was chosen, each empty."""
    explained = {
        "environment": "Copy to .env, fill in, keep it out of version control: set -a; . ./.env; set +a",
        "file": "Each variable names a file that holds the secret (a mounted secret of the container, mode 0600).",
        "command": "Replace `secret-manager read …` by yours (op read, vault kv get, gopass show); then: . ./.env",
    }[answers.form_of_secrets]
    lines = [f"# Secrets of Sitrep, and nothing else. {explained}", ""]
    for name, comment in _wanted(answers):
        lines += [f"# {comment}", _secret(name, answers.form_of_secrets), ""]
    return "\n".join(lines)


def _wanted(a: Answers) -> Iterator[tuple[str, str]]:
    yield "SLACK_BOT_TOKEN", "xoxb-…: OAuth & Permissions of the app that docs/slack/manifest.yaml makes"
    if a.slack_mode == "socket":
        yield "SLACK_APP_TOKEN", "xapp-…: Basic Information → App-Level Tokens, scope connections:write"
    else:
        yield "SLACK_SIGNING_SECRETS", "Basic Information → Signing Secret"
    if a.pagerduty != "none":
        yield (
            "PAGERDUTY_API_TOKEN",
            "Integrations → API Access Keys; read-only will do, notes and acknowledging need more",
        )
    if a.pagerduty == "webhook":
        yield "PAGERDUTY_WEBHOOK_SECRETS", "shown once when the V3 webhook subscription is made"
    if a.repositories:
        yield "GITHUB_TOKEN", "fine-grained, read-only: contents, deployments, pull requests of those repositories"
    for given in a.sources:
        kind, _ = source_of(given)
        yield (
            f"SITREP_SOURCE_{kind.upper().replace('-', '_')}_TOKEN",
            f"of {kind}, where it wants one; else leave it out",
        )
    if a.model == "hosted":
        yield "OPENAI_API_KEY", "the model endpoint's key; SITREP_MODEL names the pin of models.toml, else its default"
    if a.model == "own":
        yield (
            "SITREP_MODEL_URL",
            "no secret: the base address of your OpenAI-compatible server; SITREP_MODEL names its pin",
        )


def _secret(name: str, form: str) -> str:
    if name == "SITREP_MODEL_URL" or form == "environment":
        return f"{name}="
    if form == "file":
        return f"{name}_FILE=/run/secrets/{name.lower()}"
    return f'export {name}="$(secret-manager read sitrep/{name.lower().replace("_", "-")})"'


def next_steps(a: Answers) -> list[str]:
    """What to do now, in order."""
    invited = a.shadow_channel or a.channel
    steps = [
        "make the Slack app: api.slack.com/apps → From a manifest → paste docs/slack/manifest.yaml; install it",
        "fill in the secrets that .env.example names",
        f"create {invited} and invite the app: /invite @sitrep",
        "sitrep doctor: says what is still missing",
    ]
    if a.pagerduty != "none":
        steps.append("sitrep services import: proposes [services] from PagerDuty and the sources")
    return [*steps, "sitrep triage --sample: a marked sample card in the channel", "sitrep serve"]


def source_of(given: str) -> tuple[str, str]:
    """Kind and address of `kind=url`. Raises ConfigurationError, for an address that carries a password too."""
    kind, separator, url = given.partition("=")
    if not separator or not kind.strip() or not url.strip():
        raise ConfigurationError([f"--source {given!r} is not kind=url, such as jaeger=http://jaeger:16686"])
    if "@" in urlsplit(url.strip()).netloc:
        raise ConfigurationError(
            [f"--source {kind}: the address holds a user or password; give the token by environment"]
        )
    known = known_kinds()
    if kind.strip() not in known:
        raise ConfigurationError([f"--source {kind!r}: no such kind; known: {', '.join(known)}"])
    return kind.strip(), url.strip()


def _text(value: str) -> str:
    """A TOML basic string; what cannot be shown is refused before."""
    if not value.isprintable():
        raise ConfigurationError([f"{value!r} holds characters that cannot be shown"])
    return json.dumps(value, ensure_ascii=False)


def _list(value: str) -> str:
    return "[" + ", ".join(_text(one.strip()) for one in value.split(",") if one.strip()) + "]"
