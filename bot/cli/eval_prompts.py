"""`sitrep eval prompts`: the golden cases against the approved models, or against a scripted endpoint without one.

Right-sizing: for each use the approved pins are tried from the cheapest on, until one passes.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bot.clock import Clock
    from bot.evals.golden import Case, Played
    from bot.model.pins import Pin, Use
    from bot.settings import Settings
    from bot.store.sqlite import SqliteStore
    from integrations.openai_batches import Batches
    from integrations.ports import ModelEndpoint

LIVE_BAR = 0.9
"""Of the cases that a pin must end well, asked for real; scripted, all of them."""


@click.command("prompts")
@click.option("--only", metavar="PROMPT", help="Cases of this prompt alone (ask, mine, review, triage, validate).")
@click.option("--scripted", is_flag=True, help="Play the cases' own answers, though a model is configured.")
@click.option("--all-pins", is_flag=True, help="Go on after the cheapest pin that passes.")
@click.option(
    "--batch",
    "batch_hours",
    type=click.FloatRange(0.01, 24),
    metavar="HOURS",
    help="Through the providers' batch doors, at their lower price: wait so long for the answers.",
)
@click.option("--json", "as_json", is_flag=True)
def command(only: str | None, scripted: bool, all_pins: bool, batch_hours: float | None, as_json: bool) -> None:
    """Golden cases of every prompt, and the smallest approved model that passes them, by use.

    Real models are asked with the priority of batch: live incidents go before, and the ceilings of [budget] hold.
    """
    from bot.errors import SitrepError
    from bot.evals.golden import PLAYERS
    from bot.evals.outcome import report
    from bot.settings import load

    if only is not None and only not in PLAYERS:
        raise SitrepError(f"no cases of a prompt {only!r}; there are {', '.join(PLAYERS)}")
    measured = asyncio.run(measure(load(), only=only, scripted=scripted, all_pins=all_pins, batch_hours=batch_hours))
    for row in measured.sizing:
        verdict = "  the smallest that passes" if row["smallest"] else ""
        click.echo(
            f"{row['use']:10} {row['pin']:32} {row['passed']}/{row['cases']} cases  ${row['usd']:.4f}{verdict}",
            err=as_json,
        )
    for row in measured.cases:
        if row["problems"]:
            click.echo(f"  {row['pin']}  {row['case']}: {'; '.join(row['problems'])}", err=as_json)
    report([*measured.sizing, *measured.cases], measured.totals(), measured.bars(), as_json=as_json)


@dataclass
class Measured:
    """Rows of right-sizing (one a use and pin) and of cases."""

    scripted: bool
    configured: dict[str, str]
    sizing: list[dict[str, Any]] = field(default_factory=list)
    cases: list[dict[str, Any]] = field(default_factory=list)

    def totals(self) -> dict[str, Any]:
        smallest = {row["use"]: None for row in self.sizing} | {
            r["use"]: r["pin"] for r in self.sizing if r["smallest"]
        }
        return {
            "endpoint": "scripted" if self.scripted else "models",
            "cases": len(self.cases),
            "passed": sum(not row["problems"] for row in self.cases),
            "usd": round(sum(row["usd"] for row in self.sizing), 6),
            "smallest": smallest,
        }

    def bars(self) -> list[Any]:
        """What is configured must pass; what was tried beside it is told only."""
        from bot.evals.outcome import Bar

        least = 1.0 if self.scripted else LIVE_BAR
        return [
            Bar(f"{row['use']}: {row['pin']}", row["passed"] / row["cases"], least)
            for row in self.sizing
            if row["pin"] == self.configured.get(row["use"], row["pin"])
        ]


async def measure(
    settings: Settings, *, only: str | None, scripted: bool, all_pins: bool, batch_hours: float | None = None
) -> Measured:
    """Play the cases. Without a model that can be asked the answers are scripted.

    With `batch_hours` only models with a batch door are asked, all cases of one in one batch.
    """
    from bot.clock import SystemClock
    from bot.evals.golden import by_price, cases
    from bot.store.sqlite import SqliteStore
    from bot.wiring.models import approved_models, endpoints_of, models_of, reachable
    from bot.wiring.outside import egress_of

    chosen, approved = models_of(settings), approved_models(settings)
    scripted = scripted or not chosen
    measured = Measured(scripted, {use: chain[0].name for use, chain in chosen.items()})
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) if scripted else settings.home
        store = SqliteStore.open(home / "sitrep.db")  # the bot's own, so that rates and ceilings are shared with it
        stack.push_async_callback(store.close)
        by_use: dict[Use, list[Case]] = {}
        for case in cases(only):
            by_use.setdefault(case.use, []).append(case)
        for use, listed in by_use.items():
            pins = by_price(approved.pins if scripted else reachable(settings, approved), use)
            first = chosen[use][0] if use in chosen else None
            if first is not None and not scripted:
                pins = [first if pin.name == first.name else pin for pin in pins]
            endpoints: dict[str, ModelEndpoint | Batches] = {}
            if not scripted:
                pins = [pin for pin in pins if batch_hours is None or pin.batch_price is not None]
                egress = egress_of(settings, [pin.endpoint for pin in pins])
                made = endpoints_of(settings, {use: tuple(pins)}, egress, stack, batches=batch_hours is not None)
                endpoints = dict(made)
            passed = False
            for pin in pins:
                if passed and not all_pins and not (first is not None and pin.name == first.name):
                    continue
                asked = _Asked(settings, store, clock, pin, endpoints.get(pin.name), batch_hours or 0.0)
                row = await _pin(asked, listed, measured)
                row["smallest"] = not passed and row["passed"] >= (1.0 if scripted else LIVE_BAR) * row["cases"]
                passed = passed or row["smallest"]
                measured.sizing.append(row)
    return measured


@dataclass(frozen=True)
class _Asked:
    """One pin, and how it is asked: by an endpoint, by a batch door, or (None) by playing each case's own answer."""

    settings: Settings
    store: SqliteStore
    clock: Clock
    pin: Pin
    endpoint: ModelEndpoint | Batches | None
    batch_hours: float


