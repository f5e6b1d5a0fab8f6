"""`sitrep experiment baseline`: what incidents looked like before, and what an experiment here could show."""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from bot.errors import ConfigurationError
from bot.experiment.units import Rows, read_csv

if TYPE_CHECKING:
    from bot.experiment.baseline import Baseline
    from bot.settings import Settings
    from bot.wiring.past import Imported


@click.command()
@click.option(
    "--weeks", type=click.FloatRange(0.1, 1000), help="How far back; with --csv: how long they were collected."
)
@click.option(
    "--csv",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    help="Past incidents from a file instead of PagerDuty; storm_id and arm may be missing.",
)
@click.option(
    "--hypothesis",
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    help="Write what cannot be found into this file; default, from PagerDuty: the one that has not started.",
)
@click.option("--tau-hours", type=click.FloatRange(0.1, 2400), default=72, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def baseline(
    weeks: float | None, file: pathlib.Path | None, hypothesis: pathlib.Path | None, tau_hours: float, as_json: bool
) -> None:  # fmt: skip
    """What incidents looked like before, and the smallest effect that could be shown here.

    From PagerDuty: every incident of the last --weeks (12), a day at a time; a run that was ended goes on where it
    stopped. They are kept in the database too, as the baseline of the experiment that starts.
    """
    from bot.experiment.baseline import summarise
    from bot.experiment.page import baseline_text

    tau, imported = timedelta(hours=tau_hours), None
    told: list[str] = []
    if file is not None:
        rows = read_file(file, arms=False).rows
    else:
        from bot.settings import load

        settings = load()
        weeks = 12.0 if weeks is None else weeks
        imported = _imported(settings, weeks)
        rows = imported.rows
        hypothesis = hypothesis or _waiting(settings, told)
        told = [*_about(imported), *told]
    found = summarise(rows, tau=tau, weeks=weeks)
    if hypothesis is not None:
        told.append(_write(found, hypothesis))
    if as_json:
        answer = found.as_json() | {"cost_per_triage": _cost(imported)}
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        click.echo("\n".join(told), err=True, nl=bool(told))
    else:
        click.echo("\n".join([baseline_text(found), *told]))


def _imported(settings: Settings, weeks: float) -> Imported:
    from bot.clock import SystemClock
    from bot.wiring.past import import_past

    with click.progressbar(
        length=1, label="days of PagerDuty", file=sys.stderr, hidden=not sys.stderr.isatty(), show_pos=True
    ) as bar:

        def told(done: int, days: int) -> None:
            bar.length = days
            bar.update(done - bar.pos)

        return asyncio.run(import_past(settings, weeks=weeks, clock=SystemClock(), told=told))


def _about(imported: Imported) -> list[str]:
    lines = []
    if imported.began_before:
        lines.append(f"{imported.began_before} began before that time; left out")
    if imported.not_written:
        lines.append(f"nothing was written to the database: {imported.not_written}")
    else:
        lines.append(f"{imported.written} incidents are new in the database; open ones are left to the webhook")
    shadow = imported.shadow
    if shadow is None:
        lines.append("cost per triage: not known, no triage ran in shadow mode in that time")
    else:
        lines.append(f"cost per triage: ${shadow.usd_per_triage:.4f}, of {shadow.triages} triages in shadow mode")
    return lines


def _cost(imported: Imported | None) -> dict[str, float] | None:
    if imported is None or imported.shadow is None:
        return None
    return {"usd": float(f"{imported.shadow.usd_per_triage:.6g}"), "triages": imported.shadow.triages}


def _waiting(settings: Settings, told: list[str]) -> pathlib.Path | None:
    """The hypothesis file that has not begun, if there is exactly one."""
    from bot.clock import SystemClock
    from bot.experiment.schedule import starts_at

    folder = (settings.config.parent if settings.config else pathlib.Path.cwd()) / "experiments"
    names = [one.name for one in settings.experiments if starts_at(one) > SystemClock().now()]
    if len(names) == 1:
        return folder / f"{names[0]}.toml"
    which = f"{', '.join(names)} have" if names else "no file of experiments/ has"
    told.append(f"no hypothesis file was written: {which} a start in the future; name one with --hypothesis FILE")
    return None


def _write(found: Baseline, path: pathlib.Path) -> str:
    """Put the sentence into the file. Raises ConfigurationError where the experiment has begun: its hash is fixed."""
    from bot.clock import SystemClock
    from bot.experiment.hypothesis import parse, with_cannot_find
    from bot.experiment.schedule import starts_at

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigurationError([f"{path.name}: cannot be read ({type(wrong).__name__})"]) from wrong
    hypothesis = parse(text, file=path.name)
    if starts_at(hypothesis) <= SystemClock().now():
        raise ConfigurationError(
            [f"{path.name} starts on {hypothesis.starts_on}, which is past; its hash is fixed, nothing was written"]
        )
    line = found.cannot_find(hypothesis.horizon_weeks, hypothesis.verdict_rule)
    path.write_text(with_cannot_find(text, line), encoding="utf-8")
    expected = round(100 * (1 - hypothesis.expected_ratio))
    return f"{path.name}: wrote cannot_find = {line!r}; it expects {expected} %"


def read_file(file: pathlib.Path, *, arms: bool = True) -> Rows:
    """The rows of a CSV. Raises ConfigurationError for what cannot be read."""
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise ConfigurationError([f"{file.name}: byte {wrong.start} is no UTF-8; save the file as UTF-8"]) from wrong
    except OSError as wrong:
        raise ConfigurationError([f"{file.name}: cannot be read ({wrong.strerror})"]) from wrong
    return read_csv(text, name=file.name, arms=arms)
