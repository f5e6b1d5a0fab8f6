"""Private answers in Slack's classic blocks, which every server shows. Outside text goes through `neutralise`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bot.cards import words
from bot.cards.markup import MAX_LINE_UNITS
from bot.cards.render import Form, RenderedPart, render
from bot.cards.state import CardState
from bot.flows.reading import SimilarIncident
from bot.listeners.desk import Acknowledged, DeskStatus, IncidentLine, Noted, Opened, Published, Vote
from bot.trust.neutralise import LinkPolicy, mrkdwn, mrkdwn_code, mrkdwn_link, mrkdwn_object, plain_text, units
from integrations.ports import Answer
from integrations.records import Incident

PICK_INCIDENT = "sitrep.pick_incident"
MENU_OF = "sitrep.menu:"
"""Before the id of the request that a menu belongs to, in its block id."""
MAX_OPTIONS = 100
MAX_LISTED = 20
MAX_BLOCKS = 50
_CHANNEL = re.compile(r"[CGD][A-Z0-9]{2,20}\Z")

NO_SUCH = "There is no such incident, or you may not see it. `/sitrep status` lists those that you may see."
"""The same words for both, so that nobody learns of an incident by asking."""


def _section(markup: str) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn_object(markup)}


def packed(lines: Sequence[str]) -> list[str]:
    """Lines put together to texts that a section takes; no line is cut, since that could cut an entity in two."""
    made, current = [], ""
    for line in filter(None, lines):
        if current and units(current) + units(line) + 1 > MAX_LINE_UNITS:
            made.append(current)
            current = ""
        current = f"{current}\n{line}" if current else line
    return [*made, current] if current else made


def listed(lines: Sequence[str]) -> Answer:
    """Lines one below the other."""
    texts = packed(lines) or ["–"]
    return Answer(texts[0], tuple(_section(text) for text in texts[:MAX_BLOCKS]))


def said(markup: str) -> Answer:
    """One paragraph."""
    return Answer(markup, (_section(markup),))


def of(drawn: RenderedPart) -> Answer:
    """What a card's own drawing made."""
    return Answer(drawn.text, tuple(drawn.blocks[:MAX_BLOCKS]))


def name_of(line: IncidentLine) -> str:
    """Id and number, as people call it."""
    return f"{line.id} (#{line.number})" if line.number is not None else line.id


def menu(lines: Sequence[IncidentLine], words_given: str, request_id: str, saying: str = "") -> Answer:
    """Which one? A menu of what the words may mean; a choice runs the command of the request that is named here.

    `saying` stands before it: why there is a menu at all.
    """
    options = [
        {"text": plain_text(f"SEV{line.severity} {name_of(line)} {line.title}", 75), "value": line.id}
        for line in lines[:MAX_OPTIONS]
        if 0 < units(line.id) <= 150
    ]
    asked = saying or (f"{mrkdwn_code(words_given, 60)} may be several." if words_given else "")
    if not options:
        return said(saying or "No open incident that you may see.")
    asked = f"{asked} Which incident?".strip() if not saying else asked
    select = {
        "type": "static_select",
        "action_id": PICK_INCIDENT,
        "placeholder": plain_text("Choose an incident", 150),
        "options": options,
    }
    choice = {"type": "actions", "block_id": f"{MENU_OF}{request_id}"[:255], "elements": [select]}
    return Answer(asked, (_section(asked), choice))


def triage_started(line: IncidentLine, n: int) -> Answer:
    again = f" again (run {n})" if n > 1 else ""
    return said(f"Looking at {mrkdwn_code(line.id, 60)}{again}. Its card is brought up to date in its channel.")


NOT_OURS = "This button is from another version of Sitrep. Use the newest card, or `/sitrep status`."
MENU_TOO_OLD = "That menu is too old. Type the command again."
_INCIDENT_ID = re.compile(r'"i": ?"([A-Za-z0-9]{1,60})"|\b([A-Z][A-Z0-9]{3,40})\b')


def page_sent(line: IncidentLine) -> Answer:
    return said(f"The page of {mrkdwn_code(line.id, 60)} is in your messages with Sitrep.")


NO_FILES = (
    "Slack takes no file from the app here. Whoever runs Sitrep can add the scopes `files:write` and `im:write` and "
    "install the app again."
)
ONLY_ADMINS = "That is for the admins of Sitrep; nothing was changed."
WHY_NEEDED = "Say why: `/sitrep pause too many wrong answers`. The reason stands in the audit trail."


ONLY_ADMINS_OF_TEAMS = "That is for admins of every team that it touches; nothing was changed."
NOT_TRIAGED = "Nobody has looked at that incident yet. `/sitrep triage` does."
WHICH_ITEM = "Name the item by its mark: `/sitrep why e3` in the incident's channel, or `/sitrep why P8K2Q1/e3`."
LABEL_TYPED = (
    "The form could not be opened. Type it: `/sitrep label e3 what fixed it` for the change with that mark, or "
    "`service`, `external`, `unknown` or `change` in place of the mark."
)
FORM_TOO_LATE = "That took too long for a form to open. Click again."
FORM_NOT_HERE = "A form cannot be opened here."


