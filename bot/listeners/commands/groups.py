"""Commands that change which incidents share a card: merge, split. For admins."""

from __future__ import annotations

from bot.flows.entitled import OnlyAdmins
from bot.listeners import answers
from bot.listeners.asked import Asked, Command
from bot.listeners.desk import IncidentLine
from bot.listeners.finding import about
from integrations.ports import Answer

ASKED = "asked in Slack"


async def merge(asked: Asked) -> Answer:
    """`P1 into P2 reason`, or `P2 reason` in P1's channel; what is missing is chosen in a menu."""
    desk, (named, reason) = asked.desks.desk, await _named(asked)
    if len(named) + (asked.line is not None) < 2:
        here = await desk.find_incidents(asked.user, "", asked.request.channel)
        own = here[0] if len(here) == 1 and here[0].channel == asked.request.channel else None
        if own is not None and own.id not in {one.id for one in named}:
            named.insert(0, own)
    if asked.line is not None and len(named) == 1:
        named.append(asked.line)
    if len(named) < 2:
        known = {one.id for one in named}
        others = [one for one in await desk.find_incidents(asked.user, "", "") if one.id not in known]
        if not named or not others:
            return answers.which_to_merge(others)
        return answers.menu(others, "", asked.request.id, answers.into_which(named[0]))
    source, target = named
    try:
        refused = await asked.desks.grouping.merge(asked.user, source.id, target.id, reason or ASKED)
    except OnlyAdmins:
        return answers.said(answers.ONLY_ADMINS_OF_TEAMS)
    return answers.refused(refused) if refused else answers.merged(source, target)


async def _named(asked: Asked) -> tuple[list[IncidentLine], str]:
    """The incidents that were typed, at most two, and the reason after them."""
    tokens, named = asked.words.split(), list[IncidentLine]()
    while tokens and len(named) < 2:
        if tokens[0].lower() not in ("into", "with", "and", "to"):
            found = await asked.desks.desk.find_incidents(asked.user, tokens[0], asked.request.channel)
            if len(found) != 1:
                break
            named.append(found[0])
        tokens.pop(0)
    return named, " ".join(tokens)


async def split(asked: Asked) -> Answer:
    """`P1 reason` for a merged one; `P2 service,service reason` for alerts that do not belong to it."""
    first, _, rest = asked.words.partition(" ")
    merged = await asked.desks.grouping.merged(asked.user, first) if first else []
    own = [one for one in merged if one.id.upper() == first.upper()]
    try:
        if own:
            refused = await asked.desks.grouping.split(asked.user, own[0].id, rest.strip() or ASKED)
            return answers.refused(refused) if refused else answers.split(own[0].id)
        if asked.line is None:
            found = await about(asked, SPLIT)
            if isinstance(found, Answer):
                return found
            asked = found
        return await _services(asked)
    except OnlyAdmins:
        return answers.said(answers.ONLY_ADMINS_OF_TEAMS)


async def _services(asked: Asked) -> Answer:
    line, grouping = asked.incident, asked.desks.grouping
    known = await grouping.services(asked.user, line.id)
    first, _, rest = asked.words.partition(" ")
    wanted = [one for one in first.split(",") if one]
    if not wanted or not set(wanted) <= set(known):
        merged = await grouping.merged(asked.user, line.id)
        return answers.what_to_split(line, known, merged)
    new_id, refused = await grouping.split_services(asked.user, line.id, wanted, rest.strip() or ASKED)
    return answers.refused(refused) if new_id is None else answers.split(new_id)


MERGE = Command(
    "merge", "/sitrep merge P1 into P2 [reason]", "make one incident part of another's card",
    "For admins of the teams of both. In the channel of P1 its id may be left out. Nothing is lost: `/sitrep split P1` "
    "gives back what was there, and no alert merges the two again.",
    merge, takes="words",
)  # fmt: skip
SPLIT = Command(
    "split", "/sitrep split [incident] [services] [reason]", "take apart what does not belong together",
    "For admins of the incident's team. Name a merged incident to let it stand on its own again, or an incident and "
    "services (`checkout-api,search`) whose alerts become an incident of their own. Without either, it says what "
    "could be split.",
    split, takes="words",
)  # fmt: skip
COMMANDS = (MERGE, SPLIT)
