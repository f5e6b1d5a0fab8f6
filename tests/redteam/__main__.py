"""`make redteam`, `python -m tests.redteam`: the whole red team, or the product without one of its guards.

Exit 0: no effect (with `--without`: at least one); 1: the other way round; 2: the file or the guard cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.redteam.attacks import AttackFileError, default_files, read
from tests.redteam.guards import NAMES
from tests.redteam.outside import FIELDS
from tests.redteam.report import REPORT, report
from tests.redteam.runner import VARIANTS, Case, effects_of, last_line, rotated, run, run_chunk, spread, without_each

FEW = 20
"""Attacks of a run without a guard: it shows that the guard is needed, not how often."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make redteam", description=__doc__)
    parser.add_argument("--attacks", type=Path, help="JSON lines; default: ours and the public sets")
    parser.add_argument("--without", metavar="GUARD", help=f"take one guard away: {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report is written")
    given = parser.parse_args(arguments)
    if given.without is not None and given.without not in NAMES:
        print(f"{given.without!r} is no guard; these are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    try:
        attacks = read([given.attacks] if given.attacks else default_files())
    except AttackFileError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    began = time.monotonic()
    if given.without is not None:
        cases = run_chunk(rotated(spread(attacks, FEW)), given.without)
    else:
        cases = run(attacks, processes=given.processes, told=_progress)
        text = report(cases, without_each(attacks, number=FEW))
        given.report.write_text(text, encoding="utf-8")
    found = effects_of(cases)
    holds = found > 0 if given.without else found == 0
    if given.as_json:
        print(json.dumps(_json(cases, given.without, found, holds, time.monotonic() - began)))
        print(last_line(cases), file=sys.stderr)
    else:
        _tell(cases)
        print(last_line(cases))
    return 0 if holds else 1


def _progress(done: int, of: int) -> None:
    if done % 20 < 2 or done == of:
        print(f"{done} of {of} attacks", file=sys.stderr, flush=True)


def _tell(cases: Sequence[Case]) -> None:
    """The commonest effects, one a line."""
    counted: Counter[tuple[str, ...]] = Counter()
    for case in cases:
        for place, variant, form, where, what in case.effects:
            counted[where, variant, form, what, place] += 1
    for (where, variant, form, what, place), times in counted.most_common(20):
        print(f"{where}: ({variant}) {form} in {place}: {what} ({times})")


def _json(cases: Sequence[Case], guard: str | None, found: int, holds: bool, seconds: float) -> dict[str, Any]:
    totals = {
        "attacks": len(cases), "fields": len(FIELDS), "variants": len(VARIANTS), "effects": found, "without": guard,
        "answers": sum(case.answers for case in cases), "released": sum(case.released for case in cases),
        "seconds": round(seconds, 1),
    }  # fmt: skip
    bar = {"name": "effects", "value": found, "bar": 1 if guard else 0, "holds": holds}
    return {"cases": [case.as_json() for case in cases], "totals": totals, "bars": [bar]}


if __name__ == "__main__":
    sys.exit(main())
