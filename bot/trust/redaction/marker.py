"""Does a text sound like orders to a machine? Advice for people; nothing depends on it.

What protects is structure (the model has no tools, its claims must be grounded); the marker lets a card say "this alert
contains text that reads like instructions". So it is tuned to keep quiet: operations texts are full of orders to people
("delete the pod", "ignore the previous page"), and a mark on those would soon be ignored.
"""

from __future__ import annotations

import bisect
import codecs
from collections.abc import Sequence

from bot.trust.redaction.keyed import foreign
from bot.trust.redaction.scan import INVISIBLE, Engine, compile_pattern
from bot.trust.redaction.views import one_byte_per_char

_W = r"[^a-z0-9\x00]{1,4}"
_UPTO3 = r"(?:[a-z']{1,14}" + _W + r"){0,3}?"
_MACHINE = r"(?:ai|a\.i\.|llm|gpt[-0-9.a-z]*|chatgpt|language model|assistant|chat ?bot|bot|model|agent|summari[sz]er|triage bot|copilot)"
_TEXTS = r"(?:instructions?|prompts?|directives?|guidelines|guardrails|system message|programming|training)"
_ANSWER = (
    r"(?:summary|summaries|answer|reply|replies|response|output|first sentence|solution|elucidation|report|card|post)"
)

