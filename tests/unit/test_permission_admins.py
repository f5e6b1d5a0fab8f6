"""Who may merge, split, override, pause, resume and export."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.errors import NotPermitted
from bot.trust.admins import Admins
from bot.trust.audience import Audience, hidden_services
from bot.trust.principals import Principal
from integrations.records import Readers

ADMINS = Admins(frozenset({"sre"}), {"payments": frozenset({"payments-leads"}), "search": frozenset({"search-leads"})})
ADMIN = Principal("U1", frozenset({"everyone", "sre"}))
LEAD = Principal("U2", frozenset({"everyone", "payments-leads"}))
ANYBODY = Principal("U3", frozenset({"everyone"}))
NOBODY = Principal("U4", frozenset({"sre"}), unknown="was last looked up too long ago")


@pytest.mark.parametrize("action", ["merge", "split", "override", "pause", "resume", "export"])
def test_admins_may_everything_and_others_nothing(action: str) -> None:
    assert ADMINS.may(ADMIN, action, "payments")  # type: ignore[arg-type]
    assert ADMINS.may(ADMIN, action)  # type: ignore[arg-type]
    for other in (ANYBODY, NOBODY):
        assert not ADMINS.may(other, action, "payments")  # type: ignore[arg-type]
        with pytest.raises(NotPermitted, match=action):
            ADMINS.require(other, action, "payments")  # type: ignore[arg-type]
    assert not Admins().may(ADMIN, action, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["merge", "split", "override"])
def test_a_teams_admins_may_what_touches_their_team_alone(action: str) -> None:
    assert ADMINS.may(LEAD, action, "payments")  # type: ignore[arg-type]
    ADMINS.require(LEAD, action, "payments")  # type: ignore[arg-type]
    for teams in ((), (None,), ("search",), ("payments", "search"), ("payments", None), ("unheard of",)):
        assert not ADMINS.may(LEAD, action, *teams), teams  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["pause", "resume", "export"])
def test_the_model_and_the_exports_are_not_a_teams(action: str) -> None:
    assert not ADMINS.may(LEAD, action, "payments")  # type: ignore[arg-type]


def test_a_report_names_no_service_that_somebody_there_may_not_read_about() -> None:
    audience = Audience.of([ADMIN.groups, ANYBODY.groups], datetime(2026, 11, 24, tzinfo=UTC))
    readers = {"shop": Readers.of(["everyone"]), "ledger": Readers.of(["sre"]), "unknown": Readers.nobody()}
    assert hidden_services(audience, readers) == {"ledger", "unknown"}
