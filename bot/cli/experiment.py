"""`sitrep experiment analyse|baseline|simulate`: does it shorten incidents, and could this team ever know?"""

from __future__ import annotations

import json
import pathlib
from datetime import datetime, timedelta
from typing import Literal

import click

from bot.errors import ConfigurationError
from bot.experiment.units import Rows, instant, read_csv

_FILE = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)


class Instant(click.ParamType[datetime]):
    """A date (00:00 UTC) or an ISO 8601 instant."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return instant(str(value))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


@click.group(name="experiment")
def command() -> None:
    """The experiment: does it shorten incidents?"""


@command.command()
@click.option("--csv", "file", type=_FILE, required=True, help="One incident a line; see docs/metrics.md.")
@click.option("--as-of", type=Instant(), required=True, help="Look with what was known by then.")
@click.option("--rule", type=click.Choice(["planned", "open"]), default="planned", show_default=True)
@click.option("--horizon-weeks", type=click.IntRange(1, 520), default=26, show_default=True)
@click.option("--tau-hours", type=click.FloatRange(0.1, 2400), default=72, show_default=True)
@click.option("--start", type=Instant(), help="Default: the Monday at or before the first incident.")
@click.option("--baseline", type=_FILE, help="Incidents of before, as CSV; `arm` may be missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def analyse(
    file: pathlib.Path,
    as_of: datetime,
    rule: Literal["planned", "open"],
    horizon_weeks: int,
    tau_hours: float,
    start: datetime | None,
    baseline: pathlib.Path | None,
    as_json: bool,
) -> None:
    """Verdict, interval and what could have been found, from a CSV of incidents."""
    from bot.experiment.analyse import Options
    from bot.experiment.analyse import analyse as run
    from bot.experiment.page import as_text

    found = _read(file)
    before = _read(baseline, arms=False) if baseline else Rows(())
    result = run(
        found,
        Options(
            as_of=as_of,
            rule=rule,
            horizon_weeks=horizon_weeks,
            tau=timedelta(hours=tau_hours),
            start=start,
            baseline=before.rows,
        ),
    )
    click.echo(json.dumps(result.as_json(), ensure_ascii=False, indent=2) if as_json else as_text(result))


def _read(file: pathlib.Path, *, arms: bool = True) -> Rows:
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise ConfigurationError([f"{file.name}: byte {wrong.start} is no UTF-8; save the file as UTF-8"]) from wrong
    except OSError as wrong:
        raise ConfigurationError([f"{file.name}: cannot be read ({wrong.strerror})"]) from wrong
    return read_csv(text, name=file.name, arms=arms)
