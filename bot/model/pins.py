"""Which models may be asked for what: reads `models.toml` and refuses what is not pinned.

A pin is {name, answers_as, revision}. For a hosted model the revision is the date in its name; for an own server it is
the sha256 of the weights. Start-up, `sitrep check` and CI print every problem, one line each.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from bot.errors import ConfigurationError

Use = Literal["triage", "ask", "review", "validate", "batch"]
Hosting = Literal["hosted", "own"]
Server = Literal["openai", "azure", "vllm", "llama.cpp", "ollama"]

_FIELDS = {
    "name", "answers_as", "revision", "hosting", "server", "endpoint", "uses", "accepts", "context_tokens",
    "max_output_tokens", "usd_per_million_tokens", "residency", "default", "reasoning_tokens", "key",
    "batch_price",
}  # fmt: skip
_OPTIONAL = {"default", "reasoning_tokens", "key", "batch_price"}
OPENAI_KEY, NO_KEY = "openai", "none"
"""Names of keys: OPENAI_API_KEY, which an entry that names none is shown; and no key at all."""
_KEYS = (OPENAI_KEY, "azure", "models", NO_KEY)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens."""

    input_usd: float
    cached_usd: float
    output_usd: float

    def cost_usd(self, tokens_in: int, tokens_cached: int, tokens_out: int) -> float:
        """`tokens_cached` is the part of `tokens_in` that the provider had cached."""
        cached = min(tokens_cached, tokens_in)
        return (
            (tokens_in - cached) * self.input_usd + cached * self.cached_usd + tokens_out * self.output_usd
        ) / 1_000_000


@dataclass(frozen=True, slots=True)
class Pin:
    """One approved model. `reasoning_tokens` is the room that a reasoning model needs beside its answer.

    `key` names the secret that its endpoint is shown, so that one provider's key is not sent to another. `batch_price`
    is the share of its price that the provider's batch door charges; None where there is no such door.
    """

    name: str
    answers_as: tuple[str, ...]
    revision: str
    hosting: Hosting
    server: Server
    endpoint: str
    uses: frozenset[str]
    accepts: frozenset[str]
    context_tokens: int
    max_output_tokens: int
    prices: Prices
    residency: str
    default: bool = False
    reasoning_tokens: int = 0
    key: str = OPENAI_KEY
    batch_price: float | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.endpoint)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def answered(self, model: str) -> bool:
        """Whether an answer that says it is from `model` is from this pin."""
        return model in self.answers_as


@dataclass(frozen=True, slots=True)
class Models:
    """Every approved pin of one file."""

    pins: tuple[Pin, ...]
    approved_hosts: frozenset[str]

    def named(self, name: str) -> Pin | None:
        return next((pin for pin in self.pins if pin.name == name), None)

    def choose(self, use: Use | None, name: str | None = None, endpoint: str | None = None) -> Pin:
        """The pin for a use: the one named (SITREP_MODEL), else the default; at `endpoint` (SITREP_MODEL_URL).

        Without a use, for whatever it is approved for. Raises ConfigurationError when none is approved.
        """
        pin = self.named(name) if name else next((pin for pin in self.pins if pin.default), None)
        if pin is None:
            known = ", ".join(pin.name for pin in self.pins)
            raise ConfigurationError(
                [f"SITREP_MODEL={name!r} is not approved in models.toml; approved are: {known}"]
                if name
                else ["no entry of models.toml has default = true; set SITREP_MODEL to an approved name"]
            )
        if use is not None and use not in pin.uses:
            raise ConfigurationError(
                [f"{pin.name!r} is not approved for {use!r} in models.toml; it is for {', '.join(sorted(pin.uses))}"]
            )
        if endpoint:
            if problems := _endpoint(endpoint, "SITREP_MODEL_URL", approved=None):
                raise ConfigurationError(problems)
            pin = replace(pin, endpoint=endpoint)
        return pin


