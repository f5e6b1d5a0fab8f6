"""The form in which every eval answers: cases, totals, and bars that hold or do not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from bot.errors import MissingPart, SitrepError

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Bar:
    """A measured figure and the least (or the most) that it may be."""

    name: str
    value: float
    bar: float
    sense: Literal["at least", "at most"] = "at least"

    @property
    def holds(self) -> bool:
        return self.value >= self.bar if self.sense == "at least" else self.value <= self.bar


def labelled(path: Path | None, slice_name: str) -> list[dict[str, Any]]:
    """The records of a JSON-lines file (gzip by its name), by default the slice in this checkout's tests/data.

    Raises MissingPart where the slice is not there, SitrepError where a line is no JSON object.
    """
    chosen = path or CHECKOUT / "tests" / "data" / slice_name
    if not chosen.is_file():
        raise MissingPart(f"{str(chosen)!r} is not a file: name a labelled file (in a checkout the default is found)")
    raw = gzip.decompress(chosen.read_bytes()) if chosen.suffix == ".gz" else chosen.read_bytes()
    try:
        records = [json.loads(line) for line in raw.decode().splitlines() if line.strip()]
    except ValueError as wrong:
        raise SitrepError(f"{str(chosen)!r} is no file of JSON lines ({wrong}): write one object a line") from wrong
    return records


def report(cases: Sequence[dict[str, Any]], totals: dict[str, Any], bars: Sequence[Bar], *, as_json: bool) -> None:
    """Print the outcome. Ends the command with exit code 1 where a bar does not hold."""
    if as_json:
        listed = [{"name": b.name, "value": b.value, "bar": b.bar, "holds": b.holds} for b in bars]
        click.echo(json.dumps({"cases": list(cases), "totals": totals, "bars": listed}))
    else:
        for name, value in totals.items():
            click.echo(f"{name:24} {value}")
        for bar in bars:
            click.echo(
                f"{bar.name:24} {bar.value:.4f}  {bar.sense} {bar.bar}  {'holds' if bar.holds else 'DOES NOT HOLD'}"
            )
    if not all(bar.holds for bar in bars):
        raise click.exceptions.Exit(1)
