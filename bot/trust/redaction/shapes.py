"""Does a value look random, and does it look like something triage needs (a commit, a digest, a trace id)?"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import pairwise

from bot.trust.redaction.candidates import is_blank
from bot.trust.redaction.scan import best_engine, compile_pattern
from bot.trust.redaction.views import decoded_base64

_CLASSES = bytearray(b"o" * 256)
for _chars, _class in (
    (b"abcdefghijklmnopqrstuvwxyz", b"l"),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"u"),
    (b"0123456789", b"d"),
):
    for _char in _chars:
        _CLASSES[_char] = _class[0]
CLASSES = bytes(_CLASSES)

HEX = b"0123456789abcdefABCDEF"
MAX_VALUE = 160
"""Values are judged by their first so many characters."""


def _whole(pattern: str) -> Callable[[bytes], bool]:
    """A test of a whole value."""
    return compile_pattern(pattern, best_engine()).fits


_UUID = _whole(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_VERSION = _whole(r"v?[0-9]{1,5}(?:\.[0-9]{1,6}){1,3}(?:[-+.][0-9A-Za-z.+-]{0,60})?")
_POD = _whole(r"(?:[a-z]{1,16}[0-9]{0,2}-){1,8}(?:[a-f0-9]{6,10}-)?[a-z0-9]{5}")
_DATE = _whole(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,+Z-]*)?")
_WORDS = _whole(r"[A-Za-z]{1,20}(?:[-_. /:][A-Za-z]{1,20})*[.!?:]?")
_NUMBERED_WORDS = _whole(
    r"(?:[A-Z]?[a-z]{1,20}|[A-Z]{2,20})(?:[-_./:](?:[A-Z]?[a-z]{1,20}|[A-Z]{1,20}|v?[0-9]{1,3}|(?:19|20)[0-9]{2}))*"
)
_WORD_YEAR = _whole(r"[A-Za-z]{3,20}[-_.@#!]?(?:19|20)[0-9]{2}")  # Summer2025: what people choose
_HOST = _whole(r"(?:[a-z0-9][a-z0-9_-]*\.){1,8}[a-z][a-z_]{1,24}(?::[0-9]{1,5})?")


_COMMON = frozenset(
    pair[0] << 8 | pair[1]
    for pair in (
        b"ab ac ad af ag ai ak al am an ap ar as at au av aw ay ba be bi bl bo br bs bu by ca cc ce ch ci ck cl co "
        b"cr ct cu da dd de di do dr ds du dy ea ec ed ee ef eg ei el em en eo ep eq er es et ev ew ex ey fa fe ff "
        b"fi fl fo fr ft fu ga ge gh gi gl gn go gr gs gu ha he hi ho hr ht hu hy ia ib ic id ie if ig ik il im in "
        b"io ip ir is it iv iz je jo ju ke ki kn ks la ld le lf li lk ll lo ls lt lu ly ma mb me mi mm mo mp ms mu "
        b"my na nc nd ne nf ng ni nk nl nn no ns nt nu nv ny oa ob oc od of og oi ok ol om on oo op or os ot ou ov "
        b"ow pa pd pe ph pi pl po pp pr ps pt pu qu ra rc rd re rg ri rk rl rm rn ro rr rs rt ru rv ry sa sc se sh "
        b"si sk sl sm so sp ss st su sy ta te th ti tl to tr ts tt tu tw ty ua ub uc ud ue ug ui ul um un up ur us "
        b"ut va ve vi vo wa we wh wi wn wo xi xp xt ye yo ys ze"
    ).split()
)
_SMALL = frozenset(b"abcdefghijklmnopqrstuvwxyz")


def transitions(classes: bytes) -> int:
    """How often neighbouring characters are of different classes."""
    return sum(map(operator.ne, classes, classes[1:]))


def is_hex(value: bytes) -> bool:
    return not value.translate(None, HEX)


def is_uuid(value: bytes) -> bool:
    return len(value) == 36 and _UUID(value)


def is_plain_words(value: bytes) -> bool:
    """Words, perhaps with a small number: `token: expired`, `secret: db-creds-v2`."""
    if len(value) > 200 or (not _WORDS(value) and not _NUMBERED_WORDS(value)):
        return False
    return not (is_gibberish(value) or is_broken_camel(value))


_CHOSEN = _whole(r"[A-Za-z]{2,20}(?:[-_. ][A-Za-z]{2,20}){0,4}[-_.@]?[0-9]{1,4}[!?.*]{0,2}")
_TICKET = _whole(r"[A-Z]{2,10}-[0-9]{1,7}[.!?]?|[A-Za-z]+[-_ .]?[vV][0-9]{1,4}")


def is_chosen(value: bytes, least_digits: int = 2) -> bool:
    """`Maple-Kettle-91`: words with a number as people choose for a password. (No ticket, no version, no name of a thing.)"""
    if not 8 <= len(value) <= 64 or not _CHOSEN(value) or _TICKET(value) or _POD(value):
        return False
    classes = value.translate(CLASSES)
    return classes.count(b"d") >= least_digits and bool(classes.count(b"u")) and classes.count(b"l") >= 4


def is_numbered(value: bytes) -> bool:
    """A word and a number, `Hardcoded1`."""
    return value.isalnum() and value[-1:].isdigit() and not value.isdigit()


def is_gibberish(value: bytes, least: int = 9) -> bool:
    """At least so many pairs of letters of which a third of the neighbours seldom stand side by side in words."""
    pairs = rare = 0
    for first, second in pairwise(value[:MAX_VALUE]):
        # Where a capital follows a small letter a new word of a name in code begins: it says nothing.
        if (first | 0x20) in _SMALL and (second | 0x20) in _SMALL and not (second < 97 <= first):
            pairs += 1
            rare += (first | 0x20) << 8 | (second | 0x20) not in _COMMON
    return pairs >= least and rare * 3 >= pairs


def is_identifier_of_triage(value: bytes) -> bool:
    """A version, a date, a pod, a host: never a secret by itself."""
    return bool(_VERSION(value) or _DATE(value) or _POD(value) or is_host(value))


_KUBERNETES = _whole(r"[a-z][a-z0-9]{1,30}(?:[-.][a-z0-9]{1,20}){1,9}")


def is_kubernetes_name(value: bytes) -> bool:
    """Words with dashes, perhaps a short hash at the end: `checkout-db-creds-7f8d9c6b`, how Secrets are called."""
    parts = value.replace(b".", b"-").split(b"-")
    named = sum(len(part) for part in parts if part.isalpha() and len(part) >= 2 and not is_gibberish(part, 5))
    return _KUBERNETES(value) and named * 2 >= len(value) - len(parts)


def is_host(value: bytes) -> bool:
    """A host name whose labels are words, not generated."""
    if not _HOST(value):
        return False
    return not any(
        len(label) >= 12 and _digits(label) >= 2 and _digits(label) < len(label) for label in value.split(b".")
    )


def _digits(value: bytes) -> int:
    return value.translate(CLASSES).count(b"d")


def looks_random(value: bytes, least: int = 8) -> bool:
    """Letters and digits mixed as in a generated key, a UUID, hex or a long number: good enough beside a name."""
    value = value[:MAX_VALUE]
    if len(value) < least:
        return False
    classes = value.translate(CLASSES)
    digits, upper, lower = classes.count(b"d"), classes.count(b"u"), classes.count(b"l")
    if digits + upper + lower < 0.6 * len(value):
        return False
    if digits and (upper or lower):
        if is_identifier_of_triage(value):
            return False
        if len(value) >= 16:
            return digits >= 2 or is_gibberish(value)
        if digits >= 2:
            return transitions(classes) >= 3 or _random_letters(value)
        return (upper >= 2 and lower >= 2 and transitions(classes) >= 4) or is_gibberish(value, 5)
    if digits:
        return digits >= 10 and len(value) >= 10
    return _random_letters(value)


def _random_letters(value: bytes) -> bool:
    return (len(value) >= 10 and b" " not in value and is_gibberish(value)) or is_broken_camel(value)


def is_broken_camel(value: bytes) -> bool:
    """`vSHqzXxB`: capitals where no word begins. A name in code has one for three letters at most."""
    if len(value) < 8 or not value.isalpha() or value.islower() or value.isupper():
        return False
    runs = sum(65 <= second <= 90 and first >= 97 for first, second in pairwise(value))
    capitals = sum(65 <= char <= 90 for char in value)
    return runs * 3 >= len(value) - 2 or (runs >= 2 and capitals * 2 >= len(value))


_CAMEL = _whole(r"[A-Z]{0,4}[a-z]+(?:[A-Z]{1,4}[a-z]+)*[A-Z]{0,4}")


def is_plain_camel(value: bytes) -> bool:
    """`TokenExpired`: how code names things."""
    if len(value) > 200 or not _CAMEL(value):
        return False
    return not (is_gibberish(value) or is_broken_camel(value))


def is_password_like(word: bytes) -> bool:
    """Letters with digits or marks, no plain words, no version, path or call: good enough after "password is"."""
    if not 6 <= len(word) <= 64 or is_blank(word) or b"=" in word[:-2] or b"/" in word or b"()" in word:
        return False
    if is_identifier_of_triage(word) or (is_plain_words(word) and not _WORD_YEAR(word)):
        return False
    classes = word.translate(CLASSES)
    letters = classes.count(b"l") + classes.count(b"u")
    return bool(letters and (classes.count(b"d") or classes.count(b"o")))


def is_strong_password(word: bytes) -> bool:
    """Letters, digits and a mark that no identifier holds: a password even where nothing says so."""
    if not is_password_like(word) or is_uuid(word):
        return False
    classes = word.translate(CLASSES)
    digits, upper, lower = classes.count(b"d"), classes.count(b"u"), classes.count(b"l")
    marks = sum(char in b"!#$%^&*+~?@|" for char in word)
    return bool(
        digits and (upper + lower) >= 3 and (marks or (upper and lower and b"-" in word and transitions(classes) >= 5))
    )


def looks_generated(value: bytes) -> bool:
    """Random enough to be a secret with no name beside it: long, of three classes, well mixed, and no readable base64."""
    if not 24 <= len(value) <= 512 or is_uuid(value) or is_hex(value):
        return False
    classes = value.translate(CLASSES)
    digits, upper, lower = classes.count(b"d"), classes.count(b"u"), classes.count(b"l")
    if digits < 2 or upper < 3 or lower < 3 or digits + upper + lower < 0.85 * len(value):
        return False
    if transitions(classes) * 3 < len(value) or not is_gibberish(value, 6):
        return False
    return decoded_base64(value) is None
