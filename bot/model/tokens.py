"""How many tokens a text has, without a tokenizer's tables (75 MB, and a download for some).

Bytes per token of o200k, measured: prose 4.3, alert JSON 2.3, hex 1.7, UUID 1.6.
"""

from __future__ import annotations

import math

FEWEST_BYTES = 1.4
PROSE_BYTES = 3.0


def estimate(text: str) -> int:
    """Never less than the truth on text like ours: what is reserved before a call. Settled from `usage` after it."""
    return math.ceil(len(text.encode()) / FEWEST_BYTES)


def estimate_prose(text: str) -> int:
    """For our own English, which is not hostile and not hex."""
    return math.ceil(len(text.encode()) / PROSE_BYTES)
