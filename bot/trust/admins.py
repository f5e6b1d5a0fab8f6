"""Who may do what changes other people's incidents, the model or the experiment. Deny by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bot.errors import NotPermitted
from bot.trust.principals import Principal

Action = Literal["merge", "split", "override", "pause", "resume", "export"]

OF_TEAMS: frozenset[str] = frozenset({"merge", "split", "override"})
"""What the admins of the incident's team may do too; everything else is for `[admins]` alone."""


@dataclass(frozen=True, slots=True)
class Admins:
    """`[admins] groups`, and `[teams.<name>] admins` by team."""

    groups: frozenset[str] = frozenset()
    teams: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def may(self, principal: Principal, action: Action, *teams: str | None) -> bool:
        """Whether they may. `teams` are those of every incident that the action touches: each one's admin is needed."""
        if principal.unknown:
            return False
        if not self.groups.isdisjoint(principal.groups):
            return True
        if action not in OF_TEAMS or not teams:
            return False
        return all(
            team is not None and not self.teams.get(team, frozenset()).isdisjoint(principal.groups) for team in teams
        )

    def require(self, principal: Principal, action: Action, *teams: str | None) -> None:
        """Raises NotPermitted with a sentence that says who may."""
        if self.may(principal, action, *teams):
            return
        who = "those in [admins]"
        if action in OF_TEAMS:
            who += " and the admins of the incident's team"
        why = "the directory cannot place you" if principal.unknown else "you are not one of them"
        raise NotPermitted(f"to {action} is for {who}; {why}")
