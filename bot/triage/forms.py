"""Forms that no claim may have, whatever evidence says: markup, links, mentions, marks, look-alikes, orders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources

from bot.policy import read_policy
from bot.triage.grounding import is_plain
from bot.triage.hygiene import has_hidden

_TYPOGRAPHY = frozenset("–—‘’“”…×·°±≈≤≥→µμ§€£½¼¾‰")
_LINK = re.compile(r"[a-z][a-z0-9+.-]*://|\bwww\.|\bmailto:|\bjavascript:|\bdata:[a-z]+/|\]\s*\(|^\s*\[[^\]]+\]:", re.I)
_SLACK = re.compile(
    r"<[!@#]|<[^<>\s]*>|<[^<>]*\||&(?:lt|gt|amp|#\d+|#x[0-9a-f]+);|(?<![\w.])@[\w.-]|(?<![\w&])#[a-z]", re.I
)
_LOWER_MARK = re.compile(r"(?<![\w\-./])[se][1-9]\d{0,2}(?![\w\-/]|\.\w)")
_BRACKETED_MARK = re.compile(r"[(\[{]\s*[se]\s?\d{1,3}(?:\s*,\s*[se]?\s?\d{1,3})*\s*[)\]}]|\bposition\s+\d", re.I)
_MARKUP = re.compile(r"```|^\s*(?:[#>*+-]+|\d+[.)])\s|\*\*|__|~~|^\s*\||</?[a-z]+", re.I)
_SENTENCE_END = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bapprox)(?<!\bca)(?<!\bno)[.!?]\s+(?=[A-Z\"'`(])", re.I
)
_SHELL = re.compile(r"&&|\|\||\$\(|\$\{|>>|<<|\s\|\s|;\s*\w+\s+-|\s>\s*/|\bDROP\s+TABLE\b|\bDELETE\s+FROM\b")

_AGAIN = r"(?:again|once more|anew|everywhere|immediately|right away|as is)"
_ROLLOUT = re.compile(
    r"\b(?:re-?deploy(?:ing)?|re-?release|re-?apply(?:ing)?|re-?promote|re-?merge|re-?enable|re-?launch|re-?ship)\b"
    r"|\broll(?:ing)?[\s-]+(?:\S+\s+){0,4}?(?:out|forward)\b|\brollout\s+(?:the|of|to)\s+(?:all|every)"
    rf"|\b(?:deploy|apply|ship|release|push|promote|merge|launch|install|enable|activate|roll|run)\b[^.;]*\b{_AGAIN}\b"
    r"|\b(?:should|must|can|could|may|need to|needs to|have to|has to|ought to|safe to|want to|try to|to)\s+(?:be\s+)?"
    r"(?:deploy|apply|ship|release|promote|merge|launch|rolls?\s+out|rolled\s+out|push)(?:e?d)?\b"
    r"|\b(?:turn|switch)(?:ing)?\s+(?:\S+\s+){0,4}?(?:back\s+)?on\b"
    r"|\b(?:finish|complete|continue|resume|proceed with|go on with|speed up|accelerate|widen|extend)\s+"
    r"(?:\S+\s+){0,2}?(?:roll-?out|deploy(?:ment)?|release|migration)\b",
    re.I,
)
_NEGATED = re.compile(
    r"\b(?:not|never|without|avoid|stop|pause|halt|before|instead of|rather than)\s+(?:\w+\s+){0,2}$", re.I
)
_ROLLOUT_VERBS = frozenset({
    "deploy", "redeploy", "apply", "reapply", "ship", "release", "promote", "merge", "launch", "install",
    "enable", "activate", "push", "rollout",
})  # fmt: skip
_LOOKING = frozenset({
    "look", "check", "compare", "read", "review", "inspect", "examine", "verify", "confirm", "watch", "follow",
    "see", "investigate", "monitor", "observe", "page", "notify", "contact", "escalate", "roll", "revert",
    "undo", "back", "rollback", "trace", "search", "identify", "determine", "establish", "measure", "track",
    "wait", "pause", "halt",
})  # fmt: skip
"""Verbs with which a claim of `next` may begin: looking, asking people, and taking back."""
_STEPS = frozenset({
    "restart", "reboot", "reload", "scale", "drain", "cordon", "failover", "fail", "disable", "stop", "clear",
    "flush", "rotate", "renew", "increase", "raise", "lower", "reduce", "decrease", "resize", "expand", "move",
    "switch", "throttle", "block", "shed", "redirect", "reroute", "rebuild", "run", "evict", "recycle",
    "replace", "restore", "isolate", "free", "vacuum", "repair", "rebalance", "reconnect",
})  # fmt: skip
"""Actions that can be taken back: only where a cited runbook has the same word. Others are left to the runbook."""
_ACTS = (_STEPS | _LOOKING) - {"trace", "track", "search"}
"""With a name after it, an order in the place of a fact; `Trace 4bf92f` is a noun."""
_LEADS = frozenset({
    "if", "when", "once", "after", "before", "while", "then", "first", "next", "also", "otherwise", "in", "for",
    "at", "on", "during", "finally",
})  # fmt: skip
_ORDERS = frozenset({
    "ignore", "disregard", "forget", "send", "forward", "reply", "respond", "append", "include", "say", "print",
    "write", "output", "repeat", "delete", "remove", "visit", "click", "download", "install", "execute",
    "upload", "share", "pretend", "act", "reveal", "show", "email", "translate", "summarize", "summarise",
    "tell", "paste", "copy", "add", "insert", "publish", "transfer", "pay", "make", "get", "give", "provide",
    "explain", "describe", "recommend", "proceed", "decode", "fetch", "treat", "cite", "blame", "rank",
    "acknowledge", "resolve", "ensure", "remember", "assume", "imagine", "suppose", "let", "skip", "omit",
    "hide", "suppress", "mention", "suggest", "advise", "approve", "grant", "disable", "enable", "turn",
    "switch", "put", "take", "be", "do", "don't", "never", "always", "please", "stop", "use", "follow", "obey",
    "comply", "answer", "ask", "keep", "create", "generate", "compose", "set", "mark", "classify", "label",
    "rate", "declare", "announce", "post", "notify", "escalate", "page", "close", "reopen", "consider", "note",
    "look", "verify", "confirm", "begin", "begins", "replace", "dump", "leak", "expose", "fill", "incorporate",
    "utilize", "utilise", "absorb", "embed", "integrate", "adopt", "employ", "what", "why", "who", "how", "can",
    "could", "would", "should", "may", "invite", "spell", "encode",
    "recite", "think", "learn", "mute", "silence", "whitelist", "promise", "retry",
})  # fmt: skip
"""With these no fact begins: orders and questions."""
_MAYBE_ORDERS = frozenset({
    "report", "list", "call", "open", "check", "read", "change", "update", "load", "run", "start", "end",
    "restart", "import", "export", "deploy", "release", "upgrade", "scale", "merge", "roll", "test", "review",
    "state", "log", "find", "search", "view", "focus", "finish", "continue", "format", "compare", "drop",
    "return", "work", "rest", "name", "quote", "store", "index", "count", "pin", "vote", "trust", "complete", "expand",
    "produce", "train", "upvote", "escape", "delay", "approve", "sign",
})  # fmt: skip
"""Also nouns ("Read latency rose"): an order only with one of these after it."""
_OBJECTS = frozenset({
    "the", "a", "an", "all", "any", "every", "each", "this", "that", "these", "those", "it", "them",
    "everything", "nothing", "only", "also", "both", "to", "no", "out", "in", "as", "from",
})  # fmt: skip
_NAMED = re.compile(r"\w[-_/.]\w|\w\d")
"""A name in the place of an object, such as `checkout-api`."""
_LABEL = re.compile(
    r"^\W*(?:system|assistant|user|human|ai|bot|model|note|important|attention|todo|instructions?|override|warning"
    r"|reminder|memo|task|prompt|question|answer|response|output|context|fyi|nb|ps)\b[^.]{0,40}?[:,-]\s|^[A-Z]{4,}\b[!:.]",
    re.I,
)
_PATH_FIELD = re.compile(r"/[{:<]?\w+[}>]?(?=[/\s.,;:)]|\Z)")
"""`/accounts/{accountId}` is a path, not code."""
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"})
_ADVERBS = frozenset({"first", "now", "then", "next", "finally", "also", "instead", "so", "and", ""})
_MODAL = re.compile(r"\b(?:should|must|shall|ought)\b", re.I)
_CODE = re.compile(
    r"[{}\[\]\\|^~$]|(?<!\w)=|=(?!\w)|\(\)|==|->|=>|\w\(|\(\(|[?!]"
    r"|%[0-9A-Fa-f]{2}|\.\.|(?:(?<!\S)[-./_*=]+\s+){3}"
)
_COMMANDS = re.compile(
    r"\b(?:kubectl|helm|oc|systemctl|journalctl|psql|mysql|redis-cli|mongosh?|curl|wget|ssh|scp|rsync|sudo|terraform"
    r"|argocd|istioctl|iptables|docker-compose|chmod|chown|rm\s+-|dd\s+if|mkfs|nc\s+-|bash\s+-|sh\s+-|python\d?\s+-"
    r"|git\s+(?:revert|push|reset|checkout|pull|merge|clean)|docker\s+(?:run|exec|stop|kill|restart|rm)"
    r"|(?:drop|truncate)\s+(?:table|database)|delete\s+from)(?!\w)",
    re.I,
)
_DESTROYS = re.compile(
    r"\b(?:kubectl|oc)\s+(?:\S+\s+){0,4}?(?:delete|drain)\b|\bhelm\s+(?:uninstall|delete)\b|\bterraform\s+destroy\b"
    r"|\brm\s+-|\bmkfs|\bdd\s+if=|\b(?:drop|truncate)\s+(?:table|database)\b|\bdelete\s+from\b|\bgit\s+(?:push|reset)\b"
    r"|\bdocker\s+(?:rm|kill)\b|\bflush(?:all|db)\b|\breplicas[= ]+0\b|\bto (?:zero|0) replicas\b",
    re.IGNORECASE,
)
"""What cannot be taken back is never our advice, though a runbook may have it."""
_CLAUSE = frozenset({
    "and", "then", "if", "when", "so", "until", "once", "because", "which", "that", "as", "after", "before",
    "while",
})  # fmt: skip
"""Words that end a command within a sentence."""


def ill_formed(text: str) -> str | None:
    """Why this text may not stand in a post in any case; None when it may."""
    if has_hidden(text) or "\n" in text or "\t" in text:
        return "it contained control or invisible characters"
    if _SLACK.search(text):
        return "it contained a mention or other Slack markup"
    if _LINK.search(text):
        return "it contained a link"
    if _LOWER_MARK.search(text) or _BRACKETED_MARK.search(text):
        return "it wrote evidence marks into its text"
    if _MARKUP.search(text):
        return "it contained markup"
    return None


def deceptive(text: str, evidence: str) -> str | None:
    """Letters that look like others: none but those that a cited item has in the same word."""
    for character in text:
        if character.isascii() or character in _TYPOGRAPHY:
            continue
        if not unicodedata.category(character).startswith("L"):
            return "it contained unusual characters"
    for word in re.findall(r"[^\W\d_]+", text):
        if word.isascii():
            continue
        scripts = {unicodedata.name(letter, "?").split()[0] for letter in word}
        if len(scripts) > 1 or unicodedata.normalize("NFKC", word) != word or word.lower() not in evidence.lower():
            return "it contained look-alike characters"
    return None


def several_sentences(text: str) -> bool:
    return bool(_SENTENCE_END.search(text.strip()))


def advises_rollout(text: str, *, advice: bool) -> bool:
    """Whether it says to roll out, deploy or apply a change. In advice (`next`) a leading verb is enough."""
    for match in _ROLLOUT.finditer(text):
        if not _NEGATED.search(text[: match.start()]):
            return True
    return advice and any(verb in _ROLLOUT_VERBS for verb in verbs(text))


def is_sentence(text: str) -> bool:
    """A plain statement: no question, no shout, no code, no label in front, at least two words, one a plain one."""
    bare = _PATH_FIELD.sub("/x", text)
    if text.count("(") != text.count(")") or _CODE.search(bare) or _LABEL.search(text):
        return False
    tokens = [token.strip(".,;:()\"'") for token in text.split() if re.search(r"[^\W_]", token)]
    plain = [token for token in tokens if token.isalpha() and is_plain(token.lower())]
    if len(tokens) < 2 or not plain:
        return False
    starts_small = tokens[0].isalpha() and tokens[0].islower()
    return not starts_small or (len(tokens) > 4 and not is_plain(tokens[0]))


def orders(text: str, runbooks: str, *, advice: bool) -> str | None:
    """An order where a fact belongs, an action that no cited runbook has, a command that is not a runbook's own."""
    if not advice:
        return "it gave an order where a fact belongs" if _commanded(text) or _MODAL.search(text) else None
    found = verbs(text)
    if not found or not _may_advise(found[0], runbooks):
        return "it advised something that no cited runbook says"
    for verb in found[1:]:
        if (verb in _ORDERS or verb in _STEPS) and not _may_advise(verb, runbooks):
            return "it advised something that no cited runbook says"
    return None