def labelled(said_cause: str) -> Answer:
    return said(f"Noted. The cause: {mrkdwn(said_cause, 200)}.")


def why(sentences: Sequence[str]) -> Answer:
    return listed([mrkdwn(one, 400) for one in sentences])


def similar(line: IncidentLine, found: Sequence[SimilarIncident], policy: LinkPolicy | None = None) -> Answer:
    if not found:
        return said(f"No earlier incident that you may see is like {mrkdwn_code(name_of(line), 60)}.")
    lines = [f"*Like {mrkdwn(name_of(line), 60)}*"]
    for one in found[:5]:
        number = f" (#{one.number})" if one.number is not None else ""
        name = mrkdwn_link(one.url, f"{one.id}{number}", policy or LinkPolicy(()))
        ended = f" Ended by: {mrkdwn(one.resolved_by, 120)}." if one.resolved_by else " Nobody said what ended it."
        reasons = mrkdwn("; ".join(one.reasons[:3]), 200)
        lines.append(f"{name}, {one.triggered_at:%Y-%m-%d}: {mrkdwn(one.title, 120)}. {reasons}.{ended}")
    return listed(lines)


def refused(why_not: str) -> Answer:
    return said(f"Nothing was changed. {mrkdwn(why_not, 300)}")


def merged(source: IncidentLine, target: IncidentLine) -> Answer:
    return said(
        f"{mrkdwn_code(source.id, 60)} is part of {mrkdwn_code(target.id, 60)} now. `/sitrep split` takes them apart."
    )


def split(incident_id: str) -> Answer:
    return said(f"{mrkdwn_code(incident_id, 60)} stands on its own now; its card follows.")


def into_which(line: IncidentLine) -> str:
    return f"Into which incident is {mrkdwn_code(name_of(line), 60)} merged?"


def which_to_merge(lines: Sequence[IncidentLine]) -> Answer:
    """Two ids are needed; these may be named."""
    shown = [f"{mrkdwn_code(name_of(line), 60)} {mrkdwn(line.title, 100)}" for line in lines[:MAX_LISTED]]
    nothing = "There is no open incident that you may see."
    return listed(["Name both: `/sitrep merge P1 into P2`.", *(shown or [nothing])])


def what_to_split(line: IncidentLine, services: Sequence[str], merged_ones: Sequence[Incident]) -> Answer:
    """What an incident is made of, as far as this person may see it."""
    parts = []
    if merged_ones:
        parts.append("merged into it: " + ", ".join(mrkdwn_code(one.id, 60) for one in merged_ones[:10]))
    if len(services) > 1:
        parts.append("alerts of: " + ", ".join(mrkdwn_code(one, 60) for one in services[:20]))
    made = "; ".join(parts) or "nothing that could be split off"
    return said(f"{mrkdwn_code(name_of(line), 60)} is made of {made}. Name what should stand on its own.")


def paused(was_running: bool) -> Answer:
    return said("Summaries are paused; the facts stay." if was_running else "Summaries are paused already.")


def resumed(ended: int) -> Answer:
    return said("Summaries begin again." if ended else "Nothing was paused.")


def status(told: DeskStatus) -> Answer:
    """Open incidents, then the bot's own state."""
    shown = told.incidents[:MAX_LISTED]
    lines = [_status_line(line) for line in shown]
    more = told.more + len(told.incidents) - len(shown)
    if more:
        lines.append(f"and {words.count(more, 'more incident')}")
    head = f"*{words.count(len(told.incidents) + told.more, 'open incident')}* that you may see"
    blocks = [_section(head if lines else "*No open incident* that you may see.")]
    blocks += [_section(text) for text in packed(lines)]
    parts = [f"model: {mrkdwn(told.model, 200)}"] if told.model else []
    if told.posts_waiting:
        parts.append(f"{words.count(told.posts_waiting, 'post')} waiting to go out")
    parts += [mrkdwn(notice, 200) for notice in told.notices[:6]]
    footer_lines = parts or ["everything is in order"]
    footer = " · ".join(parts) or footer_lines[0]
    blocks.append({"type": "context", "elements": [mrkdwn_object(one) for one in packed(footer_lines)[:9]]})
    return Answer(packed([head, *lines, footer])[0], tuple(blocks))


def _status_line(line: IncidentLine) -> str:
    channel = f" in <#{line.channel}>" if line.channel and _CHANNEL.match(line.channel) else ""
    name, title = mrkdwn_code(name_of(line), 60), mrkdwn(line.title, 100)
    since = words.clock_minute(line.triggered_at)
    return f"SEV{line.severity} {name} {mrkdwn(line.status, 20)} since {since}{channel}: {title}"


def voted(vote: Vote) -> Answer:
    return said("Counted as helpful. Thank you." if vote == "helpful" else "Counted as not helpful. Thank you.")


