"""`sitrep doctor`: is this installation in order, and what leaves it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.wiring.leaving import Leaving


@click.group("doctor", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Check settings, models, prompts and policy (as `sitrep check`); `doctor egress`: what leaves, to whom."""
    if context.invoked_subcommand is None:
        from bot.cli.check import command as check

        context.invoke(check, models_file=None, policy=None, as_json=False)


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
        lines.append("To a model: nothing; no model is configured, or no source.")
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
