"""`sitrep labels`: what responders' notes name as the cause of incidents that nobody labelled."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.flows.mining import Proposed


@click.command("labels")
@click.option("--days", type=click.FloatRange(0.1, 366), default=14.0, show_default=True, help="How far back to look.")
@click.option("--batch", "batch_hours", type=click.FloatRange(0.01, 24), metavar="HOURS",
              help="Through the provider's batch door, at its lower price: wait so long for the answers.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
def command(days: float, batch_hours: float | None, as_json: bool) -> None:
    """Propose labels from notes; a person confirms one with /sitrep label. Nothing is labelled by this.

    Whoever may read the database may read what this prints.
    """
    from bot.settings import load
    from bot.wiring.mining import propose

    found = asyncio.run(propose(load(), days, batch_hours))
    cases = [one.as_json() for one in found]
    totals = {
        "incidents": len(cases),
        "changes_named": sum(one["cause"] == "change" for one in cases),
        "other_causes": sum(one["cause"] == "other" for one in cases),
        "usd": round(sum(one["usd"] for one in cases), 6),
    }
    if as_json:
        click.echo(json.dumps({"cases": cases, "totals": totals, "bars": []}, ensure_ascii=False))
        return
    for one in found:
        click.echo("\n".join(lines(one)))
    click.echo(f"{totals['incidents']} incidents without a label have notes; {totals['changes_named']} name a change")


def lines(one: Proposed) -> list[str]:
    """One incident, for people."""
    told = one.proposal
    if told.outcome != "released":
        return [f"{one.incident_id}  nothing proposed: {told.outcome} ({told.reason})"]
    if told.suspect is None:
        what = "another cause" if told.cause == "other" else "no cause"
        return [f"{one.incident_id}  the notes name {what}", *(f"    | {note[:200]}" for note in told.notes)]
    return [
        f"{one.incident_id}  {told.suspect.mark}: {told.suspect.summary}; confirm with /sitrep label {one.incident_id}",
        *(f"    | {note[:200]}" for note in told.notes),
    ]
