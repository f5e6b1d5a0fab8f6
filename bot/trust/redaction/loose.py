"""Secrets that follow their name with no sign between, or on the next line: `gitter-secret-4f1c…`, `API TOKEN 4f1c…`."""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction import names, shapes
from bot.trust.redaction.candidates import FORM, KEYED, Candidate, is_blank
from bot.trust.redaction.scan import Engine, compile_pattern

_WORD = r"(?:secret|token|api[_ \-]?key|private|access|key)"
_LOOSE = r"(?i)(" + _WORD + r"(?:[_ .\-]?" + _WORD + r")*)[ \t]{0,4}[ \t:=.\-\n][ \t]*+[\"']?+([A-Za-z0-9+/=_.\-]{16,})"
_NEXT_LINE = (
    r"(?i)\b(?:password|passwort|secret|token|api[_ -]?key)\b[^\n\x00:]{0,80}:[ \t]*+\r?\n(?:[ \t]*+\r?\n)?"
    r"[ \t>|]*+([^\s\x00\"'`>|][^\s\x00\"'`]{7,127})[ \t]*+(?:\r?\n|\x00|$)"
)
"""`… the following password to proceed to installation:`, and it stands alone below."""
_SMTP = r"(?i)334[ \t]UGFzc3dvcmQ6[ \t]*+\r?\n(?:[^\n\x00A-Za-z0-9+/]{0,8})([A-Za-z0-9+/]{4,}={0,2})"
_TABLE = (
    r"(?i)\b(?:id|ip|user|username|account|login|acc)(?:[ \t]*+/[ \t]*+[a-z]{2,8})?[ \t]*+/[ \t]*+(?:pw|pwd|pass|passwd|password)\b"
    r"[ \t:=(\-]*+(?:is|are)?[ \t:=(]*+[^\s/,(){}:=\-][^\s/,(){}:]{0,63}[ \t]{0,4}[/,(\t ][ \t]*+([^\s,(){}]{4,64})"
)
"""`id/pw: master/…`."""
_DIRECTIVE = r"(?im)^[ \t]*+[a-z0-9_.\-]{0,24}(?:pw|passwd|password|passphrase|secret)[ \t]++([^\s\x00\"'`=:][^\s\x00\"'`]{4,127})[ \t]*+\r?$"
"""`bindpw …` alone on its line, as settings of servers are written."""
_ROUTER = (
    r"(?i)\b(?:username|enable|tacacs-server|radius-server|isakmp|neighbor|key-string)\b[^\n\x00]{0,80}?\b(?:secret|password|key)"
    r"[ \t]++(?:[0-9]{1,2}[ \t]++)?([^\s\x00\"'`]{5,128})"
)
"""`username admin privilege 15 secret …`, `tacacs-server key 7 …`."""
_VENDORS = (
    r"(?:adafruit|adobe|airtable|algolia|alibaba|asana|atlassian|bitbucket|bittrex|confluence|jira|cloudflare|codecov|coinbase|confluent|contentful|datadog|discord|drone|dropbox"
    r"|etsy|facebook|fastly|finicity|finnhub|flickr|freshbooks|gitter|heroku|hubspot|intercom|jfrog|artifactory|kraken|kucoin|launchdarkly|linkedin|looker|mailchimp|mailgun|mapbox"
    r"|mattermost|messagebird|netlify|newrelic|new_relic|nytimes|okta|opsgenie|pagerduty|paypal|plaid|postmark|rapidapi|rollbar|segment|sendbird|sendgrid|sentry|shodan|snyk|sonar|spotify|square"
    r"|squarespace|statuspage|stripe|sumo(?:logic)?|telegram|travis|trello|twilio|twitch|twitter|typeform|virustotal|yandex|zendesk|zoom|zulip|amplitude|bugsnag|buildkite|circleci|deepl|elastic"
    r"|figma|firebase|giphy|grafana|honeycomb|honeybadger|ipinfo|ipstack|iterable|klaviyo|linear|logdna|loggly|mixpanel|mongodb|neptune|notion|openai|anthropic|cohere|mistral|openweather|papertrail|pingdom"
    r"|pusher|quay|razorpay|scaleway|splunk|supabase|tailscale|teamcity|terraform|vonage|nexmo|vultr|linode|weatherapi|wandb|webflow|wistia|yelp)"
)
_BY_VENDOR = (
    r"(?i)\b[a-z0-9_.]{0,16}"
    + _VENDORS
    + r"[a-z_.\-]{0,16}[\"']?+[ \t]*+(?:=>|:{0,3}=|:|,|\|\|)[ \t]*+[\"'`]?([A-Za-z0-9]{20,128})\b"
)
"""A vendor's name and what is assigned to it. Only values of letters and digits that are not hex: commits and digests stay."""
_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.- "


