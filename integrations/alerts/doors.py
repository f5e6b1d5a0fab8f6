"""Webhooks of monitoring systems: how each proves who it is, and its alerts as signals.

| sender | proof | time |
| --- | --- | --- |
| Grafana | HMAC-SHA256 of `<timestamp>:<body>`, hex | header, at most 300 s |
| Sentry | HMAC-SHA256 of the body with the client secret, hex | none |
| Alertmanager, Datadog, Opsgenie, generic | bearer token or basic password, over TLS | none |
| CloudWatch | SNS signature: `sns.py` | none |

Where no time is signed a repeat is recognised by its delivery key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from integrations.alerts import parser_for
from integrations.alerts.generic import GenericParser, Hints
from integrations.errors import BadSignature, NotASignal
from integrations.ports import AlertParser
from integrations.reading import mapping, moment, storable
from integrations.records import Alert, Signal

SIGNED_WITHIN = timedelta(seconds=300)
BODY_LIMIT = 1024 * 1024
FUTURE = timedelta(days=1)


class Proof(Protocol):
    """How a sender shows that a delivery is its own."""

    def check(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        """Raises BadSignature; constant time."""
        ...


class SharedSecret:
    """`Authorization: Bearer <secret>` or `Basic …` with it as the password. `secrets`: the active ones."""

    def __init__(self, secrets: Sequence[str], variable: str) -> None:
        self._secrets = [secret.encode() for secret in secrets if secret]
        self._variable = variable

    def check(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        secret = given.strip().encode("utf-8", "replace")
        if scheme.lower() == "basic":
            try:
                secret = base64.b64decode(secret, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                secret = b""
        elif scheme.lower() != "bearer":
            raise BadSignature("no Authorization header with a bearer token or a basic password")
        if not _matches(secret, self._secrets):
            raise BadSignature(f"the token or password is none of {self._variable}")


class HexHmac:
    """HMAC-SHA256 in hex in one header; with `time_header`, of `<its value>:<body>`, at most 300 s old."""

    def __init__(self, secrets: Sequence[str], variable: str, header: str, time_header: str | None = None) -> None:
        self._secrets = [secret.encode() for secret in secrets if secret]
        self._variable, self._header, self._time_header = variable, header, time_header

    def check(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        given = headers.get(self._header, "").strip().lower().removeprefix("sha256=").encode("utf-8", "replace")
        if not given:
            raise BadSignature(f"no signature in {self._header}")
        signed = body
        if self._time_header is not None:
            said = headers.get(self._time_header, "").strip()
            at = moment(said) if said.isdigit() else None
            if at is None:
                raise BadSignature(f"no time in {self._time_header}: the sender must be set to sign one")
            if abs(received_at - at) > SIGNED_WITHIN:
                raise BadSignature(f"signed more than {SIGNED_WITHIN.seconds} s ago or ahead")
            signed = said.encode() + b":" + body
        expected = [hmac.new(secret, signed, hashlib.sha256).hexdigest().encode() for secret in self._secrets]
        if not _matches(given, expected):
            raise BadSignature(f"the signature fits none of {self._variable}")


def _matches(given: bytes, expected: Sequence[bytes]) -> bool:
    """Whether it equals one of them; every pair is compared."""
    found = False
    for one in expected:
        found |= hmac.compare_digest(given, one)
    return found and bool(given)


class AlertDoor:
    """A webhook that brings alerts: each becomes a signal of kind `alert`, what is none a signal of kind `unknown`."""

    body_limit = BODY_LIMIT

    def __init__(self, name: str, proof: Proof, parser: AlertParser) -> None:
        self.name = name
        self.path = f"/webhooks/{name}"
        self._proof = proof
        self._parser = parser

    def verify(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        self._proof.check(headers, body, received_at)

    def parse(self, headers: Mapping[str, str], payload: Any, sha256: str, received_at: datetime) -> list[Signal]:
        try:
            alerts = self._parser.parse(payload, received_at)
        except NotASignal as why:
            return [unread(self.name, payload, sha256, received_at, str(why))]
        return [signal_of(self.name, alert, sha256, received_at) for alert in alerts]


def signal_of(name: str, alert: Alert, sha256: str, received_at: datetime) -> Signal:
    """An alert as a signal; `alert_of` reads it back.

    The delivery key is sender, alert, state and start, so that a repeat is dropped and a relapse is not. Of an alert
    that does not say when it started, a repeat within the same minute is one.
    """
    untimed = alert.started_at == received_at
    began = received_at.replace(second=0, microsecond=0) if untimed else alert.started_at
    parts = "\n".join((name, alert.dedupe_key, alert.status, began.isoformat(), sha256 if untimed else ""))
    ended = moment(alert.extra.get("endsAt")) if alert.status == "resolved" else None
    at = alert.started_at if alert.status == "firing" else ended or received_at
    return Signal(
        delivery_key=f"{name}:{hashlib.sha256(parts.encode('utf-8', 'replace')).hexdigest()[:32]}",
        source=name,
        kind="alert",
        incident_id=None,
        occurred_at=at if at <= received_at + FUTURE else received_at,
        received_at=received_at,
        body={"alert": alert.model_dump(mode="json")},
        sha256=sha256,
        said_by="integration",
    )


def unread(name: str, payload: Any, sha256: str, received_at: datetime, why: str) -> Signal:
    """What was signed and is no alert: kept, counted, and said why."""
    body = payload if isinstance(payload, Mapping) else {"payload": payload}
    return Signal(
        delivery_key=f"{name}:sha256:{sha256}", source=name, kind="unknown", incident_id=None, occurred_at=received_at,
        received_at=received_at, body={"refused": why, "payload": storable(body)}, sha256=sha256,
    )  # fmt: skip


def alert_of(signal: Signal) -> Alert:
    """The alert that a signal of kind `alert` carries."""
    return Alert.model_validate(mapping(signal.body.get("alert")))


SENDERS = ("alertmanager", "grafana", "datadog", "sentry", "opsgenie")
"""Senders with a door of their own, beside SNS and the generic one; each opens with `<NAME>_WEBHOOK_SECRETS`."""


def door_for(name: str, secrets: Sequence[str]) -> AlertDoor:
    """The door of one of `SENDERS`, with that sender's own proof."""
    variable = f"{name.upper()}_WEBHOOK_SECRETS"
    proof: Proof = SharedSecret(secrets, variable)
    if name == "grafana":
        proof = HexHmac(secrets, variable, "x-grafana-alerting-signature", "x-grafana-alerting-timestamp")
    elif name == "sentry":
        proof = HexHmac(secrets, variable, "sentry-hook-signature")
    return AlertDoor(name, proof, parser_for(name))


