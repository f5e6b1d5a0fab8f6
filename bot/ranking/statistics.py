"""Two small pieces of arithmetic that every sign shares."""

from __future__ import annotations

import math


def share(count: float, total: float) -> float:
    """(k + ½) / (n + 1): a proportion that small samples cannot push to 0 or 1 (Krichevsky and Trofimov, 1981)."""
    return (count + 0.5) / (total + 1)


def log_likelihood_ratio(one: int, of_one: int, other: int, of_other: int) -> float:
    """Two binomials against one, in nats (Dunning, 1993): how sure it is that the two proportions differ."""
    return max(
        0.0,
        _log_likelihood(one, of_one)
        + _log_likelihood(other, of_other)
        - _log_likelihood(one + other, of_one + of_other),
    )


def _log_likelihood(count: int, total: int) -> float:
    if count <= 0 or count >= total:
        return 0.0
    return count * math.log(count / total) + (total - count) * math.log1p(-count / total)
