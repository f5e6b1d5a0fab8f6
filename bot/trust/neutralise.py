"""Makes outside text harmless for Slack: the one place that builds an element which carries text that is not ours.

What came from outside can hold mentions, broadcasts, masked links, date tokens, emoji floods, right-to-left tricks,
invisible characters and text without end. In the modern form it becomes a rich_text `text` element, which Slack never
parses; in mrkdwn it is escaped exactly once and sent `verbatim`; in plain_text `emoji` is off. The `markdown` block is
never used. Slack's rules: https://docs.slack.dev/messaging/formatting-message-text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

Element = dict[str, Any]

MAX_URL = 2000
"""Longest address that is linked; Slack's own limit on a button's address is 3,000."""

_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
"""Letters and marks that show nothing, though Unicode does not class them as format characters."""
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SPACES = frozenset({"Zs", "Zl", "Zp"})
_MAX_RUN = 3
"""Combining marks, or emoji, that may follow one another."""
_RUN_OF_SPACES = re.compile("[ \u00a0]{2,}")
_SHORTCODE = re.compile(r":(?![0-9]{1,2}:)(?=[a-z0-9_+'-]{1,60}:)", re.IGNORECASE)
"""An emoji's name between colons; the minutes of a time are none."""
_FORMATTING = str.maketrans({"*": "∗", "`": "ˋ", "~": "∼"})
_EDGE_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9_])_|_(?![A-Za-z0-9_])")
_URL_SAFE = "/%:@!$&'()*+,;=~.-_"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


def clean(text: str, limit: int, *, edges: bool = False) -> str:
    """One line of visible text of at most `limit` UTF-16 units (what Slack's clients count), cut with an ellipsis.

    Control, bidirectional, zero-width, tag, private-use and unassigned characters are removed, every kind of space
    becomes one space (a no-break space stays one), and runs of combining marks or of emoji are cut to three. With
    `edges`, a space at either end stays, for a piece of a longer line.
    """
    # No input can cost more than a few times what is kept of it.
    text = text[: 8 * limit + 64]
    if not (text.isascii() and text.isprintable()):
        text = _visible(text)
    text = _RUN_OF_SPACES.sub(" ", text)
    bare = text.strip(" \u00a0")
    kept = _cut(bare, limit)
    if not edges or not text:
        return kept
    if not bare:
        return " "
    return f"{' ' if text[0] == ' ' else ''}{kept}{' ' if text[-1] == ' ' and kept == bare else ''}"


def _visible(text: str) -> str:
    kept: list[str] = []
    run, run_kind = 0, ""
    for char in text:
        category = unicodedata.category(char)
        if char in "\t\n\r\v\f\x1c\x1d\x1e\x1f\x85" or category in _SPACES:
            kept.append(char if char == "\u00a0" else " ")
            run = 0
            continue
        if category in _DROPPED or char in _INVISIBLE or _is_variation_selector(char):
            continue
        kind = "mark" if category[0] == "M" else "emoji" if category in ("So", "Sk") else ""
        run = run + 1 if kind and kind == run_kind else 1
        run_kind = kind
        if not kind or run <= _MAX_RUN:
            kept.append(char)
    return "".join(kept)


def _is_variation_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def units(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text) + sum(char > "\uffff" for char in text)


