"""CloudWatch alarms, with or without the envelope of SNS, SQS, EventBridge or Lambda around them.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions.html.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from integrations.alerts import shape
from integrations.errors import NotASignal
from integrations.reading import mapping, moment, objects, strings, text, web_address
from integrations.records import Alert

_SERVICE_DIMENSIONS = ("servicename", "functionname", "apiname", "service")
_DEEPEST = 6


class CloudWatchParser:
    """One alarm an object. A confirmation of a subscription and a text that is no alarm are refused."""

    name = "cloudwatch"

    def parse(self, payload: Any, received_at: datetime) -> list[Alert]:
        return [self._alarm(alarm, around, received_at) for alarm, around in _alarms(payload, {}, _DEEPEST)]

    def _alarm(self, alarm: Mapping[str, Any], around: Mapping[str, Any], received_at: datetime) -> Alert:
        state = mapping(alarm.get("state"))
        trigger, configuration = mapping(alarm.get("Trigger")), mapping(alarm.get("configuration"))
        dimensions = alarm.get("Dimensions") or trigger.get("Dimensions")
        labels = shape.labels_of(dimensions, alarm.get("tags"), alarm.get("Tags"))
        for metric in (*objects(configuration.get("metrics"), 20), *objects(trigger.get("Metrics"), 20)):
            labels = shape.labels_of(labels, *_dimensions(metric))  # metric math, and what EventBridge says
        for key, value in (
            ("namespace", trigger.get("Namespace") or alarm.get("Namespace")),
            ("metric", trigger.get("MetricName") or alarm.get("MetricName")),
            ("region", around.get("region") or alarm.get("Region")),
            ("account", around.get("accountId") or around.get("account") or alarm.get("AWSAccountId")),
        ):
            labels |= {key: text(value, 200)} if shape.meant(value, 200) else {}
        title = text(alarm.get("AlarmName") or alarm.get("alarmName"), 500)
        description = text(alarm.get("AlarmDescription") or configuration.get("description"), 500)
        said = alarm.get("NewStateValue") or state.get("value") or alarm.get("StateValue")
        service = shape.service_in(labels, *_SERVICE_DIMENSIONS)
        return shape.alert(
            title=shape.meant(title) or title.strip("<>") or description,
            status=shape.status_of("alarm" if text(said) == "ALARM" else said) or "firing",
            severity=alarm.get("Priority") or alarm.get("Severity") or labels.get("severity") or labels.get("priority"),
            started_at=next(
                (
                    at
                    for value in (
                        alarm.get("StateChangeTime"), state.get("timestamp"), alarm.get("StateTransitionedTimestamp"),
                        alarm.get("StateUpdatedTimestamp"), around.get("time"), around.get("Timestamp"),
                    )
                    if (at := moment(value)) is not None
                ),
                None,
            ),
            received_at=received_at,
            payload=alarm,
            service=shape.meant(alarm.get("Application"), 200) or service,
            link=web_address(alarm.get("url")) or web_address(alarm.get("link")),
            dedupe_key=text(alarm.get("AlarmArn") or around.get("alarmArn"), 500) or _resource(around),
            labels=labels,
            consumed=("AlarmName", "alarmName"),
        )  # fmt: skip


def _dimensions(metric: Mapping[str, Any]) -> tuple[Any, Any]:
    """Of one metric of several, in the words of the API and of EventBridge."""
    ours = mapping(mapping(metric.get("metricStat")).get("metric"))
    return ours.get("dimensions"), mapping(mapping(metric.get("MetricStat")).get("Metric")).get("Dimensions")


def _resource(around: Mapping[str, Any]) -> str:
    """The alarm's name in Amazon's words, beside what EventBridge says of it."""
    named = strings(around.get("resources"), 5)
    return next((one[:500] for one in named if ":alarm:" in one), "")


def _alarms(
    payload: Any, around: Mapping[str, Any], deepest: int
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Alarms inside envelopes, each with the fields of the envelope that matter. Raises NotASignal where none is."""
    if deepest == 0:
        raise NotASignal("envelope in envelope, and no alarm in the innermost")
    if isinstance(payload, list):
        if not payload:
            raise NotASignal("an empty list is no alarm")
        for one in payload:
            yield from _alarms(one, around, deepest - 1)
        return
    body = mapping(payload)
    if "AlarmName" in body or "alarmName" in body:
        if "HistoryItemType" in body:
            raise NotASignal("an entry of an alarm's history is no alert")
        yield body, around
    elif isinstance(body.get("alarmData"), Mapping):
        yield from _alarms(body["alarmData"], {**around, **body}, deepest - 1)
    elif isinstance(body.get("detail"), Mapping):
        yield from _alarms(body["detail"], {**around, **body}, deepest - 1)
    elif "MetricAlarms" in body or "CompositeAlarms" in body:
        yield from _alarms([*objects(body.get("MetricAlarms")), *objects(body.get("CompositeAlarms"))], {}, deepest - 1)
    elif isinstance(body.get("Records"), list):
        yield from _alarms(body["Records"], around, deepest - 1)
    elif isinstance(body.get("Sns"), Mapping):
        yield from _alarms(body["Sns"], around, deepest - 1)
    elif body.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        raise NotASignal(f"an SNS {text(body['Type'])} is no alarm")
    elif "Message" in body or "body" in body:
        message = body.get("Message", body.get("body"))
        if isinstance(message, str):
            message = _document(message)
        yield from _alarms(message, {**around, "Timestamp": body.get("Timestamp")}, deepest - 1)
    else:
        raise NotASignal("no AlarmName in it: no CloudWatch alarm")


def _document(message: str) -> Any:
    """SNS carries the alarm as JSON in a string."""
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        raise NotASignal("an SNS message that is not JSON is no CloudWatch alarm") from None
