"""What acceptance tests stand on: the outside systems on loopback, and a local Slack behind a proxy that can fail.

`systems` and `slack` run once a session and are as new for every test: no faults, no counts, no messages, and an
incident that is happening now. `slack` skips with its reason where the local Slack cannot be had, and fails there
when SITREP_TEST_REQUIRE names `slack`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from demo.parts import Missing
from demo.slack import SlackThread
from demo.systems import Systems


@pytest.fixture(scope="session")
def running_systems() -> Iterator[Systems]:
    with Systems() as systems:
        yield systems


@pytest.fixture
def systems(running_systems: Systems) -> Iterator[Systems]:
    """PagerDuty, Prometheus, Jaeger and GitHub; webhooks go nowhere until `webhook_to`."""
    running_systems.reset_faults()
    running_systems.webhook_to(None)
    running_systems.deliveries_forgotten()
    running_systems.trigger()
    yield running_systems
    running_systems.webhook_to(None)
    running_systems.reset_faults()


@pytest.fixture(scope="session")
def running_slack(without_part: Callable[[str, str], None]) -> Iterator[SlackThread]:
    made = SlackThread()
    try:
        made.__enter__()
    except Missing as missing:
        without_part("slack", str(missing))
    yield made
    made.__exit__()


@pytest.fixture
def slack(running_slack: SlackThread) -> Iterator[SlackThread]:
    """The tea shop's workspace in Socket Mode: #incidents (public), #payments (private), priya, tomas and mei."""
    running_slack.reset()
    yield running_slack
    running_slack.reset()
