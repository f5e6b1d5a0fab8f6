"""Values beside a name: `DB_PASSWORD=…`, `"api_key": "…"`, `--token …`, `name: X_KEY` / `value: …`, `<password>…`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from bot.trust.redaction import names, shapes
from bot.trust.redaction.candidates import KEYED, Candidate, is_blank
from bot.trust.redaction.scan import MASK, Engine, compile_pattern
from bot.trust.redaction.views import one_byte_per_char


def foreign(words: str) -> str:
    """Words of other scripts as they look in a scanned text; `|` stays what it is."""
    return one_byte_per_char(words).decode("latin-1")


_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_LONGEST_NAME = 80
_LONGEST_VALUE = 16_384
_LONGEST_BARE = 8_192
_MOST_NESTED = 8
_LONG = 64
"""Inside a value of that length another name begins nothing of its own."""

_ASSIGN = (
    r"(?i)"
    + names.CORE
    + r"[A-Za-z0-9_.\-]*+(?:\\{0,8}+[\"'`])?+[\])]?+(?:\[[0-9]{0,5}\])?+[ \t]*+(?:=>|:{1,3}=|\?=|->|[!=]=?=|=|::|:)[ \t]*+"
)
_CALL = r"(?i)[\"']([A-Za-z0-9_.\-]*" + names.CORE + r"[A-Za-z0-9_.\-]*+)[\"'][ \t]*+,[ \t]*+[\"']"
_FLAG = r"(?i)[ \t\n\"'\[,(]--?[A-Za-z0-9_\-]*" + names.CORE + r"[A-Za-z0-9_\-]*+[\"']?+(?:,[ \t]*+)?+[ \t]+"
_SETTING = (  # `npm config set //host/:_authToken x`, `aws configure set aws_secret_access_key x`
    r"(?i)\b(?:set|config|put|add|export)[ \t]+[A-Za-z0-9_.\-/:]*" + names.CORE + r"[A-Za-z0-9_.\-]*+[ \t]++"
)
_PAIR = (
    r"(?i)\b(?:name|key|id)(?:\\{0,8}+[\"'])?+[ \t]*+[:=][ \t]*+(?:\\{0,8}+[\"'])?+"
    r"([A-Za-z0-9_.\-/]++)(?:\\{0,8}+[\"'])?+[ \t]*+,?+[ \t]*+(?:\r?\n[ \t\-]*+)?+(?:\\{0,8}+[\"'])?+"
    r"(?:value|val|string_?value|content)(?:\\{0,8}+[\"'])?+[ \t]*+[:=][ \t]*+"
)
_FLAG_PAIR = (
    r"--(?:name|key|parameter|variable)[ \t=]++[\"']?+([A-Za-z0-9_.\-/]++)[^\n\x00]*?[ \t]--(?:value|body|data)[ \t=]++"
)
_VARIABLE = r"(?i)\bvariable[ \t]+\"([A-Za-z0-9_.\-]++)\"[ \t]*+\{[^{}\x00]*?\bdefault[ \t]*+=[ \t]*+"
_ELEMENT = r"(?i)<([A-Za-z0-9_.:\-]*" + names.CORE + r"[A-Za-z0-9_.\-]*+)(?:[ \t][^<>\n\x00]*+)?+>([^<>\n\x00]++)</"

_NAMED_ELEMENT = (
    r"(?i)(?:\bname=[\"']([A-Za-z0-9_.\-]++)[\"'][^<>\n\x00]*+>|<key>([A-Za-z0-9_.\-]++)</key>[ \t\r\n]*+<[a-z]++>)"
    r"([^<>\n\x00]++)</"
)

_SCHEMES = frozenset(
    b"bearer basic token digest apikey api-key key negotiate ntlm hmac jwt bot oauth aws4-hmac-sha256 splunk".split()
)
_SENTENCE = frozenset(
    b"is are was be must at least not too the a an for to of and or has have been cannot can should with in".split()
)

FOREIGN_WORDS = (
    "contraseña|Contraseña|contrasenya|palavra-passe|пароль|Пароль|пароля|паролем|парола|Парола|лозинка|密码|密碼|口令|暗証番号|パスワード|비밀번호|비번|암호|패스워드"
    "|hasło|Hasło|heslo|Heslo|parola|parolă|Parola|şifre|Şifre|şifresi|lösenord|Lösenord|salasana|Salasana|adgangskode|Adgangskode|kodeord|passord|Passord|jelszó|Jelszó"
    "|geslo|slaptažodis|parool|mật khẩu|kata sandi|κωδικός|συνθηματικό|סיסמה|סיסמא|كلمة المرور|كلمة السر|पासवर्ड|รหัสผ่าน|lykilorð"
)
_FOREIGN = "(?:" + foreign(FOREIGN_WORDS) + r")[^\n\x00:=]{0,40}[:=\xaf\xba][ \t]*+"


class Value(NamedTuple):
    start: int
    end: int
    quoted: bool


def name_before(text: bytes, end: int, upto: int) -> bytes:
    """The name that runs on to the left of `end`, with what follows up to `upto`."""
    left = text[max(0, end - _LONGEST_NAME) : end]
    return left[len(left.rstrip(_NAME_BYTES)) :] + text[end:upto]


def word_before(text: bytes, start: int) -> str:
    """The word before `start` on the same line, in lower case."""
    left = text[max(0, start - 24) : start].rpartition(b"\n")[2].rstrip(b" \t").lower()
    return left[len(left.rstrip(b"abcdefghijklmnopqrstuvwxyz")) :].decode("ascii")


def value_at(text: bytes, at: int, *, enclosed: bool, query: bool) -> Value | None:
    """The value that begins at `at`: between quotes (escaped ones too), or up to white space or a closing mark.

    `enclosed`: the pair stands inside brackets or a list, so that `,` and `)` end it. `query`: `&` ends it.
    """
    hard = text.find(b"\n", at, at + _LONGEST_VALUE)
    hard = hard if hard >= 0 else min(len(text), at + _LONGEST_VALUE)
    start = at
    if text[start : start + 1] in _PREFIXES and text[start + 1 : start + 2] in (b'"', b"'"):
        start += 1
    mark_end = start
    while mark_end < hard and text[mark_end] == 0x5C:
        mark_end += 1
    if mark_end < hard and text[mark_end] in b"\"'`":
        begin = mark_end + 1
        end = _closing(text, begin, hard, text[start:begin])
        if end >= 0:
            return Value(begin, end, True) if end > begin else None
        return _bare(text, begin, hard, _STOP_ENCLOSED)
    return _bare(text, start, hard, (_STOP_ENCLOSED if enclosed else _STOP) + (b"&#" if query else b""))


_PREFIXES = (b"b", b"r", b"u", b"f", b"B", b"R", b"U", b"F", b"@", b"$")


def _closing(text: bytes, begin: int, hard: int, mark: bytes) -> int:
    """Where the quote `mark` (with as many backslashes) closes, or -1."""
    at = text.find(mark, begin, hard)
    while at >= 0:
        before = at
        while before > begin and text[before - 1] == 0x5C:
            before -= 1
        if at == before or (len(mark) == 1 and (at - before) % 2 == 0):
            return at
        at = text.find(mark, at + len(mark), hard)
    return -1


_STOP = bytes(range(0x21)).replace(bytes((MASK,)), b"") + b"\"'`<>"
_STOP_ENCLOSED = _STOP + b",;)]}|"
_MARKS: dict[bytes, bytes] = {}


def _table(stops: bytes) -> bytes:
    table = _MARKS.get(stops)
    if table is None:
        table = _MARKS[stops] = bytes(1 if char in stops else 0 for char in range(256))
    return table


def _whole_run(text: bytes, value: Value, stops: bytes) -> Value:
    """A value that was cut for its length, up to where it ends: what is left of it would be found by the next look."""
    end, table = value.end, _table(stops)
    while chunk := text[end : end + _LONGEST_BARE]:
        stop = chunk.translate(table).find(1)
        if stop >= 0:
            return Value(value.start, end + stop, False)
        end += len(chunk)
    return Value(value.start, end, False)


def _bare(text: bytes, start: int, hard: int, stops: bytes) -> Value | None:
    table = _table(stops)
    hard = min(hard, start + _LONGEST_BARE)
    chunk = text[start:hard]
    # A short look first: most values are short, and a translation finds the first stop without a loop.
    end = chunk[:128].translate(table).find(1)
    if end < 0 and len(chunk) > 128:
        end = chunk.translate(table).find(1)
    if end < 0 and len(chunk) == _LONGEST_BARE:
        return Value(start, start + len(chunk), False)
    chunk = chunk[: end if end >= 0 else len(chunk)].rstrip(b",;.:\\")
    while chunk[-1:] in _CLOSERS and _CLOSERS[chunk[-1:]] not in chunk:
        chunk = chunk[:-1].rstrip(b",;.:\\")
    return Value(start, start + len(chunk), False) if chunk else None


_CLOSERS = {b")": b"(", b"]": b"[", b"}": b"{"}


def accepts(reading: names.Reading, value: bytes, quoted: bool) -> bool:
    """Is `value`, beside a name read so, a secret?"""
    if is_blank(value) or _is_code(value):
        return False
    if value[:7].lower() in (b"sha256:", b"sha512:") and shapes.is_hex(value[7:]):
        return False  # a digest says what it is
    if reading.strength == names.PASSWORD:
        if quoted and b" " in value:
            words = value.lower().split()
            return len(words) <= 8 and not any(word in _SENTENCE for word in words)
        return True
    if b" " in value:
        return False
    if reading.strength == names.TOKEN:
        if len(value) < 4:
            return False
        if value.isdigit():
            return len(value) >= 6 or reading.kind in ("pin", "otp", "cvv", "cvc", "totp", "mfa")
        if shapes.is_chosen(value) and reading.kind == "secret":
            return True
        return not (shapes.is_plain_words(value) or shapes.is_plain_camel(value) or value[:1] == b"/")
    if reading.strength == names.CHOSEN:
        plain = shapes.is_plain_words(value) or shapes.is_plain_camel(value)
        return len(value) >= 6 and value[:1] != b"/" and (not plain or any(mark in value for mark in _DIGITS))
    if reading.kind == "routing-key":
        return len(value) >= 20 and b"." not in value and b"-" not in value and shapes.looks_random(value, 20)
    if reading.kind == "bundle":
        return value.count(b":") == 1 and b"/" not in value and len(value) >= 9
    if reading.kind == "secret-id" and shapes.is_uuid(value):
        return True
    if reading.kind.endswith("-id"):
        return not (shapes.is_uuid(value) or shapes.is_hex(value)) and shapes.looks_random(value, 16)
    if reading.kind == "bare-key" and b"/" in value and shapes.is_plain_words(value.partition(b"/")[0]):
        return False  # the key of a thing by its path
    return shapes.looks_random(value, 16 if reading.kind == "bare-key" else 8)


_DIGITS = tuple(b"%d" % digit for digit in range(10))


def _is_sealed(content: bytes) -> bool:
    """`{AQAAABAAAA…}`: how Jenkins writes a secret into XML."""
    return content[:1] == b"{" and content[-1:] == b"}" and len(content) >= 24 and b"AQAAAB" in content[:80]


def _is_code(value: bytes) -> bool:
    return value[-2:] == b"()" or (b"(" in value[1:-1] and value[:1].isalpha() and b".get" in value)


class KeyedValues:
    """Finds secrets by the name that stands beside them."""

    def __init__(self, engine: Engine) -> None:
        self._assign = compile_pattern(_ASSIGN, engine)
        self._call = compile_pattern(_CALL, engine)
        self._flag = compile_pattern(_FLAG, engine)
        self._setting = compile_pattern(_SETTING, engine)
        self._pair = compile_pattern(_PAIR, engine)
        self._variable = compile_pattern(_VARIABLE, engine)
        self._flag_pair = compile_pattern(_FLAG_PAIR, engine)
        self._element = compile_pattern(_ELEMENT, engine)
        self._named_element = compile_pattern(_NAMED_ELEMENT, engine)
        self._foreign = compile_pattern(_FOREIGN, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        yield from self._assignments(text)
        yield from self._flags(text)
        for pattern in (self._pair, self._variable, self._flag_pair):
            for spans in pattern.spans(text):
                reading = names.read(text[slice(*spans[1])].decode("latin-1"))
                if reading.strength:
                    yield from _value(text, spans[0][1], reading, b"\n")
        for spans in self._call.spans(text):
            reading = names.read(text[slice(*spans[1])].decode("latin-1"))
            value = value_at(text, spans[0][1] - 1, enclosed=True, query=False) if reading.strength else None
            if value is not None:
                content = text[value.start : value.end]
                # A list of names, ["password", "email"], looks the same: the value must not be a word.
                if accepts(reading, content, True) and not shapes.is_plain_words(content):
                    yield Candidate(value.start, value.end, reading.kind, KEYED)
        for spans in self._element.spans(text):
            reading = names.read(text[slice(*spans[1])].decode("latin-1"))
            content = text[slice(*spans[2])]
            if reading.strength and (accepts(reading, content, True) or _is_sealed(content)):
                yield Candidate(*spans[2], reading.kind, KEYED)
        for spans in self._named_element.spans(text):
            name = text[slice(*(spans[1] if spans[1][0] >= 0 else spans[2]))]
            reading = names.read(name.decode("latin-1"))
            if reading.strength and accepts(reading, text[slice(*spans[3])], True):
                yield Candidate(*spans[3], reading.kind, KEYED)
        covered = 0
        for spans in self._foreign.spans(text):
            if spans[0][0] < covered:
                continue
            for candidate in _value(text, spans[0][1], names.Reading(names.PASSWORD, "password"), b"\n"):
                covered = candidate.end if candidate.end - candidate.start >= _LONG else covered
                yield candidate

    def _assignments(self, text: bytes) -> Iterator[Candidate]:
        nested = previous = covered = 0
        for spans in self._assign.spans(text):
            start, at = spans[0]
            if start < covered:
                continue
            # `key=key=key=…` has a value as long as the line at each of its names: the first few are enough.
            nested = nested + 1 if start <= previous + 1 else 0
            previous = at
            if nested > _MOST_NESTED:
                continue
            label = text[start:at].rstrip(b" \t=:>-").rstrip(b"\\\"'`])")
            name = name_before(text, start, start + len(label))
            reading = names.read(name.decode("latin-1"))
            if reading.strength == names.NONE:
                continue
            name_start = start + len(label) - len(name)
            before = text[name_start - 1 : name_start] if name_start else b""
            if before == b"/" and reading.strength < names.PASSWORD and text[name_start - 2 : name_start - 1] != b":":
                continue  # a path or an image: registry.internal/auth:4f1c…
            if reading.kind == "bare-key" and before in (b"?", b"&"):
                reading = names.Reading(names.WEAK, "key")  # ?key=… of an interface is its key
            if reading.kind == "bare-key" and word_before(text, name_start) in names.NOT_SECRET_KEYS:
                continue
            for candidate in _value(text, at, reading, before):
                if candidate.end - candidate.start >= _LONGEST_BARE:
                    covered = candidate.end
                yield candidate

    def _flags(self, text: bytes) -> Iterator[Candidate]:
        for pattern in (self._flag, self._setting):
            for spans in pattern.spans(text):
                start, at = spans[0]
                label = text[start + 1 : at].strip(b" \t\"',-").replace(b":", b" ").replace(b"/", b" ").split()[-1]
                reading = names.read(label.decode("latin-1"))
                if not reading.strength or text[at : at + 1] in (b"-", b"=", b":"):
                    continue
                word = value_at(text, at, enclosed=False, query=False)
                inner = (
                    names.read(text[word.start : word.end].decode("latin-1"))
                    if word and not word.quoted and label == b"secret"
                    else None
                )
                if word and inner and inner.strength >= names.TOKEN and text[word.end : word.end + 1] == b" ":
                    # `config set --secret dbPassword x`: the flag says that the name which follows is a secret's
                    yield from _value(text, word.end + 1, inner, b" ")
                else:
                    yield from _value(text, at, reading, b" ")


_FURTHER = re.compile(rb"&[A-Za-z][A-Za-z0-9_.\-]{0,40}=")
"""A parameter of an address. (Bounded: linear on any text.)"""
_LINE_STARTS = (b"", b"\n", b"\r", b"\t", b"+", b"-", b"\x00", b" ")


def _value(text: bytes, at: int, reading: names.Reading, before: bytes) -> Iterator[Candidate]:
    """The secret at `at`, if it is one; `before` is the character before the name."""
    query = before in (b"?", b"&")
    value = value_at(text, at, enclosed=before not in _LINE_STARTS, query=query)
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
    if not value.quoted and content[-1:] == b"(" and (called := _callee(content)) is not None:
        # `key = decode("…")`: what is called with is the value, unless it is the name that something is looked up by.
        argument = value_at(text, value.end, enclosed=True, query=False) if not called else None
        inner = text[argument.start : argument.end] if argument is not None and argument.quoted else b""
        named = shapes.is_plain_words(inner) or shapes.is_kubernetes_name(inner) or shapes.is_host(inner)
        if argument is not None and inner and not named and accepts(reading, inner, True):
            yield Candidate(argument.start, argument.end, reading.kind, KEYED)
        return
    if not value.quoted and b"&" in content and (further := _FURTHER.search(content)):
        value = Value(value.start, value.start + further.start(), False)  # the next parameter is no part of it
        content = text[value.start : value.end]
        if not content:
            return
    if (
        not value.quoted
        and text[value.end : value.end + 1] in (b'"', b"'")
        and content[-1:] == b"="
        and content[:-1].isalpha()
    ):
        return  # `Digest username="…"`: a list of parameters
    if before == b";" and reading.strength == names.PASSWORD and not is_blank(content, words=False):
        yield Candidate(value.start, value.end, reading.kind, KEYED)  # `…;Password=secret;…`
        return
    if b"://" in content[:32] and _names_its_password(content):
        return  # read as an address, which keeps the host
    if accepts(reading, content, value.quoted):
        if not value.quoted and len(content) == _LONGEST_BARE:
            value = _whole_run(text, value, _STOP_ENCLOSED if before not in _LINE_STARTS else _STOP)
        yield Candidate(value.start, value.end, reading.kind, KEYED)


_LOOKS_UP = re.compile(
    rb"(?i)get|read|fetch|load|look|env|find|resolve|config|require|import|input|prompt|format|print|log"
)


def _callee(content: bytes) -> bool | None:
    """Of `some.call(`: does it look something up by a name? None: it is no call."""
    name = content[:-1].replace(b".", b"").replace(b"_", b"").replace(b"::", b"")
    if not name.isalnum() or not name[:1].isalpha() or len(name) > 64:
        return None
    return _LOOKS_UP.search(name) is not None


def _names_its_password(url: bytes) -> bool:
    """Whether an address has a user and a password, or a token for a user, that is found there."""
    authority = url.partition(b"://")[2].partition(b"/")[0]
    user, at, host = authority.rpartition(b"@")
    name, colon, _ = user.partition(b":")
    return bool(at and host) and (bool(colon) or bytes((MASK,)) in name or shapes.looks_random(name, 16))
