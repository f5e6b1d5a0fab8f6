"""The format of a policy file: phrases that a summary may not contain, by the reason that the card gives."""

from __future__ import annotations

LONGEST_PHRASE = 200
MOST_PHRASES = 10_000


def read_policy(text: str) -> dict[str, list[str]]:
    """A policy file: `[reason]` and below it one phrase a line, `#` begins a comment.

    Raises ValueError, with the line, for a phrase before any reason, an empty reason, and what is too long or too much.
    """
    found: dict[str, list[str]] = {}
    reason = ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            reason = " ".join(line[1:-1].split())
            if not reason or len(reason) > LONGEST_PHRASE:
                raise ValueError(f"line {number}: a reason has 1 to {LONGEST_PHRASE} characters")
            found.setdefault(reason, [])
        elif not reason:
            raise ValueError(f"line {number}: the phrase {line!r} stands before any [reason]")
        elif len(line) > LONGEST_PHRASE:
            raise ValueError(f"line {number}: a phrase has at most {LONGEST_PHRASE} characters")
        else:
            found[reason].append(" ".join(line.lower().split()))
    if sum(map(len, found.values())) > MOST_PHRASES:
        raise ValueError(f"more than {MOST_PHRASES} phrases")
    return found
