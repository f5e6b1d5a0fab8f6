"""Six recognisers of personal data: e-mail, phone, payment card, IBAN, national id, public network address.

Each is a shape and, where the scheme has one, its check digits: ISO/IEC 7812 (Luhn), ISO 13616 (IBAN, mod 97), and the
issuing state's own for national ids. A number whose scheme has no check needs a word beside it ("ssn", "phone").
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence

from bot.trust.redaction.candidates import PERSONAL, Candidate
from bot.trust.redaction.scan import Engine, compile_pattern

COUNTRIES = ("AU", "BE", "BR", "CA", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IN", "IT", "NL", "NO", "PL", "PT", "SE", "US", "ZA")  # fmt: skip

_DOMAIN = r"@[A-Za-z0-9](?:[A-Za-z0-9\-]*+\.)+[A-Za-z]{2,24}"
_MARKED = r"[ \t]*[\[({<][ \t]*(?:%s)[ \t]*[\])}>][ \t]*"
_SPELT = (
    r"\b([A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}(?:"
    + _MARKED % "(?i:at|arroba)|@"
    + r"|[ \t]+AT[ \t]+)[A-Za-z0-9][A-Za-z0-9\-]{0,62}(?:(?:"
    + _MARKED % r"(?i:dot|punkt|punto|point)|\."
    + r"|[ \t]+(?:dot|DOT)[ \t]+|\.)[A-Za-z0-9\-]{2,63}){1,4}"
    r"|[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}[ \t]+at[ \t]+[A-Za-z0-9][A-Za-z0-9\-]{0,62}(?:[ \t]+dot[ \t]+[A-Za-z]{2,24}){1,4})\b"
)
"""`name [at] host [dot] example`, `name AT host DOT example`, `name at host dot example`."""
_LOCAL_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-'"
_NOT_PEOPLE_TLDS = frozenset(
    b"local internal svc cluster lan localdomain corp home test invalid service slice scope socket target timer mount js ts py go java png jpg svg css json yaml yml".split()
)
_NOT_PEOPLE_DOMAINS = (b".gserviceaccount.com", b".compute.amazonaws.com")
_NOT_PEOPLE = frozenset(b"git root postgres svn hg ec2-user ubuntu".split())

_PHONE = r"\+[1-9][0-9]{0,2}[ .\-]?(?:\(0?[0-9]{1,4}\)[ .\-]?)?[0-9]{1,4}(?:[ .\-]?[0-9]{1,4}){1,6}|\([0-9]{3}\) ?[0-9]{3}[ .\-][0-9]{4}|\b[2-9][0-9]{2}(?:-[0-9]{3}-|\.[2-9][0-9]{2}\.)[0-9]{4}"
_PHONE_NAMED = r"(?i)\b(?:phone|tel|telephone|mobile|cell|call|callback|fax|whatsapp|sms|msisdn|contact|handy|telefon)(?:[ _\-]?(?:number|no|nr))?\b[\"']?(?:[ \t]?\([^()\n\x00]{1,24}\))?[ \t]*[:=]?[ \t]*(?:is |at |on |me )?[\"']?(\+?[0-9(][0-9 ()./\-]{5,18}[0-9])"
_CARD = r"[0-9]{4}[ \-]?[0-9]{4,6}[ \-]?[0-9]{4,5}(?:[ \-]?[0-9]{1,7})?"
_IBAN = r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?"
_IPV4 = r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"
_IPV6 = r"(?i)[23][0-9a-f]{3}:[0-9a-f:]{3,40}"

_IBAN_LENGTHS = {
    b"AD": 24, b"AE": 23, b"AL": 28, b"AT": 20, b"AZ": 28, b"BA": 20, b"BE": 16, b"BG": 22, b"BH": 22, b"BR": 29,
    b"BY": 28, b"CH": 21, b"CR": 22, b"CY": 28, b"CZ": 24, b"DE": 22, b"DK": 18, b"DO": 28, b"EE": 20, b"EG": 29,
    b"ES": 24, b"FI": 18, b"FO": 18, b"FR": 27, b"GB": 22, b"GE": 22, b"GI": 23, b"GL": 18, b"GR": 27, b"GT": 28,
    b"HR": 21, b"HU": 28, b"IE": 22, b"IL": 23, b"IQ": 23, b"IS": 26, b"IT": 27, b"JO": 30, b"KW": 30, b"KZ": 20,
    b"LB": 28, b"LC": 32, b"LI": 21, b"LT": 20, b"LU": 20, b"LV": 21, b"LY": 25, b"MC": 27, b"MD": 24, b"ME": 22,
    b"MK": 19, b"MR": 27, b"MT": 31, b"MU": 30, b"NL": 18, b"NO": 15, b"PK": 24, b"PL": 28, b"PS": 29, b"PT": 25,
    b"QA": 29, b"RO": 24, b"RS": 22, b"SA": 24, b"SC": 31, b"SE": 24, b"SI": 19, b"SK": 24, b"SM": 27, b"ST": 25,
    b"SV": 28, b"TL": 23, b"TN": 24, b"TR": 26, b"UA": 29, b"VA": 22, b"VG": 24, b"XK": 20,
}  # fmt: skip


def luhn(digits: bytes) -> bool:
    """The check of ISO/IEC 7812-1, annex B."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = char - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def iban_holds(iban: bytes) -> bool:
    """ISO 13616: the country's length, and 1 modulo 97."""
    if _IBAN_LENGTHS.get(iban[:2]) != len(iban):
        return False
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(chr(char), 36)) for char in turned)) % 97 == 1


