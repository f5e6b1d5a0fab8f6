"""Text that is made to be slow costs no more than its length: doubling it costs at most two and a half times."""

# ruff: noqa: E501 (a table)

from __future__ import annotations

import random
import time

import pytest

from bot.trust.redaction import Redactor, engine

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
    "calls": "key=a(", "lists": 'key: ["abcd", ', "lines of a list": "key:\n - abcd\n", "compared": '"abcd" == key ', "made": 'key("', "spelt addresses": "a [at] b [dot] ",
    "spelt with dots": "a (at) b.", "spoken addresses": "a at b dot c ", "logins": "creds: a / ", "said after": "use abcdef1 as ", "said to be": "abcdefgh1 is the ", "vendors": "datadog: a1",
    "other words": "\u5bc6\u7801 a1 ",
}  # fmt: skip
BEGUN = {
    # A long match is begun and fails at the end; short matches stand on the way.
    "a name, then tokens": ("key", "eyJa"), "a digit, then prefixes": ("1a", "AKIA"), "a URL, then tokens": ("://", "eyJa"),
    "a command, then others": ("mysql ", "requirepass abc "), "a login, then others": ("docker login ", "auth plain QUJDREVG "),
    "a list, then others": ("key: [", '"abcd", '), "a snmp, then others": ("snmpwalk ", " -c a -A b"), "a phrase, then others": ("abcdefgh1 is the ", "secret "),
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


PIECES = (
    "[at]", "(dot)", " at ", " dot ", "creds:", "use", " as the ", " is the ", "datadog", "snmpwalk", " -A ", "ssh-keygen -N", "密码", "=== ", "!=", "(\"", "- ", "BUNDLE_A__B",
    "password", "key", "secret", "token", "PRIVATE", "access", "auth", "login", "pin", "seed", "code", "cookie", "dsn", "jwt",
    "mysql", "curl", "psexec", "net use", "docker login", "vault login", "openssl", "ldapsearch", "sqlcmd", "identified by",
    "snmp-server community", "machine", "getenv(", "env.", "NetworkCredential(", "ConvertTo-SecureString", "CURLOPT_PASSWORD",
    "id/pw", "set", "name:", "value:", "variable", "default", "kind: Secret", "bearer", "basic", "Authorization:", "Cookie:",
    "-----BEGIN PRIVATE KEY-----", "-----END", "eyJ", "eyJa.", "AKIA", "ghp_", "xoxb-", "hf_", "SG.", "00D", "1000.", "S", "AAAAAAAAAA",
    "NRAL", "JQQJ99", "AZDO", "://", "http://", "@", ":", ";", "=", "==", " = ", ": ", ", ", "/", "//", "\\", "\\\\", ".", "-", "--", "_", "+",
    "%41", "%25", "\\u0041", "&quot;", "&#65;", "\x1b[0m", "\u200b", "\n", "\r\n", " ", "\t", '"', "'", "`", '\\"', '"+"', "(", ")", "[", "]",
    "{", "}", "<", ">", "<password>", "</password>", "|", "||", "$", "$2a$", "${", "a", "aB1", "x" * 16, "1", "12", "4111 ", "1.2.3.4", "+49 ",
    "DE89", "a@b.c", "is", " or ", "the", "-p ", "-u a ", "-a ", "--user ", "/user:", "334 UGFzc3dvcmQ6", "пароль", "비번", "\0", "<secret:x:0a1b>",
    "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "QUJDREVG", "Zk3v9QmT2rLx8WcY1nBd5HgJ7sAe0UfP", "123e4567-e89b-12d3-a456-426614174000",
)  # fmt: skip
FUZZED = 2_000
FUZZED_SIZE = 8_000


def slow(begin: str, unit: str) -> tuple[float, float] | None:
    """Seconds for a text and for one of twice its length, where that is more than it may be; else None."""
    texts = [begin + unit * (size // len(unit)) for size in (FUZZED_SIZE, 2 * FUZZED_SIZE)]
    once, twice = map(cost_once, texts)
    if twice <= 2.5 * once or twice < 0.004:
        return None
    if worst(texts) is None:  # measured with care
        return None
    # What a few looks of one another cost (a text is looked at until no more is found) is bounded: is this? Where an odd
    # number of quotes makes a secret and an even number none, like is compared with like.
    count = 4 * FUZZED_SIZE // len(unit)
    found = [worst([begin + unit * n, begin + unit * (2 * n + n % 2)]) for n in (count, count + 1)]
    return found[0] or found[1]


def cost_once(text: str) -> float:
    began = time.process_time()
    REDACTOR.redact(text)
    return time.process_time() - began


def worst(texts: list[str]) -> tuple[float, float] | None:
    for _ in range(4):
        once, twice = map(cost, texts)
        if twice <= 2.5 * once or twice < 0.005:
            return None
    return once, twice


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_text_made_of_what_the_patterns_look_for_is_slow(seed: int) -> None:
    """Some thousand texts of one to five pieces, repeated; with a beginning of their own in half of them."""
    rng = random.Random(seed)
    found = []
    for _ in range(FUZZED // 4):
        unit = "".join(rng.choices(PIECES, k=rng.randint(1, 5)))
        begin = "".join(rng.choices(PIECES, k=rng.randint(1, 3))) if rng.random() < 0.5 else ""
        seconds = slow(begin, unit)
        if seconds is not None:
            found.append((begin, unit, seconds))
    assert not found, found


def test_what_is_beyond_the_longest_text_passes_as_one_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LONGEST_TEXT", 2_000)
    monkeypatch.setattr(engine, "_CUT_BACK", 200)
    line = "INFO pod checkout-7d9f8b6c5d-x2kqp restarted\n"
    secret = "AKIAZ5GMHYJKLMOP3Q7D"
    text = line * 40 + secret + "\n" + line * 40 + secret
    done = REDACTOR.redact(text)
    assert done.spans[-1].end == len(text)
    assert done.spans[-1].kind == "too-long"
    assert line * 40 in done.text
    assert secret not in done.text
    assert 1_500 < done.spans[-1].start <= 2_000
    assert REDACTOR.redact(done.text).text == done.text
    whole = REDACTOR.redact("x" * 5_000)
    assert whole.spans[-1].end == 5_000
    assert len(whole.text) < 2_100
    value = REDACTOR.redact_value({"log": text, "password": "p" * 3_000})
    assert secret not in str(value)
    assert "too-long" in value["log"]
    assert "ppp" not in value["password"]


def test_a_text_that_shows_more_at_every_look_is_replaced_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_ROUNDS", 0)
    text = "password=hunter2x"
    assert REDACTOR.redact(text).spans[0].kind == "unsettled"
    assert "hunter2x" not in REDACTOR.redact(text).text
