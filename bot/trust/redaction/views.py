"""Other readings of a text: what a person, a browser or a decoder would see, with the way back to the original offsets.

A secret hides from a scanner behind zero-width characters, colour codes, `\\u0041`, `%41`, `&quot;`, a line that is
continued, or two literals that are added. A `View` is the text with those undone, and for each of its characters where
it came from.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bot.trust.redaction.scan import BREAK, INVISIBLE, Engine, Spans, compile_pattern

_BREAK_TEXT = BREAK.decode()
_ROUNDS = 3  # %2541 is %41 is A; who encodes four times is not read by a person either


def _table() -> npt.NDArray[np.uint8]:
    # Other scripts become bytes above ASCII: letters for no pattern, characters of a value for all, and different
    # enough that a word such as "пароль" can be looked for.
    table = (0x80 | (np.arange(0x110000) & 0x7F)).astype(np.uint8)
    table[:256] = np.arange(256)
    table[0] = 0x7F
    table[INVISIBLE] = table[2] = 0x7F
    table[0xFF01:0xFF5F] = np.arange(0x21, 0x7F)  # full-width forms
    for code, ascii_code in {
        0x2018: 0x27, 0x2019: 0x27, 0x201A: 0x27, 0x201C: 0x22, 0x201D: 0x22, 0x201E: 0x22, 0x00AB: 0x22, 0x00BB: 0x22,
        0x2039: 0x27, 0x203A: 0x27, 0x2010: 0x2D, 0x2011: 0x2D, 0x2012: 0x2D, 0x2013: 0x2D, 0x2014: 0x2D, 0x2212: 0x2D,
        0xFE55: 0x3A, 0xFE66: 0x3D, 0x2236: 0x3A, 0xA789: 0x3A, 0x2192: 0x3D, 0x3000: 0x20, 0x00A0: 0x20, 0x202F: 0x20,
        0x2007: 0x20, 0x2028: 0x0A, 0x2029: 0x0A, 0x85: 0x0A, 0x3002: 0x2E, 0x2024: 0x2E,
    }.items():  # fmt: skip
        table[code] = ascii_code
    table[0x2000:0x200B] = 0x20
    for looks, latin in zip(
        "аеорсхуіѕјһԁԛԝӏАВЕКМНОРСТХУІЅЈαοντρυικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aeopcxyisjhdqwlABEKMHOPCTXYISJaovtpuikABEZHIKMNOPTYX",
        strict=True,
    ):
        table[ord(looks)] = ord(latin)
    for first, last in (
        (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
        (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
        (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0xE0000, 0xE0FFF),
    ):  # fmt: skip
        table[first : last + 1] = INVISIBLE
    return table


_TABLE = _table()
_JOINED_TABLE = _TABLE.copy()
_JOINED_TABLE[0] = 0
_ASCII_CONTROLS = bytes.maketrans(b"\x00\x01\x02", b"\x7f\x7f\x7f")
_JOINED_CONTROLS = bytes.maketrans(b"\x01\x02", b"\x7f\x7f")


def one_byte_per_char(text: str) -> bytes:
    """`text` as bytes of the same length: ASCII as it is, look-alikes of ASCII folded, invisible characters marked."""
    if text.isascii():
        return text.encode("ascii").translate(_ASCII_CONTROLS)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return bytes(_TABLE[codes])


def joined_bytes(texts: Sequence[str]) -> bytes:
    """All of `texts` as bytes, one a character, with a break before, between and after them."""
    joined = _BREAK_TEXT.join(texts)
    if joined.count("\x00") != len(texts) - 1:  # a text holds a NUL, which may not look like a break
        return b"".join((BREAK, BREAK.join(map(one_byte_per_char, texts)), BREAK))
    if joined.isascii():
        data = joined.encode("ascii")
        if b"\x01" in data or b"\x02" in data:
            data = data.translate(_JOINED_CONTROLS)
    else:
        data = bytes(_JOINED_TABLE[np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")])
    return b"".join((BREAK, data, BREAK))


@dataclass(frozen=True, slots=True)
class View:
    """Another reading of a text. Character i came from `starts[i]` to `ends[i]` (offsets in the text it was made of)."""

    data: bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the original text that characters [start, end) came from."""
        return int(self.starts[start]), int(self.ends[end - 1])


