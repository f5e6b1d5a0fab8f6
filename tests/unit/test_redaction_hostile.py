"""Text that is made to be slow costs no more than its length: doubling it costs at most two and a half times."""

# ruff: noqa: E501 (a table)

from __future__ import annotations

import time

import pytest

from bot.trust.redaction import Redactor

REDACTOR = Redactor([b"k"])
UNITS = {
    "dots before @": "a.", "addresses": "a@b.", "begun keys": "-----BEGIN RSA PRIVATE KEY-----\n", "name in name": "key",
    "names and =": "key=", "nouns": "password is ", "commands": "mysql -p ", "flags": " -u a", "quotes": '\\"', "open quotes": 'password="a ',
    "backslashes": "\\", "percent": "%41", "percent of percent": "%25", "escapes": "\\u0041", "digits": "4", "card groups": "4111 ",
    "numbers": "+1 2", "addresses of hosts": "1.2.3.", "v6": "2001:", "jwt": "eyJ", "base64": "QUJDREVG1", "nested": "cGFzc3dvcmQ9", "urls": "http://a:",
    "urls with @": "http://a:b@", "cookies": "Cookie: a=b;", "elements": "<password>", "pairs": "name: x_key\n", "line feeds": "\n", "continued": "\\\n",
    "sums": '"+', "zero width": "a\u200b", "other scripts": "пароль: ", "colours": "\x1b[31mkey", "secrets": "password=hunter2x\n", "placeholders": "<secret:x:7f3a>",
    "begun placeholders": "<secret:", "prefixes": "ghp_", "orders": "ignore all previous ", "entities": "&quot;", "blocks": 'variable "key" {', "settings": "set key ",
    "ibans": "DE89 3704 ", "slashes": "admin / ", "secret blocks": "kind: secret\n", "NULs": "\0", "schemes": "bearer ", "one word": "x", "mixed": "aB1", "pgpass": "a:1111:",
}  # fmt: skip
BEGUN = {
    # A long match is begun and fails at the end; short matches stand on the way.
    "a name, then tokens": ("key", "eyJa"), "a digit, then prefixes": ("1a", "AKIA"), "a URL, then tokens": ("://", "eyJa"),
    "a command, then others": ("mysql ", "requirepass abc "), "a login, then others": ("docker login ", "auth plain QUJDREVG "),
    "a user, then others": (" -u a ", "snmp-server community abc "), "an address, then numbers": ("a@a", ".4111111111111111"),
    "a base64 run, then digits": ("QUJDREVG", "Ab1Cd2Ef3"), "an order, then others": ("print ", "note to ai: "), "a seed, then words": ("seed ", "pin is "),
}  # fmt: skip
SIZE = 30_000


def cost(text: str) -> float:
    """Seconds on the core, the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        REDACTOR.redact(text)
        best = min(best, time.process_time() - began)
    return best


CASES = {name: ("", unit) for name, unit in UNITS.items()} | BEGUN


@pytest.mark.parametrize(("begin", "unit"), CASES.values(), ids=list(CASES))
def test_doubling_a_hostile_text_costs_at_most_two_and_a_half_times(begin: str, unit: str) -> None:
    text = begin + unit * (SIZE // len(unit))
    REDACTOR.redact(text)
    # Other work on the machine makes a measurement larger, never smaller: one of a few pairs must be fair.
    for _ in range(5):
        once, twice = cost(text), cost(begin + unit * (2 * SIZE // len(unit)))
        if twice <= 2.5 * once or twice < 0.005:
            break
    assert twice <= 2.5 * once or twice < 0.005
    assert twice < 1.5, "a minute of processor time must not be had for a megabyte"


def test_a_nest_of_encodings_is_undone_a_few_times_only() -> None:
    text = "%" + "25" * 5_000 + "41"
    began = time.process_time()
    REDACTOR.redact(text)
    assert time.process_time() - began < 1.0