def _may_advise(verb: str, runbooks: str) -> bool:
    return verb in _LOOKING or (verb in _STEPS and _has_word(runbooks, verb))


def _commanded(text: str) -> bool:
    """Whether a fact begins like an order: at its start, after a colon or a dash, or after a short lead and a comma."""
    pieces = [text, *re.split(r"[:(]\s*|\s[-–—]\s", text)[1:]]
    if (comma := text.find(",")) > 0 and len(text[:comma].split()) <= 4:
        pieces.append(text[comma + 1 :])
    for piece in pieces:
        words = [word.strip(".,;:()\"'`") for word in piece.split()]
        words = [word if word in _METHODS else word.lower() for word in words]
        while len(words) > 1 and words[0] in _ADVERBS:
            del words[0]
        if words and (words[0] in _ORDERS or (words[1:2] and _is_order(words[0], words[1]))):
            return True
    return False


def without_commands(text: str) -> str:
    """The text with each command (to the end of its clause) replaced by a zero."""
    while match := _COMMANDS.search(text):
        words = re.finditer(r"\S+", text[match.start() :])
        ends = [found.start() for at, found in enumerate(words) if at and found[0].lower() in _CLAUSE]
        end = match.start() + ends[0] if ends else len(text)
        text = f"{text[: match.start()]}0 {text[end:]}"
    return text


