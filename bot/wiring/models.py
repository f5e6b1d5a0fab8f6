"""The models as the settings name them: which are asked, with which limits, and what is done with a summary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import cast

import prompts
from bot.clock import Clock
from bot.flows.summarise import ByVersion, Summarise
from bot.incidents.routing import Routing
from bot.model import batch_rows, chains, pins
from bot.model.admission import AdmissionLimits
from bot.model.attempts import GatewayLimits
from bot.model.breaker import BreakerLimits
from bot.model.cache import Cache
from bot.model.gateway import Gateway
from bot.model.pins import NO_KEY, OPENAI_KEY, Models, Pin, Use
from bot.model.rate import Rates
from bot.model.spend import Ceilings
from bot.settings import Settings
from bot.store.sqlite import SqliteStore
from bot.triage.check import Guards
from bot.triage.forms import shipped_policy
from bot.trust.redaction import Redactor
from integrations.http import Egress, httpx2_async_transport
from integrations.openai import OpenAI
from integrations.openai_batches import Batches


def approved_models(settings: Settings) -> Models:
    """Every pin of SITREP_MODELS, else of the shipped file. Raises ConfigurationError for what is not pinned."""
    path = settings.secrets.models_file
    return pins.read(path.read_text(encoding="utf-8") if path else prompts.models_text(), str(path or "models.toml"))


def reachable(settings: Settings, models: Models) -> list[Pin]:
    """The approved pins that can be asked: they have their key, or are own servers that `[model] chains` or
    SITREP_MODEL name. An address in SITREP_MODEL_URL is that of the one model that is asked there, and no other's."""
    secrets = settings.secrets
    named = {name for chain in settings.file.model.chains.values() for name in chain} | {secrets.model}
    keys = {OPENAI_KEY} if secrets.openai_api_key is not None else set()
    keys |= set(secrets.system_tokens)
    chosen = {pin.name: pin for chain in chains_of(settings, models).values() for pin in chain}
    return [
        chosen.get(pin.name, pin)
        for pin in models.pins
        if pin.name in chosen or (pin.hosting == "hosted" and pin.key in keys) or pin.name in named
    ]


def chains_of(settings: Settings, models: Models) -> dict[Use, tuple[Pin, ...]]:
    """The pins per use as SITREP_MODEL, SITREP_MODEL_URL and `[model] chains` say; empty without a key or an address.

    Raises ConfigurationError with every problem.
    """
    secrets, section = settings.secrets, settings.file.model
    keys = [OPENAI_KEY] if secrets.openai_api_key is not None else []
    switched_on: list[Use] = ["validate"] if section.validate_summaries else []
    wanted = chains.Wanted(
        name=secrets.model,
        url=secrets.model_url,
        keys=[*keys, *secrets.system_tokens],
        chains=cast(Mapping[Use, Sequence[str]], section.chains),
        must_have=switched_on,
    )
    return chains.chains(models, wanted)


def models_of(settings: Settings) -> dict[Use, tuple[Pin, ...]]:
    """`chains_of` the approved models. The file is read in any case: what is not pinned is refused at start-up."""
    return chains_of(settings, approved_models(settings))


def limits_of(settings: Settings) -> GatewayLimits:
    """`[model]`, and what `[timeouts]` and `[retention]` say of models."""
    file, model = settings.file, settings.file.model
    return GatewayLimits(
        attempt_seconds=file.timeouts.model_attempt_seconds,
        retries=model.retries,
        backoff_seconds=model.backoff_seconds,
        backoff_most_seconds=model.backoff_most_seconds,
        retry_ratio=model.retry_ratio,
        retry_floor=model.retry_floor,
        transcripts_kept=timedelta(days=file.retention.transcripts_days),
        rates=Rates(model.requests_per_minute, model.tokens_per_minute, model.live_share),
        admission=AdmissionLimits(model.concurrency, model.batch_share, model.queue),
        breaker=BreakerLimits(**model.breaker.model_dump()),
    )


