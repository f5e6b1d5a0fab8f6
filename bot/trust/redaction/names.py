"""What the name of a field says about its value: `DB_PASSWORD` holds a secret, `token_type` does not.

A name is cut into its segments (`spring.datasource.password`, `awsSecretKey`, `X-Api-Key`) and read from the end, since
the last one says what the value is.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

NONE, WEAK, TOKEN, CHOSEN, PASSWORD = 0, 1, 2, 3, 4
"""How much the name proves: nothing; that a random value is a secret; that any value but plain words is; that words with a
number are, too; that any value is."""


class Reading(NamedTuple):
    """What a name proves, and the kind that goes into the placeholder."""

    strength: int
    kind: str


CORE = (
    r"(?:pass|pasw|pwd|pss?w|p/w|\bpw|_pw|secret|token|key|cred|auth|bearer|jwt|cookie|sess|webhook|dsn|conn[a-z]*[_-]?str"
    r"|signature|\bsig|_sig|psk|pat\b|_pat|otp|pin\b|cvv|cvc|seed|mnemonic|salt|\bsid\b|[_-]sid\b|csrf|xsrf|license|licence"
    r"|passwort|kennwort|senha|contrase|mot_de_passe|client_?id|app_?id|pepper|hmac|assertion|\bcode|community"
    r"|lozinka|wachtwoord|clave|login_?pw|sonar[._]?login|\bmdp\b|[._]mdp\b|motdepasse|palavra|passord|adgangskode|kodeord"
    r"|salasana|heslo|haslo|parola|sifre|geslo|jelszo|slaptazodis|\bsandi\b|routing_?key|bundle_[a-z0-9_]+__|bind_?pw)"
)
"""Any name that can prove something holds one of these (matched case-insensitively by the gate)."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PASSWORDS = _words(
    "psk password passwd passwrd passphrase passcode passwort kennwort pwd pswd psw pw senha contrasena contraseña "
    "wachtwoord lozinka clave userpassword passwords pass rootpass dbpass requirepass masterauth storepass "
    "keypass userpass adminpass mypass pgpass mysqlpass ldappass smtppass userpwd proxypwd "
    "psswd pswrd psword psswrd pssword paswd paswrd pasword passwor passord passwrod "
    "mdp motdepasse contrasenya palavrapasse adgangskode kodeord salasana heslo haslo parola sifre geslo jelszo "
    "slaptazodis sandi bindpw"
)
_TOKENS = _words(
    "secret secrets token apikey apikeys secretkey accesskey privatekey authkey accesstoken authtoken apitoken "
    "apisecret clientsecret credential credentials creds cred bearer jwt dsn webhook webhookurl pat passkey "
    "otp totp mfa cvv cvc mnemonic seedphrase xsrftoken csrftoken refreshtoken idtoken sessiontoken sessionkey "
    "encryptionkey signingkey masterkey licensekey licencekey connectionstring connstr connstring accountkey "
    "sharedaccesskey authorization bottoken pepper hmackey hmacsecret appkey appsecret consumersecret "
    "consumerkey writekey"
)
_WEAK = _words(
    "key keys auth cookie cookies session sessionid sid jsessionid phpsessid csrf xsrf signature sig salt seed "
    "pin hmac assertion authentication code ticket tokens  community clientid appid accountid "
    "webhooks hash"
)
_BEFORE_SECRET = _words(
    "cookie session client shared app application jwt signing encryption api consumer webhook oauth oauth2 auth bind "
    "login hmac proxy ldap smtp radius token csrf csrftoken internal"
)
"""X in "X secret" and "X credentials" after which even words are one: Kubernetes' Secrets, which have names, are not called so."""
_BEFORE_KEY = _words(
    "api secret access private auth signing encryption encrypt master license licence shared account service "
    "deploy service admin root app application session ssh gpg pgp aes rsa hmac jwt client consumer write read "
    "integration personal user developer dev storage subscription function host master ingest server"
)
"""X in "X key" that make it a secret by name."""
NOT_SECRET_KEYS = _words(
    "incident alarm event trace span document socket primary foreign sort partition routing cache row hash range composite natural surrogate unique idempotency "
    "dedup dedupe deduplication alert object lookup group index map dict translation i18n locale bucket shard "
    "message record metric label tag column field entity issue project jira sync public pub host"
)
"""X in "X key" that name data, not a secret (a public key is public)."""
_ENDINGS = _words(
    "1 2 3 4 5 6 7 8 9 0 part part1 part2 part3 half first second last prefix suffix head tail old new prod "
    "production dev development staging stage test testing qa value val string str b64 base64 encoded raw plain "
    "plaintext text env default current previous prev backup primary secondary live sandbox local hash md5 sha "
    "sha1 sha256 bytes hex confirm confirmation repeat again verify a b x y left right cleartext unencrypted "
    "data literal"
)
"""Last segments that say nothing about what the value is."""
_PARTS = frozenset(
    [
        "part",
        "part1",
        "part2",
        "part3",
        "half",
        "first",
        "second",
        "last",
        "prefix",
        "suffix",
        "head",
        "tail",
        "left",
        "right",
    ]
)
_BENIGN_ENDINGS = _words(
    "name names type types kind count counts length len policy policies expiry expires expire expiration "
    "expired ttl url uri path paths file files filename dir folder header headers field fields ref refs "
    "reference version versions status state reset required require enabled disabled enable valid validity "
    "invalid format alias arn mode rotation age attempts attempt retries max min limit limits used usage total "
    "seconds secs ms duration at by on endpoint host hostname provider providers manager store server source "
    "filter class size method methods algorithm algo alg strength change changed changes updated created issuer "
    "issued audience scope scopes lifetime timeout interval bucket buckets error errors message msg reason code "
    "prompt hint label title description desc icon color placeholder input output service services controller "
    "repository handler helper util utils validator generator parser factory builder encoder decoder request "
    "requests response responses event events list index position pos cardinality ratio rate percent budget "
    "cost price failure failures success failed check checks test tests job queue topic ring space spaces board "
    "press down up word words pair pairs value_count date time timestamp day days hour hours year id ids uid "
    "guid uuid fingerprint thumbprint vault namespace ns group role roles user username owner region account "
    "domain realm operator mount secretname generation generations hits misses hit miss latency bytes_total "
    "management review reviews refresh_interval rotation_days sync info metadata property properties attribute "
    "attributes schema table column columns identifier present missing exists found"
)
"""Last segments that name something about the secret, not the secret."""

