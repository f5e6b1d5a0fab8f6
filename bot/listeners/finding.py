"""Which incident is meant: the one that is named, else the channel's, else a menu of those that the person may see."""

from __future__ import annotations

import re

from bot.listeners import answers
from bot.listeners.asked import Asked, Command
from integrations.ports import Answer

_NAMED = re.compile(r"#?[A-Za-z0-9][\w.:-]{0,59}(/e[1-9]\d{0,5})?\Z", re.ASCII)
SURELY_NAMED = re.compile(r"(#\d{1,12}|(?=[A-Za-z0-9]*\d)[A-Z][A-Z0-9]{4,40})(/e[1-9]\d{0,5})?\Z", re.ASCII)
"""In a sentence of somebody's own, "7" is a number and "P8K2Q1" an incident."""
MARK = re.compile(r"e[1-9]\d{0,5}\Z")


def split(words: str, command: Command) -> tuple[str, str]:
    """The incident as it was typed ("" for none), and what is left. `P8K2Q1/e3` leaves its mark."""
    tokens = words.split()
    pattern = SURELY_NAMED if command.takes == "words" else _NAMED
    for at, token in enumerate(tokens):
        if token.startswith("--"):
            continue
        if command.takes == "mark" and MARK.match(token):
            continue
        if pattern.match(token):
            name, _, mark = token.partition("/")
            left = [*tokens[:at], *([mark] if mark and command.takes == "mark" else []), *tokens[at + 1 :]]
            return name, " ".join(left)
        if command.takes == "words":
            break  # only the first word may name it
        return token, " ".join([*tokens[:at], *tokens[at + 1 :]])
    return "", " ".join(tokens)


async def about(asked: Asked, command: Command) -> Asked | Answer:
    """The request with its incident, or the menu that asks for it."""
    desk, channel = asked.desks.desk, asked.request.channel
    name, rest = split(asked.words, command)
    found = await desk.find_incidents(asked.user, name, channel) if name else []
    if name and not found and command.takes == "words":
        name, rest = "", asked.words
    if not found and name:
        others = await desk.find_incidents(asked.user, "", "")
        return answers.menu(others, "", asked.request.id, saying=answers.NO_SUCH)
    if not name:
        found = await desk.find_incidents(asked.user, "", channel)
    if len(found) == 1:
        return asked.about(found[0], rest)
    return answers.menu(found, name, asked.request.id)


async def picked(asked: Asked, command: Command, incident_id: str) -> Asked | None:
    """The request of the menu with the incident that was chosen in it; None where it may not be seen (any more)."""
    found = await asked.desks.desk.find_incidents(asked.user, incident_id, asked.request.channel)
    chosen = [line for line in found if line.id == incident_id]
    rest = split(asked.words, command)[1] if command.about_incident else asked.words
    return asked.about(chosen[0], rest) if chosen else None