def read(text: str, where: str = "models.toml") -> Models:
    """Parse and approve a models file. Raises ConfigurationError with every problem."""
    models, problems = examine(text, where)
    if problems or models is None:
        raise ConfigurationError(problems)
    return models


def examine(text: str, where: str = "models.toml") -> tuple[Models | None, list[str]]:
    """The models and every problem, one line each that says what to change; no models when there is a problem."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        return None, [f"{where} is not TOML: {wrong}"]
    hosts = data.get("approved_hosts", [])
    entries = data.get("models", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        return None, [f"{where} approves no model; add a [[models]] entry"]
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        return None, [f"{where}: approved_hosts must be a list of host names"]
    problems = [f"{where}: unknown key {key!r}" for key in data.keys() - {"approved_hosts", "models"}]
    for entry in entries:
        problems += [f"{where}: {line}" for line in _entry(entry, frozenset(hosts))]
    names = [entry.get("name") for entry in entries]
    problems += [f"{where}: {name!r} stands there twice" for name in {n for n in names if names.count(n) > 1}]
    if sum(entry.get("default") is True for entry in entries) > 1:
        problems.append(f"{where}: default = true stands at more than one entry; keep one")
    if problems:
        return None, problems
    return Models(tuple(_pin(entry) for entry in entries), frozenset(hosts)), []


def _entry(entry: Mapping[str, Any], hosts: frozenset[str]) -> list[str]:
    """What is wrong with one entry; the later checks need the earlier to hold."""
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        return ["an entry without a name"]
    problems = [f"{name!r}: unknown key {key!r}" for key in sorted(entry.keys() - _FIELDS)]
    if missing := sorted(_FIELDS - _OPTIONAL - entry.keys()):
        return [*problems, f"{name!r} lacks {', '.join(missing)}"]
    problems += _types(name, entry)
    if problems:
        return problems
    problems += _pinned(name, entry)
    problems += _endpoint(entry["endpoint"], repr(name), hosts if entry["hosting"] == "hosted" else None)
    problems += _prices(name, entry["usd_per_million_tokens"], entry["hosting"])
    return problems


def _types(name: str, entry: Mapping[str, Any]) -> list[str]:
    problems = []
    for key in ("answers_as", "uses", "accepts"):
        value = entry[key]
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            problems.append(f"{name!r}: {key} must be a list of names, not {value!r}")
    for key in ("revision", "hosting", "server", "endpoint", "residency", "key"):
        value = entry.get(key, OPENAI_KEY)
        if not isinstance(value, str) or not value:
            problems.append(f"{name!r}: {key} must be a text, not {value!r}")
    for key in ("context_tokens", "max_output_tokens", "reasoning_tokens"):
        value = entry.get(key, 0)
        if type(value) is not int or value < (key != "reasoning_tokens"):
            problems.append(f"{name!r}: {key} must be a whole number above 0, not {value!r}")
    share = entry.get("batch_price", 1.0)
    if type(share) not in {int, float} or not 0 < share <= 1:
        problems.append(f"{name!r}: batch_price must be a share of the price, above 0 and at most 1, not {share!r}")
    if type(entry.get("default", False)) is not bool:
        problems.append(f"{name!r}: default must be true or false")
    if problems:
        return problems
    for key, known in (("hosting", get_args(Hosting)), ("server", get_args(Server)), ("key", _KEYS)):
        if entry.get(key, OPENAI_KEY) not in known:
            problems.append(f"{name!r}: {key} must be one of {', '.join(known)}, not {entry[key]!r}")
    if "batch_price" in entry and entry["server"] not in {"openai", "azure"}:
        problems.append(f"{name!r}: {entry['server']!r} has no batch door; remove batch_price")
    if unknown := sorted(set(entry["uses"]) - set(get_args(Use))):
        problems.append(f"{name!r}: uses has {unknown!r}; known are {', '.join(get_args(Use))}")
    if not entry["answers_as"]:
        problems.append(f"{name!r}: answers_as is empty, so every answer would be refused")
    if not entry["uses"]:
        problems.append(f"{name!r}: uses is empty, so it is approved for nothing")
    return problems


def _pinned(name: str, entry: Mapping[str, Any]) -> list[str]:
    """No alias: a hosted name carries its date, an own server is known by its weights."""
    revision, problems = entry["revision"], []
    for one in dict.fromkeys([name, *entry["answers_as"]]):
        if re.search(r"(^|[-:@/_.])(latest|stable|preview|default|auto)($|[-:@/_.])", one.lower()) or "*" in one:
            problems.append(f"{name!r}: {one!r} is an alias that may change without notice; pin a dated name")
    if entry["hosting"] == "own":
        if not _SHA256.fullmatch(revision):
            problems.append(f"{name!r}: revision must be 'sha256:' and the digest of the weights, not {revision!r}")
        return problems
    if not _DATE.fullmatch(revision):
        problems.append(f"{name!r}: revision must be the date of a hosted model (2025-04-14), not {revision!r}")
        return problems
    for one in dict.fromkeys([name, *entry["answers_as"]]):
        if revision not in one and revision.replace("-", "") not in one:
            problems.append(f"{name!r}: {one!r} does not carry the date {revision}; a name without a date may change")
    return problems


def _endpoint(endpoint: str, where: str, approved: frozenset[str] | None) -> list[str]:
    """An address that may be called; `approved` is None where the operator names the address himself."""
    try:
        address = urlsplit(endpoint)
        host, _ = address.hostname or "", address.port
    except ValueError:
        return [f"{where}: endpoint {endpoint!r} is not an address"]
    if address.scheme not in {"http", "https"} or not host:
        return [f"{where}: endpoint {endpoint!r} is not an http or https address"]
    if address.username or address.password or address.query or address.fragment:
        return [f"{where}: endpoint must be a plain base address without user, password, query or fragment"]
    if approved is not None and address.scheme != "https":
        return [f"{where}: endpoint {endpoint!r} of a hosted model must be https"]
    if approved is not None and host not in approved:
        return [f"{where}: host {host!r} is not in approved_hosts"]
    if approved is None and address.scheme == "http" and not _private(host):
        return [f"{where}: endpoint {endpoint!r} would send evidence in the clear; use https"]
    return []


def _private(host: str) -> bool:
    """Loopback and private addresses, and names that only a cluster or a local network resolves."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".svc", ".cluster.local", ".localhost"))
    return address.is_private or address.is_loopback


