"""`sitrep eval …`: measure one room against labelled cases and say whether its bars hold."""

from __future__ import annotations

import click

from bot.cli import LazyGroup

EVALS: dict[str, tuple[str, str]] = {
    # name: (module with a click command named `command`, one line for --help)
    "redaction": ("bot.evals.redaction", "recall and harm of the redactor on labelled texts"),
    "rank": ("bot.evals.rank", "culprit service and change on labelled incident bundles"),
    "correlate": ("bot.evals.correlate", "incidents per alert storm, and storms taken for one"),
    "injection": ("bot.evals.injection", "marks of the injection marker on harmless and hostile texts"),
    "prompts": (
        "bot.cli.eval_prompts",
        "golden cases of every prompt; the smallest model that passes, by use",
    ),
    "permissions": ("bot.evals.permissions", "the decision who may read, against a plain reference"),
}
"""Every eval. The help line stands here so that `--help` imports none of them."""


@click.group("eval", cls=LazyGroup, table=EVALS)
def command() -> None:
    """Measure one room against labelled cases. Exit 0: all bars hold; 1: one does not."""
