"""Secrets that their form gives away: headers, cookies, URLs with passwords, commands, PEM blocks, JWTs."""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction.keyed import FORM, Candidate, is_blank
from bot.trust.redaction.scan import MASK, Engine, Pattern, compile_pattern
from bot.trust.redaction.shapes import looks_random

_URL = r"://[^\s\"'<>\x00]++"
_HEADER = r"(?i)\b(?:bearer|basic|negotiate|ntlm)[ \t]+(?:token=)?[\"']?([A-Za-z0-9_\-.~+/=:|%*!]{6,})"
_AUTHORIZATION = (
    r"(?i)\bauthorization\\*+[\"']?\]?[ \t]*[:=][ \t]*\[?\\*+[\"']?([A-Za-z0-9\-]{2,24}[ \t]+)?([^\s\"',\x00\\\]]{6,})"
)
_COOKIES = r"(?i)\b(?:set-)?cookie\\*+[\"']?\]?[ \t]*[:=][ \t]*\\*+[\"']?([^\n\x00\"']{3,})"
_COOKIE_PAIR = r"([A-Za-z0-9_.\-%]++)=([^;,\s\x00]{3,})"
_COOKIE_ATTRIBUTES = frozenset(b"path domain expires max-age samesite version comment priority secure httponly".split())
_JWT = r"\beyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]{4,}){0,4}"
_COMMANDS = (
    r"\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n\x00]*?[ \t]-p([^\s\x00\"']{3,128})",
    r"\bredis-cli\b[^\n\x00]*?[ \t]-a[ \t]+[\"']?([^\s\x00\"']{2,128})",
    r"\bsshpass\b[^\n\x00]*?[ \t]-p[ \t]*[\"']?([^\s\x00\"']{2,128})",
    r"\b(?:curl|http|wget|xh)\b[^\n\x00]*?[ \t](?:-u|--user|-U|--proxy-user|-a|--auth)[ \t=]*[\"']?[^\s:\x00\"']{1,64}:([^\s\x00\"']{2,128})",
    r"\b(?:docker|podman|helm|oras|crane|nerdctl|skopeo)\b[^\n\x00]*?[ \t]-p[ \t]+[\"']?([^\s\x00\"']{3,})",
    r"\b(?:ldapsearch|ldapmodify|ldapadd|ldapwhoami)\b[^\n\x00]*?[ \t]-w[ \t]+[\"']?([^\s\x00\"']{3,128})",
    r"\b(?:sqlcmd|bcp|osql|isql)\b[^\n\x00]*?[ \t]-P[ \t]*[\"']?([^\s\x00\"']{3,128})",
    r"\b(?:mongo|mongosh|mongodump|mongorestore|influx|cqlsh|rabbitmqadmin|clickhouse-client|smbclient)\b[^\n\x00]*?[ \t]-p[ \t]+[\"']?([^\s\x00\"']{3,128})",
    r"(?i)\bopenssl\b[^\n\x00]*?[ \t]-pass(?:in|out)?[ \t]+[\"']?pass:([^\s\x00\"']{2,128})",
    r"(?i)\bidentified[ \t]+(?:with[ \t]+[a-z0-9_']{1,40}[ \t]+)?by[ \t]+(?:password[ \t]+)?[\"']([^\n\x00\"']{2,256})",
    r"(?i)\bpassword[ \t]+'([^\n\x00']{2,256})'",
    r"(?i)\b(?:requirepass|masterauth|config[ \t]+set[ \t]+requirepass)[ \t]+[\"']?([^\s\x00\"']{3,256})",
    r"(?i)\bmachine[ \t]+\S{1,200}[ \t\n]+login[ \t]+\S{1,200}[ \t\n]+password[ \t]+(\S{2,200})",
    r"(?i)\bsnmp-server[ \t]+community[ \t]+(\S{3,64})",
    r"(?i)\b(?:auth[ \t]+(?:plain|login|cram-md5)|authenticate[ \t]+plain)[ \t]+([A-Za-z0-9+/=]{8,})",
    r"(?i)\bnet[ \t]+user[ \t]+\S{1,64}[ \t]+([^\s/\x00]{4,64})[ \t]+/add",
)
_HASHES = r"\$(?:2[abxy]|1|5|6|y|gy|argon2(?:id|i|d)|apr1|pbkdf2[a-z0-9-]{0,10}|scrypt)\$[A-Za-z0-9./$=,+_-]{20,300}"
_PEM_BEGIN = r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----|PuTTY-User-Key-File-[23]:|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
_PEM_RUN = r"(?m)[A-Za-z0-9+/]{16,}={0,2}|[A-Za-z0-9+/]{2,}={0,2}[\"',;]?\r?$"
_LONGEST_PEM = 20_000