def _prices(name: str, prices: Any, hosting: str) -> list[str]:
    if not isinstance(prices, dict) or prices.keys() != {"in", "cached", "out"}:
        return [f"{name!r}: usd_per_million_tokens must have in, cached and out"]
    problems = [
        f"{name!r}: the price {key!r} must be a number of dollars, not {value!r}"
        for key, value in prices.items()
        if type(value) not in {int, float} or not 0 <= value < 1_000_000
    ]
    if not problems and hosting == "hosted" and not (prices["in"] > 0 and prices["out"] > 0):
        problems.append(f"{name!r}: a hosted model is not free; enter its price")
    return problems


def _pin(entry: Mapping[str, Any]) -> Pin:
    prices = entry["usd_per_million_tokens"]
    return Pin(
        name=entry["name"],
        answers_as=tuple(entry["answers_as"]),
        revision=entry["revision"],
        hosting=entry["hosting"],
        server=entry["server"],
        endpoint=entry["endpoint"],
        uses=frozenset(entry["uses"]),
        accepts=frozenset(entry["accepts"]),
        context_tokens=entry["context_tokens"],
        max_output_tokens=entry["max_output_tokens"],
        prices=Prices(float(prices["in"]), float(prices["cached"]), float(prices["out"])),
        residency=entry["residency"],
        default=entry.get("default", False),
        reasoning_tokens=entry.get("reasoning_tokens", 0),
        key=entry.get("key", OPENAI_KEY),
        batch_price=entry.get("batch_price"),
    )
