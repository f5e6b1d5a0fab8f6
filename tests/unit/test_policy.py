"""Phrases that no summary may contain: shipped, and a team's own by setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import ConfigurationError
from bot.policy import read_policy
from bot.settings import load
from bot.triage.check import Guards
from bot.triage.forms import shipped_policy
from bot.types import Rejected, Released
from bot.wiring.models import policy_of
from tests.support.ranked import evidence
from tests.unit.test_check import reason, run, with_claim


def loaded(folder: Path, toml: str, phrases: bytes | None = None):
    (folder / "sitrep.toml").write_text(toml, encoding="utf-8")
    if phrases is not None:
        (folder / "policy.txt").write_bytes(phrases)
    return load({"SITREP_HOME": str(folder / "home")}, folder=folder)


NAMED = '[summary]\npolicy_file = "policy.txt"\n'


def test_a_teams_own_phrases_come_beside_the_shipped_ones(tmp_path: Path) -> None:
    settings = loaded(tmp_path, NAMED, b"# ours\n[it named a customer]\nAcme  Bank\n[it said how sure it is]\nsurely\n")
    policy = policy_of(settings)
    guards = Guards(redact=lambda text: text, policy=policy)
    assert set(shipped_policy()) < set(policy)
    assert {"probably", "surely"} <= set(policy["it said how sure it is"])
    result = run(with_claim("going_on", "Requests of acme bank fail."), (), (), guards)
    assert isinstance(result, Rejected)
    item = (evidence("e1", "log", "line", "requests of ACME BANK fail"),)
    why = reason(run(with_claim("going_on", "Requests of ACME bank fail."), item, (), guards))
    assert why.endswith("it named a customer")
    assert isinstance(run(with_claim("going_on", "Requests of ACME fail."), item, (), guards), Released)


def test_without_a_file_the_shipped_phrases_stand(tmp_path: Path) -> None:
    assert policy_of(loaded(tmp_path, "")) == {name: tuple(lines) for name, lines in shipped_policy().items()}


@pytest.mark.parametrize(
    ("phrases", "why"),
    [
        (None, "does not exist"),
        (b"acme\n", "stands before any"),
        (b"[]\nacme\n", "a reason has 1 to 200 characters"),
        (b"[why]\n" + b"x" * 201, "a phrase has at most 200 characters"),
        (b"[why]\n" + b"x\n" * 10_001, "more than 10000 phrases"),
        (b"\xff\xfe", "must be a UTF-8 text file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_start_up(tmp_path: Path, phrases: bytes | None, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        loaded(tmp_path, NAMED, phrases)


def test_an_empty_file_adds_nothing() -> None:
    assert read_policy("# nothing\n\n") == {}


def test_marked_items_are_quoted_or_dropped_by_setting(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").file.summary.suspicious == "quoted"
    assert loaded(tmp_path, '[summary]\nsuspicious = "dropped"\n').file.summary.suspicious == "dropped"
    with pytest.raises(ConfigurationError, match=r"summary\.suspicious"):
        loaded(tmp_path, '[summary]\nsuspicious = "hidden"\n')
