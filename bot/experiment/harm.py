"""Harm: is the treatment making incidents longer? A one-sided e-process, looked at after every block.

It is the slower side of the open rule, so it holds at any look; its lines are lower than a verdict's, because a pause
costs little and can be lifted by a person. A false pause happens in at most 1 in 20 experiments that run for ever.
"""

from __future__ import annotations

from typing import Literal

WARN_ABOVE = 10.0
PAUSE_ABOVE = 20.0
Harm = Literal["none", "warn", "pause"]


def judge(e_slower: float) -> Harm:
    """What the highest e-value so far asks for."""
    if e_slower > PAUSE_ABOVE:
        return "pause"
    return "warn" if e_slower > WARN_ABOVE else "none"