_REASONS: dict[str, tuple[str, ...]] = {
    "asks to set instructions aside": (
        r"\b(?:ignore|disregard|forget|override|overrule|bypass|discard|do not follow|don't follow|stop following)"
        + _W + r"(?:all|any|every|your|the|these|those|previous|prior|above|earlier|preceding|other|original)" + _W + _UPTO3 + _TEXTS,
        r"\b(?:ignore|disregard|forget|override)" + _W + r"(?:all|any|your)?" + _W + r"?(?:previous|prior|your)" + _W + r"(?:rules|orders|policies|policy|constraints|restrictions)",
        r"\b(?:ignore|forget|disregard)" + _W + r"(?:everything|all of the above|the user|anything)\b",
        r"\boverrides" + _W + r"all" + _W + r"(?:others?|other rules|instructions)",
        r"\bignoriere?n?" + _W + r"(?:sie" + _W + r")?" + _UPTO3 + r"(?:anweisung|instruktion|regeln)",
        r"\bvergiss" + _W + r"(?:alles|alle)", r"\bsystem-?" + _W + r"?anweisung", r"\bkeine regeln\b",
        r"\b(?:ignora|ignore|ignorez|olvida|oubliez?|dimentica|esque.a)" + _W + r"(?:todas?|toutes?|tutte|tous|tutti|as|las|les|le)" + _W + _UPTO3 + r"(?:instruc|istruz|consignes|instruktion)",
    ),
    "gives the machine another role": (
        r"\b(?:rules|restrictions|guidelines) have changed\b", r"\bexempt from the usual\b", r"\bals assistent\b", r"\bcome assistente\b", r"\ben tant qu'assistant\b",
        r"\byou are now" + _W + r"(?:dan\b|in " + r"[a-z]* ?mode|an? (?:ai|unrestricted|uncensored|evil|different|new)|free|jailbroken|no longer|the (?:system|admin))",
        r"\b(?:pretend|imagine|act|behave|roleplay|role-play)" + _W + r"(?:that" + _W + r")?(?:you(?:'re| are)|to be|as if you|as|like)" + _W + r"(?:an?" + _W + r")?(?:" + _MACHINE + r"|dan|unrestricted|uncensored|hacker|root|administrator)\b",
        r"\bdeveloper mode\b", r"\bmodo desarrollador\b", r"\bno (?:content )?(?:restrictions|rules|filters?|policy|policies|guidelines)\b",
        r"\bwithout (?:any )?(?:filters?|restrictions|limitations|censorship|safety)\b", r"\bsafety protocols? (?:are )?(?:disabled|off)", r"\bsin (?:restricciones|filtro)",
        r"\bunrestricted (?:response|mode|access)\b",
    ),
    "asks for the machine's own instructions": (
        r"\b(?:print|reveal|show|repeat|output|tell|display|leak|share|give|paste|recite|dump|see|write|translate|summari[sz]e|describe|encode|include|provide)\b"
        r"[^\n\x00.]{0,60}?\b(?:system|hidden|initial|original|starting|developer|internal|secret|your|exact|verbatim)" + _W + r"(?:system" + _W + r")?" + _TEXTS,
        r"\b(?:instructions|rules|prompt)" + _W + r"(?:that" + _W + r")?you" + _W + r"(?:were|have been|are)" + _W + r"(?:given|told|following)",
        r"\bwhat (?:was|is) (?:written )?above this conversation", r"\brepeat the (?:words|text) above\b", r"\bredaction off\b",
        r"\b(?:decode|print|reveal|show) the (?:redacted|placeholders?|full token|hidden)", r"\bistruzioni di sistema\b", r"\bprint(?:ing)? the full\b", r"\bhidden prompt\b",
    ),
    "speaks to a machine": (
        r"\b(?:notes?|message|instructions?|attention|memo|reminder|hint)" + _W + r"(?:to|for)" + _W + r"(?:the|any|all|every)?" + _W + r"?" + _MACHINE + r"\b",
        r"\b(?:ai|llm|language model|assistant|bot|model)" + _W + r"(?:assistant" + _W + r")?(?:that|who|which)?" + _W + r"?(?:reads?|reading|processing|processes|summari[sz]ing|seeing|sees)\b",
        r"(?:^|[\n\"'=(:#/>\-][ \t]*)(?:dear |hey |hi |hello )?(?:ai|assistant|chatgpt|gpt-?[0-9o.]*|claude|copilot|bot)[,:!\-][ \t]*(?:please|you|ignore|post|say|show|print|do|don't|include|reveal|mention|recommend|suggest|mark|rank|close|set|send|fetch|list|output|respond|reply|write|tell|acknowledge|resolve|the)\b",
        r"\b(?:important|attention|note|message) for (?:automated|automatic|any|all) (?:triage|systems?|tools|readers|analysis|ai)\b",
        r"\b(?:any|all|every|the) ai (?:system|agent|assistant|tool)", r"\bai agents?\b[^\n\x00.]{0,40}?\b(?:should|must|first)\b", r"\bsystemhinweis\b",
        r"\bdecode and follow\b", r"\b(?:rot13|base64)\b[^\n\x00.]{0,40}?\b(?:execute|follow|obey|do what)\b", r"\(assistant\)",
        r"\bto you,? (?:gpt|ai|assistant|llm|claude)",
        r"\bi" + _W + r"authori[sz]e" + _W + r"you" + _W + r"to\b",
    ),
    "imitates a turn of a conversation": (
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext)\|>", r"\[/?inst\]", r"<</?sys>>",
        r"[\"']?role[\"']?[ \t]*[:=][ \t]*[\"']?(?:system|assistant)[\"']?", r"-role" + _W + r"system\b",
        r"(?:^|[\n\"'=(>\-#!][ \t]*)(?:system|assistant|human)(?: note| override| message| prompt| instruction)?:[ \t]*(?:you|please|ignore|post|print|include|say|do not|don't|before|reveal|mention|recommend|suggest|mark|rank|close|resolve|set|send|append|fetch|list|output|respond|reply|thanks|acknowledge|show|encode|also|blame|focus|add|report that|ignore)\b",
        r"\bend of (?:evidence|data|context|input|document|prompt|instructions|user)\b", r"\bnew (?:task|instructions?|objective)[ \t]*:",
        r"</(?:data|evidence|context|document|untrusted|input)>[ \t\r\n]*(?:<\||system|new |now |ignore|\[inst)",
        r"\bhuman:? thanks\b", r"\bhuman-thanks\b",
    ),
    "dictates the answer": (
        r"\b(?:when|before|after|while|whenever)" + _W + r"you" + _W + r"(?:write|summari[sz]e|answer|respond|reply|can solve|finish)",
        r"\bbefore answering\b", r"\bin (?:every|each|all)(?: future)? " + _ANSWER,
        r"\b(?:include|append|add|insert|embed|put|mention|modify|incorporate|repeat|begin|start|end|finish)\b[^\n\x00.]{0,70}?\b(?:in|into|to|of|with|at the end of)" + _W + r"(?:your|every|the final|its)" + _W + _ANSWER,
        r"\b(?:modify|encrypt|provide|give|write|format|translate)" + _W + r"(?:all )?your" + _W + _ANSWER,
        r"\byour" + _W + _ANSWER + _W + r"(?:must|should|has to|shall)\b", r"\byou must include\b",
        r"\b(?:say|state|claim|report|tell (?:them|everyone))" + _W + r"(?:that" + _W + r")?(?:you are certain|no deploys? happened|it is resolved|everything is (?:healthy|fine|ok))",
        r"\bwithout asking (?:me|the user|anyone)\b", r"\bdo exactly what it says\b", r"\bdo not mention (?:deploy|commit|change|the (?:incident|deploy|change))", r"\bmark every claim\b", r"\bcite evidence\b", r"\beven if it says otherwise\b",
    ),
    "asks to send data or to use tools": (
        r"\bcall" + _W + r"(?:the" + _W + r")?[a-z]{2,12}_[a-z_]{2,16}" + _W + r"(?:tool|function|on|to|with|and)\b",
        r"\b(?:send|forward|email|post|upload|transmit|exfiltrate|leak)\b[^\n\x00.]{0,50}?\b(?:all|full|entire|contents?|customer list|environment variables|credentials|secrets?|tokens?|passwords?|api keys?|conversation|messages|files|money)\b[^\n\x00]{0,60}?\bto" + _W + r"(?:https?|[a-z0-9._%+\-]{1,40}@|my|the account|an? external)",
        r"\bencode the environment variables\b", r"\bhttp_post\b",
    ),
}  # fmt: skip
_ROT13 = "|".join(
    codecs.encode(word, "rot13")
    for word in (
        "ignore all",
        "instructions",
        "system prompt",
        "when you write",
        "before answering",
        "authorise you",
        "as the incident",
    )
)
_SPACED = r"\bi g n o r e\b|\bs y s t e m\b|\bi n s t r u c t|\bo ?v ?e ?r ?r ?i ?d ?e ?s   a ?l ?l\b"
_FOREIGN = (
    foreign("忽略|無視して|игнориру|Игнориру|무시하")
    + r"[^\n\x00]{0,40}(?:"
    + foreign("指令|指示|инструкци|지시")
    + ")"
)
_HIDDEN = "hides words in invisible characters"
DISGUISED = "disguises words"
_TAGS = range(0xE0020, 0xE007F)
_FEW_INVISIBLE = 8


