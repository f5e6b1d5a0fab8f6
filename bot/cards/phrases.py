"""Sentences of the card that stand on their own: the lock screen's, the header, the context line, a cited sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from bot.cards import words
from bot.cards.runs import NAME_LIMIT, Line, Run, joined, text
from bot.cards.state import CardEvidence, CardState
from bot.trust.neutralise import clean
from bot.types import Suspect


def severity(state: CardState) -> str:
    return f"SEV{state.incident.severity}"


def reference(state: CardState) -> str:
    """The incident as people call it: its id, and the number where there is one."""
    number = f" (#{state.incident.number})" if state.incident.number is not None else ""
    return f"{state.incident.id}{number}"


def subject(state: CardState) -> str:
    """ "checkout-api: 38 % of requests fail (normal 0.2 %)", the service not said twice."""
    headline = (state.headline or state.incident.title).strip()
    if state.phase == "resolved" and headline != state.incident.title:
        headline = words.past(headline)
    service = (state.incident.service or "").strip()
    if not service or headline.casefold().startswith(service.casefold()):
        return headline or "an alert without a title"
    return f"{service}: {headline}" if headline else service


def change_name(suspect: Suspect, item: CardEvidence | None) -> tuple[str, str, str]:
    """Kind, short name and what the change says of itself, so that they read "deploy a1b2c3d (“Cut the pool”)".

    Without a commit the change's own words are its name, and the third part is empty.
    """
    kind = "change" if suspect.kind == "other" else suspect.kind
    commit = item.commit[:7] if item is not None and item.commit else ""
    says = _own_words(suspect.summary, kind, suspect.service or "", commit)
    if commit:
        return kind, commit, says
    return kind, says or suspect.summary.strip() or suspect.change_id, ""


def _own_words(summary: str, kind: str, service: str, commit: str) -> str:
    """A change's summary without what the sentence around it says already: kind, service, commit, environment."""
    rest = summary.strip()
    known = [word for word in (kind, service, f"to {service}" if service else "") if word]
    for _ in range(6):
        head = next((word for word in known if _begins(rest, word)), None)
        if head is None and commit and rest.casefold().startswith(commit.casefold()):
            head = rest.split(" ")[0].rstrip(":,")  # the whole hash, however long it is
        if head is None:
            found = _ENVIRONMENT.match(rest)
            head = found.group() if found else None
        if head is None:
            break
        rest = rest[len(head) :].lstrip(" :,–-")
    return rest


def _begins(text: str, word: str) -> bool:
    after = text[len(word) : len(word) + 1]
    return text.casefold().startswith(word.casefold()) and not after.isalnum()


_ENVIRONMENT = re.compile(r"(to|in|of|on) (production|prod|staging)(?=\W|$)", re.IGNORECASE)


def change_words(suspect: Suspect, item: CardEvidence | None, limit: int = 60) -> str:
    """The change in plain words for a lock screen or a table cell."""
    kind, name, _ = change_name(suspect, item)
    return f"{kind} {name[:limit]}"


def marks(state: CardState, names: Iterable[str]) -> Line:
    """ " (e1, e7)": each mark a link to the item itself; marks that the card does not hold are left out."""
    items = [item for name in dict.fromkeys(names) if (item := state.item(name)) is not None]
    if not items:
        return ()
    line: list[Run] = [text(" (")]
    for index, item in enumerate(items):
        line += ([text(", ")] if index else []) + [Run(item.mark, "mark", url=item.url, limit=8)]
    return (*line, text(")"))


def cited(state: CardState, body: str, evidence: Iterable[str]) -> Line:
    """One sentence that ends in its marks: "Errors began 58 s after it (e1)." """
    return (text(words.sentence(body)), *marks(state, evidence), text(". "))


