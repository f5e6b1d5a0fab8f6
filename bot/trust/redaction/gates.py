"""Where in a text something may be: two automata over all of it, and the lines around each hit.

A gate lets through too much, never too little: whatever a detector can find, a gate must point at its line.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

from bot.trust.redaction import calls, loose, names
from bot.trust.redaction.keyed import FOREIGN_WORDS, foreign
from bot.trust.redaction.scan import Engine, Pattern, compile_pattern
from bot.trust.redaction.vendors import LITERALS
from bot.trust.redaction.views import ESCAPED

_LINES_AFTER = 1
_BLOCK_LINES = 260
_SPARE_LINES = 60
"""A block that is looked at has so many lines more than any key has."""

_ASSIGNED = (
    names.CORE
    + r"[A-Za-z0-9_.\-]*+(?:\[[0-9]*\])?+(?:\\{0,8}+[\"'`]?+[\])]?+[ \t]*+(?:[!?]?[=:>,]|->)|(?:\.[a-z]{3,8})?\([ \t]*+\"|[\"'>\r\n]|\\{1,8}[nrt])"
)
_COMPARED = r"[\"']\)?[ \t]*+[!=]==?[ \t]*+[a-z0-9_.\-]*" + names.CORE
_FLAGGED = r"[ \t\n\"'\[,(]--?[a-z0-9_\-]*" + names.CORE + r"[a-z0-9_\-]*+[\"']?+,?+[ \t]"
_SET = r"\b(?:set|config|put|add|export)[ \t][a-z0-9_.\-/:]*" + names.CORE + r"[a-z0-9_.\-]*+[ \t]"
_SPOKEN = (
    r"(?:\b|_)(?:pass(?:word|wd|phrase|code)|passwort|kennwort|mot de passe|contrase.a|senha|wachtwoord|lozinka|heslo|parola|passord|salasana|adgangskode|clave|contrasenya|palavra-passe|mdp|psk|pre-?shared key|pass|pwd|pw|secret|token|key|apikey|credential|creds?|(?:basic )?auth"
    r"|login|pin|otp|code|community|cookie|session(?: id)?|licen[cs]e|signature|sid)s?\b"
    r"(?:[ \t]*+[:=]?[ \t]*+(?:is|was|lautet|es)?[ \t]*+[\"'`]|[?!,:]?(?:[ \t]+[^ \t\r\n\x00]*){0,12}[ \t]+[^ \t\r\n\x00]*[0-9!#$%^&*+~?@|])|\bseed[ \t]"
)
_FORMS = (
    r"://[^\s/?#\"'<>\x00]*@|private key|putty-user|eyj[a-z0-9]|[a-z0-9]@[a-z0-9][a-z0-9.\-]*\.[a-z]"
    r"|\$(?:2[abxy]|1|5|6|y|gy|argon2[a-z]*|apr1|pbkdf2[a-z0-9\-]*|scrypt|[89]|krb5[a-z0-9]{2,8})\$|identified[ \t]|snmp-server|auth[ \t]*=[ \t]*[(\[]|[ \t]-[puaw][ \t\"']|[ \t]-p[^\s]|--(?:proxy-)?user|kind[\"']?:[ \t]*[\"']?secret"
    r"|[\[({<][ \t]*(?:at|@|arroba)[ \t]*[\])}>]|[a-z0-9][ \t]+dot[ \t]+[a-z]|\b(?:root|admin|administrator|sa|postgres|oracle|sys|system|sysadmin|guest|pi|ubuntu|superuser):[^\s:/@]{6}|\bsnmp[a-z]{3,8}[ \t]|ssh-keygen[ \t]|chpasswd|\bmc[ \t]+(?:alias|config)|wpa_passphrase|\bthin:|sqlplus[ \t]|[ \t]/p(?:ass(?:word)?)?:|\blftp[ \t]|[ \t]-pw[ \t]|zugangsdaten|identifiant"
    r"|(?:cred(?:ential)?)s?\b[^\n:/]{0,40}[:=]?[ \t]+[^\s/:]{2,40}[ \t]+/[ \t]"
    r"|\b(?:used?|try|tried|using|enter(?:ed)?|typed?|with|put|set|gave|took|pasted)[ \t]+[^\s]{6,66}[ \t]+(?:as|for)[ \t]+(?:[a-z]{1,12}[ \t]+){0,3}(?:pass|pw|secret|token|pin|kennwort)"
    r"|requirepass|masterauth|auth(?:enticate)?[ \t]+(?:plain|login|cram)|bearer[ \t]|basic[ \t]|negotiate[ \t]|ntlm[ \t]|pass(?:in|out)?[ \t]+[\"']?pass:|rabbitmqctl|htpasswd|\bnet[ \t]+use|sexec|schtasks|openssl enc|\bzip[ \t]+-|\b7z[ar]?[ \t]|sudo[ \t]+-s|vault[ \t]+login"
    r"|--value[ \t=]|\blogin[ \t]|ftp>|[ \t]/[ \t]+[\"'`]?[^\s\x00]{6}|^[a-z0-9_.*\-]++:(?:[0-9]{2,5}|\*):[^\s:]*:[^\s:]*:[^\s:]"
    r"|(?:phone|tel|telephone|mobile|cell|call|callback|fax|whatsapp|sms|msisdn|contact|handy|telefon)[a-z_ ()\-]{0,26}[\"']?[ \t]*[:=]?[ \t]*(?:is |at |on |me )?[\"']?[+(]?[0-9][0-9 ()./\-]{5}"
    r"|\b(?:ssn|itin|social[ _-](?:security|insurance)|nhs|steuer[a-z\-]*|idnr|tin|tax[ _-]?(?:id|file)|bsn|burgerservicenummer|sofi|pesel|personnummer|pnr|cpf|aadhaa?r|uidai"
    r"|pan|sin|tfn|cpr|fnr|f[^ ]{1,2}dselsnummer|nif|contribuinte|ppsn?|sa[ _-]?id|id[ _-]?(?:number|no))\b[^a-z0-9\n\x00]*(?:is|nr|no|number)?[^a-z0-9\n\x00]*[0-9a-z]"
)
_PUBLIC_OCTET = (
    r"(?:[1-9]|1[1-9]|[2-9][0-9]|1[01][0-9]|12[0-689]|1[3-5][0-9]|16[0-8]|17[013-9]|18[0-9]|19[013-9]|20[0-9]|21[0-9]|22[0-3]"
    r"|172\.(?:[0-9]|1[0-5]|3[2-9]|[4-9][0-9]|[12][0-9][0-9])|192\.(?:[0-9]{1,2}|1[0-57-9][0-9]|16[0-79]|2[0-9][0-9])"
    r"|169\.(?:[0-9]{1,2}|1[0-9][0-9]|2[0-46-9][0-9]|25[0-35]))"
)
_NUMBERS = (
    r"\+[1-9][0-9 .()\-]{6}|[^0-9A-Za-z._\-](?:" + _PUBLIC_OCTET + r"\.[0-9]{1,3}\.[0-9]{1,3}"
    r"|\([0-9]{3}\) ?[0-9]{3}|[0-9]{3}[\-.][0-9]{2,3}[\-.][0-9]{4}|[2-6][0-9]{3}[ \-]?[0-9]{4,6}[ \-]?[0-9]{4,5}"
    r"|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{3}"
    r"|[0-9]{6}(?:[0-9]{2})?[\-+A-FU-Y][0-9]{3}[0-9A-Y]|[0-9]{2}\.[0-9]{2}\.[0-9]{2}-|[0-9]{3}\.[0-9]{3}\.[0-9]{3}-|[0-9XYZ][0-9]{7}-?[A-Z]"
    r"|[A-Z]{6}[0-9]{2}[A-Z]|[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]|[A-Z]{5}[0-9]{4}[A-Z]"
    r"|[12] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}[^0-9]|[2-9][0-9]{3} [0-9]{4} [0-9]{4}|\([0-9]{3}\) ?[0-9]{3})"
)
_GENERATED = r"[A-Za-z0-9+/]{6}[A-Za-z0-9+/]*={1,2}[\"']?(?:[\s,;)}\]]|$)|[A-Za-z]{5}[0-9][A-Za-z]{3,}[0-9][A-Za-z]{2}|[0-9][A-Za-z]*[G-Zg-z][A-Za-z]*[0-9]+[A-Za-z]*[G-Zg-z][A-Za-z]*[0-9]"
_LONG_BLOCK = r"(?i)private key|putty-user|kind\\{0,8}+[\"']?+[ \t]*+:[ \t]*+\\{0,8}+[\"']?+secret\b"
_SHORT_BLOCK = r"[|>][+\-]?[ \t]*\r?$|\{[ \t]*\r?$|:[ \t]*\r?$"


def _first_on_each_line(pattern: Pattern, text: bytes, within: int) -> Iterator[int]:
    """Where the first match of each line begins, plus `within`.

    Only the first: after it the search goes on at the next line. A long match that may begin early and then fails would
    else be tried again after every short one.
    """
    at = 0
    while (found := pattern.find(text, at)) is not None:
        start = found[0][0]
        # A line feed that a match begins with belongs to the line before: the hit is after it (and the search moves on).
        hit = start + 1 if text[start] == 0x0A else start + within
        yield hit
        at = text.find(b"\n", hit)
        if at < 0:
            return


class Gates:
    """Points at the lines that are worth a close look."""

    def __init__(self, engine: Engine) -> None:
        self._words = compile_pattern(
            "(?im)"
            + "|".join(
                (_ASSIGNED, _COMPARED, _FLAGGED, _SET, _SPOKEN, _FORMS, calls.GATE, loose.GATE, foreign(FOREIGN_WORDS))
            ),
            engine,
        )
        self._shapes = compile_pattern("|".join((_NUMBERS, LITERALS, _GENERATED, ESCAPED)), engine)
        self._long_block = compile_pattern(_LONG_BLOCK, engine)
        self._short_block = compile_pattern(_SHORT_BLOCK, engine)

    def regions(self, joined: bytes, starts: Sequence[int], ends: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """(text, from, to) of each stretch to look at, in order. `starts`, `ends`: where each text lies in `joined`."""
        # The first character of a shape may be what stands before it: a line feed, say.
        hits = sorted((*_first_on_each_line(self._words, joined, 0), *_first_on_each_line(self._shapes, joined, 1)))
        done, current, first = -1, -1, 0
        spare = -1
        for hit in hits:
            text = bisect.bisect_right(starts, hit) - 1
            low, high = starts[max(text, 0)], ends[max(text, 0)]
            if text < 0 or hit >= high:
                # A hit may begin on the break before a text: it speaks of that text.
                text += 1
                if text >= len(starts):
                    break
                low, high = starts[text], ends[text]
                hit = low
            begin = max(low, joined.rfind(b"\n", low, hit) + 1)
            # Long blocks that begin close to each other are looked at together: the first is taken longer than any is.
            end, block = self._end(joined, begin, hit, high, blocks=hit >= spare)
            if block:
                spare = _lines_on(joined, hit, high, _SPARE_LINES)
            if text == current and begin <= done + 1:
                done = max(done, end)
                continue
            if current >= 0:
                yield current, first, done
            current, first, done = text, begin, end
        if current >= 0:
            yield current, first, done

    def _end(self, joined: bytes, begin: int, hit: int, high: int, *, blocks: bool) -> tuple[int, bool]:
        """Where the close look ends: after the line that follows, or after the block that begins here; and whether one
        does. `blocks`: a long one is looked for."""
        end = joined.find(b"\n", hit, high)
        if end < 0:
            return high, False
        line = joined[begin:end]
        if blocks and self._long_block.find(line) is not None:
            return _lines_on(joined, end + 1, high, _BLOCK_LINES), True
        more = _LINES_AFTER
        if self._short_block.find(line) is not None:
            more += 2
        return _lines_on(joined, end + 1, high, more), False


def _lines_on(joined: bytes, at: int, high: int, lines: int) -> int:
    """Where the line ends that is so many lines on from `at`, counting its own; `high` where there are fewer."""
    for _ in range(lines):
        end = joined.find(b"\n", at, high)
        if end < 0:
            return high
        at = end + 1
    return at - 1