def was_change(name: str) -> Answer:
    return said(f"Noted: it was {mrkdwn(name, 100)}.")


def was_not(name: str, until_at: datetime) -> Answer:
    return said(
        f"Ruled out: {mrkdwn(name, 100)}. You can take it back on the card until {words.clock_minute(until_at)}."
    )


def undone(in_time: bool) -> Answer:
    return said("Taken back." if in_time else "Its ten minutes are over; the suspect stays ruled out.")


def channel_in_words(channel: str) -> str:
    """`in <#C…>` by its id, else by the name that the settings use."""
    return f"in <#{channel}>" if _CHANNEL.match(channel) else f"in {mrkdwn(channel, 80)}"


ASK_WHAT = "Write your question: `/sitrep ask what changed before it?`, or mention the app in the incident's channel."
REPORT_FILE = "What you may see of the week. It is a copy: it does not change when late facts do."
REPORT_NOT_YOURS = "The weekly report is for those who read its channel."
NOTED: Mapping[Noted, str] = {
    "noted": "The note is in PagerDuty, under your name.",
    "not_mapped": "PagerDuty knows nobody by your verified e-mail address, so nothing was done. Do it there.",
    "not_supported": "The incident source takes nothing from here. Do it there.",
    "refused": "PagerDuty does not let you do that from here; nothing was done. Do it there.",
    "unavailable": "PagerDuty did not answer; it may not have been done. Look there, or try again in a minute.",
}
PUBLISHED: Mapping[Published, str] = {
    "published": "Published in the incident's channel.",
    "narrower": "Somebody came to that channel who may read less than the draft was made of, so nothing was posted. "
    "Open the draft again: it is made for the readers of now.",
    "nowhere": "The incident has no channel, so nothing was posted.",
}
ACKNOWLEDGED: Mapping[Acknowledged, str] = {
    "acknowledged": "Acknowledged. The card follows.",
    "already": "It was acknowledged before.",
    "not_mapped": NOTED["not_mapped"],
    "not_supported": NOTED["not_supported"],
    "refused": NOTED["refused"],
    "unavailable": NOTED["unavailable"],
}


CHANNEL_REFUSED: Mapping[str, str] = {
    "off": "Sitrep makes no channels here: `[slack] new_channels` says so.",
    "shadow": "In a silent week nothing is made: `mode` is shadow.",
    "over": "The incident is over, so no channel was made.",
    "members": "Only full members of this workspace may have a channel made; none was made.",
    "said_there": "It was said in {channel} and is for the people there, so its card stays there.",
    "linked": "Its own channel is {channel}, by the incident's source, and the app is not in it. Invite the app there: "
    "the card moves by itself.",
    "not_allowed": "Slack does not let the app make a channel. Whoever runs Sitrep can look with `sitrep doctor`: the "
    "scope `groups:write` (`channels:manage` for public ones) may lack, or a rule of the workspace forbids it.",
    "name_taken": "Every name for it is taken, so no channel was made. Make one by hand and invite the app.",
    "unavailable": "Slack did not answer. Ask again in a minute: what was made is found again and not made twice.",
}


def opened(made: Opened) -> Answer:
    where = channel_in_words(made.channel).removeprefix("in ") if made.channel else "its channel"
    if made.refused is not None:
        return said(CHANNEL_REFUSED[made.refused].format(channel=where))
    if made.was_there:
        return said(f"Its channel is {where}.")
    left_out = f", {words.count(made.left_out, 'person', 'people')} could not be" if made.left_out else ""
    more = " (no account with that address here, or not allowed to see the incident)" if made.left_out else ""
    invited = words.count(made.invited, "person was", "people were")
    return said(f"{where} is made, {invited} invited{left_out}{more}. The card moves there.")


def own_view(state: CardState, form: Form) -> Answer:
    """The card as one person may see it, with its details."""
    drawn = render(state, form)
    blocks = list(drawn.blocks)
    depth = drawn.part("thread")
    if depth is not None:
        blocks += depth.blocks
    return Answer(drawn.text, tuple(blocks[:MAX_BLOCKS]))


def working() -> Answer:
    return said("Still at it; the answer comes here.")


def lost() -> Answer:
    """For what was begun several times and ended every process that tried."""
    return said("Sitrep was interrupted several times while it worked on that, and gave up. Ask once more.")


def incident_in(text: str) -> str:
    """The incident that a button's value or typed words are about, "" for none; for naming it in an error."""
    found = _INCIDENT_ID.search(text)
    return (found[1] or found[2]) if found else ""


def failed(reference: str, incident_id: str = "") -> Answer:
    """What happened in fixed words, what to do, and a reference for whoever reads the log. Never an error's text."""
    about = f" about {mrkdwn_code(incident_id, 60)}" if incident_id else ""
    return said(
        f"That did not work on Sitrep's side{about}. Try it again in a minute; if it fails again, tell whoever runs "
        f"Sitrep the reference `{reference}`."
    )
