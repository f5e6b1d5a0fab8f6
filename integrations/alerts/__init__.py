"""Alerts of every sender in our words: a parser each, and recognition by usual field names for all the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.alerts.alertmanager import AlertmanagerParser
from integrations.alerts.cloudwatch import CloudWatchParser
from integrations.alerts.datadog import DatadogParser
from integrations.alerts.generic import GenericParser, Hints
from integrations.alerts.grafana import GrafanaParser
from integrations.alerts.opsgenie import OpsgenieParser
from integrations.alerts.pagerduty import PagerDutyParser
from integrations.alerts.products import (
    AXIOM,
    NETBOX,
    SIGNALFX,
    WAZUH,
    CdEventsParser,
    CheckmkParser,
    CoralogixParser,
    GcpMonitoringParser,
    LibreNmsParser,
    ThousandEyesParser,
)
from integrations.alerts.sentry import SentryParser
from integrations.ports import AlertParser
from integrations.reading import mapping
from integrations.records import Alert

__all__ = ["PARSERS", "GenericParser", "Hints", "parse_alerts", "parser_for", "payloads_in"]

_FIXTURE = {"payload", "parameters", "renders", "service"}
_CLOUDWATCH = CloudWatchParser()
PARSERS: Mapping[str, AlertParser] = {
    "alertmanager": AlertmanagerParser(),
    "axiom": AXIOM,
    "cdevents": CdEventsParser(),
    "checkmk": CheckmkParser(),
    "cloudwatch": _CLOUDWATCH,
    "cloudwatch_sns": _CLOUDWATCH,
    "coralogix": CoralogixParser(),
    "datadog": DatadogParser(),
    "gcpmonitoring": GcpMonitoringParser(),
    "grafana": GrafanaParser(),
    "libre_nms": LibreNmsParser(),
    "netbox": NETBOX,
    "opsgenie": OpsgenieParser(),
    "pagerduty": PagerDutyParser(),
    "prometheus": AlertmanagerParser("prometheus"),
    "sentry": SentryParser(),
    "signalfx": SIGNALFX,
    "thousandeyes": ThousandEyesParser(),
    "wazuh": WAZUH,
}
"""The senders with a parser of their own, by the name that `sitrep alerts parse --from` takes."""


def parser_for(name: str) -> AlertParser:
    """The parser of a sender; recognition by usual field names for a name that is not known. Never refuses a name."""
    return PARSERS.get(name.strip().lower().replace("-", "_"), GenericParser(name))


def parse_alerts(name: str, payload: Any, received_at: datetime) -> list[Alert]:
    """The alerts of one payload. Raises NotASignal with the reason where there is none."""
    return [alert for one in payloads_in(payload) for alert in parser_for(name).parse(one, received_at)]


def payloads_in(payload: Any) -> list[Any]:
    """What was really sent, where it stands in a test fixture: under `payload`, or in a recorded request.

    A file of several named examples (`{"high_cpu": {"payload": …}, …}`) is all of them.
    """
    body = mapping(payload)
    if not body:
        return [payload]
    if isinstance(body.get("payload"), Mapping) and set(body) <= _FIXTURE:
        service = {"service": body["service"]} if isinstance(body.get("service"), str) else {}
        return [{**service, **body["payload"]}]
    if all(isinstance(one, Mapping) and isinstance(one.get("payload"), Mapping) for one in body.values()):
        return [inner for one in body.values() for inner in payloads_in({k: one[k] for k in one if k in _FIXTURE})]
    request = mapping(body.get("request"))
    if "method" in request and ("body" in request or "response" in body):
        sent = request.get("body")
        sent = sent if sent is not None else mapping(body.get("response")).get("body")
        return [_read(sent)]
    return [payload]


def _read(sent: Any) -> Any:
    try:
        return json.loads(sent) if isinstance(sent, str) else sent
    except (ValueError, RecursionError):
        return sent
