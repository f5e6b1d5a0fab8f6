"""Sitrep: incident triage for on-call engineers in Slack."""

__version__ = "0.1.0"
