"""Builds every long-lived object from the settings and closes it; the only place that names a concrete integration.

`values` turns settings into what rooms take, `outside` builds the outside systems, `sources` those that
are asked, `app` puts the program together.
"""

from bot.wiring.app import App, build, experiments_of, serve
from bot.wiring.models import build_gateway, build_summarise, models_of
from bot.wiring.outside import directory_of, egress_of
from bot.wiring.values import access_of, routing_of

__all__ = [
    "App", "access_of", "build", "build_gateway", "build_summarise", "directory_of", "egress_of", "experiments_of",
    "models_of", "routing_of", "serve",
]  # fmt: skip