def lock_screen(state: CardState) -> str:
    """The first line: all that somebody woken at three reads. A full sentence, no markup, times in UTC."""
    since = words.clock_minute(state.incident.triggered_at)
    if state.restricted:
        on_call = f", on-call {clean(state.incident.on_call, 60)}" if state.incident.on_call else ""
        opening = f"{severity(state)} incident {clean(reference(state), 80)} since {since}{on_call}."
        return f"{opening} {restricted_reason(state)}"
    fires = state.phase in ("facts", "summary", "acknowledged", "reopened")
    told = clean(subject(state), 200).rstrip(". ")
    span = f" since {since}" if fires else ""
    opening = f"{severity(state)} {told}{span}."
    lead = _life_sentence(state)
    first = state.first_suspect
    if first is not None:
        change = change_words(first, state.item(first.mark))
        found = f" Suspect: {change}, {words.distance(first.seconds_before)}."
    elif state.everything_down:
        found = f" {words.NO_SOURCE}"
    else:
        found = " Nothing stands out yet." if fires else ""
    return f"{lead}{opening}{found}"


def _life_sentence(state: CardState) -> str:
    times, began = state.times, state.incident.triggered_at
    if state.phase == "acknowledged" and times.acknowledged_at is not None:
        by = f" by {clean(times.acknowledged_by, 60)}" if times.acknowledged_by else ""
        return f"Acknowledged{by} after {words.duration((times.acknowledged_at - began).total_seconds())}. "
    if state.phase == "mitigated" and times.mitigated_at is not None:
        return f"Mitigated after {words.duration((times.mitigated_at - began).total_seconds())}. "
    if state.phase == "resolved" and times.resolved_at is not None:
        return f"Resolved after {words.duration((times.resolved_at - began).total_seconds())}. "
    return "Fires again. " if state.phase == "reopened" else ""


def restricted_reason(state: CardState) -> str:
    if state.fallback is not None:
        return f"Details are not shown here: {clean(state.fallback, 200).rstrip('.')}."
    return words.ASKING_SOURCES


def header(state: CardState) -> str:
    word = words.STATE_WORDS[state.phase]
    prefix = "" if state.phase in ("facts", "summary") else f"{word} · "
    told = f"incident {reference(state)}" if state.restricted else subject(state)
    return f"{prefix}{severity(state)} · {told}"


def context(state: CardState) -> Line:
    """Id, since when, its life so far, the storm, who is on call, who owns it."""
    incident, times, began = state.incident, state.times, state.incident.triggered_at
    since = [text("since "), Run("", "time", at=began)]
    if state.phase not in ("resolved", "mitigated"):
        since.append(Run("", "ago", at=began))
    parts: list[Sequence[Run]] = [[Run(reference(state), "mark", url=incident.url, limit=NAME_LIMIT)], since]
    if times.acknowledged_at is not None:
        by = f" by {times.acknowledged_by}" if times.acknowledged_by else ""
        parts.append([text(f"acknowledged{by} after {_after(times.acknowledged_at, began)}", NAME_LIMIT)])
    if times.mitigated_at is not None:
        parts.append([text(f"mitigated after {_after(times.mitigated_at, began)}")])
    if times.resolved_at is not None:
        parts.append([text(f"resolved after {_after(times.resolved_at, began)}, "), moment(times.resolved_at)])
    if times.reopened:
        again = [text("reopened")] if times.reopened_at is None else [text("reopened "), moment(times.reopened_at)]
        parts.append(again if times.reopened == 1 else [*again, text(f", {words.count(times.reopened, 'time')}")])
    if state.alerts_in_storm > 1:
        parts.append([text(f"{words.count(state.alerts_in_storm, 'alert')} in one storm")])
    if incident.on_call:
        parts.append([text(f"on-call {incident.on_call}", NAME_LIMIT)])
    if state.owner:
        parts.append([text(f"owner {state.owner}", NAME_LIMIT)])
    return joined(parts)


def moment(at: datetime) -> Run:
    return Run("", "time", at=at)


def _after(at: datetime, began: datetime) -> str:
    return words.duration((at - began).total_seconds())
