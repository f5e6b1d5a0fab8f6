"""`sitrep alerts parse --from NAME`: a monitoring system's payload in, its alerts in our words out."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, NoReturn

import click

from integrations.alerts import parse_alerts
from integrations.errors import NotASignal
from integrations.records import Alert

FIELDS = ("title", "service", "severity", "status", "started_at", "link", "dedupe_key", "labels", "extra")
LARGEST = 64 * 1024 * 1024


@click.group("alerts")
def command() -> None:
    """What monitoring systems send."""


@command.command("parse")
@click.option(
    "--from",
    "name",
    required=True,
    metavar="NAME",
    help="The sender: alertmanager, prometheus, grafana, datadog, cloudwatch, sentry, opsgenie, pagerduty, … Any other "
    "name is read by the usual field names.",
)
def parse(name: str) -> None:
    """Read one payload, or a list of payloads, from standard input and print its alerts as JSON.

    Exit code 1 and a reason on standard error for what is no alert; of a list the others are printed all the same.
    """
    payload = _payload(sys.stdin.buffer.read(LARGEST + 1))
    received_at = datetime.now(UTC)
    alerts: list[Alert] = []
    refused: list[str] = []
    for number, one in enumerate(payload if isinstance(payload, list) and payload else [payload], start=1):
        try:
            alerts += parse_alerts(name, one, received_at)
        except NotASignal as why:
            refused.append(f"payload {number}: {why}" if isinstance(payload, list) else str(why))
    printed = {"alerts": [_record(alert) for alert in alerts]} | ({"refused": refused} if refused else {})
    sys.stdout.write(json.dumps(printed, ensure_ascii=False, indent=1) + "\n")
    if refused:
        for reason in refused:
            click.echo(f"sitrep alerts parse: {reason}", err=True)
        raise click.exceptions.Exit(1)


def _payload(content: bytes) -> Any:
    if len(content) > LARGEST:
        _refuse(f"more than {LARGEST} bytes on standard input")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as wrong:
        _refuse(f"standard input is not JSON ({type(wrong).__name__})")


def _refuse(reason: str) -> NoReturn:
    click.echo(f"sitrep alerts parse: {reason}", err=True)
    raise click.exceptions.Exit(1)


def _record(alert: Alert) -> dict[str, Any]:
    found = alert.model_dump(mode="json")
    return {name: found[name] for name in FIELDS}
