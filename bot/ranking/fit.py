"""Fits the weights of the signs and of "nothing stands out" to labelled incidents, shrunk towards the shipped ones.

Maximum a posteriori: multinomial log-likelihood of the culprit among the services and "nothing", with a Gaussian prior
on the logarithm of each weight around the shipped value. Few labels move little, no label moves nothing, and no weight
reaches zero. Plain Newton-free descent with numeric gradients: six parameters, some dozens of cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bot.ranking.calibrate import NAMES
from bot.ranking.weights import Decision, Signs, Weights

PRIOR_SPREAD = 0.35
"""Standard deviation of ln(weight / shipped weight)."""
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled incident: the signs of each service (name to number), and the culprit; None: a false alarm."""

    signs: Mapping[str, Mapping[str, float]]
    culprit: str | None


@dataclass(frozen=True, slots=True)
class _Packed:
    values: NDArray[np.float64]
    """Cases × services × signs, padded with zeros."""
    there: NDArray[np.bool_]
    culprit: NDArray[np.int64]
    """Position of the culprit; -1 for a false alarm, -2 where the culprit shows no sign at all."""


def fit_weights(cases: Sequence[Labelled], shipped: Weights, *, only_decision: bool = False) -> Weights:
    """New [signs] and [decision]; with `only_decision` the signs stay as they are. No cases: the shipped weights."""
    if not cases:
        return shipped
    packed = _pack(cases)
    table = np.array([*_sign_values(shipped.signs), shipped.decision.nothing, shipped.decision.temperature])
    free = np.array([not only_decision] * len(NAMES) + [True, True])

    def loss(shift: NDArray[np.float64]) -> float:
        """`shift` is ln(weight / shipped weight)."""
        prior = float(((shift / PRIOR_SPREAD) ** 2).sum()) / 2
        return _negative_log_likelihood(packed, table * np.exp(shift)) + prior

    best = table * np.exp(_descend(loss, np.zeros_like(table), free))
    pattern, transit, own_time, metric, nothing, temperature = (float(one) for one in best)
    signs: Signs = replace(shipped.signs, pattern=pattern, transit=transit, own_time=own_time, metric=metric)
    return replace(shipped, signs=signs, decision=Decision(nothing=nothing, temperature=temperature))


def _sign_values(signs: Signs) -> tuple[float, ...]:
    return (signs.pattern, signs.transit, signs.own_time, signs.metric)


def _pack(cases: Sequence[Labelled]) -> _Packed:
    width = max(1, *(len(one.signs) for one in cases))
    values = np.zeros((len(cases), width, len(NAMES)))
    there = np.zeros((len(cases), width), dtype=bool)
    culprit = np.full(len(cases), -1, dtype=np.int64)
    for i, case in enumerate(cases):
        services = sorted(case.signs)
        for j, service in enumerate(services):
            values[i, j] = [case.signs[service].get(name, 0.0) for name in NAMES]
            there[i, j] = True
        if case.culprit is not None:
            culprit[i] = services.index(case.culprit) if case.culprit in case.signs else -2
    return _Packed(values, there, culprit)


def _negative_log_likelihood(packed: _Packed, weights: NDArray[np.float64]) -> float:
    signs, nothing, temperature = weights[: len(NAMES)], weights[-2], weights[-1]
    scores = np.sqrt(((packed.values * signs) ** 2).sum(axis=2)) / temperature
    scores = np.where(packed.there, scores, -np.inf)
    floor = nothing / temperature
    top = np.maximum(scores.max(axis=1), floor)
    total = np.exp(scores - top[:, None]).sum(axis=1) + np.exp(floor - top)
    named = packed.culprit >= 0
    chosen = np.full(len(top), floor)
    chosen[named] = scores[named, packed.culprit[named]]
    lost = np.log(total) + top - chosen
    lost[packed.culprit == -2] = 0.0  # no weight can find a culprit without a sign
    return float(lost.sum())


def _descend(
    loss: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64], free: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Gradient descent with a step that halves when it fails and grows when it helps."""
    at, value, step = start.copy(), loss(start), 0.05
    for _ in range(_STEPS):
        gradient = np.zeros_like(at)
        for i in np.flatnonzero(free):
            moved = at.copy()
            moved[i] += 1e-4
            gradient[i] = (loss(moved) - value) / 1e-4
        size = float(np.linalg.norm(gradient))
        if size < 1e-3:
            break
        while step > 1e-4:
            candidate = at - step * gradient / size
            found = loss(candidate)
            if found < value:
                at, value, step = candidate, found, step * 1.5
                break
            step /= 2
        else:
            break
    return at