def _cut(text: str, limit: int) -> str:
    if units(text) <= limit:
        return text
    kept, used = [], 1
    for char in text:
        used += 2 if char > "\uffff" else 1
        if used > limit:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def escape(text: str) -> str:
    """Slack's three control characters, `&` first, exactly once."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mrkdwn(text: str, limit: int, *, edges: bool = False) -> str:
    """Outside text for a mrkdwn object: nothing in it mentions, links, formats or becomes an emoji.

    Formatting characters become look-alikes (there is no escape for them), so that an odd `*` in a title cannot
    swallow our own words; a value that has to be copied belongs into `mrkdwn_code`.
    """
    visible = clean(text, limit, edges=edges).translate(_FORMATTING)
    visible = _EDGE_UNDERSCORE.sub("ˍ", visible)
    return escape(_SHORTCODE.sub("∶", visible))


def mrkdwn_code(text: str, limit: int) -> str:
    """Outside text as inline code: Slack formats nothing in it, and still reads `<…>`, so it is escaped as well."""
    visible = clean(text, limit).replace("`", "ˋ")
    return f"`{escape(visible)}`" if visible else ""


def mrkdwn_object(markup: str) -> Element:
    """A text object of parts that went through this module; `verbatim` stops Slack from linking bare names."""
    return {"type": "mrkdwn", "text": markup, "verbatim": True}


def plain_text(text: str, limit: int) -> Element:
    """A plain_text object; empty text becomes a dash, since Slack refuses an empty one."""
    return {"type": "plain_text", "text": clean(text, limit) or "–", "emoji": False}


def text_element(text: str, limit: int, **style: bool) -> Element:
    """A rich_text `text` element: data, never markup. `style`: bold, code, italic, strike. Its text may be empty."""
    kept = {name: True for name, wanted in style.items() if wanted}
    element: Element = {"type": "text", "text": clean(text, limit, edges=True)}
    return element | {"style": kept} if kept else element


class LinkPolicy:
    """Which addresses may be linked: hosts, their subdomains, or whole origins, and nothing else.

    `github.com` allows https on the default port, `*.pagerduty.com` each host below it, and
    `http://127.0.0.1:16686` exactly that scheme, host and port (an own server without TLS).
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        entries = [entry.strip().lower().rstrip("/") for entry in allowed]
        self._origins = frozenset(e for e in entries if "://" in e)
        self._hosts = frozenset(e for e in entries if "://" not in e and not e.startswith("*."))
        self._suffixes = tuple(e[1:] for e in entries if "://" not in e and e.startswith("*."))

    def safe(self, url: str) -> str | None:
        """The address in a form that cannot end a link early, or None when it may not be linked."""
        if not url or len(url) > MAX_URL or "\\" in url or any(c.isspace() or not c.isprintable() for c in url):
            return None
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or not _is_plain_host(host):
            return None
        if not self._allows(parts.scheme, host, port):
            return None
        safe = f"{parts.scheme}://{parts.netloc.lower()}{quote(parts.path, safe=_URL_SAFE)}"
        if parts.query:
            safe += "?" + quote(parts.query, safe=_URL_SAFE + "?")
        if parts.fragment:
            safe += "#" + quote(parts.fragment, safe=_URL_SAFE + "?")
        return safe if len(safe) <= MAX_URL else None

    def _allows(self, scheme: str, host: str, port: int | None) -> bool:
        shown = f"[{host}]" if ":" in host else host
        origin = f"{scheme}://{shown}" + (f":{port}" if port is not None else "")
        if origin in self._origins:
            return True
        if scheme != "https" or port not in (None, 443):
            return False
        return host in self._hosts or host.endswith(self._suffixes)


def _is_plain_host(host: str) -> bool:
    """ASCII labels or an IPv6 address: a look-alike in another script is no host that anybody allowed."""
    if ":" in host:
        return re.fullmatch(r"[0-9a-f:.]+", host) is not None
    return bool(host) and all(_LABEL.match(label) for label in host.split("."))


def link_element(url: str, label: str, policy: LinkPolicy) -> Element:
    """A rich_text link with a label of ours, or the label alone when the address may not be linked."""
    safe = policy.safe(url)
    return (
        text_element(label, 100)
        if safe is None
        else {
            "type": "link",
            "url": safe,
            "text": clean(label, 100) or "link",
        }
    )


def mrkdwn_link(url: str, label: str, policy: LinkPolicy) -> str:
    """The same in mrkdwn."""
    safe = policy.safe(url)
    shown = mrkdwn(label, 100).replace("|", "¦") or "link"
    # Escaping can make an address five times as long, and a text object holds 3,000 characters.
    return shown if safe is None or len(escape(safe)) > MAX_URL else f"<{escape(safe)}|{shown}>"
