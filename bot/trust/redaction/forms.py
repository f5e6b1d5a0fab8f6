"""Secrets that their form gives away: headers, cookies, URLs with passwords, PEM blocks, JWTs, hashes."""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction import shapes
from bot.trust.redaction.candidates import FORM, Candidate, is_blank
from bot.trust.redaction.commands import Commands
from bot.trust.redaction.scan import MASK, Engine, compile_pattern

_URL = r"://[^\s\"'<>\x00]++"
_SCHEME = r"(?i)\b(?:bearer|basic|negotiate|ntlm)[ \t]++(?:token=)?+[\"']?+([A-Za-z0-9_\-.~+/=:|%*!]{6,})"
_AUTHORIZATION = (
    r"(?i)\bauthorization\\{0,8}+[\"']?+\]?+[ \t]*+[:=][ \t]*+\[?+\\{0,8}+[\"']?+([A-Za-z0-9\-]{2,24}[ \t]++)?+"
    r"([^\s\"',\x00\\\]]++)"
)
_DIGEST = r"(?i)\b(?:response|c?nonce|opaque|signature|credential)=[\"']?+([A-Za-z0-9_+/=.\-]{16,})"
_COOKIES = r"(?i)\b(?:set-)?cookie\\{0,8}+[\"']?+\]?+[ \t]*+[:=][ \t]*+\\{0,8}+[\"']?+([^\n\x00\"']{3,})"
_COOKIE_PAIR = r"([A-Za-z0-9_.\-%]++)=([^;,\s\x00]{3,})"
_COOKIE_ATTRIBUTES = frozenset(b"path domain expires max-age samesite version comment priority secure httponly".split())
_JWT = r"\beyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]{3,})*"
_HASH = r"\$(?:2[abxy]|1|5|6|y|gy|argon2(?:id|i|d)|apr1|pbkdf2[a-z0-9\-]*|scrypt|[89]|krb5[a-z0-9]{2,8})\$[A-Za-z0-9./$=,+_\-@:*]{20,}"
_PGPASS = r"(?m)^[A-Za-z0-9_.*\-]++:(?:[0-9]{2,5}|\*):[A-Za-z0-9_*\-]++:[A-Za-z0-9_*.@\-]++:([^\s:\x00]{4,})\r?$"
_PEM_BEGIN = r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[23]:|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
_PEM_RUN = r"(?m)[A-Za-z0-9+/]{16,}={0,2}|=?[A-Za-z0-9+/]{2,}={0,2}[\"',;]?\r?$"
_PEM_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\r\n\\"
_LONGEST_PEM = 40_000


