"""Secrets in source code that no `name = value` shows: typed declarations, fallbacks, arguments of calls."""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction import names, shapes
from bot.trust.redaction.candidates import FORM, KEYED, Candidate, is_blank
from bot.trust.redaction.keyed import accepts
from bot.trust.redaction.scan import Engine, compile_pattern

_NAME = r"([A-Za-z0-9_]*" + names.CORE + r"[A-Za-z0-9_]*+)"
_TEXT = r"(?:\\{1,2}\"([^\"\n\x00\\]{3,})|\"([^\"\n\x00]{3,})|'([^'\n\x00]{3,}))"
_TYPED = r"(?i)" + _NAME + r"\??+[ \t]*+:[ \t]*+&?+[A-Za-z_][A-Za-z0-9_<>.\[\]?]{0,40}[ \t]*+=[ \t]*+" + _TEXT
"""`val dbPassword: String = "…"`, `let token: &str = "…"`, `def f(passwd: str = "…")`."""
_FALLBACK = (
    r"(?i)\b(?:get)?env[a-z]*+[A-Za-z.]{0,16}[.(\[][\"']?+"
    + _NAME
    + r"[\"']?+[)\]]*+[ \t]*+(?:,|\|\||\?\?|\?:|\bor\b)[ \t]*+"
) + _TEXT
"""`os.environ.get("X_TOKEN") or "…"`, `getenv("X_TOKEN", "…")`, `process.env.X_TOKEN || "…"`."""
_CONSTANT = (
    r"\b((?:[A-Z0-9]{1,16}_){1,4}(?:[A-Z]*(?:PASS|PWD|SECRET|TOKEN|AUTH|KEY|CRED)[A-Z]*+))[ \t]*+,[ \t]*+" + _TEXT
)
"""`curl_easy_setopt(h, CURLOPT_USERPWD, "…")`."""
_LAST_OF = (
    r"(?i)\b(?:networkcredential|pscredential|directoryentry|usernamepassword(?:credentials|authentication[a-z]*)"
    r"|(?:set|http)?_?basic_?(?:auth|credentials?)[a-z]*|passwordauthentication|plaincredentials|credentials\.(?:basic|new))"
    r"[ \t]*+\((?:[ \t]*+\"[^\"\n\x00]{0,120}\"[ \t]*+,|[ \t]*+'[^'\n\x00]{0,120}'[ \t]*+,){1,2}[ \t]*+" + _TEXT
)
"""The last of two or three texts: `new NetworkCredential("user", "…")`."""
_OBJECT = (
    r"(?i)"
    + _NAME
    + r"[\"']?+[ \t]*+[:=][ \t]*+\{[^{}\x00]{0,120}?[\"']?\b(?:value|val|plain|plaintext|default|string)[\"']?[ \t]*+[:=][ \t]*+"
) + _TEXT
"""`"db_password": {"value": "…", "type": "string"}`."""
_SAID = r"(?i)" + _NAME + r"[ \t]++(?:value|set[ \t]to|equals)[ \t]++" + _TEXT
"""`field api_secret value "…" must be …`."""
_CONNECT = (
    r"(?i)\b(?:mysqli(?:_(?:real_)?connect)?|pdo|dbi->connect|getconnection|pg_connect|oci_connect|ftp_login|ssh2_auth_password)"
    r"[ \t]*+\([ \t]*+[^,()\n\x00]{1,200},[ \t]*+(?:\"[^\"\n\x00]{0,64}\"|'[^'\n\x00]{0,64}')[ \t]*+,[ \t]*+"
) + _TEXT
"""`new mysqli("host", "user", "…")`."""
_SECURE = r"(?i)\bconvertto-securestring(?:[ \t]++-(?:string|asplaintext|force))*[ \t]++(?:\\{0,2}[\"']([^\"'\n\x00\\]{3,})|([^\s\"'$(\-][^\s\"'\x00]{3,}))"


