"""The webhooks that tell of changes: who may send, and how a change travels as a signal.

A repeat is dropped by its delivery key, which is made of the change's own id; a signature may cover a time
(`X-Signature-Timestamp`), which must then be less than 300 s away.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from integrations.alerts.doors import HexHmac, Proof, SharedSecret, unread
from integrations.changes import cdevents, plain
from integrations.errors import BadSignature, NotASignal
from integrations.reading import mapping, moment
from integrations.records import ChangeEvent, Signal

BODY_LIMIT = 1024 * 1024
CHANGES = 1000
"""Changes of one delivery that are read."""
SIGNATURE, SIGNED_AT = "x-signature-256", "x-signature-timestamp"

Reader = Callable[[Mapping[str, Any], Mapping[str, str], datetime], ChangeEvent]
"""One JSON object, the headers, when it came → its change; raises NotASignal for what is none."""


class ChangeDoor:
    """A webhook that brings changes: each becomes a signal of kind `change`, what is none one of kind `unknown`."""

    body_limit = BODY_LIMIT

    def __init__(self, name: str, proof: Proof, read: Reader) -> None:
        self.name = name
        self.path = f"/webhooks/{name}"
        self._proof = proof
        self._read = read

    def verify(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        self._proof.check(headers, body, received_at)

    def parse(self, headers: Mapping[str, str], payload: Any, sha256: str, received_at: datetime) -> list[Signal]:
        """One signal for each object of a list, or for the one object; what is no change does not cost the others."""
        many = payload if isinstance(payload, list) else [payload]
        found = []
        for at, one in enumerate(many[:CHANGES]):
            try:
                if not isinstance(one, Mapping):
                    raise NotASignal("a change is a JSON object")
                found.append(signal_of(self._read(one, headers, received_at), sha256, received_at))
            except NotASignal as why:
                found.append(unread(self.name, one, f"{sha256}:{at}" if at else sha256, received_at, str(why)))
        if not found:
            return [unread(self.name, payload, sha256, received_at, "an empty list")]
        if len(many) > CHANGES:
            why_not = f"only the first {CHANGES} of {len(many)} changes are read: send the others again"
            found.append(unread(self.name, {}, f"{sha256}:rest", received_at, why_not))
        return found


def signal_of(change: ChangeEvent, sha256: str, received_at: datetime) -> Signal:
    """A change as a signal; `change_of` reads it back. Told again, it is the same delivery."""
    key = hashlib.sha256(change.id.encode("utf-8", "replace")).hexdigest()[:32]
    return Signal(
        delivery_key=f"{change.source}:change:{key}",
        source=change.source,
        kind="change",
        incident_id=None,
        occurred_at=change.changed_at,
        received_at=received_at,
        body={"change": change.model_dump(mode="json")},
        sha256=sha256,
        said_by="integration",
    )


def change_of(body: Mapping[str, Any]) -> ChangeEvent:
    """The change in the body of a signal of kind `change`. Raises pydantic's ValidationError."""
    return ChangeEvent.model_validate(mapping(body.get("change")))


class _SignedOrToken:
    """`X-Signature-256: sha256=<hex HMAC>` of the body, or of `<time>:<body>` where a time stands beside it; else a
    bearer token or basic password."""

    def __init__(self, secrets: Sequence[str], variable: str) -> None:
        self._timed = HexHmac(secrets, variable, SIGNATURE, SIGNED_AT)
        self._signed = HexHmac(secrets, variable, SIGNATURE)
        self._token = SharedSecret(secrets, variable)

    def check(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        signed: Proof = self._timed if SIGNED_AT in headers else self._signed
        (signed if SIGNATURE in headers else self._token).check(headers, body, received_at)


class HeaderSecret:
    """The secret itself in a header of the sender's own, over TLS."""

    def __init__(self, secrets: Sequence[str], variable: str, header: str) -> None:
        self._secrets = [secret.encode() for secret in secrets if secret]
        self._variable, self._header = variable, header

    def check(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        given = headers.get(self._header, "").encode("utf-8", "replace")
        known = False
        for secret in self._secrets:  # every one is compared, so that time tells nothing
            known |= hmac.compare_digest(secret, given)
        if not known:
            raise BadSignature(f"{self._header} holds none of {self._variable}")


def changes_door(secrets: Sequence[str]) -> ChangeDoor:
    """`POST /webhooks/changes`: CDEvents, the three-field JSON, or PagerDuty's change-event format; one or a list."""
    name = "changes"

    def read(payload: Mapping[str, Any], headers: Mapping[str, str], received_at: datetime) -> ChangeEvent:
        if cdevents.is_cdevent(payload, headers):
            return cdevents.read(name, payload, headers, received_at)
        told_at = moment(headers.get(SIGNED_AT)) if SIGNATURE in headers else None
        must_say_when = SIGNATURE in headers and told_at is None
        return plain.read(name, payload, received_at, told_at=told_at, must_say_when=must_say_when)

    return ChangeDoor(name, _SignedOrToken(secrets, "CHANGES_WEBHOOK_SECRETS"), read)