def ceilings_of(settings: Settings) -> Ceilings:
    file = settings.file
    return Ceilings(
        incident_usd=file.budget.usd_per_incident,
        day_usd=file.budget.usd_per_day,
        month_usd=file.budget.usd_per_month,
        use_month_usd=cast(Mapping[str, float], file.budget.usd_per_month_by_use),
        team_month_usd={n: t.usd_per_month for n, t in file.teams.items() if t.usd_per_month is not None},
    )


def endpoints_of(
    settings: Settings, chosen: Mapping[Use, tuple[Pin, ...]], egress: Egress, stack: AsyncExitStack,
    *, batches: bool = False,
) -> dict[str, OpenAI]:  # fmt: skip
    """One endpoint a pin, each shown its own key only; with `batches` its provider's batch door."""
    found: dict[str, OpenAI] = {}
    for pin in {pin.name: pin for chain in chosen.values() for pin in chain}.values():
        transport = httpx2_async_transport(egress, "model", connections=settings.file.model.concurrency + 4)
        kind = Batches if batches else OpenAI
        made = kind("model", pin.endpoint, _key(settings, pin), transport, pin.server)
        stack.push_async_callback(made.aclose)
        found[pin.name] = made
    return found


def _key(settings: Settings, pin: Pin) -> str | None:
    secrets = settings.secrets
    found = secrets.openai_api_key if pin.key == OPENAI_KEY else secrets.system_tokens.get(pin.key)
    return None if found is None or pin.key == NO_KEY else found.get_secret_value()


async def build_gateway(
    settings: Settings,
    store: SqliteStore,
    clock: Clock,
    egress: Egress,
    redactor: Redactor,
    stack: AsyncExitStack,
    *,
    may_stand_in: Callable[[Pin], bool] = lambda pin: True,
    recover: bool = True,
) -> Gateway:
    """The gateway with an endpoint per pin; what an earlier process left reserved is settled in full.

    `may_stand_in` says of a pin beyond the first of its chain whether it may be asked now. `recover` is false for a
    command, beside which the bot may be running: what is open may be its.
    """
    chosen = models_of(settings)
    gateway = Gateway(
        store, clock, chosen, endpoints_of(settings, chosen, egress, stack),
        ceilings=ceilings_of(settings),
        limits=limits_of(settings),
        redact=lambda text: redactor.redact(text).text,
        may_stand_in=may_stand_in,
        cached=Cache(clock, settings.file.model.cache_seconds),
    )  # fmt: skip
    stack.push_async_callback(gateway.aclose)
    if recover:  # before the engine starts: no workflow of ours lives
        living = await batch_rows.living(store, settings.file.workspace, clock.now())  # a provider may yet answer these
        await gateway.recover(settings.file.workspace, living)
    return gateway


def policy_of(settings: Settings) -> Mapping[str, Sequence[str]]:
    """The shipped phrases that no summary may contain, and those of `[summary] policy_file`; none takes one away."""
    shipped = shipped_policy()
    return {
        reason: (*shipped.get(reason, ()), *settings.policy.get(reason, ()))
        for reason in dict.fromkeys((*shipped, *settings.policy))
    }


PROMPT_VERSION = 1
"""Of the triage prompt, where no arm names one."""


def build_summarise(
    settings: Settings, gateway: Gateway, routing: Routing, redactor: Redactor, key: bytes,
    arm_of: Callable[[str], Awaitable[str]] | None = None,
) -> ByVersion:  # fmt: skip
    """compose → infer → check, for every version of the prompt that is installed. Without arms: the default one."""

    async def no_arm(triage_id: str) -> str:
        return ""

    def of(version: int) -> Summarise:
        return Summarise(
            gateway=gateway,
            prompt=prompts.load("triage", version),
            fence_key=key,
            guards=Guards(
                redact=lambda text: redactor.redact(text).text,
                suspicious=lambda text: redactor.redact(text).suspicious,
                policy=policy_of(settings),
            ),
            token_budget=settings.file.budget.tokens_per_triage,
            deadline_seconds=settings.file.timeouts.model_seconds,
            team=routing.team,
            suspicious=settings.file.summary.suspicious,
            validate=prompts.load("validate", 1) if settings.file.model.validate_summaries else None,
        )

    versions = {version: of(version) for name, version in prompts.names() if name == "triage"}
    return ByVersion(versions, PROMPT_VERSION, arm_of or no_arm)
