"""`sitrep doctor`: is this installation in order, and what leaves it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.wiring.doctor_lines import Line
    from bot.wiring.leaving import Leaving


@click.group("doctor", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="cases and totals on standard output")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Is this installation in order? Tokens, scopes, channels, sources, model, database, clock: each with what to do.

    Reads only: nothing is posted, written or changed. Exit 0: nothing has to be done; 1: something does not hold;
    2: the settings are wrong; 3: a needed part is missing. `doctor egress`: what leaves, to whom.
    """
    if context.invoked_subcommand is None:
        context.exit(_examine(as_json))


def _examine(as_json: bool) -> int:
    from bot.cli.check import checks
    from bot.wiring.doctor_lines import Line, exit_code

    found = [
        Line(name, "failed" if problems else "ok", "; ".join(problems) or "as they should be",
             "do what the sentence says" if problems else "")
        for name, problems in checks().items()
    ]  # fmt: skip
    wrong_settings = found[0].status != "ok"
    if not wrong_settings:
        from bot.errors import ConfigurationError
        from bot.settings import load
        from bot.wiring.doctor import examine

        try:
            found += asyncio.run(examine(load()))
        except ConfigurationError as wrong:
            wrong_settings = True
            found += [Line("settings", "failed", problem, "do what the sentence says") for problem in wrong.problems]
    if as_json:
        click.echo(json.dumps(_as_json(found), ensure_ascii=False))
    else:
        click.echo("\n".join(_told(found)))
    return 2 if wrong_settings else exit_code(found)


def _as_json(found: Sequence[Line]) -> dict[str, object]:
    cases = [{**dataclasses.asdict(line), "holds": line.status in ("ok", "warning")} for line in found]
    counts = {status: sum(line.status == status for line in found) for status in ("ok", "warning", "failed", "missing")}
    bars = [{"name": "failed", "value": counts["failed"] + counts["missing"], "bar": 0,
             "holds": not counts["failed"] + counts["missing"]}]  # fmt: skip
    return {"cases": cases, "totals": {"checks": len(found), **counts}, "bars": bars}


def _told(found: Sequence[Line]) -> list[str]:
    width = max(len(line.name) for line in found)
    lines = []
    for line in found:
        lines.append(f"{line.status:<8} {line.name.ljust(width)}  {line.found}")
        if line.do and line.status != "ok":
            lines.append(f"{'':<8} {'':<{width}}  → {line.do}")
    wrong = sum(line.status in ("failed", "missing") for line in found)
    warnings = sum(line.status == "warning" for line in found)
    lines += ["", f"{len(found)} checks: {wrong} to mend, {warnings} to consider"]
    return lines


@command.command("egress")
@click.option("--json", "as_json", is_flag=True, help="destinations, rules and doors on standard output")
def egress_command(as_json: bool) -> None:
    """Every address that may be called, what is sent there, and what may go to a model. Calls nobody."""
    from bot.settings import load
    from bot.wiring.leaving import leaving

    told = leaving(load())
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(told)))
        return
    click.echo("\n".join(_lines(told)))


def _lines(told: Leaving) -> list[str]:
    lines = ["What leaves, to whom. Secrets and personal data are replaced first; any other address is refused.", ""]
    for one in told.destinations:
        if one.sent:
            lines += [f"{one.address}  {one.who}  ({one.named_by})", *(f"    {what}" for what in one.sent)]
    idle = [one.address for one in told.destinations if not one.sent]
    if idle:
        lines += ["", "Allowed, and nothing is sent there, since no setting leads there:", f"    {', '.join(idle)}"]
    lines.append("")
    if not told.rules:
        lines.append("To a model: no evidence; no model is configured, or no source.")
    else:
        lines.append('To a model: an item leaves only if its source and its service both say "allowed".')
        for kind in ("source", "service"):
            for rule in ("allowed", "never"):
                names = sorted(one.name for one in told.rules if (one.kind, one.model) == (kind, rule))
                if names:
                    lines.append(f"    {kind}s, {rule}: {', '.join(names)}")
    lines += ["", "Who comes in, and what is answered:"]
    lines += [f"    {door.path}  {door.who}: {door.answered}" for door in told.doors]
    return lines
