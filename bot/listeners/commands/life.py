"""Commands of an incident's life: declare, ack, mitigated, resolve."""

from __future__ import annotations

from collections.abc import Mapping

from bot.errors import NotPermitted
from bot.flows.life import Declared, Outcome, Said
from bot.listeners import answers
from bot.listeners.asked import Asked, Command, Work
from bot.trust.neutralise import mrkdwn_code
from integrations.ports import Answer

SAY_WHAT = "Say what is wrong: `/sitrep declare sev2 checkout-api orders fail`. Severity and service may be left out."
ONLY_MEMBERS = "Only full members of this workspace may declare an incident; nothing was declared."
SAID: Mapping[tuple[Said, Outcome], str] = {
    ("acknowledged", "said"): "Acknowledged. The card follows.",
    ("acknowledged", "already"): "It was acknowledged before.",
    ("mitigated", "said"): "Noted: users are no longer hurt. The card follows.",
    ("mitigated", "already"): "It was mitigated or resolved before.",
    ("resolved", "said"): "Resolved. The card follows, and asks for the cause.",
    ("resolved", "already"): "It was resolved before.",
    ("resolved", "elsewhere"): "This incident is PagerDuty's: resolve it there, and the card follows.",
}


async def declare(asked: Asked) -> Answer:
    """A new incident, in this channel."""
    try:
        found = await asked.desks.life.declare(asked.user, asked.words, asked.request.channel, asked.request.id)
    except NotPermitted:
        return answers.said(ONLY_MEMBERS)
    return declared(found) if found is not None else answers.said(SAY_WHAT)


def declared(found: Declared) -> Answer:
    """What was declared, and where its card will be."""
    about = f" of {mrkdwn_code(found.service, 60)}" if found.service else ""
    where = answers.channel_in_words(found.channel)
    return answers.said(
        f"Declared {mrkdwn_code(found.incident_id, 60)}, SEV{found.severity}{about}. Its card is {where}."
    )


async def triage_this(asked: Asked) -> Answer:
    """The message shortcut: the incident that the message names, else the channel's own one, is looked at again; any
    other message declares one."""
    desk, request = asked.desks.desk, asked.request
    found = await desk.find_incidents(asked.user, request.value, "") if request.value else []
    if not found:
        found = [
            one for one in await desk.find_incidents(asked.user, "", request.channel) if one.channel == request.channel
        ]
    if len(found) == 1:
        return answers.triage_started(found[0], await desk.start_triage(found[0].id, asked.user, request.id))
    return await declare(Asked(asked.desks, request, asked.form, request.words))


async def say(asked: Asked, incident_id: str, said: Said) -> Answer:
    """By this person's word; an acknowledgement at PagerDuty where it owns the incident."""
    outcome = await asked.desks.life.say(incident_id, asked.user, said, asked.request.id)
    if said == "acknowledged" and outcome == "elsewhere":
        return answers.said(answers.ACKNOWLEDGED[await asked.desks.desk.acknowledge(incident_id, asked.user)])
    return answers.said(SAID[said, outcome])


def _say(said: Said) -> Work:
    async def work(asked: Asked) -> Answer:
        return await say(asked, asked.incident.id, said)

    return work


COMMANDS = (
    Command(
        "declare", "/sitrep declare [sev2] [service] what is wrong", "open an incident that no system has reported",
        "Its card is in this channel, for whoever reads it. The severity is 3 if you name none; the service is one of "
        "those that Sitrep knows. Its life is told with `ack`, `mitigated` and `resolve`.",
        declare, takes="words",
    ),
    Command(
        "ack", "/sitrep ack [incident]", "say that somebody is on it",
        "For an incident of PagerDuty it is acknowledged there, in your name.", _say("acknowledged"),
        about_incident=True,
    ),
    Command(
        "mitigated", "/sitrep mitigated [incident]", "say that users are no longer hurt; the cause may remain",
        "The time stands beside the incident's own. It may be said of every incident.", _say("mitigated"),
        about_incident=True,
    ),
    Command(
        "resolve", "/sitrep resolve [incident]", "say that it is over",
        "For incidents of alerts and those that people declared; PagerDuty's own are resolved in PagerDuty.",
        _say("resolved"), about_incident=True,
    ),
)  # fmt: skip
