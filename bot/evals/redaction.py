"""`sitrep eval redaction`: how many labelled secrets are caught, and how many tokens that must survive are touched."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from bot.evals.outcome import Bar, labelled, report
from bot.trust.redaction import Redactor

CAUGHT = 0.85
"""A secret is caught when at least this share of its characters is replaced."""


def measure(records: list[dict[str, Any]], redactor: Redactor) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Cases (each secret that was missed, each kept token that was touched) and totals by class."""
    cases: list[dict[str, Any]] = []
    found: Counter[str] = Counter()
    secrets: Counter[str] = Counter()
    kept = touched = 0
    begun = time.perf_counter()
    answers = redactor.redact_many([record["text"] for record in records])
    seconds = time.perf_counter() - begun
    for record, answer in zip(records, answers, strict=True):
        covered = bytearray(len(record["text"]))
        for span in answer.spans:
            covered[span.start : span.end] = b"\x01" * (span.end - span.start)
        for secret in record["secrets"]:
            share = sum(covered[secret["start"] : secret["end"]]) / max(1, secret["end"] - secret["start"])
            secrets[secret["cls"]] += 1
            found[secret["cls"]] += share >= CAUGHT
            if share < CAUGHT:
                cases.append({"id": record["id"], "missed": secret["kind"], "share": round(share, 3)})
        for token in record.get("keep", ()):
            kept += 1
            if any(covered[token["start"] : token["end"]]):
                touched += 1
                cases.append({"id": record["id"], "touched": token["kind"]})
    totals = {
        "texts": len(records),
        "secrets": secrets.total(),
        "kept_tokens": kept,
        "touched": touched,
        "seconds": round(seconds, 3),
        "recall_by_class": {cls: round(found[cls] / count, 4) for cls, count in sorted(secrets.items())},
        "recall": _share(found, secrets, ""),
        "recall_vendor": _share(found, secrets, "vendor"),
        "recall_personal": _share(found, secrets, "pii"),
        "harm": touched / kept if kept else 0.0,
    }
    return cases, totals


def _share(found: Counter[str], of: Counter[str], prefix: str) -> float:
    total = sum(count for cls, count in of.items() if cls.startswith(prefix))
    return sum(count for cls, count in found.items() if cls.startswith(prefix)) / total if total else 1.0


@click.command("redaction")
@click.option("--corpus", type=click.Path(path_type=Path), help="Labelled texts, JSON lines, .gz or not.")
@click.option("--json", "as_json", is_flag=True)
def command(corpus: Path | None, as_json: bool) -> None:
    """Recall and harm of the redactor on labelled texts."""
    cases, totals = measure(labelled(corpus, "redaction/texts.jsonl.gz"), Redactor([b"eval"]))
    report(
        cases,
        totals,
        [
            Bar("recall", totals["recall"], 0.98),
            Bar("recall_vendor", totals["recall_vendor"], 0.99),
            Bar("harm", totals["harm"], 0.002, "at most"),
        ],
        as_json=as_json,
    )
