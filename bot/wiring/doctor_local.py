"""What `sitrep doctor` finds on this machine: packages, state folder, database, and what waits in it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from bot.clock import Clock
from bot.settings import Settings
from bot.store import Store, migrations
from bot.store.sqlite import SqliteStore
from bot.store.values import to_time
from bot.trust.recheck import AudienceEvent, standing_cards, waiting
from bot.wiring.doctor_lines import Line

PACKAGES = ("bot", "integrations", "prompts")
LEAST_FREE_BYTES = 1 << 30
SEEN_FOR = timedelta(days=30)
"""How far back incidents are looked at for services that no setting maps."""
LONGEST_WAIT = timedelta(minutes=10)
"""A post or a request that waits longer than this is stuck."""


def packages(path: Sequence[str] | None = None) -> list[Line]:
    """Whether a stranger has one of our generic package names."""
    ours = Path(__file__).resolve().parents[2]
    strangers = []
    for name in PACKAGES:
        for entry in dict.fromkeys(sys.path if path is None else path):
            folder = Path(entry or ".").resolve()
            if folder != ours and ((folder / name / "__init__.py").is_file() or (folder / f"{name}.py").is_file()):
                strangers.append(f"{name} in {folder}")
    owners = importlib.metadata.packages_distributions() if path is None else {}
    strangers += [
        f"{name} of the distribution {owner}"
        for name in PACKAGES
        for owner in sorted(set(owners.get(name, ())))
        if owner.lower() != "sitrep"
    ]
    if not strangers:
        return [Line("packages", "ok", f"{', '.join(PACKAGES)} are Sitrep's own")]
    return [
        Line(
            "packages",
            "failed",
            f"another package has our name: {'; '.join(strangers)}",
            "install Sitrep alone (pipx install sitrep), or remove the other one",
        )
    ]


def state_folder(settings: Settings) -> list[Line]:
    """SITREP_HOME: is it there, can it be written, is there room."""
    home = settings.home
    if not home.exists():
        return [Line("state folder", "ok", f"{home} is not there yet; the first start makes it")]
    if not os.access(home, os.W_OK):
        return [Line("state folder", "failed", f"{home} cannot be written", "give it to the user that runs Sitrep")]
    free = shutil.disk_usage(home).free
    if free < LEAST_FREE_BYTES:
        return [Line("state folder", "warning", f"{home} has {free / 2**20:.0f} MiB left", "make room on that disk")]
    return [Line("state folder", "ok", f"{home}, {free / 2**30:.0f} GiB free")]


def secret_key(settings: Settings) -> list[Line]:
    """The key of the placeholders that stand for secrets."""
    if settings.secrets.secret_keys:
        return [Line("secret key", "ok", "SITREP_SECRET_KEY is set")]
    path = settings.home / "secret.key"
    if not path.exists():
        return [Line("secret key", "ok", f"the first start makes {path}; keep it with your backups")]
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return [Line("secret key", "failed", f"{path} may be read by others (mode {mode:04o})", f"chmod 600 {path}")]
    return [Line("secret key", "ok", f"{path}, readable by its owner alone")]


def mode(settings: Settings) -> list[Line]:
    """Where posts go."""
    if settings.file.mode == "shadow":
        return [Line("mode", "ok", f"shadow: every post goes to {settings.file.slack.shadow_channel}, none is counted")]
    running = [one.name for one in settings.experiments]
    return [Line("mode", "ok", f"live; experiments: {', '.join(running) or 'none'}")]


def webhooks(settings: Settings) -> list[Line]:
    """The doors, and whether whoever sends can be checked."""
    secrets, lines = settings.secrets, []
    if settings.file.pagerduty.intake == "webhook" and not secrets.pagerduty_webhook_secrets:
        if secrets.pagerduty_api_token is None:
            lines.append(
                Line(
                    "PagerDuty webhook",
                    "warning",
                    "PAGERDUTY_WEBHOOK_SECRETS is not set, and nothing is polled",
                    "set the secret that PagerDuty showed when the webhook was made, or PAGERDUTY_API_TOKEN",
                )
            )
        else:
            lines.append(
                Line(
                    "PagerDuty webhook",
                    "warning",
                    "PAGERDUTY_WEBHOOK_SECRETS is not set: incidents come by polling every"
                    f" {settings.file.timeouts.reconcile_seconds:g} s",
                    'set it, or [pagerduty] intake = "poll" for every 10 s',
                )
            )
    elif secrets.pagerduty_webhook_secrets:
        lines.append(Line("PagerDuty webhook", "ok", "/webhooks/pagerduty checks its signature"))
    for system in sorted(secrets.system_webhook_secrets):
        named = any(system in (name, one.kind) for name, one in settings.file.sources.items())
        if system == "github" or named:
            lines.append(Line(f"{system} webhook", "ok", f"/webhooks/{system} checks who sends"))
        else:
            lines.append(
                Line(
                    f"{system} webhook",
                    "warning",
                    f"there is no [sources.{system}]: nobody may read its alerts",
                    f'add [sources.{system}] readers = ["everyone"], or who may read them',
                )
            )
    return lines


async def store(settings: Settings, clock: Clock) -> list[Line]:
    """Schema, what waits, the intake's cursor, and services that no setting maps."""
    path = settings.home / "sitrep.db"
    if not path.exists():
        return [Line("database", "ok", "not there yet; the first start, or sitrep db migrate, makes it")]
    line = schema(path)
    if line.status != "ok":
        return [line]
    opened = SqliteStore.open(path)
    try:
        workspace = settings.file.workspace
        return [
            line,
            await _waiting_posts(opened, workspace, clock),
            await _waiting_checks(opened, settings, clock),
            *await _cursor(opened, settings, clock),
            await _unmapped(opened, settings, clock),
        ]
    finally:
        await opened.close()