class Forms:
    """Finds secrets by the form that they stand in."""

    def __init__(self, engine: Engine) -> None:
        self._url = compile_pattern(_URL, engine)
        self._scheme = compile_pattern(_SCHEME, engine)
        self._authorization = compile_pattern(_AUTHORIZATION, engine)
        self._digest = compile_pattern(_DIGEST, engine)
        self._cookies, self._cookie_pair = compile_pattern(_COOKIES, engine), compile_pattern(_COOKIE_PAIR, engine)
        self._jwt, self._hash = compile_pattern(_JWT, engine), compile_pattern(_HASH, engine)
        self._commands = Commands(engine)
        self._pgpass = compile_pattern(_PGPASS, engine)
        self._pem_begin, self._pem_run = compile_pattern(_PEM_BEGIN, engine), compile_pattern(_PEM_RUN, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        if b"://" in text:
            yield from self._urls(text)
        yield from self._headers(text)
        if b"eyJ" in text:
            for spans in self._jwt.spans(text):
                start, end = spans[0]
                if end - start > 400 or text.find(b".", start, end) >= 0:
                    yield Candidate(start, end, "jwt", FORM)
        yield from self._commands(text)
        for spans in self._pgpass.spans(text):
            yield Candidate(*spans[1], "password", FORM)
        if b"$" in text:
            for spans in self._hash.spans(text):
                yield Candidate(*spans[0], "password-hash", FORM)
        if b"KEY" in text or b"PuTTY" in text:
            yield from self._keys(text)

    def _urls(self, text: bytes) -> Iterator[Candidate]:
        for spans in self._url.spans(text):
            start, end = spans[0]
            start += 3
            rest = text[start:end]
            marks = [mark for mark in (rest.find(b"/"), rest.find(b"?"), rest.find(b"#")) if mark >= 0]
            authority, colon = min(marks, default=len(rest)), rest.find(b":")
            at = _end_of_password(rest[colon + 1 :]) if 0 <= colon < authority else -1
            if at > 0 and not is_blank(rest[colon + 1 : colon + 1 + at], words=False):
                yield Candidate(start + colon + 1, start + colon + 1 + at, "url-password", FORM)
            # A user that is itself a token: https://ghp_…@github.com, https://<key>:x@host
            user = rest[: min(mark for mark in (colon, rest.find(b"@"), authority) if mark >= 0)]
            if b"@" in rest[:authority] and shapes.looks_random(user, 16):
                yield Candidate(start, start + len(user), "url-token", FORM)

    def _headers(self, text: bytes) -> Iterator[Candidate]:
        for spans in self._scheme.spans(text):
            start, end = spans[1]
            value = text[start:end]
            if not is_blank(value) and not value.isalpha() and not shapes.is_plain_words(value):
                yield Candidate(start, end, "bearer-token", FORM)
        for spans in self._authorization.spans(text):
            start, end = spans[2]
            value = text[start:end]
            line_end = text.find(b"\n", end, end + 2048)
            for inner in self._digest.spans(text[start : line_end if line_end >= 0 else start + 2048]):
                yield Candidate(start + inner[1][0], start + inner[1][1], "authorization", FORM)
            if text[slice(*spans[1])].strip().lower() in (b"digest", b"aws4-hmac-sha256", b"hmac"):
                continue
            if (
                b"=" not in value[:-2]
                and len(value) >= 6
                and not is_blank(value)
                and not (value.isalpha() and len(value) < 16)
            ):
                yield Candidate(start, end, "authorization", FORM)
        for spans in self._cookies.spans(text):
            at = spans[1][0]
            for pair in self._cookie_pair.spans(text[slice(*spans[1])]):
                name, value = text[at + pair[1][0] : at + pair[1][1]], text[at + pair[2][0] : at + pair[2][1]]
                if name.lower() not in _COOKIE_ATTRIBUTES and MASK not in value:
                    yield Candidate(at + pair[2][0], at + pair[2][1], "cookie", FORM)

    def _keys(self, text: bytes) -> Iterator[Candidate]:
        done = 0
        for spans in self._pem_begin.spans(text):
            begin, body = spans[0]
            if begin < done:
                continue
            limit = min(len(text), body + _LONGEST_PEM)
            nul = text.find(b"\x00", body, limit)
            limit = nul if nul >= 0 else limit
            close = text.find(b"-----END", body, limit)
            done = limit if close < 0 else close
            yield from self._block(text, begin, body, done, closed=close >= 0)

    def _block(self, text: bytes, begin: int, body: int, done: int, *, closed: bool) -> Iterator[Candidate]:
        """One private key: as one stretch where nothing else stands inside, else each run of base64 in its lines."""
        end = done
        if closed:
            tail = text.find(b"-----", done + 8, done + 80)
            end = tail + 5 if tail >= 0 else done + 8
        block = text[body:done]
        if closed and not block.translate(None, _PEM_BYTES):
            yield Candidate(begin, end, "private-key", FORM)
            return
        yield Candidate(begin, body, "private-key", FORM)
        last = 0
        for spans in self._pem_run.spans(block):
            start, stop = spans[0]
            if not closed and (
                block.count(b"\n", last, start) > 3 or stop - start < 16 or block[start:stop].strip(b"=").isdigit()
            ):
                break
            yield Candidate(body + start, body + stop, "private-key", FORM)
            last = stop
        if closed:
            yield Candidate(done, end, "private-key", FORM)


def _end_of_password(rest: bytes) -> int:
    """Where the password in `user:…@host` ends: before the last @ of the authority, or -1.

    A password may hold a raw / or @ (people forget to encode them); the host after the last @ may not.
    """
    at = rest.find(b"@")
    if at < 0:
        return -1
    stops = [stop for mark in b"?#,)]}/" if (stop := rest.find(mark, at)) >= 0]
    return rest.rfind(b"@", 0, min(stops, default=len(rest)))
