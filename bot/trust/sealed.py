"""What must be stored and is a key to something is stored encrypted: AES-256-GCM, https://csrc.nist.gov/pubs/sp/800/38/d/final.

The key is derived from SITREP_SECRET_KEY (HKDF-SHA256, https://www.rfc-editor.org/rfc/rfc5869), apart from the one that
makes the digests of placeholders. The newest key seals, any of them opens, so that a key can be rotated.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence

from bot.errors import ConfigurationError

_PREFIX = "sealed:1:"
_NONCE_BYTES = 12


class Seal:
    """Seals and opens short texts. `purpose` names the table and column: what is moved elsewhere does not open."""

    def __init__(self, keys: Sequence[bytes], purpose: str) -> None:
        """`keys`: newest first. Raises ConfigurationError where there is none."""
        if not keys or not all(keys):
            raise ConfigurationError(
                [f"{purpose} is stored encrypted, and there is no key: set SITREP_SECRET_KEY to a long random text"]
            )
        self._purpose = purpose.encode()
        self._keys = [_derived(key) for key in keys]

    def __repr__(self) -> str:
        return f"Seal({self._purpose.decode()!r}, {len(self._keys)} keys)"

    def seal(self, text: str) -> str:
        """`sealed:1:…`, another one each time."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        closed = AESGCM(self._keys[0]).encrypt(nonce, text.encode(), self._purpose)
        return _PREFIX + base64.urlsafe_b64encode(nonce + closed).decode("ascii")

    def open(self, sealed: str) -> str | None:
        """The text; None for what none of the keys opens, was sealed for another purpose, or was altered."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not sealed.startswith(_PREFIX):
            return None
        try:
            raw = base64.urlsafe_b64decode(sealed.removeprefix(_PREFIX).encode())
        except (binascii.Error, ValueError):
            return None
        for key in self._keys:
            try:
                return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], self._purpose).decode()
            except (InvalidTag, ValueError):
                continue
        return None


def _derived(key: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sitrep sealed 1").derive(key)
