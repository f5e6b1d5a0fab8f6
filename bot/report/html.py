"""The report as one HTML page: no script, no outside address, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bot.experiment.cost import usd
from bot.experiment.words import change
from bot.report import svg
from bot.report.model import Counted, WeeklyReport


def as_html(report: WeeklyReport) -> str:
    """The whole page. Texts from outside are escaped; the page may load nothing."""
    experiment = report.experiment
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    tau = max((tick for curve in experiment.curves for tick in curve.ticks), default=4320.0) if experiment else 4320.0
    bar = curves = ""
    if experiment is not None:
        # Our own drawings, which escape what they are given.
        curves = Markup(svg.survival_curves(experiment.curves, tau))  # noqa: S704
        if experiment.ratio is not None:
            bar = Markup(svg.interval_bar(experiment.ratio, experiment.bounded))  # noqa: S704
    return template.render(
        report=report,
        e=experiment,
        bar=bar,
        curves=curves,
        weekly=Markup(svg.weekly_lines(report.weekly)),  # noqa: S704
        time=time,
        usd=usd,
        change=change,
        ratio=ratio,
        counted=counted,
    )


def time(minutes: float | None) -> str:
    """Minutes as a person reads them, a dash where there are none."""
    return "–" if minutes is None else svg.minutes(minutes)


def ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ({change(value)})"


def counted(things: Sequence[Counted]) -> str:
    """`deploys to checkout (4), search (2)`, or `none`."""
    return ", ".join(f"{thing.name or 'unknown'} ({thing.count})" for thing in things) or "none"
