"""`/sitrep …`: what was typed as a command, and the help of each."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

MAX_WORDS = 400
"""Characters of a command's argument that are read."""


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: how it is written and what it does, each one line."""

    name: str
    usage: str
    says: str
    more: str


COMMANDS = (
    Command(
        "triage", "/sitrep triage [incident]", "look at an incident (again) and bring its card up to date",
        "The incident is its id or number; without one it is this channel's, or you choose from the open ones. "
        "Nothing is lost of the card that stands: it is edited. With `--override`, for admins and those of its team, "
        "what is held out for measurement is shown too; the measurement counts it.",
    ),
    Command(
        "status", "/sitrep status", "open incidents that you may see, and how Sitrep itself is",
        "Only you see the answer.",
    ),
    Command(
        "pause", "/sitrep pause reason", "stop asking a model for summaries; the facts stay",
        "For the groups of [admins]. It holds until somebody resumes; the reason stands in the audit trail.",
    ),
    Command(
        "resume", "/sitrep resume reason", "let summaries begin again after any pause",
        "For the groups of [admins]. It ends a pause by a cutline too.",
    ),
    Command("help", "/sitrep help [command]", "this list, or more about one command", "Only you see the answer."),
)  # fmt: skip
BY_NAME = {command.name: command for command in COMMANDS}


@dataclass(frozen=True, slots=True)
class Typed:
    """A parsed command line. `name` is empty for an unknown word, and `near` then holds the likeliest command."""

    name: str
    words: str = ""
    near: str = ""


def parse(text: str) -> Typed:
    """`triage P8K2Q1` → triage of P8K2Q1; nothing, `?` and `-h` are help."""
    first, _, rest = text.strip()[:MAX_WORDS].partition(" ")
    name = first.lower().strip("`*_").removeprefix("/sitrep").lstrip("-")
    if name in ("", "?", "h"):
        return Typed("help", rest.strip())
    if name in BY_NAME:
        return Typed(name, rest.strip())
    near = difflib.get_close_matches(name[:40], BY_NAME, n=1, cutoff=0.5)
    return Typed("", first, near[0] if near else "")