def schema(path: Path) -> Line:
    """Whether the file is ours, whole, and of this version; opened for reading alone."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2)
        try:
            applied = {row[0] for row in connection.execute("SELECT name FROM migrations")}
        finally:
            connection.close()
    except sqlite3.Error as wrong:
        return Line("database", "failed", f"{path.name} cannot be read ({wrong})", "restore it from a backup")
    known = {name for name, _ in migrations.steps()}
    if newer := applied - known:
        return Line("database", "failed", f"written by a newer Sitrep ({', '.join(sorted(newer))})", "install that one")
    if missing := known - applied:
        return Line("database", "warning", f"{len(missing)} steps behind", "sitrep db migrate, or start sitrep serve")
    return Line("database", "ok", f"{path.name}, schema {max(applied)}")


async def _waiting_posts(opened: Store, workspace: str, clock: Clock) -> Line:
    (row,) = await opened.query(
        "SELECT count(*) AS n, min(updated_at) AS since FROM posts WHERE workspace_id = :w AND sent_version < version",
        {"w": workspace},
    )
    number, since = int(row["n"]), row["since"]
    if not number or since is None:
        return Line("waiting posts", "ok", "none")
    age = clock.now() - to_time(since)
    if age > LONGEST_WAIT:
        return Line(
            "waiting posts",
            "failed",
            f"{number}, the oldest for {age.total_seconds() / 60:.0f} min",
            "is sitrep serve running, and does Slack accept its posts? its log says why",
        )
    return Line("waiting posts", "ok", f"{number}, on their way")


async def _waiting_checks(opened: Store, settings: Settings, clock: Clock) -> Line:
    """Cards that the hourly check has passed over twice: whoever reads them now was not asked about."""
    seconds = 2 * settings.file.timeouts.recheck_seconds
    due = AudienceEvent("hourly", clock.now() - timedelta(seconds=seconds))
    number = waiting([due], await standing_cards(opened, settings.file.workspace, clock.now()))
    if number:
        return Line(
            "waiting re-checks",
            "warning",
            f"{number} cards, last filtered over {seconds / 3600:.1f} h ago",
            "start sitrep serve: it filters them again for whoever reads them now",
        )
    return Line("waiting re-checks", "ok", "none")


async def _cursor(opened: Store, settings: Settings, clock: Clock) -> list[Line]:
    if settings.secrets.pagerduty_api_token is None:
        return []
    rows = await opened.query(
        "SELECT detail FROM notices WHERE workspace_id = :w AND id = 'cursor:pagerduty'", {"w": settings.file.workspace}
    )
    if not rows:
        return [Line("intake cursor", "ok", "PagerDuty was not read yet; the first start looks back 15 min")]
    age = (clock.now() - to_time(json.loads(rows[0]["detail"])["since"])).total_seconds()
    every = settings.file.timeouts
    most = 3 * (every.poll_seconds if settings.file.pagerduty.intake == "poll" else every.reconcile_seconds) + 300
    if age > most:
        return [
            Line(
                "intake cursor",
                "warning",
                f"PagerDuty was last read {age / 60:.0f} min ago",
                "start sitrep serve; it reads what was missed, up to 7 days back",
            )
        ]
    return [Line("intake cursor", "ok", f"PagerDuty read up to {max(age, 0):.0f} s ago")]


async def _unmapped(opened: Store, settings: Settings, clock: Clock) -> Line:
    """Services of recent incidents that `[services]` does not name."""
    rows = await opened.query(
        "SELECT service, service_ref, count(*) AS n FROM incidents WHERE workspace_id = :w AND triggered_at >= :since"
        " GROUP BY service, service_ref ORDER BY n DESC",
        {"w": settings.file.workspace, "since": clock.now() - SEEN_FOR},
    )
    unknown = [
        f"{row['service'] or row['service_ref']} ({row['n']})"
        for row in rows
        if (row["service"] or row["service_ref"])
        and settings.service_for(row["service"]) is None
        and settings.service_for(row["service_ref"]) is None
    ]
    if not unknown:
        return Line("unmapped services", "ok", "every service of the last 30 days has its section")
    more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
    return Line(
        "unmapped services",
        "warning",
        f"of recent incidents: {', '.join(unknown[:8])}{more}",
        "add [services.<name>] for them; sitrep services import proposes them",
    )
