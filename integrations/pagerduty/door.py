"""PagerDuty's V3 webhooks: the signature, and what an event says."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from integrations.errors import BadSignature
from integrations.pagerduty.fields import EVENT_KINDS, described, identifier, incident_of, said_by
from integrations.reading import mapping, moment, storable, text
from integrations.records import Signal

SIGNATURES_READ = 16
"""PagerDuty sends one signature per active secret of the subscription; more than this is no delivery of theirs."""


class PagerDutyDoor:
    """Verifies and reads deliveries at `/webhooks/pagerduty`. `secrets` are the active ones, newest first.

    Source: https://developer.pagerduty.com/docs/verifying-webhook-signatures. No time is signed, so a repeat is
    recognised by its delivery key alone.
    """

    name = "pagerduty"
    path = "/webhooks/pagerduty"
    body_limit = 1024 * 1024

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secret.encode() for secret in secrets if secret)

    def verify(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        """Any `v1=` of the header may match any active secret; every pair is compared, in constant time."""
        if not self._secrets:
            raise BadSignature("no secret to check PagerDuty's signature with: set PAGERDUTY_WEBHOOK_SECRETS")
        given = [part.strip() for part in headers.get("x-pagerduty-signature", "").split(",")]
        signatures = [part[3:].strip().lower() for part in given if part.startswith("v1=")][:SIGNATURES_READ]
        if not signatures:
            raise BadSignature("no v1 signature in X-PagerDuty-Signature")
        matches = False
        for secret in self._secrets:
            expected = hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
            for signature in signatures:
                matches |= hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        if not matches:
            raise BadSignature("the signature fits none of the secrets in PAGERDUTY_WEBHOOK_SECRETS")

    def parse(self, headers: Mapping[str, str], payload: Any, sha256: str, received_at: datetime) -> list[Signal]:
        """One signal an event. Older bodies (V2: `messages`) and whatever else was signed are of kind `unknown`."""
        event = mapping(mapping(payload).get("event"))
        data = mapping(event.get("data"))
        incident = incident_of(data)
        incident_id = identifier(incident.get("id")) if incident is not None else None
        kind = EVENT_KINDS.get(text(event.get("event_type"), 100), "unknown")
        occurred_at = moment(event.get("occurred_at")) or received_at
        if occurred_at > received_at + timedelta(days=1):
            occurred_at = received_at  # a clock that is wrong by days would end up in somebody's time to restore
        return [
            Signal(
                delivery_key=self._delivery_key(headers, event, sha256),
                source=self.name,
                kind=kind if incident_id else "unknown",
                incident_id=incident_id,
                occurred_at=occurred_at,
                received_at=received_at,
                body=storable(payload if isinstance(payload, Mapping) else {"payload": payload}),
                sha256=sha256,
                incident=described(incident) if incident_id else None,
                said_by=said_by(event.get("agent")),
            )
        ]

    @staticmethod
    def _delivery_key(headers: Mapping[str, str], event: Mapping[str, Any], sha256: str) -> str:
        """The event's id; without one the delivery's own id, which is the same on every retry; else the body."""
        event_id = text(event.get("id"), 200)
        if event_id:
            return event_id
        delivery = text(headers.get("x-webhook-id"), 200)
        return f"delivery:{delivery}:{sha256}" if delivery else f"sha256:{sha256}"
