"""`redact_value` as a function, for callers that hold a redactor and a parsed body."""

from __future__ import annotations

from typing import Any

from bot.trust.redaction.engine import Redactor


def redact_value(redactor: Redactor, value: Any) -> Any:
    """See `Redactor.redact_value`. The input is left as it is."""
    return redactor.redact_value(value)
