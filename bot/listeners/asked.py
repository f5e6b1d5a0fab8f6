"""What a person asked, on its way to an answer; and what a command is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

from bot.cards.render import Form
from bot.flows.requests import Request
from bot.listeners.desk import Desks, IncidentLine
from integrations.ports import Answer

Takes = Literal["nothing", "mark", "words"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request with what is needed to answer it.

    `words` are what is left of what was typed when the incident was taken out of it. `trigger_id` opens a form within
    three seconds of the click; it is gone when another process answers.
    """

    desks: Desks
    request: Request
    form: Form
    words: str = ""
    line: IncidentLine | None = None
    trigger_id: str | None = None

    @property
    def user(self) -> str:
        return self.request.by

    @property
    def incident(self) -> IncidentLine:
        """The incident that a command is about; only commands that are about one have it."""
        assert self.line is not None
        return self.line

    def about(self, line: IncidentLine, words: str) -> Asked:
        return replace(self, line=line, words=words)


Work = Callable[[Asked], Awaitable[Answer | None]]
"""The answer, or None where it was shown already (a form was opened)."""


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand of /sitrep. A family of them is one file in `bot.listeners.commands`.

    With `about_incident`, the door finds the incident first: the one that is named, else this channel's, else it shows
    a menu. `takes` is what may be typed besides: a mark (`e3`, `P8K2Q1/e3`), or words of one's own.
    """

    name: str
    usage: str
    says: str
    more: str
    work: Work
    about_incident: bool = False
    takes: Takes = "nothing"


@dataclass(frozen=True, slots=True)
class Typed:
    """A parsed command line. `name` is empty for an unknown word, and `near` then holds the likeliest command."""

    name: str
    words: str = ""
    near: str = ""
