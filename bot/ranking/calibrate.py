"""From scores to probabilities: a softmax in which "nothing stands out" stands for election too."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bot.ranking.weights import Signs

NAMES = ("pattern", "transit", "own_time", "metric")


def combined(values: Mapping[str, float], signs: Signs) -> float:
    """The signs of one service in quadrature: noise in several places does not look like one strong sign."""
    weights = (signs.pattern, signs.transit, signs.own_time, signs.metric)
    return math.sqrt(sum((weight * values.get(name, 0.0)) ** 2 for weight, name in zip(weights, NAMES, strict=True)))


def probabilities(scores: Mapping[str, float], nothing: float, temperature: float) -> dict[str, float]:
    """P(service is the cause) for each; what is missing to 1 is the probability that none of them stands out."""
    if not scores:
        return {}
    temperature = max(temperature, 1e-6)
    top = max(nothing, *scores.values())
    mass = {name: math.exp((score - top) / temperature) for name, score in scores.items()}
    total = math.exp((nothing - top) / temperature) + sum(mass.values())
    return {name: one / total for name, one in mass.items()}
