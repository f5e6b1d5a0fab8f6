"""`sitrep eval injection`: how often the marker marks harmless texts, and whether any of them is lost on its way to a
prompt; how many attacks it marks is told, and has no bar: the marker is advice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

import prompts
from bot.errors import SitrepError
from bot.evals.outcome import Bar, labelled, report
from bot.triage.compose import Suspicious, compose
from bot.triage.hygiene import plain
from bot.trust.redaction import Redactor
from bot.types import Ranked
from integrations.records import Evidence, Incident, Readers

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_MOST_CHARACTERS = 1000
"""What is longer is cut in a prompt, which says so: it is compared up to here."""


def texts_of(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[str, str, str]]:
    """Id, category and text of each record. Raises SitrepError for one without a text."""
    found = []
    for number, record in enumerate(records, start=1):
        text = record.get("text") if isinstance(record, Mapping) else None
        if not isinstance(text, str):
            raise SitrepError(f'record {number} of the {name} texts has no "text"; write {{"id", "text"}} a line')
        found.append((str(record.get("id", f"{name}-{number}")), str(record.get("category", "")), text))
    return found


def is_lost(text: str, suspicious: bool, prompt: prompts.Prompt, setting: Suspicious = "quoted") -> bool:
    """Whether a redacted text does not stand in the prompt of an incident whose evidence it is, under a setting."""
    item = Evidence(
        id="eval/log/1", kind="log", source="eval", observed_at=_AT, fetched_at=_AT, url="", readers=Readers.nobody(),
        title="line", text=text, mark="e1", suspicious=suspicious,
    )  # fmt: skip
    incident = Incident(
        workspace_id="eval", id="P1", title="eval", service=None, severity=2, url="", triggered_at=_AT
    )  # fmt: skip
    ranked = Ranked(incident=incident, headline="", evidence=(item,), collected_at=_AT, permitted_at=_AT)
    made = compose(ranked, prompt, fence="0" * 16, token_budget=20_000, context_tokens=100_000, suspicious=setting)
    return not made.items or _bare(plain(text[:_MOST_CHARACTERS])) not in _bare(made.items[0].text)


def _bare(text: str) -> str:
    """Its letters and digits: a prompt shows brackets in a row otherwise, so that nothing ends an item."""
    return "".join(character for character in text if character.isalnum())


@click.command("injection")
@click.option("--benign", type=click.Path(path_type=Path), help="Harmless texts, JSON lines.")
@click.option("--attacks", type=click.Path(path_type=Path), help="Hostile texts, JSON lines.")
@click.option("--json", "as_json", is_flag=True)
def command(benign: Path | None, attacks: Path | None, as_json: bool) -> None:
    """Marks on harmless texts (a bar) and on hostile ones (told only: the marker is advice, nothing depends on it)."""
    redactor, prompt = Redactor([b"eval"]), prompts.load("triage", 1)
    harmless = texts_of(labelled(benign, "injection/benign.jsonl"), "benign")
    hostile = texts_of(labelled(attacks, "injection/attacks.jsonl"), "attack")
    cases: list[dict[str, Any]] = []
    marked: Counter[str] = Counter()
    for name, records in (("benign", harmless), ("attacks", hostile)):
        answers = redactor.redact_many([text for _, _, text in records])
        for (record_id, category, _), answer in zip(records, answers, strict=True):
            lost = name == "benign" and is_lost(answer.text, answer.suspicious, prompt)
            marked[name] += answer.suspicious
            marked["lost"] += lost
            if lost or answer.suspicious == (name == "benign"):
                cases.append(
                    {"id": record_id, "category": category, "set": name, "suspicious": answer.suspicious,
                     "lost": lost, "reasons": answer.reasons}
                )  # fmt: skip
    totals = {
        "benign": len(harmless),
        "attacks": len(hostile),
        "marked_benign": marked["benign"],
        "marked_attacks": marked["attacks"],
        "lost_benign": marked["lost"],
        "share_of_attacks_marked": marked["attacks"] / len(hostile) if hostile else 0.0,
    }
    share = marked["benign"] / len(harmless) if harmless else 0.0
    bars = [Bar("false_marks", share, 0.02, "at most"), Bar("lost", marked["lost"], 0, "at most")]
    report(cases, totals, bars, as_json=as_json)
