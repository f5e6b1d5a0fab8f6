"""What a detector finds, and the words and templates that hide nothing."""

from __future__ import annotations

from typing import NamedTuple

from bot.trust.redaction.scan import MASK


class Candidate(NamedTuple):
    """A stretch to be replaced. Of two that overlap the higher rank names the kind."""

    start: int
    end: int
    kind: str
    rank: int


PERSONAL, GENERATED, PROSE, KEYED, FORM, VENDOR = range(6)

_BLANK_VALUES = frozenset(
    b"null none nil true false undefined redacted masked hidden filtered empty yes no on off unset string str bytes int"
    b" optional required todo tbd n/a na default secret password token key auto enabled disabled unknown missing invalid"
    b" expired basic bearer digest ok error failed success denied rejected accepted revoked rotated stdin env file vault"
    b" username user value your_password your-password yourpassword bool boolean object array text varchar".split()
)
_TEMPLATE_STARTS = (
    b"${", b"$(", b"{{", b"<%", b"%{", b"#{", b"@{", b"!Ref", b"!Sub", b"!GetAtt", b"vault:", b"ref+", b"ssm:", b"op://",
    b"arn:aws:secretsmanager", b"arn:aws:ssm", b"sops:", b"ENC[", b"@Microsoft.KeyVault", b"%(", b"projects/",
)  # fmt: skip
_CODE_STARTS = (
    b"var.", b"local.", b"process.env", b"os.environ", b"os.getenv", b"env.", b"secrets.", b"config.", b"settings.",
    b"self.", b"this.", b"data.", b"module.", b"System.getenv", b"ENV[", b"getenv", b"args.", b"options.", b"params.",
    b"request.", b"req.", b"new ", b"each.", b"lookup(",
)  # fmt: skip
_AROUND = b" \t\"'`,;()[]{}<>."
_MASKS = (b"*", b"x", b"X", b"#", b"-", b"?")


def is_blank(value: bytes, *, words: bool = True) -> bool:
    """Nothing to hide: empty, a template, a mask, a word such as null; or a placeholder of ours.

    `words=False`: where a password stands by its form, "secret" and "default" are what somebody chose.
    """
    bare = value.strip(_AROUND)
    if (
        not bare
        or (words and bare.lower() in _BLANK_VALUES)
        or value.startswith(_TEMPLATE_STARTS)
        or value.startswith(_CODE_STARTS)
    ):
        return True
    if value[:1] == b"$" and bare[1:].replace(b"_", b"").isalnum() and bare[1:].isupper() and not bare[1:2].isdigit():
        return True
    if value[:1] == b"%" and (value[-1:] == b"%" or len(value) <= 3):
        return True
    if value[:1] == b"<" and value[-1:] == b">":
        return True
    first = bare[:1]
    if not bare.strip(first):
        # "xxx" is a mask; "x" is what somebody chose.
        return (first in _MASKS and (len(bare) > 2 or first == b"*")) or first == bytes((MASK,)) or first >= b"\x80"
    return MASK in bare and not bare.translate(None, bytes((MASK,)))
