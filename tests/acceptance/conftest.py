"""What acceptance tests stand on: the outside systems on loopback, answering from the demo's recording."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.systems import Systems


@pytest.fixture(scope="session")
def running_systems() -> Iterator[Systems]:
    with Systems() as systems:
        yield systems


@pytest.fixture
def systems(running_systems: Systems) -> Iterator[Systems]:
    """PagerDuty, Prometheus, Jaeger and GitHub with a fresh incident; well, uncounted, and without a subscriber."""
    running_systems.reset_faults()
    running_systems.webhook_to(None)
    running_systems.deliveries_forgotten()
    running_systems.trigger()
    yield running_systems
    running_systems.webhook_to(None)
    running_systems.reset_faults()
