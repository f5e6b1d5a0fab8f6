"""What the redactor promises its callers."""

from __future__ import annotations

import pickle

import pytest

from bot.trust.redaction import Redactor


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor([b"a key for tests"])


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("DB_PASSWORD=MangojIQnNF!25", "MangojIQnNF!25"),
        ("redis://app:TigerOkr4V!11@db.internal:5432/ledger", "TigerOkr4V!11"),
        ("Authorization: Basic YXBwOlRpZ2VyOWdZQ2tjai45Mw==", "YXBwOlRpZ2VyOWdZQ2tjai45Mw=="),
        ("mail anna.smith@example.com", "anna.smith@example.com"),
        ("client 203.0.113.7 429", "203.0.113.7"),
        ("pan=4111 1111 1111 1111 declined", "4111 1111 1111 1111"),
    ],
)
def test_a_secret_leaves_and_a_placeholder_stays(redactor: Redactor, text: str, secret: str) -> None:
    done = redactor.redact(text)
    assert secret not in done.text
    assert [text[span.start : span.end] for span in done.spans] == [secret]


def test_redacting_again_changes_nothing(redactor: Redactor) -> None:
    once = redactor.redact("password=hunter2x from anna@example.com").text
    assert redactor.redact(once).text == once


def test_a_redactor_travels_to_a_worker_and_shows_no_key() -> None:
    redactor = Redactor([b"very-secret-key"])
    assert "very-secret-key" not in repr(redactor)
    travelled = pickle.loads(pickle.dumps(redactor))
    assert travelled.redact("token=abc123def456").text == redactor.redact("token=abc123def456").text


def test_a_digest_depends_on_the_key() -> None:
    one, other = (Redactor([key]).redact("password=hunter2x").text for key in (b"one", b"other"))
    assert one != other


def test_no_key_is_refused() -> None:
    with pytest.raises(ValueError, match="SITREP_SECRET_KEY"):
        Redactor([])


def test_a_match_that_begins_with_a_line_feed_does_not_stop_the_search(redactor: Redactor) -> None:
    text = "run\n--password hunter2x\n-token abcdef123456 \n"
    done = redactor.redact(text)
    assert "hunter2x" not in done.text
    assert "abcdef123456" not in done.text
