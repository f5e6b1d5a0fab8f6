"""Secrets in sentences: "the key in prod is …", "login with svc:…", "admin / …"."""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction import names, shapes
from bot.trust.redaction.candidates import PROSE, Candidate, is_blank
from bot.trust.redaction.keyed import FOREIGN_WORDS, foreign, word_before
from bot.trust.redaction.scan import MASK, Engine, compile_pattern

_NOUNS = (
    r"(?i)(?:\b|_)(password|passwd|passphrase|passcode|passwort|kennwort|mot de passe|contrase.a|senha|wachtwoord|lozinka|heslo|parola|passord|salasana|adgangskode|clave|contrasenya|palavra-passe|mdp|psk|pre-?shared key|shared secret|pwd|pw|pass|secret|token|key"
    r"|apikey|credentials?|creds?|basic auth|auth|login|pin|otp|(?:recovery|backup) code|code|community string|community|cookie|session id|session|licen[cs]e|seed|signature|sid)s?\b"
)
_SLASHED = r"(?i)\b(?:admin|administrator|root|user|guest|test|demo|[a-z][a-z0-9_.\-]{1,30})[ \t]+/[ \t]+[\"'`]?([^ \t\r\n\x00\"'`]{6,64})"
_PAIRED = r"(?i)\b(?:root|admin|administrator|sa|postgres|oracle|sys|system|sysadmin|guest|pi|ubuntu|superuser):([^\s:/@\x00\"'`]{6,64})"
"""`root:…`, as people write a login."""
_LOGIN = (
    r"(?i)\b(?:cred(?:ential)?s?|zugangsdaten|identifiants?)\b[^\n\x00:/]{0,40}[:=]?[ \t]++[^\s/:\x00]{2,40}[ \t]+/[ \t]+"
    r"[\"'`]?([^\s\x00\"'`/]{6,64})"
)
"""`creds: readonly / …`."""
_AS = (
    r"(?i)\b(?:used?|try|tried|using|enter(?:ed)?|typed?|with|put|set|gave|took|pasted)[ \t]+[\"'`]?([^\s\x00\"'`]{6,64})[\"'`]?[ \t]+(?:as|for)[ \t]+"
    r"(?:[a-z]{1,12}[ \t]+){0,3}(?:password|passwd|pw|pwd|passphrase|secret|token|pin|passwort|kennwort)\b"
)
"""`use … as the password`: the noun comes after."""
_IS_THE = (
    r"(?i)(?:^|[\s\"'`(])([^\s\x00\"'`()]{8,128})[\"'`]?[ \t]+(?:is|was)[ \t]+(?:the|my|our|your|his|her|their|its|an?)[ \t]+(?:[a-z]{1,14}[ \t]+){0,3}"
    r"(?:password|passwd|passphrase|token|secret|key|apikey|credential)\b"
)
"""`… is the access token`."""
_PRODUCTS = frozenset(
    b"1password auth0 oauth2 s3 k8s keycloak17 k3s ec2 sha1 sha256 md5 base64 pbkdf2 hs256 rs256 x509 pkcs12 log4j p12".split()
)
"""What a sentence about passwords names, and is none."""
_FOREIGN_NOUN = "(?:" + foreign(FOREIGN_WORDS) + ")"
_FOREIGN_WINDOW = 160
_LONGEST_FOREIGN = 40
"""Longer than that is no password that somebody chose, and the window may have cut it."""
_HIGH = bytes(range(0x80, 0x100))
_QUOTED = r"[ \t]*+(?:is|was|lautet|es|:|=|to)?+[ \t]*+[\"'`]([^\"'`\r\n\x00]{6,80})[\"'`]"
_NUMBER = r"(?i)[^\r\n\x00.;0-9]{0,40}?\b(?:is|was|:|=)?[ \t]*+[\"'`]?([0-9]{4,8})\b"
_WINDOW = 640
_MOST_WORDS = 8
_AROUND_WORD = b"\"'`()[]{}<>,;:!?*=."
_OTHER_NOUNS = frozenset(
    b"fingerprint fingerprints id ids name hash digest type checksum count version violates constraint server source store"
    b" rotation bucket length size policy expired expires invalid index trace span commit build revision sha request"
    b" requestid image pod container".split()
)
"""After one of these it is no longer the secret that is spoken of: "the key fingerprint is …"."""
_OTHER_NAMES = (
    b"trace",
    b"span",
    b"sha",
    b"digest",
    b"uuid",
    b"etag",
    b"request",
    b"version",
    b"image",
    b"pod",
    b"commit",
)
_ARROWS = frozenset((b"->", b"=>", b"=", b":", b"/", b"-", b"|", b"is:"))
_PASSWORD_NOUNS = (
    b"pass", b"pwd", b"pw", b"kenn", b"mot", b"contra", b"senha", b"wacht", b"lozinka", b"heslo", b"parola", b"passord", b"salas", b"adgang", b"clave", b"palavra", b"mdp", b"psk", b"pre", b"shared"
)  # fmt: skip
_QUOTES = (b"'", b'"', b"`")
_LOGIN_NOUNS = (b"cred", b"login", b"basic", b"auth")