class _Either:
    """A signature where there is one, else a token."""

    def __init__(self, signature: Proof, token: Proof, header: str) -> None:
        self._signature, self._token, self._header = signature, token, header

    def check(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        (self._signature if self._header in headers else self._token).check(headers, body, received_at)


def generic_door(name: str, secrets: Sequence[str], fields: Mapping[str, str] | None = None) -> AlertDoor:
    """A door for any sender of JSON: `X-Signature-256: sha256=<hex>` or a token, and a declared mapping of fields.

    `fields` maps title, severity, status, started_at, link, service, dedupe_key and labels to dotted paths; what it
    leaves out is found by usual names. Raises ValueError for a field that an alert does not have.
    """
    known = {"title", "severity", "status", "started_at", "link", "service", "dedupe_key", "labels"}
    wrong = sorted(set(fields or {}) - known)
    if wrong:
        raise ValueError(f"fields: {', '.join(wrong)} is no field of an alert; these are: {', '.join(sorted(known))}")
    variable, header = "GENERIC_WEBHOOK_SECRETS", "x-signature-256"
    proof = _Either(HexHmac(secrets, variable, header), SharedSecret(secrets, variable), header)
    hints: dict[str, Any] = {field: (path,) for field, path in (fields or {}).items()}
    parser = GenericParser(name, Hints(**hints, always_an_alert=True)) if hints else parser_for(name)
    return AlertDoor(name, proof, parser)


__all__ = [
    "SENDERS", "AlertDoor", "HexHmac", "SharedSecret", "alert_of", "door_for", "generic_door", "signal_of", "unread",
]  # fmt: skip
