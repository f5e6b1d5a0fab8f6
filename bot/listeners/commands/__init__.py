"""`/sitrep …`: every command, one file a family. A new one is a `Command` in its family's `COMMANDS`."""

from __future__ import annotations

import difflib

from bot.listeners import answers
from bot.listeners.asked import Asked, Command, Typed
from bot.listeners.commands import asking, control, groups, labels, life, looking
from bot.trust.neutralise import mrkdwn_code
from integrations.ports import Answer

__all__ = ["BY_NAME", "COMMANDS", "help_for", "parse"]

MAX_WORDS = 400
"""Characters of a command's argument that are read."""


async def _help(asked: Asked) -> Answer:
    return help_for(Typed("help", asked.words))


HELP = Command(
    "help", "/sitrep help [command]", "this list, or more about one command", "Only you see the answer.", _help,
    takes="words",
)  # fmt: skip
COMMANDS: tuple[Command, ...] = (
    *looking.COMMANDS, *asking.COMMANDS, *life.COMMANDS, *labels.COMMANDS, *groups.COMMANDS, *control.COMMANDS, HELP,
)  # fmt: skip
BY_NAME = {command.name: command for command in COMMANDS}


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


def help_for(typed: Typed) -> Answer:
    """The list of commands, or more about the one that was named."""
    one = BY_NAME.get(typed.words.split(" ")[0].lower()) if typed.name == "help" and typed.words else None
    if one is not None:
        return answers.said(f"`{one.usage}`  {one.says}.\n{one.more}")
    lines = "\n".join(f"`{command.usage}`  {command.says}" for command in COMMANDS)
    if typed.name == "help":
        return answers.said(lines)
    near = f" Did you mean `/sitrep {typed.near}`?" if typed.near else ""
    return answers.said(f"Sitrep has no command {mrkdwn_code(typed.words, 40) or 'of that name'}.{near}\n{lines}")
