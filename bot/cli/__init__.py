"""The command line: thin, one file a command, imported only when it is called (`sitrep --help` stays fast).

Exit codes: 0 all hold, 1 one does not, 2 usage or configuration, 3 a needed part is missing.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from bot import __version__
from bot.errors import SitrepError

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module with a click command named `command`, or as this, and one line for --help)
    "init": ("bot.cli.init", "write the first sitrep.toml, asking for what it needs"),
    "services": ("bot.cli.services", "propose [services] from what each system calls them"),
    "triage": ("bot.cli.triage", "look at an incident: now, as a dry run, or as a sample"),
    "serve": ("bot.cli.serve", "run everything: webhooks, Slack, triages"),
    "web": ("bot.cli.apart", "the doors alone, beside other processes: needs Postgres"),
    "worker": ("bot.cli.apart", "the workflows alone, beside other processes: needs Postgres"),
    "report": ("bot.cli.report", "the weekly report: how long incidents took, per arm"),
    "replay": ("bot.cli.replay", "run a recorded incident offline and draw its card"),
    "db": ("bot.cli.db", "migrate the database; export a period for Datasette"),
    "experiment": ("bot.cli.experiment", "does it shorten incidents? analyse, baseline, simulate, pause, resume"),
    "eval": ("bot.cli.eval", "measure one room against labelled cases"),
    "permissions": ("bot.cli.permissions", "who may read what, and by which rule"),
    "alerts": ("bot.cli.alerts", "read what a monitoring system sends as alerts"),
    "privacy": ("bot.cli.privacy", "erase what is stored about a person"),
    "mcp": ("bot.cli.mcp", "what an MCP server offers, to approve its tools"),
    "labels": ("bot.cli.labels", "what responders' notes name as the cause of incidents without a label"),
    "review": ("bot.cli.review", "the risk of a change before it is merged: a gate for CI"),
    "check": ("bot.cli.check", "what start-up would refuse: settings, models, prompts, policy"),
    "doctor": ("bot.cli.doctor", "is this installation in order; what leaves it, to whom"),
    "audit": ("bot.cli.audit", "the whole story of one post, from the store"),
    "redact": ("bot.cli.redact", "replace secrets and personal data in standard input"),
}
"""Every command. The help line stands here so that `--help` imports none of them."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used. `table`: name to (module, one line for --help)."""

    def __init__(self, *args: Any, table: dict[str, tuple[str, str]] | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._table = COMMANDS if table is None else table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module = importlib.import_module(self._table[cmd_name][0])
        command = getattr(module, "command", None) or getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._table[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sitrep")
def sitrep() -> None:
    """Incident triage for on-call engineers in Slack: permission-filtered, cited, measured."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one clear text on stderr, never a traceback."""
    try:
        ended_with = sitrep.main(args=arguments, prog_name="sitrep", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return 2
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except SitrepError as failed:
        click.echo(f"sitrep: {failed}", err=True)
        return failed.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    # Without its stand-alone mode click returns the code of an Exit, and otherwise what the command returned.
    return ended_with if isinstance(ended_with, int) else 0
