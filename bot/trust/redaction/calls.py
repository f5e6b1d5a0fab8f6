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


class CodeForms:
    """Finds secrets that stand in code beside a name, but not behind its equals sign."""

    def __init__(self, engine: Engine) -> None:
        self._named = [compile_pattern(pattern, engine) for pattern in (_TYPED, _FALLBACK, _CONSTANT, _OBJECT, _SAID)]
        self._arguments = [compile_pattern(pattern, engine) for pattern in (_LAST_OF, _CONNECT)]
        self._secure = compile_pattern(_SECURE, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        for pattern in self._named:
            for spans in pattern.spans(text):
                name = text[slice(*spans[1])].decode("latin-1")
                reading = names.read(name.removesuffix("PWD") + "_PWD" if name.endswith("PWD") else name)
                start, end = next(span for span in spans[2:] if span[0] >= 0)
                if reading.strength and accepts(reading, text[start:end], True):
                    yield Candidate(start, end, reading.kind, KEYED)
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


GATE = (
    r"\benv[a-z]*+[.(\[]|networkcredential|pscredential|directoryentry|usernamepassword|basic_?(?:auth|cred)"
    r"|mysqli|\bpdo[ \t]*+\(|dbi->|getconnection|_connect[ \t]*+\(|ftp_login|passwordauthentication|plaincredentials|credentials\.(?:basic|new)|securestring"
)
"""What a line with one of these holds, in small letters."""