class Forms:
    """Finds secrets by the form that they stand in."""

    def __init__(self, engine: Engine) -> None:
        def made(pattern: str) -> Pattern:
            return compile_pattern(pattern, engine)

        self._url = made(_URL)
        self._header, self._authorization = made(_HEADER), made(_AUTHORIZATION)
        self._cookies, self._cookie_pair = made(_COOKIES), made(_COOKIE_PAIR)
        self._jwt, self._hashes = made(_JWT), made(_HASHES)
        self._commands = [made(pattern) for pattern in _COMMANDS]
        self._pem_begin, self._pem_run = made(_PEM_BEGIN), made(_PEM_RUN)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        if b"://" in text:
            yield from self._urls(text)
        yield from self._headers(text)
        for found in self._jwt.finditer(text):
            token = found.group()
            if b"." in token or len(token) > 400:
                yield Candidate(found.start(), found.end(), "jwt", FORM)
        for command in self._commands:
            for found in command.finditer(text):
                if not is_blank(found.group(1)) and found.group(1)[:1] != b"-":
                    yield Candidate(found.start(1), found.end(1), "password", FORM)
        if b"$" in text:
            for found in self._hashes.finditer(text):
                yield Candidate(found.start(), found.end(), "password-hash", FORM)
        if b"KEY" in text or b"PuTTY" in text:
            yield from self._keys(text)

    def _urls(self, text: bytes) -> Iterator[Candidate]:
        for found in self._url.finditer(text):
            rest = found.group()[3:]
            start = found.start() + 3
            colon = rest.find(b":")
            authority = min(
                mark for mark in (rest.find(b"/"), rest.find(b"?"), rest.find(b"#"), len(rest)) if mark >= 0
            )
            at = _end_of_password(rest[colon + 1 :]) if 0 <= colon < authority else -1
            if at > 0 and not is_blank(rest[colon + 1 : colon + 1 + at]):
                yield Candidate(start + colon + 1, start + colon + 1 + at, "url-password", FORM)
            elif b"@" in rest[:authority] and rest.find(b":", 0, rest.find(b"@")) < 0:
                user = rest[: rest.find(b"@")]
                if looks_random(user, 16):
                    yield Candidate(start, start + len(user), "url-token", FORM)

    def _headers(self, text: bytes) -> Iterator[Candidate]:
        for found in self._header.finditer(text):
            value = found.group(1)
            if (
                not is_blank(value)
                and (len(value) >= 16 or any(48 <= char <= 57 for char in value))
                and not value.isalpha()
            ):
                yield Candidate(found.start(1), found.end(1), "bearer-token", FORM)
        for found in self._authorization.finditer(text):
            value = found.group(2)
            if not is_blank(value) and not (value.isalpha() and len(value) < 16):
                yield Candidate(found.start(2), found.end(2), "authorization", FORM)
        for found in self._cookies.finditer(text):
            for pair in self._cookie_pair.finditer(found.group(1)):
                if pair.group(1).lower() not in _COOKIE_ATTRIBUTES and MASK not in pair.group(2):
                    start = found.start(1) + pair.start(2)
                    yield Candidate(start, start + len(pair.group(2)), "cookie", FORM)

    def _keys(self, text: bytes) -> Iterator[Candidate]:
        done = 0
        for found in self._pem_begin.finditer(text):
            if found.start() < done:
                continue
            limit = min(len(text), found.end() + _LONGEST_PEM)
            nul = text.find(b"\x00", found.end(), limit)
            limit = nul if nul >= 0 else limit
            close = text.find(b"-----END", found.end(), limit)
            done = limit if close < 0 else close
            yield from self._block(text, found.start(), found.end(), done, closed=close >= 0)

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
        for run in self._pem_run.finditer(block):
            if not closed and (block.count(b"\n", last, run.start()) > 3 or run.end() - run.start() < 16):
                break
            yield Candidate(body + run.start(), body + run.end(), "private-key", FORM)
            last = run.end()
        if closed:
            yield Candidate(done, end, "private-key", FORM)


_PEM_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\r\n\\"


def _end_of_password(rest: bytes) -> int:
    """Where the password in `user:…@host` ends: before the last @ of the authority, or -1."""
    authority_end = len(rest)
    at = rest.find(b"@")
    if at < 0:
        return -1
    # A password may hold a raw / or @ (people forget to encode); the host after the last @ may not.
    for mark in (b"?", b"#", b",", b")", b"]", b"}"):
        stop = rest.find(mark, at)
        if stop >= 0:
            authority_end = min(authority_end, stop)
    slash = rest.find(b"/", at)
    if slash >= 0:
        authority_end = min(authority_end, slash)
    return rest.rfind(b"@", 0, authority_end)