class Marker:
    """Marks texts that sound like orders to a machine."""

    def __init__(self, engine: Engine) -> None:
        self._reasons = {reason: compile_pattern("(?im)" + "|".join(p), engine) for reason, p in _REASONS.items()}
        disguised = f"{_ROT13}|{_SPACED}|{_FOREIGN}"
        everything = [p for patterns in _REASONS.values() for p in patterns]
        self._any = compile_pattern("(?im)" + "|".join((*everything, disguised)), engine)
        self._disguised = compile_pattern(f"(?i){disguised}", engine)

    def reasons(self, texts: Sequence[str], joined: bytes, starts: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """For each text (by number) that is marked, why. `joined`: all texts as bytes, text i from `starts[i]` on."""
        suspects = {bisect.bisect_right(starts, spans[0][0] + 1) - 1 for spans in self._any.spans(joined)}
        result: dict[int, tuple[str, ...]] = {}
        for index in sorted(suspects):
            if 0 <= index < len(texts):
                data = joined[starts[index] : starts[index] + len(texts[index])]
                found = self.of(data)
                if self._disguised.find(data) is not None:
                    found = (*found, DISGUISED)
                if found:
                    result[index] = found
        if bytes((INVISIBLE,)) in joined:
            for index, text in enumerate(texts):
                data = joined[starts[index] : starts[index] + len(text)]
                if data.count(INVISIBLE) >= _FEW_INVISIBLE:
                    found = self._hidden(text, data)
                    if found:
                        result[index] = tuple(dict.fromkeys((*result.get(index, ()), *found)))
        return result

    def of(self, data: bytes) -> tuple[str, ...]:
        """Why this text is marked; () if it is not."""
        return tuple(reason for reason, pattern in self._reasons.items() if pattern.find(data) is not None)

    def _hidden(self, text: str, data: bytes) -> tuple[str, ...]:
        tags = "".join(chr(ord(char) - 0xE0000) for char in text if ord(char) in _TAGS)
        if len(tags) >= _FEW_INVISIBLE:
            return (_HIDDEN, *self.of(one_byte_per_char(tags)))
        visible = data.translate(None, bytes((INVISIBLE,)))
        found = self.of(visible)
        return (_HIDDEN, *found) if found or data.count(INVISIBLE) * 3 >= len(data) else ()
