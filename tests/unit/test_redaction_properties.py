"""What holds of the redactor for every text: Hypothesis looks for one of which it does not."""

# ruff: noqa: E501 (tables)

from __future__ import annotations

import base64
import html
import json
import random
import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.trust.redaction import Redactor
from tests.support.planted import PLANTED, Planted

REDACTOR = Redactor([b"a key"])

PIECES = st.sampled_from(
    [planted.text for planted in PLANTED]
    + ["password=", "key", "token: ", "Bearer ", "\n", " ", '"', "\\", "\\\n", "%41", "\\u0041", "&quot;", "\x1b[0m", "\u200b", "\x00", "\x01", "\x02", "://", "@", "a" * 40]
    + ["<secret:password:0a1b>", "<personal:email:0a1b>", "<secret:", "name: X_KEY\nvalue: ", "-----BEGIN PRIVATE KEY-----", "4111 1111 1111 1111", "пароль: ", "is ", "eyJ"]
    + ["creds: a / ", "use ", " as the password", " is the token", " [at] ", " (dot) ", '" == secret', "密码", "datadog: ", 'secret("', "passwords:\n - ", '["', "Maple-Kettle-91", "decode("]
)  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=12).map("".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXTS)
def test_spans_lie_in_the_text_in_order_apart_and_rebuild_the_answer(text: str) -> None:
    done = REDACTOR.redact(text)
    at, rebuilt = 0, ""
    for span in done.spans:
        assert at <= span.start < span.end <= len(text)
        rebuilt += text[at : span.start] + REDACTOR.placeholder(text[span.start : span.end], span.kind)
        at = span.end
    assert done.text == rebuilt + text[at:]
    assert bool(done.reasons) == done.suspicious


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXTS)
def test_redacting_a_redacted_text_changes_nothing(text: str) -> None:
    once = REDACTOR.redact(text).text
    assert REDACTOR.redact(once).text == once


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(TEXTS, min_size=1, max_size=6))
@example(["\\", "\naws_access_key_id = AKIAHBRPOIGF3CBFNOBM\\\n0"])  # a hit inside what another hit takes along
def test_a_text_is_answered_alike_alone_and_among_others(texts: list[str]) -> None:
    assert REDACTOR.redact_many(texts) == [REDACTOR.redact(text) for text in texts]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(TEXTS)
def test_the_engine_of_the_standard_library_answers_alike(text: str) -> None:
    assert Redactor([b"a key"], engine="re").redact(text) == REDACTOR.redact(text)


FILLER = (
    "17:30:17.282 INFO c.c.ConfigController#67 TraceID: 922c4a1c100159c6365a1934e8aa8c5e [retrieve][Retrieve config]"
)
CARRIERS = {
    "alone": lambda text: text,
    "first line": lambda text: f"{text}\n{FILLER}",
    "last line": lambda text: f"{FILLER}\n{FILLER}\n{text}",
    "after words": lambda text: f"{FILLER} {text}",
    "before words": lambda text: f"{text} {FILLER}",
    "in JSON": lambda text: json.dumps({"level": "error", "msg": text}),
    "in JSON in JSON": lambda text: json.dumps({"log": json.dumps({"msg": text})}),
    "beside gitleaks:allow": lambda text: f"{text} # gitleaks:allow",
    "beside other suppressions": lambda text: f"{text} // pragma: allowlist secret, betterleaks:allow #nosec NOSONAR",
    "after a suppression": lambda text: f"# detect-secrets: disable-next-line gitleaks:allow\n{text}",
    "in colour": lambda text: f"\x1b[31m{text}\x1b[0m",
    "in a huge text": lambda text: f"{FILLER}\n" * 500 + text + f"\n{FILLER}" * 500,
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.kind)
def test_a_planted_secret_is_gone_from_everywhere(planted: Planted, carrier: str) -> None:
    done = REDACTOR.redact(CARRIERS[carrier](planted.text))
    assert planted.secret not in done.text
    assert planted.secret[6:] not in done.text
    assert "922c4a1c100159c6365a1934e8aa8c5e" in done.text or carrier not in ("first line", "after words")


ESCAPABLE = [planted for planted in PLANTED if planted.kind in ("github-token", "gitlab-token", "stripe-key", "npm-token", "openai-key", "vault-token", "password", "password-json", "api-key", "email")]  # fmt: skip


