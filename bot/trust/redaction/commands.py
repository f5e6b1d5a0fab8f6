"""Passwords on command lines and in the statements of databases, routers and mail servers."""

from __future__ import annotations

from collections.abc import Iterator

from bot.trust.redaction import shapes
from bot.trust.redaction.candidates import FORM, Candidate, is_blank
from bot.trust.redaction.scan import Engine, compile_pattern

_VALUE = r"[\"']?+([^\s\x00\"']{3,})"
# (words one of which stands in the text, pattern with one group: the password). These may look along the whole line
# (`[^\n\x00]*?`). Each is an automaton of its own: in one alternation a long look that leads nowhere would be taken
# again after every short match on the way.
_LONG: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"mysql", b"mariadb"), r"\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n\x00]*?[ \t]-p[\"']?([^\s\x00\"']{3,})"),
    ((b"redis-cli",), r"\bredis-cli\b[^\n\x00]*?[ \t]-a[ \t]++" + _VALUE),
    ((b"sshpass",), r"\bsshpass\b[^\n\x00]*?[ \t]-p[ \t]*+" + _VALUE),
    ((b"curl", b"http", b"wget", b"xh"), r"\b(?:curl|https?|wget|xh)(?:[ \t][^\n\x00]*?)?(?:[ \t]-[uUa]|--(?:proxy-)?user|--auth)[ \t=]*+[\"']?[^\s:\x00\"']{1,64}:([^\s\x00\"']{2,})"),
    ((b"login",), r"\b(?:docker|podman|helm|oras|crane|nerdctl|skopeo|buildah|az|oc)\b[^\n\x00]*?\blogin\b[^\n\x00]*?[ \t]-p[ \t]++" + _VALUE),
    ((b" -u", b" -U", b" --user"), r"[ \t](?:-u|-U|--user(?:name)?)[ \t=]++[^\s\x00]{1,128}[ \t](?:[^\n\x00]*?[ \t])?-[pPw][ \t]++" + _VALUE),
    ((b"ldap",), r"\bldap(?:search|modify|add|whoami|delete|passwd)\b[^\n\x00]*?[ \t]-w[ \t]++" + _VALUE),
    ((b"sqlcmd", b"bcp", b"osql", b"isql"), r"\b(?:sqlcmd|bcp|osql|isql)\b[^\n\x00]*?[ \t]-P[ \t]*+" + _VALUE),
    ((b" -U",), r"\b(?:smbclient|rpcclient|net|mount\.cifs|smbmap)\b[^\n\x00]*?[ \t]-U[ \t]++[^\s%\x00]{1,64}%([^\s\x00\"']{2,})"),
    ((b"sExec", b"sexec", b"SEXEC"), r"(?i)\bpsexec(?:64)?(?:\.exe)?\b[^\n\x00]*?[ \t]-p[ \t]++" + _VALUE),
    ((b"net use", b"NET USE"), r"(?i)\bnet[ \t]++use[ \t][^\n\x00]*?\\\\[^\s\x00]++[ \t]++([^\s/\x00*][^\s\x00]{2,63})[ \t]"),
    ((b"/user:", b"/USER:"), r"(?i)\bnet[ \t]++use[ \t][^\n\x00]*?[ \t]/user:[^\s\x00]++[ \t]++([^\s/\x00*][^\s\x00]{2,63})"),
    ((b"schtasks",), r"(?i)\bschtasks\b[^\n\x00]*?[ \t]/rp[ \t]++" + _VALUE),
    ((b"openssl enc",), r"\bopenssl[ \t]++enc\b[^\n\x00]*?[ \t]-k[ \t]++" + _VALUE),
    ((b"zip",), r"\b(?:un)?zip[ \t](?:[^\n\x00]*?[ \t])?-P[ \t]++" + _VALUE),
    ((b"7z",), r"\b7z[ar]?[ \t][^\n\x00]*?[ \t]-p([^\s\x00\"']{3,})"),
    ((b"snmp",), r"\bsnmp[a-z]{3,8}\b[^\n\x00]*?[ \t]-A[ \t]++" + _VALUE),
    ((b"snmp",), r"\bsnmp[a-z]{3,8}\b[^\n\x00]*?[ \t]-X[ \t]++" + _VALUE),
    ((b"snmp",), r"\bsnmp[a-z]{3,8}\b[^\n\x00]*?[ \t]-c[ \t]++" + _VALUE),
    ((b"ssh-keygen",), r"\bssh-keygen\b[^\n\x00]*?[ \t]-[NP][ \t]*+(?:\"([^\"\n\x00]{3,})\"|'([^'\n\x00]{3,})'|([^\s\x00\"']{3,}))"),
    ((b"ipmitool",), r"\bipmitool\b[^\n\x00]*?[ \t]-P[ \t]++" + _VALUE),
    ((b"lftp",), r"\blftp\b[^\n\x00]*?[ \t]-u[ \t]++[^\s,\x00]{1,64},([^\s\x00\"']{2,})"),
    ((b" -pw",), r"\b(?:plink|pscp|psftp|putty|kitty)\b[^\n\x00]*?[ \t]-pw[ \t]++" + _VALUE),
    ((b"/p:", b"/pass", b"/p "), r"(?i)\b(?:[xws]*freerdp|cmdkey|wmic|rdesktop|mstsc|winrs)[^\n\x00]*?[ \t]/p(?:ass(?:word)?)?:[\"']?([^\s\x00\"']{3,})"),
    ((b"openssl",), r"\bopenssl\b[^\n\x00]*?[ \t]-pass(?:in|out)?[ \t]++[\"']?pass:([^\s\x00\"']{2,})"),
    ((b"vault",), r"\bvault[ \t]++login[ \t]++(?:-[^\s\x00]++[ \t]++)*([A-Za-z0-9._\-]{8,})"),
)  # fmt: skip
_SHORT = "|".join(
    (
        r"\bauth[ \t]*+=[ \t]*+[(\[][ \t]*+[\"'][^\"'\n\x00]{0,64}[\"'][ \t]*+,[ \t]*+[\"']([^\"'\n\x00]{2,})",
        r"[ \t]--user[ \t=]++[^\s:\x00\"']{1,64}:([^\s\x00\"']{3,})",
        r"\b[A-Za-z]{0,3}[0-9]{1,6}[ \t]LOGIN[ \t][^\s\x00]{1,64}[ \t]\"?([^\s\x00\"]{3,})",
        r"ftp>[ \t]*+user[ \t]++[^\s\x00]{1,64}[ \t]++([^\s\x00]{3,})",
        r"(?i:\bidentified[ \t]++(?:with[ \t]++[a-z0-9_']{1,40}[ \t]++)?by[ \t]++(?:password[ \t]++)?[\"']([^\n\x00\"']{2,}))",
        r"(?i:\bidentified[ \t]++by[ \t]++(?:values[ \t]++)?([^\s\x00\"';,()\\]{3,}))",
        r"(?i:\bidentified[ \t]++with[ \t]++[a-z0-9_']{1,40}[ \t]++as[ \t]++'([^\n\x00']{2,})')",
        r"(?i:\bpassword\([\"']([^\n\x00\"']{2,})[\"'][ \t]*+\))",
        r"(?i:\bpassword[ \t]++'([^\n\x00']{2,})')",
        r"(?i:\b(?:requirepass|masterauth)[ \t]++)" + _VALUE,
        r"(?i:\bmachine[ \t]++[^\s\x00]{1,200}[ \t\n]++login[ \t]++[^\s\x00]{1,200}[ \t\n]++password[ \t]++([^\s\x00]{2,}))",
        r"(?i:\b(?:password|secret)[ \t]++[0-9][ \t]++([A-Za-z0-9$./]{8,}))",
        r"(?i:\bsnmp-server[ \t]++community[ \t]++([^\s\x00]{3,}))",
        r"(?i:\b(?:auth[ \t]++(?:plain|login|cram-md5)|authenticate[ \t]++plain)[ \t]++([A-Za-z0-9+/=]{8,}))",
        r"(?i:\bnet[ \t]++user[ \t]++[^\s\x00]{1,64}[ \t]++([^\s/\x00]{4,64})[ \t]++/add)",
        r"\brabbitmqctl[ \t]++(?:add_user|change_password)[ \t]++[^\s\x00]{1,64}[ \t]++" + _VALUE,
        r"\bhtpasswd[ \t]++-[A-Za-z]{0,8}b[A-Za-z]{0,8}[ \t]++[^\s\x00]{1,200}[ \t]++[^\s\x00]{1,64}[ \t]++" + _VALUE,
        r"\becho[ \t]++(?:-n[ \t]++)?[\"']?[^\s:\x00\"']{1,64}:([^\s\x00\"']{3,64})[\"']?[ \t]*+\|[ \t]*+(?:sudo[ \t]++)?chpasswd",
        r"\bmc[ \t]++(?:alias[ \t]++set|config[ \t]++host[ \t]++add)[ \t]++[^\s\x00]{1,64}[ \t]++[^\s\x00]{1,200}[ \t]++[^\s\x00]{1,200}[ \t]++"
        + _VALUE,
        r"\bwpa_passphrase[ \t]++[^\s\x00]{1,64}[ \t]++" + _VALUE,
        r"(?:\bthin:|\b(?:sqlplus|expdp|impdp|rman)[ \t]++(?:-[A-Za-z]{1,8}[ \t]++)?)[\"']?[A-Za-z0-9_$#]{1,64}/([^\s@/\x00\"']{3,})@",
        r"\becho[ \t]++(?:-n[ \t]++)?[\"']?([^\s\x00\"']{4,64})[\"']?[ \t]*+\|[ \t]*+(?:sudo[ \t]++-S|docker[ \t]++login|passwd|chpasswd)",
    )
)


