"""Sitrep's own errors. Classes say what to do next; each maps to one exit code of the command.

SitrepError                 exit 1
├── ConfigurationError      exit 2: settings or usage; all problems at once
├── MissingPart             exit 3: something that is needed is not installed or not running
└── NotPermitted            exit 1: the one who asks may not
"""

from __future__ import annotations

from collections.abc import Sequence


class SitrepError(Exception):
    """A failure whose text tells a person what happened and what to do."""

    exit_code = 1


class ConfigurationError(SitrepError):
    """Every problem that was found, each one line that says what to change."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class MissingPart(SitrepError):
    """A part that this needs is absent; the text says how to get it."""

    exit_code = 3


class NotPermitted(SitrepError):
    """The one who asks may not see or do this."""
