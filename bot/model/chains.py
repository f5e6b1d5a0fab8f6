"""Which approved models are asked for each use, in which order: the one that is named, else the settings' chains.

SITREP_MODEL goes before a chain, as the environment does everywhere: it alone is asked for what it is approved for.
The first of a chain is asked; the others in turn when it does not answer, within the same deadline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from bot.errors import ConfigurationError
from bot.model.pins import NO_KEY, OPENAI_KEY, Models, Pin, Use


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say. `keys` names the secrets that are set (`openai`, `azure`, …)."""

    name: str | None = None
    """SITREP_MODEL."""
    url: str | None = None
    """SITREP_MODEL_URL: in place of the endpoint of the model that SITREP_MODEL names, or of the default one."""
    keys: Collection[str] = ()
    chains: Mapping[Use, Sequence[str]] = field(default_factory=dict)
    must_have: Collection[Use] = ()
    """Uses that a setting switched on: with a model for triage, there must be one for them too."""


def chains(models: Models, wanted: Wanted) -> dict[Use, tuple[Pin, ...]]:
    """The pins of each use; no entry where none can be asked. Raises ConfigurationError with every problem.

    Without a key and without an address nothing is asked, so that one file serves machines with and without a model.
    A chain of which only some have their key is a mistake, and refused: it would break off when it is needed.
    """
    found: dict[Use, tuple[Pin, ...]] = {}
    problems: list[str] = []
    named = None
    if wanted.url is not None or OPENAI_KEY in wanted.keys:
        alone = wanted.name is not None or "triage" not in wanted.chains
        named = models.choose("triage" if alone else None, wanted.name, wanted.url)
    for use in get_args(Use):
        overridden = wanted.name is not None and named is not None and use in named.uses
        if use in wanted.chains and not overridden:
            chain, wrong = _chain(models, wanted, use, named)
            problems += wrong
            if chain:
                found[use] = chain
        elif named is not None and use in named.uses:
            found[use] = (named,)
    if found.get("triage"):
        problems += [
            f"no model is approved for {use!r}, which is switched on: name one in [model] chains.{use}"
            for use in wanted.must_have
            if use not in found
        ]
    if problems:
        raise ConfigurationError(problems)
    return found


def _chain(models: Models, wanted: Wanted, use: Use, named: Pin | None) -> tuple[tuple[Pin, ...], list[str]]:
    where, problems, pins = f"[model] chains.{use}", [], []
    names = wanted.chains[use]
    if not names or len(set(names)) < len(names):
        return (), [f"{where} must name at least one model, each once"]
    for name in names:
        pin = named if named is not None and named.name == name else models.named(name)
        if pin is None:
            known = ", ".join(pin.name for pin in models.pins)
            problems.append(f"{where}: {name!r} is not approved in models.toml; approved are: {known}")
        elif use not in pin.uses:
            problems.append(f"{where}: {name!r} is not approved for {use!r}; it is for {', '.join(sorted(pin.uses))}")
        else:
            pins.append(pin)
    if problems:
        return (), problems
    without = [pin for pin in pins if not _can_be_asked(pin, wanted, named)]
    if len(without) == len(pins):
        return (), []
    variable = {pin.key: f"{pin.key.upper()}_TOKEN" for pin in without} | {OPENAI_KEY: "OPENAI_API_KEY"}
    return tuple(pins), [f"{where}: {pin.name!r} has no key; set {variable[pin.key]}" for pin in without]


def _can_be_asked(pin: Pin, wanted: Wanted, named: Pin | None) -> bool:
    """An own server needs no key; whoever set SITREP_MODEL_URL knows what is there."""
    at_url = wanted.url is not None and named is not None and pin.name == named.name
    return pin.hosting == "own" or pin.key == NO_KEY or pin.key in wanted.keys or at_url
