"""Outside text cannot act in Slack: not as markup, not as an address, not by being invisible or endless."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.trust.neutralise import LinkPolicy, clean, mrkdwn, mrkdwn_code, mrkdwn_link, plain_text, text_element, units

ANY_TEXT = st.text(max_size=300)


@given(ANY_TEXT, st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_clean_text_is_one_visible_line_within_its_limit(text: str, limit: int) -> None:
    shown = clean(text, limit)

    assert units(shown) <= limit
    assert "\n" not in shown
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)
    assert clean(shown, limit) == shown


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("pay\u202egpj.exe\u202c", "paygpj.exe"),
        ("a\u200bb\u200dc\ufeffd\u2060", "abcd"),
        ("deploy\U000e0041\U000e0042\U000e007f now", "deploy now"),
        ("a\x00b\x1b[31mred\x07", "ab[31mred"),
        ("one\r\ntwo\u2028three\u2029four\tfive", "one two three four five"),
        ("\u3164\u115f\u2800x", "x"),
        ("z" + "\u0335" * 40, "z" + "\u0335" * 3),
        ("🔥" * 50, "🔥" * 3),
        ("a\U000e0100b", "ab"),
    ],
)
def test_invisible_and_endless_characters_are_removed(hostile: str, harmless: str) -> None:
    assert clean(hostile, 200) == harmless


@pytest.mark.parametrize(
    "hostile",
    [
        "<!channel>", "<!here|here>", "<!everyone>", "<!subteam^S123|@oncall>", "<@U123>", "<#C123|general>",
        "<!date^1392734382^{date}|now>", "<https://evil.example|click>", "<mailto:a@b.example|mail>",
        "&lt;!channel&gt;", "&#60;!channel&#62;", "<!chan\u200bnel>",
    ],
)  # fmt: skip
def test_control_sequences_become_text_in_mrkdwn(hostile: str) -> None:
    for shown in (mrkdwn(hostile, 200), mrkdwn_code(hostile, 200)):
        assert "<" not in shown
        assert ">" not in shown
        # What Slack unescapes is what came in: escaped exactly once.
        back = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip("`")
        assert back == clean(hostile, 200)


@pytest.mark.parametrize("hostile", ["*bold*", "~gone~", "`code`", "_slanted_", ":fire:", "x :rotating_light::fire: y"])
def test_formatting_and_emoji_codes_are_taken_from_mrkdwn(hostile: str) -> None:
    shown = mrkdwn(hostile, 200)

    assert not set("*~`") & set(shown)
    assert not shown.startswith("_")
    assert ":fire:" not in shown


def test_identifiers_keep_their_inner_underscores_and_code_keeps_its_colons() -> None:
    assert mrkdwn("DB_POOL_SIZE=2", 200) == "DB_POOL_SIZE=2"
    assert mrkdwn_code("arn:aws:lambda:eu", 200) == "`arn:aws:lambda:eu`"


def test_plain_text_switches_emoji_off_and_is_never_empty() -> None:
    assert plain_text("\u200b", 10) == {"type": "plain_text", "text": "–", "emoji": False}


def test_a_rich_text_element_carries_only_the_wanted_style() -> None:
    assert text_element("a", 10, bold=True, code=False) == {"type": "text", "text": "a", "style": {"bold": True}}


POLICY = LinkPolicy(["github.com", "*.pagerduty.com", "http://127.0.0.1:16686"])


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/checkout", "https://acme.pagerduty.com/incidents/P1", "http://127.0.0.1:16686/trace/1",
        "https://github.com:443/a",
    ],
)  # fmt: skip
def test_allowed_addresses_are_linked(url: str) -> None:
    assert POLICY.safe(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "github.com/acme", "javascript:alert(1)", "http://github.com/acme", "https://github.com.evil.example/",
        "https://evil.example/github.com", "https://github.com@evil.example/", "https://user:pw@github.com/",
        "https://github.com\\@evil.example/", "https://github.com:8443/", "https://gıthub.com/",
        "https://pagerduty.com.evil.example", "https://evilpagerduty.com/", "http://127.0.0.1:9090/", "https://[::1/",
        "https://github.com/\n", "https://github.com/" + "a" * 3000, "https://github.com:99999/", "//github.com/x",
        "https:///github.com",
    ],
)  # fmt: skip
def test_other_addresses_are_not_linked(url: str) -> None:
    assert POLICY.safe(url) is None


def test_an_address_cannot_end_its_link_early() -> None:
    url = 'https://github.com/a|b>c<d"e?q=<!channel>|x&y=1#f>g'

    safe = POLICY.safe(url)

    assert safe is not None
    assert not set('|<>"') & set(safe)
    assert mrkdwn_link(url, "e1", POLICY).count("|") == 1
    assert mrkdwn_link(url, "e1", POLICY).count(">") == 1


def test_huge_text_costs_no_more_than_what_is_kept() -> None:
    started = time.perf_counter()
    clean("\u0300" * 20_000_000, 100)
    assert time.perf_counter() - started < 0.5
