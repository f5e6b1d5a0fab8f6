"""What is stored and is a key to something: sealed, and no table holds a secret of the environment."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import ConfigurationError
from bot.trust.sealed import Seal
from tests.unit.test_retention import columns_of

TOKEN_LIKE = ("token", "secret", "password", "credential", "api_key", "apikey", "refresh", "oauth", "_url")


@given(st.text(max_size=300))
def test_what_was_sealed_opens_again_and_looks_different_each_time(text: str) -> None:
    seal = Seal([b"k"], "t.c")
    one, two = seal.seal(text), seal.seal(text)
    assert one != two
    assert seal.open(one) == seal.open(two) == text


def test_it_opens_with_no_other_key_for_no_other_purpose_and_not_when_altered() -> None:
    closed = Seal([b"k"], "t.c").seal("https://hooks.slack.com/commands/T1/1/x")
    assert Seal([b"new", b"k"], "t.c").open(closed) == "https://hooks.slack.com/commands/T1/1/x"
    assert Seal([b"new"], "t.c").open(closed) is None
    assert Seal([b"k"], "t.other").open(closed) is None
    flipped = closed[:30] + ("A" if closed[30] != "A" else "B") + closed[31:]
    for altered in ("", "https://hooks.slack.com/x", "sealed:1:", "sealed:1:ä", closed[:-8], flipped):
        assert Seal([b"k"], "t.c").open(altered) is None


@pytest.mark.parametrize("keys", [[], [b""]])
def test_without_a_key_it_is_refused_with_what_to_set(keys: list[bytes]) -> None:
    with pytest.raises(ConfigurationError, match="SITREP_SECRET_KEY"):
        Seal(keys, "installations.bot_token")
    assert "b'k'" not in repr(Seal([b"k"], "t.c"))


def test_the_only_column_that_could_hold_a_key_is_the_sealed_one(tmp_path: pathlib.Path) -> None:
    """Tokens come from the environment at each start. Whoever adds a column for one seals it, and says so here."""
    found = {
        f"{table}.{name}"
        for table, columns in columns_of(tmp_path / "s.db").items()
        for name, kind, _ in columns
        if kind == "TEXT"
        if any(word in name for word in TOKEN_LIKE)
    }
    assert found == {"requests.response_url"}
