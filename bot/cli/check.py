"""`sitrep check`: everything that start-up would refuse, without starting: settings, models, prompts, policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

FEWEST_EVIDENCE_TOKENS = 500
"""A budget that leaves less than this for evidence shows a model nothing worth its price."""


@click.command("check")
@click.option("--models", "models_file", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="Check this models file instead of the one that the settings name.")  # fmt: skip
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="Check this file of phrases instead of those in use.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="cases, totals and bars on standard output")
def command(models_file: Path | None, policy: Path | None, as_json: bool) -> None:
    """Check settings, approved models, prompts and policy. Exit 0: all hold; 1: one does not."""
    found = checks(models_file, policy)
    failed = sum(bool(problems) for problems in found.values())
    if as_json:
        cases = [{"name": name, "holds": not problems, "problems": problems} for name, problems in found.items()]
        bars = [{"name": n, "value": len(problems), "bar": 0, "holds": not problems} for n, problems in found.items()]
        click.echo(json.dumps({"cases": cases, "totals": {"checks": len(found), "failed": failed}, "bars": bars}))
    else:
        for name, problems in found.items():
            click.echo(
                "\n".join([f"{'FAILS ' if problems else 'ok    '} {name}", *(f"         {p}" for p in problems)])
            )
    if failed:
        raise click.exceptions.Exit(1)


def checks(models_file: Path | None = None, policy: Path | None = None) -> dict[str, list[str]]:
    """The problems of each check, by its name; asks nobody outside."""
    return {
        "settings": _settings(),
        "models": _models(models_file),
        "prompts": _prompts(),
        "token budget": _token_budget(models_file),
        "policy": _policy(policy),
    }


def _caught(work: Callable[[], list[str]]) -> list[str]:
    """A check that cannot be made because an earlier one failed says so in that one's words."""
    from bot.errors import ConfigurationError
    from prompts import PromptError

    try:
        return work()
    except ConfigurationError as wrong:
        return list(wrong.problems)
    except (PromptError, ValueError) as wrong:
        return [str(wrong)]


def _settings() -> list[str]:
    def work() -> list[str]:
        from bot.settings import load

        load()
        return []

    return _caught(work)


def _models_text(models_file: Path | None) -> tuple[str, str]:
    import prompts
    from bot.errors import ConfigurationError
    from bot.settings import load

    if models_file is None:
        try:
            models_file = load().secrets.models_file
        except ConfigurationError:
            models_file = None  # said by the check of the settings
    return (models_file.read_text(encoding="utf-8"), str(models_file)) if models_file else (
        prompts.models_text(), "models.toml",
    )  # fmt: skip


def _models(models_file: Path | None) -> list[str]:
    def work() -> list[str]:
        from bot.model import pins
        from bot.settings import load
        from bot.wiring.models import chains_of

        models, settings = pins.read(*_models_text(models_file)), load()
        if "triage" not in settings.file.model.chains:
            models.choose("triage", settings.secrets.model, settings.secrets.model_url)
        chains_of(settings, models)
        return []

    return _caught(work)


def _prompts() -> list[str]:
    def work() -> list[str]:
        import prompts

        lock = prompts.locked()
        found = {f"{name}/v{version}": prompts.load(name, version) for name, version in prompts.names()}
        problems = [f"{one}: in lock.json and not in the package" for one in sorted(lock.keys() - found.keys())]
        for one, prompt in found.items():
            if one not in lock:
                problems.append(f"{one}: not in lock.json; run tools/lock_prompts.py")
            elif lock[one] != prompt.sha256:
                problems.append(f"{one}: was edited after its release; restore it and make the next version")
            for positions in prompts.POSITIONS:
                prompt.schema(positions)
        return problems

    return _caught(work)


def _token_budget(models_file: Path | None) -> list[str]:
    def work() -> list[str]:
        import prompts
        from bot.model import pins
        from bot.settings import load
        from bot.triage.compose import fixed_tokens

        settings = load()
        prompt = prompts.load("triage", 1)
        budget = settings.file.budget.tokens_per_triage
        fixed = fixed_tokens(prompt, prompts.POSITIONS[-1]) + prompt.max_output_tokens
        problems = []
        if budget - fixed < FEWEST_EVIDENCE_TOKENS:
            problems.append(
                f"[budget] tokens_per_triage = {budget} leaves {max(budget - fixed, 0)} tokens for evidence:"
                f" {prompt.id} itself and its longest answer take {fixed};"
                f" set at least {fixed + FEWEST_EVIDENCE_TOKENS}"
            )
        for pin in pins.read(*_models_text(models_file)).pins:
            if "triage" in pin.uses and pin.max_output_tokens < prompt.max_output_tokens:
                problems.append(f"{pin.name!r} answers with at most {pin.max_output_tokens} tokens; {prompt.id} needs"
                                f" {prompt.max_output_tokens}")  # fmt: skip
        return problems

    return _caught(work)


def _policy(path: Path | None) -> list[str]:
    def work() -> list[str]:
        from bot.policy import read_policy
        from bot.triage import forms

        phrases = read_policy(path.read_text(encoding="utf-8")) if path else forms.shipped_policy()
        return [f"the reason {reason!r} has no phrase" for reason, lines in phrases.items() if not lines]

    return _caught(work)
