"""Formats that vendors document for their keys: a fixed prefix, then so many characters of an alphabet.

The formats are facts from the vendors' documentation and from the public rule sets of gitleaks (MIT), kingfisher
(Apache-2.0) and trufflehog (formats only); the patterns are our own. A prefix is enough for the first guess of a kind;
lengths are lower bounds, since vendors lengthen their keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction.candidates import VENDOR, Candidate
from bot.trust.redaction.scan import Engine, compile_pattern

# (literals one of which stands in the key, kind, format). A literal is looked for first, in one automaton over the text;
# the format is tried only on the token around it.
FORMATS: tuple[tuple[str, str, str], ...] = (
    ("AKIA|ASIA|ABIA|ACCA", "aws-key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    ("A3T[A-Z0-9]", "aws-key", r"A3T[A-Z0-9][A-Z0-9]{16}"),
    ("ABSK", "aws-key", r"ABSK[A-Za-z0-9+/]{80,}={0,2}"),
    ("bedrock-api-key-", "aws-key", r"bedrock-api-key-[A-Za-z0-9+/=]{20,}"),
    ("AIza", "google-key", r"AIza[A-Za-z0-9_\-]{30,}"),
    ("GOCSPX-", "google-key", r"GOCSPX-[A-Za-z0-9_\-]{20,}"),
    (r"ya29\.", "google-key", r"ya29\.[A-Za-z0-9_\-.]{10,}"),
    ("1//0", "google-key", r"1//0[A-Za-z0-9_\-]{30,}"),
    (r"\.apps\.googleusercontent", "google-client", r"[0-9]{6,}-[a-z0-9_]{20,}\.apps\.googleusercontent\.com"),
    ("gh[pousr]_", "github-token", r"gh[pousr]_[A-Za-z0-9]{20,}"),
    ("github_pat_", "github-token", r"github_pat_[A-Za-z0-9_]{22,}"),
    ("gl[a-z]{2,10}-", "gitlab-token", r"gl[a-z]{2,10}-[A-Za-z0-9_\-.]{14,}"),
    ("GR1348941", "gitlab-token", r"GR1348941[A-Za-z0-9_\-]{16,}"),
    ("_gitlab_session=", "gitlab-token", r"_gitlab_session=[A-Za-z0-9]{20,}"),
    ("xox[a-z]", "slack-token", r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9\-]{8,}"),
    ("xapp-", "slack-token", r"xapp-[0-9]-[A-Za-z0-9\-]{10,}"),
    ("xwfp-", "slack-token", r"xwfp-[A-Za-z0-9\-]{10,}"),
    (r"hooks\.slack\.com/", "slack-webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_\-]{20,}"),
    (r"api/webhooks/[0-9]", "discord-webhook", r"api/webhooks/[0-9]{15,}(?:/[A-Za-z0-9_\-]{20,})?"),
    (r"outlook\.office\.com/webhook/", "teams-webhook", r"outlook\.office\.com/webhook/[A-Za-z0-9@/\-]{40,}"),
    (r"\.webhook\.office\.com/", "teams-webhook", r"(?:https?://)?[A-Za-z0-9\-]+\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/\-]{40,}"),
    (r"hooks\.zapier\.com/", "zapier-webhook", r"hooks\.zapier\.com/hooks/catch/[A-Za-z0-9/]{8,}"),
    ("[srp]k_(?:live|test|prod)_", "stripe-key", r"[srp]k_(?:live|test|prod)_[A-Za-z0-9]{10,}"),
    ("whsec_", "stripe-key", r"whsec_[A-Za-z0-9+/=]{16,}"),
    ("sk-ant-", "anthropic-key", r"sk-ant-[A-Za-z0-9_\-]{10,}"),
    (r"\bsk-", "openai-key", r"sk-[A-Za-z0-9_\-]{20,}"),
    (r"api_org_", "huggingface-token", r"api_org_[A-Za-z0-9]{30,}"),
    (r"\bapi_[A-Za-z0-9]{18}", "close-key", r"api_[A-Za-z0-9]{20,24}\.[A-Za-z0-9]{20,24}"),
    ("CCIPAT_", "circleci-token", r"CCIPAT_[A-Za-z0-9]{20,24}_[A-Fa-f0-9]{40}"),
    ("BBDC-", "bitbucket-token", r"BBDC-[A-Za-z0-9+/@_\-]{40,}"),
    (r"\bpk_[A-Za-z0-9]{6}_", "klaviyo-key", r"pk_(?:[A-Za-z0-9]{6}_)?[a-f0-9]{30,}"),
    ("3MVG9", "salesforce-key", r"3MVG9[A-Za-z0-9._+/=\-]{40,}"),
    ("rh-api-", "robinhood-key", r"rh-api-[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"),
    ("salad_cloud_", "salad-key", r"salad_cloud_[A-Za-z0-9]{1,}_[A-Za-z0-9]{16,}"),
    ("thog-secret-", "trufflehog-secret", r"thog-secret-[a-f0-9]{20,}"),
    (r"\bAPI-[A-Z0-9]{20}", "octopus-key", r"API-[A-Z0-9]{25,}"),
    (r"\bsm_[aps]at_", "settlemint-token", r"sm_[aps]at_[A-Za-z0-9]{14,}"),
    (r"\b(?:sc|ext|scauth|authress)_[a-z0-9]{5,}\.", "authress-key", r"(?:sc|ext|scauth|authress)_[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_\-][a-z0-9\-]{10,32}\.[a-z0-9+/_=\-]{30,}"),
    ("pscale_", "planetscale-token", r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9=._\-]{32,}"),
    (r"[^.A-Za-z0-9]ico-[A-Za-z0-9]{20}", "infracost-key", r"\bico-[A-Za-z0-9]{32,}"),
    (r"\bt1\.[A-Z0-9]", "yandex-token", r"t1\.[A-Z0-9a-z_\-]+=?=?\.[A-Z0-9a-z_\-]{80,}={0,2}"),
    ("AQVN", "yandex-key", r"AQVN[A-Za-z0-9_\-]{35,}"),
    (r"\bYC[A-Za-z0-9_\-]{30}", "yandex-key", r"YC[A-Za-z0-9_\-]{36,}"),
    ("[us]-s4t2", "intra42-secret", r"[us]-s4t2(?:ud|af)-[a-f0-9]{40,}"),
    ("npm_", "npm-token", r"npm_[A-Za-z0-9]{20,}"),
    ("pypi-", "pypi-token", r"pypi-[A-Za-z0-9_\-]{16,}"),
    (r"SG\.", "sendgrid-key", r"SG\.[A-Za-z0-9_\-=]{10,}\.[A-Za-z0-9_\-=.]{10,}"),
    ("[0-9]:A[A-Za-z0-9_-]", "telegram-token", r"[0-9]{5,16}:A[A-Za-z0-9_\-]{30,}"),
    ("[0-9]Q~", "azure-key", r"[A-Za-z0-9_~.\-]{3}[0-9]Q~[A-Za-z0-9_~.\-]{30,}"),
    ("AGE-SECRET-KEY-1", "age-key", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
    ("shp[a-z]{2,3}_", "shopify-token", r"shp[a-z]{2,3}_[A-Za-z0-9]{20,}"),
    ("do[opr]_v1_", "digitalocean-token", r"do[opr]_v1_[a-f0-9]{40,}"),
    (r"hv[sbr]\.", "vault-token", r"hv[sbr]\.[A-Za-z0-9_\-]{20,}"),
    (r"\.atlasv1\.", "terraform-token", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-=]{40,}"),
    ("A[TC]ATT3", "atlassian-token", r"A[TC]ATT3[A-Za-z0-9_\-=]{20,}"),
    ("ATBB", "atlassian-token", r"ATBB[A-Za-z0-9_=.\-]{16,}"),
    ("-us[0-9]", "mailchimp-key", r"[0-9a-f]{32}-us[0-9]{1,2}"),
    (r"\bkey-", "mailgun-key", r"key-[0-9a-zA-Z]{32}"),
    (r"\b(?:SK|AC)[0-9a-fA-F]", "twilio-key", r"(?:SK|AC)(?:[0-9a-f]{32}|[0-9A-F]{32})"),
    (r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}\b", "mailgun-key", r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}"),
    (r"\bLTAI", "alibaba-key", r"LTAI[A-Za-z0-9]{12,}"),
    (r"\bakab-", "akamai-token", r"akab-[a-z0-9]{16}-[a-z0-9]{16}"),
    (r"\bhf_", "huggingface-token", r"hf_[A-Za-z0-9]{30,}"),
    (r"SWMTKN-1-", "docker-swarm-token", r"SWMTKN-1-[a-z0-9]{40,}-[a-z0-9]{20,}"),
    (r"dckr_oat_", "docker-token", r"dckr_oat_[A-Za-z0-9_\-]{24,}"),
    (r"\bHRKU-", "heroku-key", r"HRKU-[A-Za-z0-9_\-]{30,}"),
    (r"(?:NRAL|NRRA|NRAA)\b", "newrelic-key", r"[a-z0-9]{32,40}NR[AR][LA]"),
    (r"\bS[ACNOUX][A-Z2-7]{20}", "nats-seed", r"S[ACNOUX][A-Z2-7]{56}"),
    ("TlRMTVNTUA", "ntlm", r"TlRMTVNTUA[A-Za-z0-9+/]{20,}={0,2}"),
    (r"JQQJ99", "azure-key", r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{20,}"),
    (r"AZDO[A-Za-z0-9]{4}\b", "azure-token", r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}"),
    (r"\bxkeysib-", "brevo-key", r"xkeysib-[a-f0-9]{40,}-[A-Za-z0-9]{12,}"),
    (r"_mmk\b", "maxmind-key", r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"),
    (r"\b1000\.[0-9a-f]{8}", "zoho-token", r"1000\.[0-9a-f]{30,32}\.[0-9a-f]{30,32}"),
    (r"\b00D[A-Za-z0-9]{12}", "salesforce-token", r"00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{50,}"),
    (r"\b[sb]\.(?:CAES|AAAA)", "vault-token", r"[sb]\.(?:CAES|AAAA)[A-Za-z0-9_\-]{40,}"),
    (r"\b[MNO][A-Za-z0-9]{23,27}\.", "discord-token", r"[MNO][A-Za-z0-9]{23,27}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,}"),
    (r"\b(?:pub|sub)-c-", "pubnub-key", r"(?:pub|sub)-c-[0-9a-z]{8}-(?:[0-9a-z]{4}-){3}[0-9a-z]{12}"),
    (r"\b(?:sdk|api|mob)-[0-9a-z]{8}-", "launchdarkly-key", r"(?:sdk|api|mob)-[0-9a-z]{8}-(?:[0-9a-z]{4}-){3}[0-9a-z]{12}"),
    (r"\bVF\.(?:DM|WS)\.", "voiceflow-key", r"VF\.(?:DM|WS)\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{16}"),
    (r"tkn\.v1_", "teamwork-token", r"tkn\.v1_[A-Za-z0-9]{50,}={0,2}"),
    (r"\bBBFF-", "ubidots-token", r"BBFF-[A-Za-z0-9]{24,}"),
    (r"\bA{21}", "x-token", r"A{21}[A-Za-z0-9%]{60,}"),
    (r"eyJrIjoi", "grafana-token", r"eyJrIjoi[A-Za-z0-9+/]{40,}={0,2}"),
    (r"[./]tines\.com/webhook/", "tines-webhook", r"tines\.com/webhook/[0-9a-f]{20,}/[0-9a-f]{20,}"),
    (r"dnkey-", "defined-key", r"dnkey-[A-Z2-7]{26}-[A-Z2-7]{40,}"),
    ("sq0[a-z]{3}-", "square-token", r"sq0[a-z]{3}-[A-Za-z0-9_\-]{20,}"),
    ("EAAA", "square-token", r"EAAA[A-Za-z0-9_\-+=]{50,}"),
    ("EAA[A-Z]", "facebook-token", r"EAA[A-Z][A-Za-z0-9]{40,}"),
    (r"[0-9](?:\||%7[Cc])[A-Za-z0-9_\-]", "facebook-token", r"[0-9]{13,17}(?:\||%7[Cc])[A-Za-z0-9_\-]{20,}"),
    (r"access_token\$", "paypal-token", r"access_token\$(?:production|sandbox)\$[a-z0-9]{10,}\$[a-f0-9]{20,}"),
    ("access-(?:sandbox|development|production)-", "plaid-token", r"access-(?:sandbox|development|production)-[0-9a-f\-]{36}"),
    ("AKC[a-zA-Z0-9]", "artifactory-token", r"AKC[a-zA-Z0-9]{20,}"),
    ("cmVmd", "artifactory-token", r"cmVmd[A-Za-z0-9]{40,}"),
    ("glsa_", "grafana-token", r"glsa_[A-Za-z0-9]{20,}(?:_[A-Fa-f0-9]{8})?"),
    ("glc_", "grafana-token", r"glc_[A-Za-z0-9+/=]{30,}"),
    ("sntry[su]_", "sentry-token", r"sntry[su]_[A-Za-z0-9+/=_\-]{20,}"),
    ("NR[A-Z]{2}-", "newrelic-key", r"NR[A-Z]{2}-[A-Za-z0-9\-]{10,}"),
    (r"\b[ps]at\.", "harness-token", r"[ps]at\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9]{16,}\.[A-Za-z0-9]{10,}"),
    ("fo1_|fm[12][a-z]?_", "flyio-token", r"(?:fo1|fm[12][a-z]?)_[A-Za-z0-9+/=_\-]{30,}"),
    ("sha256~", "openshift-token", r"sha256~[A-Za-z0-9_\-]{30,}"),
    (r"v1\.0-", "cloudflare-key", r"v1\.0-[A-Za-z0-9._\-]{60,}"),
    (r"\bsl\.", "dropbox-token", r"sl\.[A-Za-z0-9_\-=.]{60,}"),
    ("AAAAAAAAAA", "dropbox-token", r"[a-z0-9]{11}AAAAAAAAAA[a-z0-9\-_=]{40,}"),
    (r"\bA3-", "onepassword-key", r"A3-[A-Z0-9]{6}-[A-Z0-9]{6,}(?:-[A-Z0-9]{5}){2,}"),
    ("ops_eyJ", "onepassword-key", r"ops_eyJ[A-Za-z0-9+/=]{40,}"),
    ("fio-u-", "frameio-token", r"fio-u-[A-Za-z0-9_\-=]{30,}"),
    ("s-s4t2", "intra42-secret", r"s-s4t2(?:ud|af)-[a-f0-9]{40,}"),
    (
        # A dozen more vendors; the kind is not worth a name of its own.
        r"dckr_pat_|PMAT-|tgp_v1_|CLOJARS_|flb_live_|dapi[a-f0-9]|dp\.[a-z]{2,5}\.|\bpul-|lin_(?:api|oauth)_|ntn_|shippo_[lt]|EZ[AT]K|rdme_|tskey-|sgp_|tfp_|ph[xc]_"
        r"|gsk_|xai-|\br8_|nvapi-|pp[l]?x-|pplx-|pnu_|duffel_[tl]|FLW(?:PUB|SEC)|\blive_|\btest_|fig[dm]a?_|CFPAT[-_]|cfut_|vercel_|vcp_|\brpa_"
        r"|aio_|apify_api_|\bpat[A-Za-z0-9]{14}\.|pat-[a-z]{2}[0-9]-|\boy2|sbp_|\bre_|\bfc-|tvly-|lsv2_|pcsk_|jina_|dt0[a-z][0-9]{2}\."
        r"|PMAK-|rootly_|ptr_|thog-key-|cb_|\bcio|oa2-",
        "key",
        r"(?:dckr_pat_|PMAT-|tgp_v1_|CLOJARS_|flb_live_|dapi[a-f0-9]|dp\.[a-z]{2,5}\.|pul-|lin_(?:api|oauth)_|ntn_|shippo_(?:live|test)_|EZ[AT]K|rdme_|tskey-[a-z]{2,12}-|sgp_|tfp_|ph[xc]_"
        r"|gsk_|xai-|r8_|nvapi-|ppl?x-|pnu_|duffel_(?:live|test)_|FLW(?:PUB|SEC)K|live_|test_|fig[dm]a?_|CFPAT[-_]|cfut_|vercel_|vcp_|rpa_"
        r"|aio_|apify_api_|pat[A-Za-z0-9]{14}\.|pat-[a-z]{2}[0-9]-|oy2|sbp_|re_|fc-|tvly-|lsv2_|pcsk_|jina_|dt0[a-z][0-9]{2}\."
        r"|PMAK-|rootly_|ptr_|thog-key-|cb_|cio|oa2-)[A-Za-z0-9_\-=+/.~]{16,}",
    ),
    # <prefix>_<long mixed tail> and <prefix>-<…>: the shape that most vendors have agreed on since 2021
    (r"[a-z0-9]_[A-Za-z0-9]{24}", "vendor-key", r"[a-z]{2,16}(?:_[a-z0-9]{1,16}){0,3}_[A-Za-z0-9]{24,}"),
)  # fmt: skip
LITERALS = "|".join(literal for literal, _, _ in FORMATS)

_TOKEN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=+/.~:|%$@"
_REACH = 120
_LONGEST = 4096


class VendorFormats:
    """Finds keys by their vendors' formats."""

    def __init__(self, engine: Engine) -> None:
        self._literals = compile_pattern("|".join(f"({literal})" for literal, _, _ in FORMATS), engine)
        self._formats = [(kind, compile_pattern(pattern, engine)) for _, kind, pattern in FORMATS]
        self._aws_secret = compile_pattern(r"[A-Za-z0-9/+]{40,}", engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        done = 0
        tried: dict[int, int] = {}
        for spans in self._literals.spans(text):
            at = spans[0][0]
            if at < done:
                continue
            index = next(i for i in range(len(FORMATS)) if spans[i + 1][0] >= 0)
            if at < tried.get(index, 0):
                continue
            left, right = text[max(0, at - _REACH) : at], text[at : at + _LONGEST]
            begin = at - (len(left) - len(left.rstrip(_TOKEN_BYTES)))
            token = text[begin : at + len(right) - len(right.lstrip(_TOKEN_BYTES))]
            kind, pattern = self._formats[index]
            inside = pattern.find(token)
            if inside is None:
                tried[index] = begin + len(token)  # no other place of this token fits either
                continue
            start = begin + inside[0][0]
            if start and text[start - 1 : start].isalnum() and kind not in _GLUED:
                continue
            value = token[slice(*inside[0])]
            if len(right) == _LONGEST and begin + len(token) == start + len(value) == at + _LONGEST:
                value += _run_on(text, at + _LONGEST)  # all of a longer run, or the next look would find the rest
            value = value.rstrip(b".-")
            if kind in ("vendor-key", "key") and not _mixed(value):
                continue
            done = start + len(value)
            yield Candidate(start, done, kind, VENDOR)
            if kind == "aws-key":
                yield from self._beside_aws_key(text, done)

    def _beside_aws_key(self, text: bytes, at: int) -> Iterator[Candidate]:
        """The 40 characters of the secret, which have no prefix, follow the key id closely."""
        near = text[at : at + 160].partition(b"\x00")[0]
        for spans in self._aws_secret.spans(near):
            start, end = spans[0]
            if end - start == 40 and not near[start:end].isalpha() and near[start:end].translate(None, _HEX):
                yield Candidate(at + start, at + end, "aws-secret", VENDOR)


_GLUED = frozenset(("mailchimp-key", "telegram-token"))
"""Kinds that may follow a letter or digit: `/bot<token>`."""
_HEX = b"0123456789abcdefABCDEF"


def _run_on(text: bytes, at: int) -> bytes:
    """The token bytes that go on at `at`."""
    end = at
    while chunk := text[end : end + _LONGEST]:
        kept = len(chunk) - len(chunk.lstrip(_TOKEN_BYTES))
        end += kept
        if kept < len(chunk):
            break
    return text[at:end]


def _mixed(value: bytes) -> bool:
    return sum(48 <= char <= 57 for char in value) >= 2