def percent(secret: str) -> str:
    return "".join(
        f"%{ord(char):02X}" if index % 3 else urllib.parse.quote(char, safe="") for index, char in enumerate(secret)
    )


DISGUISES = {
    "percent-encoded": percent,
    "all percent-encoded": lambda secret: "".join(f"%{ord(char):02x}" for char in secret),
    "twice percent-encoded": lambda secret: urllib.parse.quote(percent(secret), safe=""),
    "unicode-escaped": lambda secret: "".join(f"\\u{ord(char):04x}" if index % 2 else char for index, char in enumerate(secret)),
    "hex-escaped": lambda secret: "".join(f"\\x{ord(char):02x}" if index % 4 == 1 else char for index, char in enumerate(secret)),
    "entities": lambda secret: "".join(f"&#{ord(char)};" if index % 2 else html.escape(char) for index, char in enumerate(secret)),
    "zero-width inside": lambda secret: "\u200b".join((secret[:4], secret[4:9], secret[9:])),
    "soft hyphen inside": lambda secret: secret[:5] + "\u00ad" + secret[5:],
    "full-width": lambda secret: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in secret),
    "cut by +": lambda secret: f'{secret[:7]}" + "{secret[7:]}',
    "cut by a continued line": lambda secret: f"{secret[:7]}\\\n    {secret[7:]}",
}  # fmt: skip


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("planted", ESCAPABLE, ids=lambda planted: planted.kind)
def test_a_disguised_secret_is_found_where_it_stands(planted: Planted, disguise: str) -> None:
    hidden = DISGUISES[disguise](planted.secret)
    text = f'seen\npassword = "{hidden}"\ntrace_id=4bf92f3577b34da6a3ce929d0e0e4736'
    done = REDACTOR.redact(text)
    covered = sum(
        min(span.end, text.index(hidden) + len(hidden)) - max(span.start, text.index(hidden)) for span in done.spans
    )
    assert covered >= 0.85 * len(hidden), done.text
    assert done.text.endswith("trace_id=4bf92f3577b34da6a3ce929d0e0e4736")


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.kind)
def test_base64_of_a_secret_is_replaced(planted: Planted) -> None:
    if planted.kind in ("email", "phone", "card", "iban", "national-id", "ip"):
        pytest.skip("personal data is not looked for in base64: too many numbers there look like it")
    text = f"user-data: {base64.b64encode(planted.text.encode()).decode()} applied"
    done = REDACTOR.redact(text)
    assert base64.b64encode(planted.text.encode()).decode()[:40] not in done.text
    assert done.text.endswith(" applied")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_what_triage_needs_survives(seed: int) -> None:
    rng = random.Random(seed)

    def of(alphabet: str, length: int) -> str:
        return "".join(rng.choice(alphabet) for _ in range(length))

    hexes, lower = "0123456789abcdef", "bcdfghjklmnpqrstvwxz2456789"
    uuid = f"{of(hexes, 8)}-{of(hexes, 4)}-4{of(hexes, 3)}-a{of(hexes, 3)}-{of(hexes, 12)}"
    for line in (
        f"deploy checkout at commit {of(hexes, 40)}",
        f"traceparent: 00-{of(hexes, 32)}-{of(hexes, 16)}-01",
        f"trace_id={of(hexes, 32)} span_id={of(hexes, 16)}",
        f"x-request-id: {uuid}",
        f"image registry.internal/app@sha256:{of(hexes, 64)}",
        f"pod checkout-{of(hexes, 9)}-{of(lower, 5)} OOMKilled on ip-10-{rng.randint(0, 255)}-3-4.ec2.internal",
        f"endpoint 10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.7:8080 and 192.168.1.{rng.randint(1, 254)}",
        f'resourceVersion: "{rng.randint(10**8, 10**9)}" v{rng.randint(0, 20)}.{rng.randint(0, 99)}.1-rc.2',
        f"thread_ts={rng.randint(1_700_000_000, 1_800_000_000)}.{rng.randint(100_000, 999_999)}",
        f"event {of('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 26)} at 2026-03-01T14:02:10.123Z",
    ):
        assert REDACTOR.redact(line).text == line
