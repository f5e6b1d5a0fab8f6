"""Whether a claim says only what its items say: every number, time, identifier, name, quotation and command.

The question is closed, not open: a word that is neither plain English (vocabulary.txt) nor in a cited item is a name
that nobody supplied. So a host, a person or a token from anywhere else cannot pass, whatever it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from bot.triage import quantities
from bot.triage.hygiene import plain

ACRONYMS = frozenset({
    "API", "CDN", "CI", "CLI", "CPU", "DB", "DNS", "GB", "GC", "HTTP", "HTTPS", "I/O", "ID", "IO", "IP", "JSON",
    "JVM", "KB", "MB", "OOM", "OS", "P50", "QPS", "RAM", "RPC", "RPS", "SLA", "SLI", "SLO", "SQL", "SSL", "TCP",
    "TLS", "TTL", "UDP", "UI", "URL", "UTC", "VM",
})  # fmt: skip
"""Written in capitals, and of operations rather than of one company's."""
_EDGES = ".,;:!?()[]{}\"'`…‘’“”*"
_QUOTED = re.compile(r"`([^`]+)`|\"([^\"]+)\"|“([^”]+)”|«([^»]+)»")
_DASHES = str.maketrans({"‐": "-", "‑": "-", "−": "-", "–": " – ", "—": " — ", "’": "'", "‘": "'"})


_ENDINGS = (
    ("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"), ("ly", ""),
    ("ly", "le"), ("er", ""), ("er", "e"), ("ers", ""), ("ers", "e"), ("ally", ""), ("ily", "y"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Supplied:
    """One cited item: its text as it was shown, and whether it is a runbook."""

    text: str
    runbook: bool


class Ground:
    """The cited items of one claim, read once."""

    def __init__(self, items: Sequence[Supplied]) -> None:
        self.text = "\n".join(normal(item.text) for item in items)
        self.lower = self.text.lower()
        self.runbooks = "\n".join(_squeezed(item.text) for item in items if item.runbook)
        self.quantities = quantities.supplied(self.text)
        self.words = frozenset(re.findall(r"[^\W_]+(?:'[^\W\d_]+)?", self.lower))

    def holds(self, token: str) -> bool:
        """The token as a whole, in any case; a commit may be given by its first seven or more digits."""
        if token.lower() not in self.lower:
            return False
        wanted = re.escape(token.lower())
        if re.search(rf"(?<![^\W_]){wanted}(?![^\W_])", self.lower):
            return True
        is_commit = re.fullmatch(r"[0-9a-f]{7,40}", token.lower()) and re.search(r"\d", token)
        return bool(is_commit and re.search(rf"(?<![0-9a-z]){wanted}[0-9a-f]*(?![0-9a-z])", self.lower))

    def quotes(self, text: str) -> bool:
        """The text verbatim, spaces and case aside."""
        return _squeezed(text) in _squeezed(self.text)


def ungrounded(claim: str, ground: Ground) -> str | None:
    """What the claim names that no cited item contains, in words for the card; None when there is nothing."""
    text = normal(claim)
    for quoted in _QUOTED.findall(text):
        if not ground.quotes(next(part for part in quoted if part)):
            return "it quoted what no evidence says"
    if why := _foreign_number(text, ground):
        return why
    rest = _without_quantities(text)
    starts = {0} | {match.end() for match in re.finditer(r"[.!?:]\s+", text)}
    for match in re.finditer(r"\S+", rest):
        token = match[0].strip(_EDGES)
        if token and (why := _foreign_token(token, ground, first=match.start() in starts)):
            return why
    return None


def _foreign_number(text: str, ground: Ground) -> str | None:
    dates, clocks = quantities.finest(text)
    if not dates <= ground.quantities.dates or not clocks <= ground.quantities.clocks:
        return "it gave a time that no evidence contains"
    for number in quantities.claimed(text).numbers:
        if not quantities.stands_in(number, ground.quantities, ground.text):
            return "it gave a number that no evidence contains"
    return None


def _without_quantities(text: str) -> str:
    blank = list(text)
    for start, end in quantities.claimed(text).spans:
        blank[start:end] = " " * (end - start)
    return "".join(blank)


def _foreign_token(token: str, ground: Ground, *, first: bool) -> str | None:
    lower = token.lower()
    bare = lower.removesuffix("'s").removesuffix("'")
    if ground.holds(token) or ground.holds(bare) or token in ACRONYMS:
        return None
    if number := quantities.WORDS.get(bare):
        return None if _says(number, ground) else "it gave a number that no evidence contains"
    if bare in quantities.WORDS:
        return "it gave a number that no evidence contains"
    if re.fullmatch(r"[a-z]+(?:['-][a-z]+)*", bare) and (first or token[:1].islower()) and is_plain(bare):
        return None
    if not re.search(r"[^\W_]", token):
        return None  # a dash or a bracket
    return f"it named {_kind(token)} that no evidence contains"


def _says(number: int, ground: Ground) -> bool:
    return any(value == number and not kind for value, kind, _ in ground.quantities.numbers)


def _kind(token: str) -> str:
    if "://" in token or token.startswith("www."):
        return "an address"
    if re.fullmatch(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?::\d+)?", token) or re.fullmatch(
        r"[\d.]+|[\da-f:]+:[\da-f:]*", token
    ):
        return "a host"
    if re.search(r"\d|[_/:.@#=-]|[a-z][A-Z]", token):
        return "an identifier"
    return "a name"


def is_plain(word: str) -> bool:
    """Whether a lower-case word is of the vocabulary, as it is or by its stem."""
    known = vocabulary()
    return word in known or any(stem in known for stem in stems(word))


def stems(word: str) -> Iterable[str]:
    """Base forms that a regular English inflection may come from (crashes → crash, retried → retry, dropped → drop)."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            yield stem + instead
            if not instead and len(stem) > 3 and stem[-1] == stem[-2]:
                yield stem[:-1]
    for prefix in ("un", "re", "mis", "non-", "over", "pre", "de"):
        if word.startswith(prefix) and len(word) - len(prefix) >= 4 and word[len(prefix) :] in vocabulary():
            yield word[len(prefix) :]


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """The words of vocabulary.txt."""
    text = (resources.files("bot.triage") / "vocabulary.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


def normal(text: str) -> str:
    """The text in the form in which claims and items are compared: clean, one kind of dash and apostrophe."""
    return plain(text).translate(_DASHES)


def _squeezed(text: str) -> str:
    return " ".join(normal(text).lower().replace("`", "").split())
