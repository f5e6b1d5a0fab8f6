"""`sitrep experiment`: does it shorten incidents, could this team ever know, and what a person does while one runs."""

from __future__ import annotations

import json
import pathlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, cast

import click

from bot.cli import experiment_baseline, experiment_live
from bot.cli.experiment_baseline import read_file
from bot.errors import ConfigurationError
from bot.experiment.units import Rows, instant

if TYPE_CHECKING:
    from bot.experiment.simulate import Case

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


_MORE = (
    experiment_baseline.baseline, experiment_live.pause, experiment_live.resume, experiment_live.status,
    experiment_live.mark, experiment_live.export,
)  # fmt: skip
for _one in _MORE:
    command.add_command(_one)


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

    found = read_file(file)
    before = read_file(baseline, arms=False) if baseline else Rows(())
    result = run(
        found,
        Options(
            as_of=as_of,
            rule=rule,
            horizon_weeks=horizon_weeks,
            tau=timedelta(hours=tau_hours),
            start=start,
            baseline=before.rows,
            ordinals=found.ordinals,
        ),
    )
    click.echo(json.dumps(result.as_json(), ensure_ascii=False, indent=2) if as_json else as_text(result))


@command.command()
@click.option(
    "--replications", type=click.IntRange(1, 1_000_000), help="Worlds a cell; default planned 2,000, open 10,000."
)
@click.option(
    "--scenario", "scenarios", multiple=True, help="lognormal, storms or log-t2; may be repeated; default all."
)
@click.option(
    "--rate", "rates", type=click.FloatRange(0.1, 200), multiple=True, help="Incidents a week; default 2, 5, 20."
)
@click.option(
    "--rule", "rules", type=click.Choice(["planned", "open", "harm"]), multiple=True, help="Default planned and open."
)
@click.option(
    "--effect", "effects", type=click.FloatRange(-0.99, 9), multiple=True, help="Default 0, −0.1, −0.2, −0.3, −0.5."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--alpha", type=click.FloatRange(0.001, 0.9), default=0.05, help="Another error; the bars stay at 5 %.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes; changes no figure."
)
@click.option(
    "--resume",
    "resume",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="Keep finished cells in this file, and do not run again what it holds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate(
    replications: int | None,
    scenarios: tuple[str, ...],
    rates: tuple[float, ...],
    rules: tuple[Literal["planned", "open", "harm"], ...],
    effects: tuple[float, ...],
    seed: int,
    alpha: float,
    workers: int,
    resume: pathlib.Path | None,
    as_json: bool,
) -> None:
    """How often a verdict is wrong when nothing changed, and how often a change is found."""
    from bot.experiment import simulate as run
    from bot.experiment.saved import SavedCells
    from bot.experiment.worlds import SCENARIOS

    unknown = [name for name in scenarios if name not in SCENARIOS]
    if unknown:
        raise ConfigurationError([f"no scenario {name!r}; there are {', '.join(SCENARIOS)}" for name in unknown])
    grid = run.cells(
        replications=replications,
        scenarios=scenarios or tuple(SCENARIOS),
        rates=rates or run.RATES,
        rules=rules or run.RULES,
        effects=effects or run.EFFECTS,
        alpha=alpha,
    )

    saved = SavedCells(resume, seed=seed) if resume else None

    def tell(cell: run.Cell, case: run.Case) -> None:
        if saved and saved.get(cell) is None:
            saved.put(cell, case)
        if not as_json:
            click.echo(_case_line(case))

    known = saved.get if saved else lambda cell: None
    result = run.as_json(run.simulate(grid, seed=seed, workers=workers, told=tell, known=known))
    bars = cast(list[dict[str, object]], result["bars"])
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False, indent=1))
    else:
        click.echo(f"{sum(1 for bar in bars if bar['holds'])} of {len(bars)} bars hold (no lower end above 5 %)")
    if not all(bar["holds"] for bar in bars):
        raise click.exceptions.Exit(1)


def _case_line(case: Case) -> str:
    power = "" if case.power is None else f"  found {case.power:6.1%}"
    return (
        f"{case.scenario:10} {case.rate_per_week:4g}/week {case.rule:8} {case.effect:+5.0%}  n {case.replications:6}  "
        f"false {case.false_verdicts / case.replications:6.2%} ({case.low:.2%} … {case.high:.2%}){power}"
    )