_ESCAPES = (
    r"\\{1,8}u00([0-9A-Fa-f]{2})|\\{1,8}x([0-9A-Fa-f]{2})|%([0-9A-Fa-f]{2})"
    r"|&(quot|amp|lt|gt|apos|#[0-9]{1,3}|#[xX][0-9A-Fa-f]{1,2});|\\{1,8}([\"'/nrt])"
    # left out: colour codes, invisible characters, `" + "` between two literals, a continued line
    r"|\x1b\[[0-9;?]*+[ -/]*+[@-~]|\x01+"
    r"|\"[ \t\r\n]*+[+.&][ \t\r\n]*+\"|'[ \t\r\n]*+[+.&][ \t\r\n]*+'|[\"'][ \t]*+\\\n[ \t]*+[\"']"
    r"|\\\r?\n[ \t]*+|=\r?\n"
)
ESCAPED = (
    r"\\{1,8}u00[2-7]|\\{1,8}x[2-7]|%(?:2[DdEe5]|[3-7][0-9A-Fa-f])|&(?:quot|amp|lt|gt|apos|#[0-9xX])|\x1b\[|\x01"
    r"|[\"'][ \t\r\n]*+\+|\"[ \t]*+[.&][ \t]*+\"|'[ \t]*+[.&][ \t]*+'|\\\r?\n"
)
"""Where an escape may hide a name or a value. (Quotes with a backslash hide nothing: the detectors read them.)"""
_LETTERS = {ord("n"): 10, ord("r"): 13, ord("t"): 9}
_NAMED = {b"quot": 0x22, b"amp": 0x26, b"lt": 0x3C, b"gt": 0x3E, b"apos": 0x27}


class Unescaper:
    """Makes the plain view of a text that holds escapes."""

    def __init__(self, engine: Engine) -> None:
        self._escapes = compile_pattern(_ESCAPES, engine)

    def __call__(self, data: bytes) -> View | None:
        """The view with all escapes undone, or None where there are none."""
        view: View | None = None
        for _ in range(_ROUNDS):
            further = self._round(data if view is None else view.data)
            if further is None:
                break
            if view is None:
                view = further
            elif further.data:
                last = np.maximum(further.ends - 1, further.starts)
                view = View(further.data, view.starts[further.starts], view.ends[last])
        return view if view is not None and view.data else None

    def _round(self, data: bytes) -> View | None:
        begins: list[int] = []
        stops: list[int] = []
        codes: list[int] = []
        for spans in self._escapes.spans(data):
            begin, end = spans[0]
            begins.append(begin)
            stops.append(end)
            codes.append(_decoded(data, spans))
        if not begins:
            return None
        first, last, code = np.array(begins), np.array(stops), np.array(codes)
        depth = np.zeros(len(data) + 1, np.int8)
        depth[first] += 1
        depth[last] -= 1
        kept = np.cumsum(depth[:-1], dtype=np.int8) == 0
        chars = np.frombuffer(data, np.uint8).copy()
        stands = code >= 0
        # What an escape stands for takes the place of its first character.
        kept[first[stands]] = True
        chars[first[stands]] = code[stands]
        starts = np.flatnonzero(kept)
        ends = starts + 1
        ends[np.searchsorted(starts, first[stands])] = last[stands]
        return View(chars[kept].tobytes(), starts, ends)


def _decoded(data: bytes, spans: Spans) -> int:
    """The byte that an escape stands for; -1: it stands for nothing and is left out."""
    for group in (1, 2, 3):  # \\u0041, \\x41, %41
        begin, end = spans[group]
        if begin >= 0:
            code = int(data[begin:end], 16)
            return code if code > 2 else 0x7F
    begin, end = spans[4]
    if begin >= 0:
        entity = data[begin:end]
        if entity in _NAMED:
            return _NAMED[entity]
        code = int(entity[2:], 16) if entity[1:2] in b"xX" else int(entity[1:])
        return code if 2 < code < 256 else 0x7F
    begin, _ = spans[5]
    return _LETTERS.get(data[begin], data[begin]) if begin >= 0 else -1


def decoded_base64(token: bytes) -> bytes | None:
    """What `token` says in base64 (either alphabet, padding optional), if that is text; else None."""
    body = token.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    if len(body) % 4 == 1:
        return None
    try:
        raw = binascii.a2b_base64(body + b"=" * (-len(body) % 4))
    except binascii.Error:
        return None
    printable = len(raw.translate(None, _UNPRINTABLE))
    return raw.translate(_ASCII_CONTROLS) if raw and printable >= 0.97 * len(raw) else None


_UNPRINTABLE = bytes(set(range(256)) - set(range(0x20, 0x7F)) - {9, 10, 13})
