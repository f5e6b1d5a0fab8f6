"""Recall and harm on labelled texts: a slice that is shipped, texts written by hand, and the full set where it is."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator

import pytest

from bot.evals.outcome import labelled
from bot.evals.redaction import CAUGHT, measure
from bot.trust.redaction import Redactor

DATA = pathlib.Path(__file__).parent.parent / "data"
REDACTOR = Redactor([b"k"])


def marked(path: pathlib.Path) -> Iterator[tuple[str, list[tuple[int, int]], list[tuple[int, int]]]]:
    """Text, secrets ⟦…⟧ and kept tokens ⦃…⦄ of each line; `\\n` stands for a line break."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("# "):
            continue
        raw = re.sub(r"(?<!\\)\\n", "\n", line).replace("\\t", "\t")
        text, secrets, kept, start = "", [], [], 0
        for char in raw:
            if char in "⟦⦃":
                start = len(text)
            elif char == "⟧":
                secrets.append((start, len(text)))
            elif char == "⦄":
                kept.append((start, len(text)))
            else:
                text += char
        yield text, secrets, kept


def test_the_bars_hold_on_the_shipped_slice() -> None:
    cases, totals = measure(labelled(None, "redaction/texts.jsonl.gz"), REDACTOR)
    assert totals["recall"] >= 0.99, cases
    assert totals["recall_vendor"] >= 0.99, cases
    assert totals["recall_personal"] == 1.0, cases
    assert totals["harm"] <= 0.002, cases


@pytest.mark.parametrize(
    ("name", "secrets_at_least", "kept_at_least", "missed_at_most"),
    [
        ("handwritten.txt", 250, 120, 0.02),
        ("handwritten-2.txt", 140, 90, 0.04),
        ("handwritten-3.txt", 65, 40, 0.02),
        ("handwritten-4.txt", 205, 95, 0.02),
    ],
)
def test_the_bars_hold_on_texts_written_by_hand(
    name: str, secrets_at_least: int, kept_at_least: int, missed_at_most: float
) -> None:
    missed, touched, secrets_seen, kept_seen = [], [], 0, 0
    for text, secrets, kept in marked(DATA / "redaction" / name):
        covered = bytearray(len(text))
        for span in REDACTOR.redact(text).spans:
            covered[span.start : span.end] = b"\x01" * (span.end - span.start)
        secrets_seen += len(secrets)
        kept_seen += len(kept)
        missed += [text for start, end in secrets if sum(covered[start:end]) < CAUGHT * (end - start)]
        touched += [text for start, end in kept if any(covered[start:end])]
    assert secrets_seen >= secrets_at_least
    assert kept_seen >= kept_at_least
    assert len(missed) <= missed_at_most * secrets_seen, missed
    assert not touched


def test_the_bars_hold_on_the_full_set(shared_data: pathlib.Path) -> None:
    cases, totals = measure(labelled(shared_data / "redaction" / "dev.jsonl.gz", ""), REDACTOR)
    assert totals["recall"] >= 0.99, cases[:20]
    assert totals["recall_vendor"] >= 0.99, cases[:20]
    assert totals["harm"] <= 0.002, cases[:20]


@pytest.mark.parametrize(("name", "share"), [("benign", 0.02)])
def test_harmless_texts_are_seldom_marked(shared_data: pathlib.Path, name: str, share: float) -> None:
    path = shared_data / "injection" / f"{name}.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    answers = REDACTOR.redact_many(texts)
    assert sum(answer.suspicious for answer in answers) <= share * len(texts)


def test_texts_of_many_systems_lose_little(shared_data: pathlib.Path) -> None:
    """Recorded requests and answers of 21 systems: but for addresses and headers hardly anything is replaced."""
    kinds: dict[str, int] = {}
    characters = 0
    for path in sorted((shared_data / "wire").rglob("*.json")):
        text = path.read_text(encoding="utf-8")
        characters += len(text)
        for span in REDACTOR.redact(text).spans:
            kinds[span.kind] = kinds.get(span.kind, 0) + 1
    assert characters > 500_000
    assert kinds.get("generated", 0) <= 5, kinds
    assert sum(count for kind, count in kinds.items() if kind not in ("email", "authorization", "signature")) <= 60, (
        kinds
    )


def test_a_line_that_was_taken_along_takes_its_own_next_line_along() -> None:
    """The first line is looked at, and the second with it; the third belongs to the second."""
    text = "auth: see below\n- name: X_API_KEY\n  value: tulip-Fields77\n"
    assert "tulip-Fields77" not in REDACTOR.redact(text).text
    lines = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ" + str(number) * 14 for number in range(10)] * 20
    key = "password: x1y2z3\n-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END PRIVATE KEY-----"
    assert "MIIE" not in REDACTOR.redact(key).text
