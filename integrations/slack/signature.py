"""Slack's request signature: `v0=` HMAC-SHA256 of `v0:timestamp:body` on the raw bytes, at most 300 s old.

Source: docs.slack.dev/authentication/verifying-requests-from-slack. Bolt's own check decodes the body first, knows one
secret, and answers `ssl_check=1` before it; so this one stands before Bolt.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from integrations.errors import BadSignature

MAX_AGE_SECONDS = 300
_DIGITS = re.compile(r"[0-9]{1,12}\Z")


def verify_signature(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
    """Raises BadSignature. Header names are lower case; any of the secrets may fit (rotation), in constant time."""
    active = [secret for secret in secrets if secret]
    if not active:
        raise BadSignature("no secret to check Slack's signature with: set SLACK_SIGNING_SECRETS")
    timestamp = headers.get("x-slack-request-timestamp", "")
    if not _DIGITS.match(timestamp):
        raise BadSignature("no usable X-Slack-Request-Timestamp")
    if abs(received_at.timestamp() - int(timestamp)) > MAX_AGE_SECONDS:
        raise BadSignature("the request is older than 300 s, or a clock is wrong")
    given = headers.get("x-slack-signature", "").encode("utf-8", "replace")
    fits = False
    for secret in active:
        signed = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
        fits |= hmac.compare_digest(f"v0={signed}".encode(), given)
    if not fits:
        raise BadSignature("the signature fits none of the secrets in SLACK_SIGNING_SECRETS")
