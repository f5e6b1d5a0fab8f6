"""Secrets and personal data leave a text here, before it is stored, logged, prompted or posted. Pure: no I/O."""

from bot.trust.redaction.engine import Redacted, Redactor
from bot.trust.redaction.findings import Span

__all__ = ["Redacted", "Redactor", "Span"]