def is_card(digits: bytes) -> bool:
    """A number range of a payment network, of its length, with a valid check digit."""
    count, head = len(digits), int(digits[:4])
    network = (
        (digits[:1] == b"4" and count in (13, 16, 19))
        or ((51 <= head // 100 <= 55 or 2221 <= head <= 2720) and count == 16)
        or (head // 100 in (34, 37) and count == 15)
        or ((head == 6011 or 644 <= head // 10 <= 649 or head // 100 == 65) and 16 <= count <= 19)
        or (3528 <= head <= 3589 and 16 <= count <= 19)
        or ((300 <= head // 10 <= 305 or head // 100 in (36, 38, 39)) and count == 14)
        or (head // 100 == 62 and 16 <= count <= 19)
        or (head // 100 in (50, 56, 57, 58, 63, 67) and count == 16)
    )
    return network and luhn(digits)


def _weighted(digits: bytes, weights: Sequence[int]) -> int:
    return sum((char - 48) * weight for char, weight in zip(digits, weights, strict=False))


def _cpf(digits: bytes) -> bool:
    if len(set(digits)) == 1:
        return False
    first = _weighted(digits, range(10, 1, -1)) * 10 % 11 % 10
    second = _weighted(digits, range(11, 1, -1)) * 10 % 11 % 10
    return first == digits[9] - 48 and second == digits[10] - 48


_D5 = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104", "9876543210")  # fmt: skip
_P8 = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")


def _verhoeff(digits: bytes) -> bool:
    check = 0
    for place, char in enumerate(reversed(digits)):
        check = int(_D5[check][int(_P8[place % 8][char - 48])])
    return check == 0


def _steuer_id(digits: bytes) -> bool:
    product = 10
    for char in digits[:10]:
        total = (char - 48 + product) % 10 or 10
        product = total * 2 % 11
    return digits[0] != 48 and (11 - product) % 10 == digits[10] - 48


def _pesel(digits: bytes) -> bool:
    return _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _bsn(digits: bytes) -> bool:
    return _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and digits != b"000000000"


def _dni(value: bytes) -> bool:
    number = value[:-1].translate(bytes.maketrans(b"XYZ", b"012"))
    return number.isdigit() and b"TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == value[-1]


def _nir(value: bytes) -> bool:
    body = value[:13].replace(b"2A", b"19").replace(b"2B", b"18")
    return body.isdigit() and value[13:15].isdigit() and 97 - int(body) % 97 == int(value[13:15])


_ODD = dict(zip(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True))  # fmt: skip


def _codice_fiscale(value: bytes) -> bool:
    total = sum(
        _ODD[char] if place % 2 == 0 else (char - 48 if char < 58 else char - 65)
        for place, char in enumerate(value[:15])
    )
    return total % 26 == value[15] - 65


def _fodselsnummer(digits: bytes) -> bool:
    return (
        _weighted(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
        and _weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


def _nif(digits: bytes) -> bool:
    check = 11 - _weighted(digits, range(9, 1, -1)) % 11
    return (0 if check > 9 else check) == digits[8] - 48


def _ssn(digits: bytes) -> bool:
    return digits[:3] not in (b"000", b"666") and digits[0] != 57 and digits[3:5] != b"00" and digits[5:] != b"0000"


def _henkilotunnus(value: bytes) -> bool:
    digits = value[:6] + value[7:10]
    return b"0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == value[10]


def _belgian(digits: bytes) -> bool:
    body, check = digits[:9], int(digits[9:])
    return 97 - int(body) % 97 == check or 97 - int(b"2" + body) % 97 == check


def _any(_: bytes) -> bool:
    return True


# country: (shape, check on the value without separators, words one of which must stand before it, or none)
_NATIONAL: dict[str, tuple[tuple[str, Callable[[bytes], bool], str], ...]] = {
    "US": ((r"[0-9]{3}-[0-9]{2}-[0-9]{4}", _ssn, ""), (r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}", _ssn, r"ssn|social[ _-]security|itin")),
    "GB": (
        (r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", _any, ""),
        (r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", _any, r"nhs"),
    ),
    "DE": ((r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", _steuer_id, r"steuer[a-z-]*|idnr|tax[ _-]?id|tin"),),
    "FR": ((r"[12] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", _nir, ""),),
    "ES": ((r"[0-9XYZ][0-9]{7}-?[A-Z]", _dni, ""),),
    "IT": ((r"[A-Z]{6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]{3}[A-Z]", _codice_fiscale, ""),),
    "NL": ((r"[0-9]{9}", _bsn, r"bsn|burgerservicenummer|sofi"),),
    "PL": ((r"[0-9]{11}", _pesel, r"pesel"),),
    "SE": ((r"(?:[0-9]{2})?[0-9]{6}[-+][0-9]{4}", lambda v: luhn(v[-10:]), ""), (r"[0-9]{10,12}", lambda v: luhn(v[-10:]), r"personnummer|pnr")),
    "BE": ((r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", _belgian, ""),),
    "BR": ((r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", _cpf, ""), (r"[0-9]{11}", _cpf, r"cpf")),
    "IN": ((r"[2-9][0-9]{3} [0-9]{4} [0-9]{4}", _verhoeff, ""), (r"[2-9][0-9]{11}", _verhoeff, r"aadhaar|aadhar|uidai"), (r"[A-Z]{3}[ABCFGHLJPT][A-Z][0-9]{4}[A-Z]", _any, r"pan")),
    "CA": ((r"[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{3}", luhn, r"sin|social[ _-]insurance"),),
    "AU": ((r"[0-9]{3} ?[0-9]{3} ?[0-9]{2,3}", lambda v: _weighted(v, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0, r"tfn|tax[ _-]file"),),
    "DK": ((r"(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2])[0-9]{2}-?[0-9]{4}", _any, r"cpr"),),
    "FI": ((r"[0-3][0-9][01][0-9]{3}[-+ABCDEFYXWVU][0-9]{3}[0-9A-Y]", _henkilotunnus, ""),),
    "NO": ((r"[0-9]{6} ?[0-9]{5}", _fodselsnummer, r"f[^ ]{1,2}dselsnummer|fnr|personnummer"),),
    "PT": ((r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", _nif, r"nif|contribuinte"),),
    "IE": ((r"[0-9]{7}[A-W][A-IW]?", _any, r"pps|ppsn"),),
    "ZA": ((r"[0-9]{13}", luhn, r"id[ _-]?(?:number|no)|sa[ _-]?id"),),
}  # fmt: skip

_NEVER = r"[^\x00-\xff]"
_WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


class PersonalData:
    """Finds personal data. `countries`: whose national ids (ISO 3166 codes of `COUNTRIES`)."""

    def __init__(self, engine: Engine, countries: Sequence[str]) -> None:
        unknown = sorted(set(countries) - set(COUNTRIES))
        if unknown:
            raise ValueError(f"no national id is known for {unknown!r}: choose from {', '.join(COUNTRIES)}")
        self._domain, self._spelt = compile_pattern(_DOMAIN, engine), compile_pattern(_SPELT, engine)
        self._phone, self._phone_named = compile_pattern(_PHONE, engine), compile_pattern(_PHONE_NAMED, engine)
        self._card, self._iban = compile_pattern(_CARD, engine), compile_pattern(_IBAN, engine)
        self._ipv4, self._ipv6 = compile_pattern(_IPV4, engine), compile_pattern(_IPV6, engine)
        schemes = [scheme for country in countries for scheme in _NATIONAL[country]]
        bare = [scheme for scheme in schemes if not scheme[2]]
        named = [scheme for scheme in schemes if scheme[2]]
        self._bare_checks = [check for _, check, _ in bare]
        self._named_checks = [check for _, check, _ in named]
        self._bare_pattern = compile_pattern("|".join(f"({shape})" for shape, _, _ in bare) or _NEVER, engine)
        between = r"[^\n\x00A-Za-z0-9]{0,12}(?:(?:is|nr|no|number)\b[^\n\x00A-Za-z0-9]{0,4})?"
        self._named_pattern = compile_pattern(
            "|".join(rf"(?:(?i:\b(?:{words})\b{between})({shape}))" for shape, _, words in named) or _NEVER, engine
        )

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        if b"@" in text:
            yield from self._emails(text)
        for spans in self._spelt.spans(text):
            address = text[slice(*spans[1])].lower()
            tld = address[len(address.rstrip(b"abcdefghijklmnopqrstuvwxyz")) :]
            if tld and tld not in _NOT_PEOPLE_TLDS:
                yield Candidate(*spans[1], "email", PERSONAL)
        yield from self._phones(text)
        yield from self._cards(text)
        yield from self._ibans(text)
        yield from self._national_ids(text)
        yield from self._addresses(text)

    def _emails(self, text: bytes) -> Iterator[Candidate]:
        for spans in self._domain.spans(text):
            at, end = spans[0]
            left = text[max(0, at - 64) : at]
            local = left[len(left.rstrip(_LOCAL_BYTES)) :].lstrip(b"._%+-'")
            domain = text[at + 1 : end].lower()
            if not local or domain.rpartition(b".")[2] in _NOT_PEOPLE_TLDS or local.lower() in _NOT_PEOPLE:
                continue
            if not domain.endswith(_NOT_PEOPLE_DOMAINS):
                yield Candidate(at - len(local), end, "email", PERSONAL)

    def _phones(self, text: bytes) -> Iterator[Candidate]:
        for pattern, group, least in ((self._phone, 0, 8), (self._phone_named, 1, 7)):
            for spans in pattern.spans(text):
                start, end = spans[group]
                end = _end_of_number(text, start, end)
                if least <= _count_digits(text[start:end]) <= 15 and _free(text, start, end):
                    yield Candidate(start, end, "phone", PERSONAL)

    def _cards(self, text: bytes) -> Iterator[Candidate]:
        for spans in self._card.spans(text):
            start, end = spans[0]
            digits = text[start:end].translate(None, b" -")
            if 13 <= len(digits) <= 19 and _free(text, start, end) and is_card(digits):
                yield Candidate(start, end, "card", PERSONAL)

    def _ibans(self, text: bytes) -> Iterator[Candidate]:
        for spans in self._iban.spans(text):
            start, most = spans[0]
            if start and text[start - 1] in _WORD_BYTES:
                continue
            left = _IBAN_LENGTHS.get(text[start : start + 2], 0)
            end = start
            while left and end < most:
                left -= text[end] != 0x20
                end += 1
            if end > start and not left and _free(text, start, end) and iban_holds(text[start:end].replace(b" ", b"")):
                yield Candidate(start, end, "iban", PERSONAL)

    def _national_ids(self, text: bytes) -> Iterator[Candidate]:
        for pattern, checks in ((self._bare_pattern, self._bare_checks), (self._named_pattern, self._named_checks)):
            for spans in pattern.spans(text):
                group = next((g for g in range(1, len(spans)) if spans[g][0] >= 0), 0)
                start, end = spans[group]
                if not group or not _free(text, start, end):
                    continue
                check = checks[group - 1]
                value = text[start:end]
                if check(value if check is _henkilotunnus else value.translate(None, b" -.+")):
                    yield Candidate(start, end, "national-id", PERSONAL)

    def _addresses(self, text: bytes) -> Iterator[Candidate]:
        for spans in self._ipv4.spans(text):
            start, end = spans[0]
            if _is_public_v4(text[start:end]) and not _inside_version(text, start, end):
                yield Candidate(start, end, "ip", PERSONAL)
        for spans in self._ipv6.spans(text):
            start, end = spans[0]
            if start and (text[start - 1] in _WORD_BYTES or text[start - 1] in b":-"):
                continue
            value = text[start:end] if text[start:end].endswith(b"::") else text[start:end].rstrip(b":")
            if text[start + len(value) : start + len(value) + 1].isalnum():
                continue
            try:
                ipaddress.IPv6Address(value.decode("ascii"))
            except ValueError:
                continue
            yield Candidate(start, start + len(value), "ip", PERSONAL)


def _end_of_number(text: bytes, start: int, end: int) -> int:
    """Before a last group of digits that belongs to what follows: `+1-202-555-0163 17:30`."""
    for _ in range(2):
        cut = text.rfind(b" ", start, end)
        if cut < 0 or _free(text, start, end):
            break
        end = cut
    return end


def _count_digits(value: bytes) -> int:
    return sum(48 <= char <= 57 for char in value)


def _free(text: bytes, start: int, end: int) -> bool:
    """No word character, and no further group of digits, touches [start, end)."""
    before = text[start - 1] if start else 0x20
    after = text[end] if end < len(text) else 0x20
    if before in _WORD_BYTES or after in _WORD_BYTES:
        return False
    if before in b"-.:/+" and start > 1 and text[start - 2] in b"0123456789abcdefABCDEF" and before != 0x3A:
        return False
    return not (after in b"-.:" and end + 1 < len(text) and text[end + 1] in b"0123456789")


def _is_public_v4(address: bytes) -> bool:
    octets = [int(part) for part in address.split(b".")]
    if max(octets) > 255 or octets[0] in (0, 10, 127) or octets[0] >= 224:
        return False
    if any(len(part) > 1 and part[:1] == b"0" for part in address.split(b".")):
        return False
    first, second = octets[:2]
    return not (
        (first == 172 and 16 <= second < 32)
        or (first == 192 and second == 168)
        or (first == 169 and second == 254)
        or (first == 100 and 64 <= second < 128)
    )


def _inside_version(text: bytes, start: int, end: int) -> bool:
    before = text[start - 1] if start else 0x20
    after = text[end] if end < len(text) else 0x20
    if before in _WORD_BYTES or before in b".-" or after in _WORD_BYTES:
        return True
    if after in b".-" and end + 1 < len(text) and text[end + 1] in b"0123456789":
        return True
    if before == 0x2F and start > 1 and text[start - 2] in _WORD_BYTES:
        return True
    lead = text[max(0, start - 12) : start].lower()
    return lead.rstrip(b" :=\"'").endswith((b"version", b"release", b" ver", b"build"))