def _is_order(verb: str, then: str) -> bool:
    """`Scale the …`, `Scale checkout-api`, and not `Scale events rose`."""
    named = _NAMED.search(then) is not None
    return (verb in _MAYBE_ORDERS and then in _OBJECTS) or (verb in _ACTS and named)


def foreign_command(text: str, runbooks: str) -> str | None:
    """Commands come from a cited runbook, word for word. `runbooks` is in lower case with single spaces."""
    if _SHELL.search(text):
        return "it gave a command that no cited runbook contains"  # pipes and the like are left to the runbook itself
    if _DESTROYS.search(text):
        return "it gave a command that destroys something, which is left to the runbook itself"
    for match in _COMMANDS.finditer(text):
        words = text[match.start() :].lower().replace("`", "").rstrip(".!?)").split()
        end = next(
            (at for at, word in enumerate(words) if at and (word in _CLAUSE or words[at - 1][-1:] in ",;:")), None
        )
        command = " ".join(words[:end]).rstrip(",;:")
        if len(words[:end]) < 2 or not re.search(rf"(?<!\S){re.escape(command)}(?!\S)", runbooks):
            return "it gave a command that no cited runbook contains"
    return None


def verbs(text: str) -> list[str]:
    """Words in the place of an imperative: at the start, after a leading clause, after `and`, `then`, `or`, `to`."""
    words = re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)*|[,;:]", text.lower())
    found: list[str] = []
    if not words:
        return found
    start = 0
    if words[0] in _LEADS:
        comma = next((at for at, word in enumerate(words) if word in {",", ":"}), -1)
        start = comma + 1 if comma >= 0 else 1
    if start < len(words):
        found.append(words[start])
    openers = {"and", "then", "or", "to", ";", "please", "should", "must"}
    found += [after for before, after in zip(words[start:], words[start + 1 :], strict=False) if before in openers]
    return found


def policy_problem(text: str, phrases: Mapping[str, Sequence[str]]) -> str | None:
    """The reason of the first phrase that the text contains."""
    squeezed = " ".join(text.lower().replace("’", "'").split())
    apart = " ".join(re.sub(r"[-_/.]", " ", squeezed).split())
    for reason, pattern in _patterns(tuple((reason, tuple(lines)) for reason, lines in phrases.items())):
        if pattern.search(squeezed) or pattern.search(apart):
            return reason
    return None


@lru_cache(maxsize=8)
def _patterns(phrases: tuple[tuple[str, tuple[str, ...]], ...]) -> list[tuple[str, re.Pattern[str]]]:
    return [
        (reason, re.compile(r"(?<![\w/-])(?:" + "|".join(re.escape(line) for line in lines) + r")(?![\w/-])"))
        for reason, lines in phrases
        if lines
    ]


@lru_cache(maxsize=1)
def shipped_policy() -> Mapping[str, Sequence[str]]:
    """The phrases of policy.txt."""
    return read_policy((resources.files("bot.triage") / "policy.txt").read_text(encoding="utf-8"))


def _has_word(text: str, word: str) -> bool:
    return bool(re.search(rf"\b{re.escape(word)}\b", text, re.I))