class Sentences:
    """Finds secrets that a sentence speaks of."""

    def __init__(self, engine: Engine) -> None:
        self._nouns = compile_pattern(_NOUNS, engine)
        self._odd = compile_pattern(r"[0-9!#$%^&*+~?@|\"'`:]|[a-z][A-Z]", engine)
        self._slashed = compile_pattern(_SLASHED, engine)
        self._quoted = compile_pattern(_QUOTED, engine)
        self._number = compile_pattern(_NUMBER, engine)
        self._paired, self._login = compile_pattern(_PAIRED, engine), compile_pattern(_LOGIN, engine)
        self._is_the = compile_pattern(_IS_THE, engine)
        self._as, self._foreign = compile_pattern(_AS, engine), compile_pattern(_FOREIGN_NOUN, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        odd = -1
        for spans in self._nouns.spans(text):
            start, end = spans[1][0], spans[0][1]
            if odd < end and odd < len(text):
                further = self._odd.find(text, end)
                odd = further[0][0] if further is not None else len(text)
            if odd > end + _WINDOW and spans[1][1] - spans[1][0] != 4:  # "seed" alone needs no odd character
                continue
            if text[end : end + 1] not in _AFTER_NOUN or (start and text[start - 1] in b"/\"'"):
                continue
            noun = text[slice(*spans[1])].lower()
            if text[end] == 0x3A and not noun.startswith((b"recovery", b"backup")):
                continue  # `token: …` is an assignment
            if noun == b"key" and word_before(text, start) in names.NOT_SECRET_KEYS:
                continue
            if noun == b"token" and text[max(0, start - 12) : start].lower().endswith(b"public key "):
                continue  # of an assembly: a digest
            line_end = text.find(b"\n", end, end + _WINDOW)
            window = text[end : line_end if line_end >= 0 else end + _WINDOW]
            if start and text[start - 1] in b"_.-":  # `login_password V4ult…`: only the next word
                window = (
                    window[: len(window) - len(window.lstrip()) + len(window.split(None, 1)[0])]
                    if window.strip()
                    else b""
                )
            for begin, stop, kind in self._of(noun, window):
                yield Candidate(end + begin, end + stop, kind, PROSE)
        yield from self._by_form(text)
        yield from self._of_foreign(text)

    def _by_form(self, text: bytes) -> Iterator[Candidate]:
        """A user and a password side by side, and a word that is said to be one only afterwards."""
        for pattern, holds in (
            (self._slashed, shapes.is_strong_password),
            (self._paired, shapes.is_strong_password),
            (self._login, _is_second_of_login),
            (self._as, _is_chosen_or_odd),
            (self._is_the, _is_said_to_be_one),
        ):
            for spans in pattern.spans(text):
                start, end = spans[1]
                word = text[start:end].rstrip(b",.;:)")
                if holds(word):
                    yield Candidate(start, start + len(word), "password", PROSE)

    def _of_foreign(self, text: bytes) -> Iterator[Candidate]:
        """The word for a password in another script or with other letters, then the password, with no sign between."""
        covered = 0
        for spans in self._foreign.spans(text):
            at = spans[0][1]
            if at < covered:
                continue
            covered = at + _FOREIGN_WINDOW
            window = text[at:covered].partition(b"\n")[0]
            place = 0
            for word in window.split(None, _MOST_WORDS)[:_MOST_WORDS]:
                place = window.find(word, place)
                begin, place = place, place + len(word)
                core = word.strip(_AROUND_WORD + _HIGH)
                if core.translate(None, _HIGH) != core or MASK in word or len(core) > _LONGEST_FOREIGN:
                    continue
                if _is_chosen_or_odd(core) and any(char in b"0123456789!#$%^&*+~?@" for char in core):
                    start = at + begin + word.find(core)
                    tail = text[start + len(core) : at + place]
                    end = start + len(core) + len(tail) - len(tail.lstrip(b"!?*"))
                    yield Candidate(start, end, "password", PROSE)
                    break

    def _of(self, noun: bytes, window: bytes) -> list[tuple[int, int, str]]:
        if noun.startswith((b"pin", b"otp", b"code", b"passcode")):
            number = self._number.find(window)
            near = number is not None and number[0][0] == 0 and (noun != b"code" or number[1][0] <= 12)
            if near and number is not None:
                return [(*number[1], "pin")]
            if not noun.startswith(b"passcode"):
                return []
        password = noun.startswith(_PASSWORD_NOUNS)
        quoted = self._quoted.find(window) if password or noun.startswith(_QUOTED_NOUNS) else None
        if quoted is not None and quoted[0][0] == 0:
            content = window[slice(*quoted[1])]
            spoken = window[: quoted[1][0] - 1].strip(b" \t\"'`").lower() in _SAYS
            if noun == b"secret" and shapes.is_kubernetes_name(content):
                return []
            if (
                (_is_quoted_password(content) or (spoken and _is_chosen_word(content)))
                if password
                else shapes.is_password_like(content) or shapes.is_chosen(content)
            ):
                return [(*quoted[1], "password" if password else noun.decode("latin-1").split()[0])]
        if noun.startswith(b"seed"):
            phrase = _seed_phrase(window)
            if phrase is not None:
                return [phrase]
        if noun == b"secret" and any(
            shapes.is_kubernetes_name(word.strip(_AROUND_WORD)) for word in window.split(None, 1)[:1]
        ):
            return []
        if noun == b"pass" and window.lstrip(b" \t").startswith((b"is ", b"was ", b"ist ")):
            noun = b"password"
        return _secret_words(noun, window, password)


_SAYS = (b"is", b"was", b"lautet", b"to")
_ABOUT = frozenset(
    b"required invalid expired incorrect missing wrong empty weak short long blank correct changed disabled enabled hidden"
    b" optional rejected accepted protected encrypted hashed plaintext unset".split()
)
"""What a sentence says about a password: "the password is 'expired'"."""


def _is_chosen_or_odd(word: bytes) -> bool:
    if word.lower() in _PRODUCTS or shapes.is_kubernetes_name(word):
        return False
    return shapes.is_password_like(word) or shapes.is_chosen(word)


def _is_said_to_be_one(word: bytes) -> bool:
    return shapes.is_strong_password(word) or shapes.is_chosen(word) or _token_like(word, 16)


def _is_second_of_login(word: bytes) -> bool:
    """After "creds: user /": no plain word, no name of a host, a pod, a version."""
    return (
        not is_blank(word)
        and not shapes.is_identifier_of_triage(word)
        and any(char in b"0123456789!#$%^&*+~?@" for char in word)
        and not word.isdigit()
    )


def _is_chosen_word(content: bytes) -> bool:
    """One word, in quotes after "the password is"."""
    return content.isalnum() and len(content) >= 6 and content.lower() not in _ABOUT and not is_blank(content)


def _is_quoted_password(content: bytes) -> bool:
    if is_blank(content):
        return False
    words = content.split()
    if len(words) == 1:
        return not shapes.is_plain_words(content)
    return 3 <= len(words) <= 8 and all(word.isalnum() for word in words) and any(c in b"0123456789" for c in content)


def _seed_phrase(window: bytes) -> tuple[int, int, str] | None:
    """BIP-39: 12 to 24 lower-case words of 3 to 8 letters, after "seed phrase:"."""
    lead = window.find(b":") + 1 or window.find(b" is ") + 4
    words = window[lead:].split() if lead > 3 and lead < 24 else []
    count = next(
        (i for i, word in enumerate(words) if not (word.isalpha() and word.islower() and 3 <= len(word) <= 8)),
        len(words),
    )
    if count < 12:
        return None
    start = window.find(words[0], lead)
    end = start
    for word in words[: min(count, 24)]:
        end = window.find(word, end) + len(word)
    return start, end, "seed-phrase"


def _secret_words(noun: bytes, window: bytes, password: bool) -> list[tuple[int, int, str]]:
    """The first word after the noun that is no plain word, if it looks like what the noun says; and its fellows.

    "recovery codes: 4f9k-22xq, 8d7s-11mm": a list goes on after a comma, a slash, "or", "and", "got".
    """
    found: list[tuple[int, int, str]] = []
    at = 0
    direct = plain_so_far = True
    for count, word in enumerate(window.split(None, _MOST_WORDS + 6)[: _MOST_WORDS + 5]):
        at = window.find(word, at)
        begin, at = at, at + len(word)
        core = word.strip(_AROUND_WORD)
        if MASK in word:
            break
        if not core or word in _ARROWS:
            continue
        lower = core.lower()
        start = begin + word.find(core)
        tail = word[word.find(core) + len(core) :]
        if lower in _PRODUCTS:
            continue
        if lower in _OTHER_NOUNS or (tail[:1] in (b":", b"=") and any(part in lower for part in _OTHER_NAMES)):
            break
        if _is_pair(core):
            break
        least = 8 if direct or word[:1] in _QUOTES else 12
        secret = _secret_in(noun, core, tail, password, least if plain_so_far and count <= _MOST_WORDS else 0)
        if secret is None and password and direct and shapes.is_chosen(core, 1):
            secret = 0, len(core) + len(tail) - len(tail.lstrip(b"!?*")), "password"
        if secret is not None:
            found.append((start + secret[0], start + secret[1], secret[2]))
            if not (word.endswith(b",") or lower in _FELLOWS):
                direct = True
            continue
        if found and lower not in _FELLOWS:
            break
        direct = lower in _LEADS or tail[:1] in (b":", b"=")
        plain = (
            core.translate(None, _HIGH)
            .replace(b"-", b"")
            .replace(b"'", b"")
            .replace(b"/", b"")
            .replace(b"_", b"")
            .replace(b".", b"")
        )
        if not (plain.isalpha() or not plain) or word[-1:] in b".;" or (tail[:1] in _QUOTES and b":" in tail):
            # Past a sentence or an odd word only what is a password beyond doubt still counts.
            plain_so_far = False
    return found


def _is_pair(core: bytes) -> bool:
    """`kid=2026-02`, `traceId":"…`: a name and its value are read elsewhere."""
    if b'"' in core or b"'" in core.removesuffix(b"'s"):
        return True
    name, equals, value = core.partition(b"=")
    return (
        bool(equals and value.strip(b"=")) and 2 <= len(name) <= 16 and name.islower() and shapes.is_plain_words(name)
    )


def _secret_in(noun: bytes, core: bytes, tail: bytes, password: bool, least: int) -> tuple[int, int, str] | None:
    """Where in the word `core` the secret is; `least`: of so many characters at least, 0: only one beyond doubt."""
    if noun.startswith(_LOGIN_NOUNS):
        secret = core.rpartition(b":")[2] if core.count(b":") == 1 and b"//" not in core else core
        secret = secret.rpartition(b"/")[2]
        if shapes.is_strong_password(secret):
            return len(core) - len(secret), len(core), "password"
        return None
    if password:
        if shapes.is_password_like(core) if least and noun != b"pass" else shapes.is_strong_password(core):
            # A mark at the end may be the sentence's or the password's: the password's, if it has no full stop.
            return 0, len(core) + len(tail) - len(tail.lstrip(b"!?*")), "password"
        return None
    if not least:
        return None
    if noun.startswith((b"recovery", b"backup", b"community")):
        numbers = len(core) >= 8 and core.replace(b"-", b"").isdigit()
        return (0, len(core), "code") if numbers or shapes.is_password_like(core) else None
    if (
        noun.startswith(b"key")
        and b":" in core
        and b"://" not in core
        and shapes.is_plain_words(core.partition(b":")[0])
    ):
        return None  # the key of a thing in a cache: order:2026-11-23:17
    if _token_like(core, least) or (core.startswith(b"http") and _secret_url(core)):
        return 0, len(core), "token"
    return None


_FELLOWS = frozenset(b"or and got und oder y o et ou e then now new old one other second is was".split())
_LEADS = frozenset(b"is was are it's its lautet ist war est es era to".split())
_QUOTED_NOUNS = (b"secret", b"token", b"key", b"community", b"pin", b"apikey", b"api")
_AFTER_NOUN = (b" ", b"\t", b"*", b"`", b")", b"?", b"!", b",", b":")


def _token_like(word: bytes, least: int) -> bool:
    if len(word) < least or is_blank(word) or b"(" in word or b"://" in word:
        return False
    if word[:7].lower() in (b"sha256:", b"sha512-", b"sha512:") or word.startswith((b"/", b"arn:")):
        return False
    return shapes.looks_random(word, least) and not shapes.is_plain_words(word)


def _secret_url(url: bytes) -> bool:
    parts = url.partition(b"://")[2].replace(b":", b"/").replace(b"@", b"/").replace(b"?", b"/").split(b"/")
    return any(shapes.looks_random(part, 12) and not shapes.is_uuid(part) for part in parts)
