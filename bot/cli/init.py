"""`sitrep init`: asks for what it needs and writes a commented sitrep.toml and .env.example, never a secret."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.errors import ConfigurationError, SitrepError

if TYPE_CHECKING:
    from bot.cli.first_file import Answers

CONFIG, ENVIRONMENT = "sitrep.toml", ".env.example"


@click.command("init")
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="DIR",
              help="Where to write; default: here.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Ask nothing: what is not given takes its default.")
@click.option("--channel", help="Where cards go when nothing else says: #incidents.")
@click.option("--shadow-channel", help="A private channel for a silent week before the first public post; '' for none.")
@click.option("--timezone", help="Of weeks in reports: Europe/Berlin.")
@click.option("--slack", "slack_mode", type=click.Choice(["socket", "http"]), help="How Slack reaches the bot.")
@click.option("--pagerduty", type=click.Choice(["webhook", "poll", "none"]), help="How incidents come in.")
@click.option("--readers", help="Groups that may read what sources say, with commas; 'everyone': all full members.")
@click.option("--admins", help="Groups that may pause, merge, split, override, with commas.")
@click.option(
    "--github", "repositories", help="Repositories whose changes are read: acme/checkout,acme/web; '' for none."
)
@click.option("--source", "sources", multiple=True, metavar="KIND=URL",
              help="A system to ask: jaeger=http://jaeger:16686; may be repeated.")  # fmt: skip
@click.option("--model", type=click.Choice(["none", "hosted", "own"]), help="Summaries by a language model.")
@click.option("--secrets", "form_of_secrets", type=click.Choice(["environment", "file", "command"]),
              help="How .env.example shows that secrets come in.")  # fmt: skip
def command(folder: Path, yes: bool, sources: tuple[str, ...], **given: str | None) -> None:
    """Write sitrep.toml and .env.example into a folder that has none. No secret is asked for, and none is written.

    `sitrep check` then says what is still wrong, `sitrep doctor` what is missing. Exit 1: a file is there already.
    """
    from bot.cli import first_file

    for name in (CONFIG, ENVIRONMENT):
        if (folder / name).exists():
            raise SitrepError(f"{folder / name} is there already and is not touched; move it away, or use --dir")
    ask = _Asker(given, silent=yes or not _can_answer())
    answers = _answers(ask, sources)
    toml = first_file.settings(answers)
    problems = first_file.problems(toml)
    if problems:
        raise ConfigurationError(problems)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / CONFIG, toml)
    _write(folder / ENVIRONMENT, first_file.environment(answers))
    click.echo(f"wrote {folder / CONFIG} and {folder / ENVIRONMENT}. Next:")
    click.echo("\n".join(f"  {number}. {step}" for number, step in enumerate(first_file.next_steps(answers), start=1)))


def _can_answer() -> bool:
    return sys.stdin.isatty()


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SitrepError(f"{path} is there already and is not touched; move it away, or use --dir") from None
    except OSError as wrong:
        raise SitrepError(f"{path} cannot be written ({type(wrong).__name__}); use --dir") from None


def _answers(ask: _Asker, sources: tuple[str, ...]) -> Answers:
    from bot.cli.first_file import Answers, local_timezone

    return Answers(
        channel=ask("channel", "Which channel gets a card when nothing else says?", "#incidents"),
        shadow_channel=ask(
            "shadow_channel", "A private channel for a silent first week, where all posts go (empty: none)",
            "#sitrep-shadow",
        ),
        timezone=ask("timezone", "Time zone of the weekly report", local_timezone()),
        slack_mode=ask("slack_mode", "How does Slack reach the bot: socket (no public address) or http", "socket"),
        pagerduty=ask("pagerduty", "Incidents from PagerDuty: webhook, poll (no public address) or none", "poll"),
        readers=ask("readers", "Groups that may read what the sources say (everyone: all full members)", "everyone"),
        admins=ask("admins", "Groups that may pause, merge, split, override (empty: nobody)", ""),
        repositories=ask("repositories", "GitHub repositories to read changes from, with commas (empty: none)", ""),
        sources=tuple(ask.checked(one.strip(), "source") for one in sources)
        or tuple(ask.many("A system to ask for traces, metrics, logs, as kind=url (empty: no more)")),
        model=ask("model", "Summaries by a model: none, hosted (OpenAI) or own (an OpenAI-compatible address)", "none"),
        form_of_secrets=ask("form_of_secrets", "Secrets come from: environment, file or command", "environment"),
    )  # fmt: skip


class _Asker:
    """An option, else a person's answer, else the default; what looks like a secret is refused."""

    def __init__(self, given: dict[str, Any], *, silent: bool) -> None:
        self._given, self._silent = given, silent
        self._holds_secret = _secret_finder()

    def __call__(self, name: str, question: str, default: str) -> str:
        value = self._given.get(name)
        if value is None:
            value = default if self._silent else click.prompt(question, default=default, show_default=bool(default))
        return self.checked(str(value).strip(), name)

    def many(self, question: str) -> list[str]:
        found: list[str] = []
        while not self._silent:
            answer = click.prompt(question, default="", show_default=False).strip()
            if not answer:
                break
            found.append(self.checked(answer, "source"))
        return found

    def checked(self, value: str, name: str) -> str:
        if self._holds_secret(value):
            raise ConfigurationError(
                [f"--{name.replace('_', '-')} holds what looks like a secret; secrets come from the environment, "
                 "and are never written into sitrep.toml"]
            )  # fmt: skip
        return value


def _secret_finder() -> Callable[[str], bool]:
    from bot.trust.redaction import Redactor

    redactor = Redactor([secrets.token_bytes(32)])
    return lambda value: "<secret:" in redactor.redact(value).text