class LooselyNamed:
    """Finds random values that a word before them names."""

    def __init__(self, engine: Engine) -> None:
        self._loose = compile_pattern(_LOOSE, engine)
        self._by_vendor = compile_pattern(_BY_VENDOR, engine)
        self._next_line = compile_pattern(_NEXT_LINE, engine)
        self._smtp = compile_pattern(_SMTP, engine)
        self._table = compile_pattern(_TABLE, engine)
        self._directive, self._router = compile_pattern(_DIRECTIVE, engine), compile_pattern(_ROUTER, engine)
        self._uuid = compile_pattern(r"(?:^|-)([0-9A-Za-z]{8}-(?:[0-9A-Za-z]{4}-){3}[0-9A-Za-z]{12})$", engine)
        self._run = compile_pattern(r"[A-Za-z0-9+/_]{16,}={0,2}$", engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        for spans in self._loose.spans(text):
            start, end = spans[1]
            if self._names_a_secret(text, start, end):
                value = text[slice(*spans[2])].rstrip(b".-")
                at = self._random(value)
                if at >= 0:
                    yield Candidate(spans[2][0] + at, spans[2][0] + len(value), "token", KEYED)
        for spans in self._by_vendor.spans(text):
            value = text[slice(*spans[1])]
            classes = value.translate(shapes.CLASSES)
            if not shapes.is_hex(value) and classes.count(b"d") >= 4 and shapes.transitions(classes) * 3 >= len(value):
                yield Candidate(*spans[1], "key", KEYED)
        for spans in self._next_line.spans(text):
            value = text[slice(*spans[1])]
            if shapes.looks_random(value, 12) or shapes.is_strong_password(value):
                yield Candidate(*spans[1], "password", FORM)
        for spans in self._smtp.spans(text):
            yield Candidate(*spans[1], "password", FORM)
        for spans in self._table.spans(text):
            value = text[slice(*spans[1])].rstrip(b".;")
            if shapes.is_password_like(value) and not is_blank(value):
                yield Candidate(spans[1][0], spans[1][0] + len(value), "password", FORM)

        for pattern in (self._directive, self._router):
            for spans in pattern.spans(text):
                value = text[slice(*spans[1])].rstrip(b",;.")
                # A router's line says itself that a secret follows; other lines may speak of one.
                plain = value.isalpha() if pattern is self._router else shapes.is_plain_words(value)
                if not (plain or shapes.is_kubernetes_name(value) or is_blank(value)):
                    yield Candidate(spans[1][0], spans[1][0] + len(value), "password", FORM)

    def _names_a_secret(self, text: bytes, start: int, end: int) -> bool:
        """Whether the words up to `end` say that what follows is a secret; `start`: where the first such word begins."""
        left = text[max(0, start - 40) : start]
        name = left[len(left.rstrip(_NAME_BYTES)) :] + text[start:end]
        words = names.segments(name.decode("latin-1"))
        if not words:
            return False
        last, before = words[-1], words[-2] if len(words) > 1 else ""
        if before in names.NOT_SECRET_KEYS or "public" in words[-3:]:
            return False
        if last in ("secret", "token", "private", "apikey"):
            return True
        # "key" and "access" name many things: only in capitals, glued to another word, or after a word that decides
        loud = text[start:end].isupper() or (start > 0 and text[start - 1 : start].isalnum())
        return loud or before in ("secret", "token", "private", "access", "api", "license")

    def _random(self, value: bytes) -> int:
        """From where on `value` is random through and through, -1: it is not. Words in it are not part of it."""
        uuid = self._uuid.find(value)
        if uuid is not None:
            return uuid[1][0]
        run = self._run.find(value)
        if run is None or run[0][0] > 24:
            return -1
        tail = value[run[0][0] :]
        letters = tail.translate(shapes.CLASSES)
        digits = letters.count(b"d")
        if shapes.is_hex(tail):
            return run[0][0] if len(tail) >= 20 and digits >= 3 and digits < len(tail) else -1
        mixed = digits >= 3 and shapes.looks_random(tail, 16) and (shapes.transitions(letters) >= 4 or len(tail) >= 20)
        return run[0][0] if mixed or (digits and shapes.looks_generated(tail)) else -1


GATE = (
    # (at least two digits are in any value that is found)
    _WORD
    + r"[ \t]{0,4}[ \t:=.\-\"'\n]{1,3}[a-z+/=_.\-]{0,64}[0-9][a-z0-9+/=_.\-]|(?:password|passwort|secret|token|key)\b[^\n\x00:]{0,80}:[ \t]*+\r?$"
    r"|^[ \t]*+[a-z0-9_.\-]{0,24}(?:pw|passwd|password|passphrase|secret)[ \t]++[^\s\x00]{5,128}[ \t]*+\r?$"
    r"|\b(?:username|enable|tacacs-server|radius-server|isakmp|neighbor|key-string)\b[^\n\x00]{0,80}\b(?:secret|password|key)[ \t]"
    r"|" + _VENDORS + r"[a-z_.\-]{0,16}[\"']?[ \t]*(?:[=:,]|\|\|)[=>:]{0,2}[ \t]*[\"'`]?[a-z]{0,20}[0-9][a-z0-9]{8}"
    r"|334 ugfzc3|/[ \t]*+(?:pw|pwd|pass|passwd|password)\b"
)
