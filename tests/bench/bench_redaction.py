"""How fast the redactor is on real log lines, warm, on one core, without JSON; and the command line with it.

Bars: 40 MB/s in items of 16 KB, 20 MB/s in batches of 1,000 lines, 5 MB/s for `sitrep redact --jsonl`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from bot.cli.redact import redact_lines
from bot.trust.redaction import Redactor
from bot.trust.redaction.findings import Rules, rules
from bot.trust.redaction.personal import COUNTRIES
from bot.trust.redaction.scan import best_engine
from bot.trust.redaction.views import joined_bytes
from tests.bench.run import ROOT, Measured, watch

ITEM = 16 << 10
BATCH = 1_000
REPEATS = 4


def looked_at(found: Rules, text: str) -> int:
    """How many characters of `text` the gates hand to the detectors."""
    joined = joined_bytes([text])
    return sum(last - first for _, first, last in found.gates.regions(joined, [3], [3 + len(text)]))


def first_start() -> float:
    """Seconds from the start of a new process to its first answer, less those that an empty one needs."""
    begin = "import time; t = time.perf_counter()\n"
    code = (
        "from bot.trust.redaction import Redactor\n"
        "Redactor([b'k']).redact('password=hunter2x from 203.0.113.7')\n"
        "print(time.perf_counter() - t)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", begin + code], cwd=ROOT, capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    return min(runs)


def rows() -> Iterator[Measured]:
    text = gzip.decompress((ROOT / "tests" / "data" / "redaction" / "loglines.txt.gz").read_bytes()).decode() * REPEATS
    megabytes = len(text) / 1e6
    lines = text.split("\n")
    items = [text[at : at + ITEM] for at in range(0, len(text), ITEM)]
    batches = [lines[at : at + BATCH] for at in range(0, len(lines), BATCH)]
    redactor = Redactor([b"bench"])

    def of_items() -> None:
        for item in items:
            redactor.redact(item)

    def of_batches() -> None:
        for batch in batches:
            redactor.redact_many(batch)

    def of_lines() -> None:
        for line in lines[:2_000]:
            redactor.redact(line)

    seen = watch(of_items, cpu=True)
    yield Measured("redaction.items_16kb", megabytes / seen.best * 1000, "MB/s", len(items), 40.0, at_least=True)
    seen = watch(of_batches, cpu=True)
    yield Measured("redaction.batches_1000", megabytes / seen.best * 1000, "MB/s", len(batches), 20.0, at_least=True)
    yield Measured("redaction.one_line", watch(of_lines, cpu=True).best / 2_000 * 1000, "us", 2_000)
    found = rules(best_engine(), tuple(sorted(COUNTRIES)))
    share = sum(looked_at(found, item) for item in items) / len(text)
    yield Measured("redaction.share_looked_at", share, "of the text", len(items))

    jsonl = "".join(json.dumps({"id": number, "text": line}) + "\n" for number, line in enumerate(lines)).encode()

    def of_jsonl() -> None:
        redact_lines(redactor, io.BytesIO(jsonl), io.BytesIO())

    seen = watch(of_jsonl, runs=3, cpu=True)
    yield Measured("redaction.jsonl", megabytes / seen.best * 1000, "MB/s", len(lines), 5.0, at_least=True)
    # Time on the core of the child, its start included: others use this machine too.
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "bot", "redact", "--jsonl"], cwd=ROOT, input=jsonl, capture_output=True, check=True
    )
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    yield Measured("redaction.command_line", megabytes / spent, "MB/s", len(lines), 5.0, at_least=True)
    yield Measured("redaction.first_start", first_start(), "s", 3, 2.0)