_COMPARED = (
    r"(?i)(?:\"([^\"\n\x00]{4,120})\"|'([^'\n\x00]{4,120})')\)?[ \t]*+[!=]==?[ \t]*+([A-Za-z0-9_.\-]*"
    + names.CORE
    + r"[A-Za-z0-9_.\-]*+)"
)
"""`if ("…" == dbPassword)`."""
_INITIAL = (
    r"(?i)\b([A-Za-z0-9_]*"
    + names.CORE
    + r"[A-Za-z0-9_]*+)(?:\.(?:assign|set|equals|compare|append))?\([ \t]*+\"([^\"\n\x00]{4,120})\"[ \t]*+(?:,[ \t]*+[0-9]++)?\)"
)
"""`std::string secret("…")`, `password.equals("…")`."""
_LISTED = (
    r"(?i)([A-Za-z0-9_.\-]*"
    + names.CORE
    + r"[A-Za-z0-9_.\-]*+)[\"']?+[ \t]*+[:=][ \t]*+(\[[^\[\]\x00]+\]|(?:\r?\n[ \t]*-[ \t]++[^\n\x00]++)+)"
)
_LIST_ITEM = r"(?m)\"([^\"\n\x00]{4,120})\"|'([^'\n\x00]{4,120})'|^[ \t]*-[ \t]++([^\s\"'\x00:]{4,120})[ \t]*+\r?$"
"""`passwords: ["…", "…"]`, and one a line behind a dash."""


class CodeForms:
    """Finds secrets that stand in code beside a name, but not behind its equals sign."""

    def __init__(self, engine: Engine) -> None:
        self._named = [compile_pattern(pattern, engine) for pattern in (_TYPED, _FALLBACK, _CONSTANT, _OBJECT, _SAID)]
        self._arguments = [compile_pattern(pattern, engine) for pattern in (_LAST_OF, _CONNECT)]
        self._secure = compile_pattern(_SECURE, engine)
        self._compared, self._initial = compile_pattern(_COMPARED, engine), compile_pattern(_INITIAL, engine)
        self._listed, self._item = compile_pattern(_LISTED, engine), compile_pattern(_LIST_ITEM, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        for pattern in self._named:
            for spans in pattern.spans(text):
                name = text[slice(*spans[1])].decode("latin-1")
                reading = names.read(name.removesuffix("PWD") + "_PWD" if name.endswith("PWD") else name)
                start, end = next(span for span in spans[2:] if span[0] >= 0)
                if reading.strength and accepts(reading, text[start:end], True):
                    yield Candidate(start, end, reading.kind, KEYED)
        yield from self._compared_or_listed(text)
        for pattern in self._arguments:
            for spans in pattern.spans(text):
                start, end = next(span for span in spans[1:] if span[0] >= 0)
                if not is_blank(text[start:end]):
                    yield Candidate(start, end, "password", FORM)
        if b"SecureString" in text or b"securestring" in text:
            for spans in self._secure.spans(text):
                start, end = next(span for span in spans[1:] if span[0] >= 0)
                if not is_blank(text[start:end]) and not shapes.is_plain_camel(text[start:end]):
                    yield Candidate(start, end, "password", FORM)

    def _compared_or_listed(self, text: bytes) -> Iterator[Candidate]:
        """Comparisons, values that a name is made with, and lists."""
        for spans in self._compared.spans(text):
            reading = names.read(text[slice(*spans[3])].decode("latin-1"))
            start, end = spans[1] if spans[1][0] >= 0 else spans[2]
            if reading.strength and accepts(reading, text[start:end], True):
                yield Candidate(start, end, reading.kind, KEYED)
        for spans in self._initial.spans(text):
            reading = names.read(text[slice(*spans[1])].decode("latin-1"))
            content = text[slice(*spans[2])]
            if reading.strength and accepts(reading, content, True) and not shapes.is_plain_words(content):
                yield Candidate(*spans[2], reading.kind, KEYED)
        for spans in self._listed.spans(text):
            reading = names.read(text[slice(*spans[1])].decode("latin-1"))
            if not reading.strength:
                continue
            offset = spans[2][0]
            for item in self._item.spans(text[slice(*spans[2])]):
                start, end = next(span for span in item[1:] if span[0] >= 0)
                content = text[offset + start : offset + end]
                if accepts(reading, content, True) and (
                    not shapes.is_plain_words(content) or shapes.is_numbered(content)
                ):
                    yield Candidate(offset + start, offset + end, reading.kind, KEYED)


GATE = (
    r"\benv[a-z]*+[.(\[]|networkcredential|pscredential|directoryentry|usernamepassword|basic_?(?:auth|cred)"
    r"|mysqli|\bpdo[ \t]*+\(|dbi->|getconnection|_connect[ \t]*+\(|ftp_login|passwordauthentication|plaincredentials|credentials\.(?:basic|new)|securestring"
)
"""What a line with one of these holds, in small letters."""
