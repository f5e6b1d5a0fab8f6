"""Values beside a name: `DB_PASSWORD=…`, `"api_key": "…"`, `--token …`, `name: X_KEY` / `value: …`, `the key is …`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bot.trust.redaction import names, shapes
from bot.trust.redaction.scan import MASK, Engine, compile_pattern

_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_LONGEST_NAME = 80
_LONGEST_VALUE = 16_384


class Candidate(NamedTuple):
    """A stretch to be replaced. Of two that overlap the higher rank names the kind."""

    start: int
    end: int
    kind: str
    rank: int


PERSONAL, GENERATED, PROSE, KEYED, FORM, VENDOR = range(6)

_ASSIGN = r"(?i)" + names.CORE + r"[A-Za-z0-9_.\-]*+(?:\\*+[\"'`])?+[\])]?+[ \t]*+(?:=>|:=|->|==|=|:)[ \t]*+"
_FLAG = r"(?i)[ \t\n\"'\[,(]--?[A-Za-z0-9_\-]*" + names.CORE + r"[A-Za-z0-9_\-]*+[\"']?+(?:,[ \t]*+)?+[ \t]+"
_PAIR = (
    r"(?i)\b(?:name|key|id)(?:\\*+[\"'])?+[ \t]*+[:=][ \t]*+(?:\\*+[\"'])?+"
    r"([A-Za-z0-9_.\-]++)(?:\\*+[\"'])?+[ \t]*+,?+[ \t]*+(?:\r?\n[ \t\-]*+)?+(?:\\*+[\"'])?+"
    r"(?:value|val|string_?value|content)(?:\\*+[\"'])?+[ \t]*+[:=][ \t]*+"
)
_ELEMENT = r"(?i)<([A-Za-z0-9_.:\-]*" + names.CORE + r"[A-Za-z0-9_.\-]*+)(?:[ \t][^<>\n\x00]*+)?+>([^<>\n\x00]++)</"
_PROSE = (
    r"(?i)\b(password|passwd|passphrase|passcode|passwort|pwd|secret|token|api[ _-]?key|apikey|key|credentials?|creds"
    r"|pin|otp|cookie|session id|licen[cs]e)s?\b"
)
_WORD = r"[^ \t\r\n\x00]+"

_BLANK_VALUES = frozenset(
    b"null none nil true false undefined redacted masked hidden filtered empty yes no on off unset string str bytes int"
    b" optional required todo tbd n/a na default secret password token key auto enabled disabled unknown missing invalid"
    b" expired basic bearer digest ok error failed success denied rejected accepted revoked rotated stdin env file vault"
    b" changeit-not".split()
)
_SCHEMES = frozenset(
    b"bearer basic token digest apikey api-key key negotiate ntlm hmac jwt bot oauth aws4-hmac-sha256".split()
)
_TEMPLATE_STARTS = (b"${", b"$(", b"{{", b"<%", b"%{", b"#{", b"@{", b"!Ref", b"!Sub", b"!GetAtt", b"vault:", b"ref+", b"arn:aws:secretsmanager", b"ssm:", b"op://", b"sops:", b"ENC[", b"@Microsoft.KeyVault")  # fmt: skip
_CODE_STARTS = (b"var.", b"local.", b"process.env", b"os.environ", b"os.getenv", b"env.", b"secrets.", b"config.", b"settings.", b"self.", b"this.", b"data.", b"module.", b"System.getenv", b"ENV[", b"getenv", b"args.", b"options.", b"params.")  # fmt: skip
_SENTENCE = frozenset(
    b"is are was be must at least not too the a an for to of and or has have been cannot can should with in".split()
)


def name_before(text: bytes, end: int, upto: int) -> bytes:
    """The name that runs on to the left of `end`, with what follows up to `upto`."""
    left = text[max(0, end - _LONGEST_NAME) : end]
    return left[len(left.rstrip(_NAME_BYTES)) :] + text[end:upto]


def is_blank(value: bytes) -> bool:
    """Nothing to hide: empty, a template, a mask, a word such as null; or a placeholder of ours."""
    bare = value.strip(b" \t\"'`,;()[]{}<>.")
    if not bare or bare.lower() in _BLANK_VALUES:
        return True
    if value.startswith(_TEMPLATE_STARTS) or value.startswith(_CODE_STARTS):
        return True
    if (
        value[:1] == b"$"
        and bare[1:].replace(b"_", b"").isalnum()
        and bare[1:].upper() == bare[1:]
        and not bare[1:2].isdigit()
    ):
        return True
    if value[:1] == b"%" and (value[-1:] == b"%" or len(value) <= 3):
        return True
    if value[:1] == b"<" and value[-1:] == b">":
        return True
    distinct = set(bare)
    return (len(distinct) == 1 and (len(bare) > 2 or bare in (b"*", b"x", b"X"))) or distinct <= {MASK}


_OPENERS = b"\"'`"


class Value(NamedTuple):
    start: int
    end: int
    quoted: bool


def value_at(text: bytes, at: int, *, enclosed: bool, query: bool) -> Value | None:
    """The value that begins at `at`: between quotes (escaped ones too), or up to white space or a closing mark.

    `enclosed`: the pair stands inside brackets or a list, so that `,` and `)` end it. `query`: `&` ends it.
    """
    end_of_line = text.find(b"\n", at)
    hard = min(end_of_line if end_of_line >= 0 else len(text), at + _LONGEST_VALUE)
    nul = text.find(b"\x00", at, hard)
    hard = nul if nul >= 0 else hard
    start = at
    if text[start : start + 1] in (b"b", b"r", b"u", b"f", b"B", b"R", b"U", b"F", b"@", b"$") and text[
        start + 1 : start + 2
    ] in (b'"', b"'"):
        start += 1
    slashes = start
    while slashes < hard and text[slashes] == 0x5C:
        slashes += 1
    if slashes < hard and text[slashes] in _OPENERS:
        mark = text[start : slashes + 1]
        begin = slashes + 1
        end = _closing(text, begin, hard, mark)
        if end >= 0:
            return Value(begin, end, True) if end > begin else None
        return _bare(text, begin, hard, enclosed=True, query=False)
    return _bare(text, start, hard, enclosed=enclosed, query=query)


def _closing(text: bytes, begin: int, hard: int, mark: bytes) -> int:
    at = begin
    while True:
        at = text.find(mark, at, hard)
        if at < 0:
            return -1
        before = at
        while before > begin and text[before - 1] == 0x5C:
            before -= 1
        if at == before or (len(mark) == 1 and (at - before) % 2 == 0):
            return at
        at += len(mark)


_STOP = bytes(range(0x21)) + b"\"'`<>"
_STOP_ENCLOSED = _STOP + b",;)]}|"


def _bare(text: bytes, start: int, hard: int, *, enclosed: bool, query: bool) -> Value | None:
    stops = _STOP_ENCLOSED if enclosed else _STOP
    if query:
        stops += b"&#"
    chunk = text[start:hard]
    # A translation that keeps only stops finds the first of them without a loop over characters.
    marks = chunk.translate(_marks(stops))
    end = marks.find(b"\x01")
    end = len(chunk) if end < 0 else end
    while end > 0 and chunk[end - 1 : end] in (b",", b";", b".", b":", b"\\", b")"):
        end -= 1
    return Value(start, start + end, False) if end else None


_MARKS: dict[bytes, bytes] = {}


def _marks(stops: bytes) -> bytes:
    table = _MARKS.get(stops)
    if table is None:
        table = _MARKS[stops] = bytes(1 if char in stops and char != MASK else 0 for char in range(256))
    return table


def accepts(reading: names.Reading, value: bytes, quoted: bool) -> bool:
    """Is `value`, beside a name read so, a secret?"""
    if is_blank(value):
        return False
    if reading.strength == names.PASSWORD:
        if quoted and b" " in value:
            words = value.lower().split()
            return len(words) <= 8 and not any(word in _SENTENCE for word in words)
        return not _is_code(value)
    if reading.strength == names.TOKEN:
        if len(value) < 4 or _is_code(value):
            return False
        if b" " in value:
            return False
        if value.isdigit():
            return len(value) >= 6 or reading.kind in ("pin", "otp", "cvv", "cvc", "totp", "mfa")
        return not shapes.is_plain_words(value) or (len(value) >= 16 and shapes.looks_random(value))
    if reading.kind.endswith("-id") and shapes.is_uuid(value):
        return False
    return b" " not in value and not _is_code(value) and shapes.looks_random(value)


def _is_code(value: bytes) -> bool:
    return value[-2:] == b"()" or (b"(" in value[1:-1] and value[:1].isalpha() and b".get" in value)


class KeyedValues:
    """Finds secrets by the name that stands beside them."""

    def __init__(self, engine: Engine) -> None:
        self._assign = compile_pattern(_ASSIGN, engine)
        self._flag = compile_pattern(_FLAG, engine)
        self._pair = compile_pattern(_PAIR, engine)
        self._element = compile_pattern(_ELEMENT, engine)
        self._prose = compile_pattern(_PROSE, engine)
        self._word = compile_pattern(_WORD, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        yield from self._assignments(text)
        yield from self._flags(text)
        yield from self._pairs(text)
        yield from self._elements(text)
        yield from self._sentences(text)

    def _assignments(self, text: bytes) -> Iterator[Candidate]:
        for found in self._assign.finditer(text):
            start, at = found.start(), found.end()
            label = text[start:at]
            cut = len(label.rstrip(b" \t=:>-"))
            label = label[:cut].rstrip(b"\\\"'`])")
            name = name_before(text, start, start + len(label))
            reading = names.read(name.decode("latin-1"))
            if reading.strength == names.NONE:
                continue
            name_start = start + len(label) - len(name)
            before = text[name_start - 1 : name_start] if name_start else b""
            if before == b"/":  # a path or an image: registry.internal/auth:4f1c…
                continue
            yield from self._value(text, at, reading, before)

    def _value(
        self, text: bytes, at: int, reading: names.Reading, before: bytes, rank: int = KEYED
    ) -> Iterator[Candidate]:
        query = before in (b"?", b"&")
        enclosed = before not in (b"", b"\n", b"\r", b"\t", b"+", b"-", b"\x00") and before != b" "
        value = value_at(text, at, enclosed=enclosed, query=query)
        for _ in range(2):  # "Authorization: Token token=…" has two words before the value
            if value is None or value.quoted or text[value.start : value.end].lower() not in _SCHEMES:
                break
            following = value.end
            while text[following : following + 1] in (b" ", b"\t"):
                following += 1
            value = value_at(text, following, enclosed=True, query=query)
        if value is None:
            return
        content = text[value.start : value.end]
        if accepts(reading, content, value.quoted):
            yield Candidate(value.start, value.end, reading.kind, rank)

    def _flags(self, text: bytes) -> Iterator[Candidate]:
        for found in self._flag.finditer(text):
            label = text[found.start() + 1 : found.end()].strip(b" \t\"',-")
            reading = names.read(label.decode("latin-1"))
            if reading.strength and text[found.end() : found.end() + 1] != b"-":
                yield from self._value(text, found.end(), reading, b" ")

    def _pairs(self, text: bytes) -> Iterator[Candidate]:
        for found in self._pair.finditer(text):
            reading = names.read(found.group(1).decode("latin-1"))
            if reading.strength:
                yield from self._value(text, found.end(), reading, b"\n")

    def _elements(self, text: bytes) -> Iterator[Candidate]:
        for found in self._element.finditer(text):
            reading = names.read(found.group(1).decode("latin-1"))
            if reading.strength and accepts(reading, found.group(2), True):
                yield Candidate(found.start(2), found.end(2), reading.kind, KEYED)

    def _sentences(self, text: bytes) -> Iterator[Candidate]:
        for found in self._prose.finditer(text):
            if text[found.end() : found.end() + 1] in (b"-", b"_", b".", b"/") or not _starts_word(text, found.start()):
                continue
            lead = text[max(0, found.start() - 24) : found.start()].lower().split()
            if found.group(1).lower() == b"key" and lead and lead[-1].decode("latin-1") in names.NOT_SECRET_KEYS:
                continue
            line_end = text.find(b"\n", found.end(), found.end() + _SENTENCE_REACH)
            window = text[found.end() : line_end if line_end >= 0 else found.end() + _SENTENCE_REACH]
            candidate = self._in_sentence(found.group(1).lower(), window)
            if candidate is not None:
                start, end, kind = candidate
                yield Candidate(found.end() + start, found.end() + end, kind, PROSE)

    def _in_sentence(self, noun: bytes, window: bytes) -> tuple[int, int, str] | None:
        """The first word after `noun` that is no plain word, if it looks like what the noun says."""
        password = noun.startswith((b"pass", b"pwd"))
        for count, found in enumerate(self._word.finditer(window)):
            word = found.group()
            core = word.strip(_AROUND_WORD)
            if MASK in word or count > 7:
                return None
            if not core:
                continue
            start = found.start() + word.find(core)
            tail = word[word.find(core) + len(core) :]
            if (count and (b"=" in tail or b":" in tail)) or core in _OTHER_NOUNS or core.lower() in _OTHER_NOUNS:
                return None
            if password and _password_like(core):
                return start, start + len(core), "password"
            if not password and (_token_like(core) or (core.startswith(b"http") and _secret_url(core))):
                return start, start + len(core), "token"
            plain = core.replace(b"-", b"").replace(b"'", b"").replace(b"/", b"")
            if not plain.isalpha() or word[-1:] in b".;":
                return None
        return None


_SENTENCE_REACH = 600
_AROUND_WORD = b"\"'`()[]{}<>,;:!?*=."
_OTHER_NOUNS = frozenset(
    b"fingerprint fingerprints id ids name hash digest type checksum count version violates constraint server source"
    b" store rotation bucket length size policy expired expires invalid index".split()
)
"""After one of these it is no longer the secret that is spoken of: "the key fingerprint is …"."""


def _starts_word(text: bytes, start: int) -> bool:
    return not start or text[start - 1] not in b"_-./"


def _secret_url(url: bytes) -> bool:
    parts = url.partition(b"://")[2].replace(b":", b"/").replace(b"@", b"/").replace(b"?", b"/").split(b"/")
    return any(shapes.looks_random(part, 12) and not shapes.is_uuid(part) for part in parts)


def _password_like(word: bytes) -> bool:
    if not 6 <= len(word) <= 64 or is_blank(word) or b"=" in word[:-2] or b"/" in word or b"()" in word:
        return False
    if shapes.is_identifier_of_triage(word) or shapes.is_plain_words(word):
        return False
    classes = word.translate(shapes.CLASSES)
    letters = classes.count(b"l") + classes.count(b"u")
    return bool(letters and (classes.count(b"d") or classes.count(b"o")))


def _token_like(word: bytes) -> bool:
    if len(word) < 12 or is_blank(word) or b"(" in word:
        return False
    if word[:7].lower() in (b"sha256:", b"sha512-", b"sha512:") or word.startswith((b"http", b"/", b"arn:")):
        return False
    return shapes.looks_random(word, 12)
