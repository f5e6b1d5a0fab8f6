"""Values that are random through and through, with no name beside them; and base64 that can be read."""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction import shapes
from bot.trust.redaction.candidates import GENERATED, Candidate
from bot.trust.redaction.scan import Engine, compile_pattern
from bot.trust.redaction.views import decoded_base64

_LONG_RUN = r"[A-Za-z0-9+/_\-]{20,}={0,2}"
_DIGEST_NAMES = (
    b"sha256", b"sha512", b"sha384", b"sha1", b"md5", b"integrity", b"etag", b"digest", b"fingerprint", b"checksum",
    b"_id", b" id", b"-id", b"uid", b"hash", b"-id-2", b"request", b"cursor", b"revision", b"commit", b"none-match",
    b"traceid", b"spanid", b"trace", b"span", b'"id', b"'id", b"cursor]", b"after", b"before", b"next", b"handle", b"base64,",
    b"page", b"uid", b"image", b"public_key", b"publickey", b"public-key", b"publictoken", b"cf-id", b"nonce", b"version", b"state",
)  # fmt: skip
_NOT_SECRET = (
    b"_ZN", b"_R", b"sha256-", b"sha384-", b"sha512-", b"AAAAC3NzaC1", b"AAAAB3NzaC1", b"AAAAE2VjZHNh", b"AAAAGnNrLXNz",
)  # fmt: skip
"""How mangled names of functions, digests of subresources and public keys of SSH begin."""
_ENDS = (b"/", b".", b"@", b"#", b"\\")


class Generated:
    """Finds random values by their shape alone."""

    def __init__(self, engine: Engine) -> None:
        self._runs = compile_pattern(_LONG_RUN, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        certificates = b"BEGIN CERT" in text or b"BEGIN PUBLIC" in text
        for spans in self._runs.spans(text):
            start, end = spans[0]
            if end - start < 24:
                continue
            token = text[start:end]
            if not shapes.looks_generated(token) or _is_named_digest(text, start) or token.startswith(_NOT_SECRET):
                continue
            if certificates and _in_certificate(text, start):
                continue
            yield Candidate(start, end, "generated", GENERATED)

    def readable(self, text: bytes) -> Iterator[tuple[int, int, bytes]]:
        """(from, to, what it says) of each stretch of base64 that is text."""
        for spans in self._runs.spans(text):
            start, end = spans[0]
            token = text[start:end]
            if (token.isalpha() and len(token) % 4) or shapes.is_hex(token):
                continue
            plain = decoded_base64(token)
            if plain is not None and len(plain) >= 8:
                yield start, end, plain


def _is_named_digest(text: bytes, start: int) -> bool:
    before = text[max(0, start - 24) : start]
    return before.endswith(_ENDS) or before.lower().rstrip(b" :=-\"'").endswith(_DIGEST_NAMES)


def _in_certificate(text: bytes, start: int) -> bool:
    begin = text.rfind(b"-----BEGIN ", max(0, start - 20_000), start)
    return (
        begin >= 0
        and text[begin + 11 : begin + 22].startswith((b"CERT", b"PUBLIC"))
        and b"-----END" not in text[begin:start]
    )
