"""`sitrep review`: the risk of a change before it is merged, as a gate in CI."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bot.flows.review import Review
    from bot.guardrails.risk import Reason

MOST_SHOWN = 40


@click.command("review")
@click.argument("diff", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="[DIFF]")
@click.option("--service", metavar="NAME", help="The service that changes: whose rules and whose budget hold.")
@click.option("--fail-on", type=click.Choice(["high", "medium", "never"]), default="high", show_default=True,
              help="From which risk on the gate does not hold.")  # fmt: skip
@click.option("--advisory", is_flag=True, help="Tell what a model finds, and let only the rules decide.")
@click.option("--no-model", is_flag=True, help="Ask no model: the rules alone.")
@click.option("--require-model", is_flag=True, help="Exit 3 where no model's answer could be used.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Add the review to FILE, such as a job's summary.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
def command(
    diff: Path | None, service: str | None, fail_on: str, advisory: bool, no_model: bool, require_model: bool,
    markdown: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Judge a unified diff, from DIFF or standard input: git diff origin/main...HEAD | sitrep review

    Rules decide first; a model may raise the risk and never lower it. Exit 0: the gate holds; 1: it does not; 2: there
    is no diff, or a setting is wrong; 3: with --require-model, no model answered.
    """
    from bot.errors import ConfigurationError, MissingPart
    from bot.flows.review import Asked
    from bot.guardrails.diff import MOST_BYTES, NotADiff
    from bot.settings import load
    from bot.wiring.reviewing import review_once

    if diff is None and sys.stdin.isatty():
        raise ConfigurationError(["no diff: pipe one in, as in git diff origin/main...HEAD | sitrep review"])
    raw = diff.read_bytes() if diff else sys.stdin.buffer.read(MOST_BYTES + 1)
    wanted = Asked(raw.decode("utf-8", "replace"), service, fail_on=fail_on, advisory=advisory, ask_model=not no_model)
    try:
        found = asyncio.run(review_once(load(), wanted))
    except NotADiff as wrong:
        raise ConfigurationError([f"the diff cannot be judged: {wrong}"]) from None
    if markdown is not None:
        with markdown.open("a", encoding="utf-8") as file:
            file.write(as_markdown(found))
    click.echo(json.dumps(found.as_json(), ensure_ascii=False) if as_json else "\n".join(lines(found)))
    if require_model and found.outcome != "released":
        raise MissingPart(f"no model's answer could be used: {found.outcome} ({found.reason})")
    if not found.holds:
        raise click.exceptions.Exit(1)


def lines(found: Review) -> list[str]:
    """For people. No line begins with what a change's author wrote: CI systems read commands there."""
    said = [
        f"{'holds' if found.holds else 'FAILS'}  risk {found.risk} (fails on {found.fail_on}):"
        f" {found.files} files, {found.lines_added} lines added, {found.lines_removed} removed"
    ]
    every = _every(found)
    said += [f"  {one.risk:<6}  {by:<5}  {one.text}  {_place(one)}" for by, one in every[:MOST_SHOWN]]
    if len(every) > MOST_SHOWN:
        said.append(f"  and {len(every) - MOST_SHOWN} more; --json has them all")
    said.append(f"  model: {_model(found)}")
    return said


def as_markdown(found: Review) -> str:
    """For a pull request or a job's summary."""
    verdict = "holds" if found.holds else "does not hold"
    rows = [
        f"| {one.risk} | {by} | {one.text} | {f'`{_place(one)}`' if one.path else ''} |"
        for by, one in _every(found)[:MOST_SHOWN]
    ]
    table = ["| risk | found by | what | where |", "|---|---|---|---|", *rows] if rows else ["Nothing stands out."]
    return "\n".join(
        [f"### Change risk: {found.risk}, the gate {verdict}", "", *table, "", f"Model: {_model(found)}", ""]
    )


def _every(found: Review) -> list[tuple[str, Reason]]:
    return [*(("rule", one) for one in found.rules), *(("model", one) for one in found.findings)]


def _place(one: Reason) -> str:
    return f"{one.path}:{one.line}" if one.line else one.path


def _model(found: Review) -> str:
    if found.usage is None or found.outcome != "released":
        return f"{found.outcome}" + (f" ({found.reason})" if found.reason else "")
    rest = f", {found.left_out} had no room" if found.left_out else ""
    cached = ", from the cache" if found.usage.cache_hit else ""
    return f"{found.usage.model}, {found.shown} pieces shown{rest}, ${found.usage.cost_usd:.4f}{cached}"