_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SUFFIXED = re.compile(r"(?:password|passwd|passphrase|secret|token|apikey|passwort)[0-9]{0,3}\Z")


def segments(name: str) -> list[str]:
    """`awsSecretKey` and `AWS_SECRET_KEY` are both aws, secret, key."""
    parts: list[str] = []
    for word in re.split(r"[^A-Za-z0-9]+", name):
        if not word:
            continue
        if word.isupper() or word.islower():
            parts.append(word.lower())
        else:
            parts.extend(part.lower() for part in _CAMEL.findall(word))
    return parts


@functools.lru_cache(maxsize=8192)
def read(name: str) -> Reading:
    """What `name` (at most 200 characters are looked at) proves about the value beside it."""
    words = segments(name[-200:])
    part = False
    while words and (words[-1] in _ENDINGS or words[-1].isdigit()) and len(words) > 1:
        part = words.pop() in _PARTS or part
    if part:
        whole = _read(words)
        # Half a secret is as random as it likes to be: any value counts.
        return Reading(PASSWORD, whole.kind) if whole.strength else whole
    return _read(words)


def _read(words: list[str]) -> Reading:
    if not words:
        return Reading(NONE, "")
    last = words[-1]
    before = words[-2] if len(words) > 1 else ""
    if words[-3:] == ["public", "key", "token"]:
        return Reading(NONE, "")  # of an assembly: a digest of its public key
    if last == "login" and before.endswith("sonar"):
        return Reading(WEAK, "sonar-token")
    if words[0] == "bundle" and len(words) > 2:
        return Reading(WEAK, "bundle")  # BUNDLE_GEMS__EXAMPLE__COM=user:password
    if last in _PASSWORDS:
        return Reading(PASSWORD, "password")
    if last == "key" or last == "keys":
        if before == "routing":
            return Reading(WEAK, "routing-key")  # a pager's; a broker's are words
        if before in NOT_SECRET_KEYS:
            return Reading(NONE, "")
        if not before:
            return Reading(WEAK, "bare-key")
        return Reading(TOKEN if before in _BEFORE_KEY else WEAK, "api-key" if before in ("api", "app") else "key")
    if last == "id" and before in ("key", "client", "app", "session", "secret", "access", "token"):
        return Reading(WEAK, f"{before}-id")
    if last == "url" and before == "webhook":
        return Reading(TOKEN, "webhook")
    if last == "string" or last == "str":
        return Reading(TOKEN, "connection-string") if before.startswith("conn") else Reading(NONE, "")
    if last in ("secret", "credentials") and before in _BEFORE_SECRET:
        return Reading(CHOSEN, "secret")
    if last in _TOKENS:
        return Reading(TOKEN, "token" if "token" in last else "secret" if "secret" in last else last)
    if last in _WEAK:
        if last == "code" and before not in (
            "auth",
            "authorization",
            "access",
            "otp",
            "mfa",
            "verification",
            "recovery",
        ):
            return Reading(WEAK if not before else NONE, "code")
        return Reading(WEAK, last)
    if last in _BENIGN_ENDINGS:
        return Reading(NONE, "")
    glued = _SUFFIXED.search(last)
    if glued:
        core = glued.group().rstrip("0123456789")
        return Reading(PASSWORD, "password") if core.startswith("pass") else Reading(TOKEN, core)
    if last.endswith("key") and last[:-3] in _BEFORE_KEY:
        return Reading(TOKEN, "key")
    for word in reversed(words[:-1]):
        if word in _PASSWORDS:
            return Reading(TOKEN, "password")
        if word in _TOKENS:
            return Reading(WEAK, word)
    return Reading(NONE, "")