async def _pin(asked: _Asked, listed: list[Case], measured: Measured) -> dict[str, Any]:
    """One use's cases at one pin."""
    from bot.evals.golden import problems

    pin, scripted = asked.pin, asked.endpoint is None
    usd, good = 0.0, 0
    for case, played in zip(listed, await _played(asked, listed), strict=True):
        wrong = problems(case, played, scripted=scripted)
        cost = played.usage.cost_usd if played.usage else 0.0
        usd, good = usd + cost, good + (not wrong)
        measured.cases.append(
            {"use": case.use, "pin": pin.name, "case": case.id, "outcome": played.outcome, "reason": played.reason,
             "usd": cost, "problems": wrong}
        )  # fmt: skip
    return {"use": listed[0].use, "pin": pin.name, "passed": good, "cases": len(listed), "usd": usd,
            "usd_per_million_tokens": {"in": pin.prices.input_usd, "out": pin.prices.output_usd},
            "endpoint": "scripted" if scripted else pin.host}  # fmt: skip


async def _played(asked: _Asked, listed: list[Case]) -> list[Played]:
    """One after the other through the gateway; through a batch door all at once."""
    from bot.evals.golden import Asking, Paid, Scripted, play
    from bot.model.batches import BatchDesk
    from bot.model.gateway import Gateway
    from bot.store.values import ulid
    from bot.wiring.models import ceilings_of, limits_of
    from integrations.openai_batches import Batches

    settings, run = asked.settings, ulid(asked.clock.now())
    ceilings, limits = ceilings_of(settings), limits_of(settings)
    if isinstance(asked.endpoint, Batches):
        desk = BatchDesk(
            asked.store, asked.clock, asked.pin, asked.endpoint, ceilings=ceilings, limits=limits,
            redact=lambda text: text,
        )  # fmt: skip
        tasks = [asyncio.create_task(play(case, Asking(Paid(desk, settings.file.workspace), run))) for case in listed]
        await asyncio.sleep(0)  # now each case is composed and waits at the desk, or is over without a question
        await desk.send(asked.batch_hours * 3600)
        return await asyncio.gather(*tasks)
    found = []
    for case in listed:
        endpoint = asked.endpoint or Scripted(case.answer)
        gateway = Gateway(
            asked.store, asked.clock, {"batch": (asked.pin,)}, {asked.pin.name: endpoint},
            ceilings=ceilings, limits=limits, redact=lambda text: text,
        )  # fmt: skip
        paid = Paid(gateway, settings.file.workspace)
        found.append(await play(case, Asking(paid, run, deadline_seconds=settings.file.timeouts.model_seconds)))
        await gateway.aclose()
    return found
