"""Alerts in Prometheus' words: Alertmanager's webhook (version 4) and API, Prometheus' API, Grafana's three shapes.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config,
https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import generic, shape
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, objects, text, web_address, whole
from integrations.records import Alert


class AlertmanagerParser:
    """Each alert of a webhook on its own: the group's status is never read, since a truncated body lies about it.

    With `max_alerts` a body lists only some alerts of its group and can say `resolved` while others fire. So nothing
    is resolved from a body with `truncatedAlerts`: an alert in it that says so stays `firing` here, its own word is
    in `extra`, and `/api/v2/alerts` has the truth.
    """

    def __init__(self, name: str = "alertmanager") -> None:
        self.name = name

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        """One that says nothing does not cost the others. Raises NotASignal where there is none."""
        alerts = []
        nameless = ""
        for one, around in _each(payload):
            try:
                alerts.append(self._alert(one, around, received_at))
            except NotASignal as why:
                nameless = str(why)
        if not alerts:
            raise NotASignal(nameless or "no alerts in it (an alert has labels; a webhook has them under `alerts`)")
        return alerts

    def _alert(self, one: Mapping[str, Any], around: Mapping[str, Any], received_at: datetime) -> Alert:
        labels = shape.labels_of(one.get("labels"), around.get("commonLabels"))
        notes = shape.labels_of(one.get("annotations"), around.get("commonAnnotations"))
        truncated = whole(around.get("truncatedAlerts")) or 0
        status = _status(one, around, received_at)
        title = (
            shape.meant(notes.get("summary"), 500)
            or shape.meant(one.get("summary"), 500)
            or _no_data_rule(labels)
            or labels.get("alertname")
            or text(one.get("name"), 500)
            or next((said for key in ("message", "description") if (said := shape.meant(notes.get(key), 500))), "")
            or _of_group(one, around)
        )
        if not title:
            raise NotASignal("an alert without alertname, summary or any other text is no alert")
        started_at = moment(one.get("startsAt")) or moment(one.get("activeAt"))
        own = shape.labels_of(one.get("labels"))
        own |= {} if "alertname" in own else {"alertname": title}  # Keep's shape has no name: labels alone may agree
        fingerprint = text(one.get("fingerprint"), 200) or fingerprint_of(own)
        began = f":{started_at.isoformat(timespec='milliseconds')}" if started_at else ""
        extra = dict(one) | ({"truncatedAlerts": truncated} if truncated else {})
        return shape.alert(
            title=title,
            status="firing" if truncated and status == "resolved" else status,
            severity=labels.get("severity") or labels.get("priority") or labels.get("level"),
            started_at=started_at,
            received_at=received_at,
            payload={k: v for k, v in around.items() if k in ("receiver", "groupKey", "externalURL")} | extra,
            service=service_of(labels),
            link=_link(one, notes, around),
            dedupe_key=fingerprint + began,  # to the millisecond: the webhook has more digits than the API
            labels=labels,
            consumed=("labels",),
        )


def _each(
    payload: Any, around: Mapping[str, Any] | None = None
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Alerts and what stands around them: a webhook's, an API list's, Prometheus' alerts and rules, a lone alert."""
    if isinstance(payload, list):
        for one in payload[: generic.ALERTS]:
            yield from _each(one)
        return
    body = mapping(payload)
    data = mapping(body.get("data"))
    if isinstance(body.get("alerts"), list):
        for one in objects(body["alerts"], generic.ALERTS):
            yield one, body
    elif isinstance(data.get("alerts"), list):
        for one in objects(data["alerts"], generic.ALERTS):
            yield one, {}
    elif isinstance(data.get("groups"), list):
        for group in objects(data["groups"]):
            for rule in objects(group.get("rules")):
                for one in objects(rule.get("alerts")):
                    yield {**one, "name": rule.get("name")}, {}
    elif isinstance(body.get("labels"), Mapping) and (body["labels"] or body.get("annotations") or body.get("summary")):
        yield body, around or {}


_TELLS_OF_OTHERS = re.compile(
    r"(?:^|-)(?:kube-state-metrics|kubelet|cadvisor|node-exporter|blackbox(?:-exporter)?|kubernetes-(?:pods|cadvisor|nodes))$"
)
_WORKLOADS = ("deployment", "statefulset", "daemonset", "workload", "job_name", "cronjob", "container")


def service_of(labels: Mapping[str, str]) -> str | None:
    """The service that labels name; what an exporter says of a workload is about the workload, not the exporter."""
    said = shape.service_in(labels, "job")
    if said is None or not _TELLS_OF_OTHERS.search(said):
        return said
    return next((found for key in _WORKLOADS if (found := shape.meant(labels.get(key), 200))), said)


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of a label set (FNV-1a, 64 bit): an alert read from Prometheus has the same key.

    Source: prometheus/common, model/signature.go and model/fnv.go.
    """
    value = 14695981039346656037
    for name in sorted(labels):
        for byte in (*name.encode(), 0xFF, *labels[name].encode(), 0xFF):
            value = ((value ^ byte) * 1099511628211) % 2**64
    return f"{value:016x}"


def _status(one: Mapping[str, Any], around: Mapping[str, Any], received_at: datetime) -> shape.Status:
    """The alert's own status; from the API an object with `state`; else whether it has ended."""
    said = one.get("status")
    word = mapping(said).get("state") if isinstance(said, Mapping) else said
    state = shape.status_of(word) or shape.status_of(one.get("state"))
    if state == "acknowledged":  # suppressed: silenced or inhibited, and still firing
        return "firing"
    if state is not None:
        return state
    ended = moment(one.get("endsAt"))
    return "resolved" if ended is not None and ended <= received_at else "firing"


def _no_data_rule(labels: Mapping[str, str]) -> str:
    """Grafana's own alerts about a rule without data carry the rule in `rulename`."""
    if labels.get("alertname") in ("DatasourceNoData", "DatasourceError") and labels.get("rulename"):
        return f"{labels['rulename']}: {'no data' if labels['alertname'].endswith('Data') else 'data source error'}"
    return ""


def _of_group(one: Mapping[str, Any], around: Mapping[str, Any]) -> str:
    """What the webhook calls the group of an alert that has no label and no annotation; "" without a fingerprint."""
    if not text(one.get("fingerprint"), 200):
        return ""
    titles = (shape.without_state(text(around.get("title"), 500)), around.get("receiver"))
    return next((said for title in titles if (said := shape.meant(title, 500))), "")


def _link(one: Mapping[str, Any], notes: Mapping[str, str], around: Mapping[str, Any]) -> str | None:
    keys = ("generatorURL", "panelURL", "dashboardURL", "url", "link")
    return next((found for key in keys if (found := web_address(one.get(key)))), None)
