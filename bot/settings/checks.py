"""What must hold between sections, and between the file and the environment."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from bot.settings.environment import Secrets
from bot.settings.sections import File

ALLOWED_BY_KIND = {
    "github": ("repositories",), "cloudwatch_sns": ("topics",), "elasticsearch": ("indices",),
    "opensearch": ("indices",), "otlp": ("paths",), "gitlab": ("repositories",), "argocd": ("paths",),
    "kubernetes": ("paths",), "launchdarkly": ("paths",), "prometheus": ("dashboards",),
}  # fmt: skip
"""Which lists of `allow` each kind of source obeys; any other list would be read and ignored, so it is refused."""


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


def _mcp_problems(file: File) -> list[str]:
    problems = []
    for name, server in file.mcp.items():
        where = f"[mcp.{name}]"
        if name in file.sources or name in ("sitrep", "alerts", "pagerduty", "slack"):
            problems.append(f"{where}: another source has this name")
        if server.readers is None:
            problems.append(f'{where} has no readers; say who may read what it returns, such as readers = ["everyone"]')
        if (server.url is None) == (not server.command):
            problems.append(f"{where} needs either url or command, and not both")
        if server.url is not None and (server.environment or server.token_variable):
            problems.append(
                f"{where} environment and token_variable are for a command; a url is sent its token by itself"
            )
        doubled = {one.name for one in server.tools if sum(one.name == other.name for other in server.tools) > 1}
        problems += [f"{where} names tool {one!r} twice" for one in sorted(doubled)]
    return problems


def cross_checks(file: File, secrets: Secrets) -> list[str]:
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
        f"[sources.{name}] tenant: kind {source.kind or name!r} has none; Loki and Tempo do"
        for name, source in file.sources.items()
        if source.tenant is not None and (source.kind or name) not in ("loki", "tempo")
    ]
    problems += [
        f"[services.{name}] team = {service.team!r}, and there is no [teams.{service.team}]"
        for name, service in file.services.items()
        if service.team and service.team not in file.teams
    ]
    problems += _directory_problems(file, secrets)
    problems += _mcp_problems(file)
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
        problems.append(
            f"SITREP_DATABASE_URL has scheme {urlsplit(url).scheme!r}; this version stores in SQLite in SITREP_HOME "
            "only: unset it"
        )
    for path, variable in ((secrets.ca_file, "SITREP_CA_FILE"), (secrets.models_file, "SITREP_MODELS")):
        if path is not None and not path.is_file():
            problems.append(f"{variable}={str(path)!r} is not a file")
    return problems