class Commands:
    """Finds passwords that are arguments."""

    def __init__(self, engine: Engine) -> None:
        self._long = [(words, compile_pattern(pattern, engine)) for words, pattern in _LONG]
        self._short = compile_pattern(_SHORT, engine)

    def __call__(self, text: bytes) -> Iterator[Candidate]:
        for words, pattern in self._long:
            if any(word in text for word in words):
                for spans in pattern.spans(text):
                    start, end = next(span for span in spans[1:] if span[0] >= 0)
                    yield from self._checked(text, start, end, bare_flag=text[spans[0][0] : spans[0][0] + 1] in b" \t")
        for spans in self._short.spans(text):
            start, end = next(span for span in spans[1:] if span[0] >= 0)
            yield from self._checked(text, start, end, bare_flag=text[spans[0][0] : spans[0][0] + 1] in b" \t")

    def _checked(self, text: bytes, start: int, end: int, *, bare_flag: bool) -> Iterator[Candidate]:
        """`bare_flag`: no program is named, so that a port or a word is none."""
        value = text[start:end]
        if (
            value[:1] == b"-"
            or value.isdigit()
            or is_blank(value)
            or (bare_flag and shapes.is_plain_words(value) and not shapes.is_chosen(value))
        ):
            return
        yield Candidate(start, end, "password", FORM)
