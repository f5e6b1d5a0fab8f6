"""The demo from end to end: a recorded incident, a local Slack, the bot, and what it posts.

With `once` it acknowledges and resolves the incident by itself, prints the report, checks that everything that should
have happened did, and says what is missing. Without, it stays until it is interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console

from demo.bot_process import BotFailed, BotProcess, settings
from demo.model import Model, chosen
from demo.parts import Missing
from demo.scenario import INCIDENT_ID
from demo.show import Channel
from demo.slack import LocalSlack
from demo.systems import Systems

CHANNEL = "#incidents"
FACTS_SECONDS = 45.0
EDIT_SECONDS = 30.0
Message = dict[str, Any]


@dataclass
class Demo:
    """One run; `problems` is what is missing in the end."""

    console: Console
    systems: Systems
    slack: LocalSlack
    bot: BotProcess
    model: Model
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.channel = Channel(self.console, CHANNEL)

    async def cards(self) -> list[Message]:
        """The bot's own messages at the top level of the channel."""
        messages = await self.slack.messages(CHANNEL)
        self.channel.show(messages)
        top = [
            one for one in messages if one.get("thread_ts") in (None, one["ts"]) and one.get("subtype") != "ephemeral"
        ]
        return [one for one in top if one.get("bot_id")]

    async def until(self, what: str, seconds: float, holds: Callable[[str], bool]) -> bool:
        """Shows the channel until the card's whole text meets a condition; notes it as missing when it never does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.bot.running:
                self.problems.append(f"the bot ended before {what}:\n{self.bot.log_tail()}")
                return False
            if any(holds(whole_text(card)) for card in await self.cards()):
                return True
            await asyncio.sleep(0.15)
        self.problems.append(f"{what} did not happen within {seconds:g} s")
        return False

    async def trigger(self) -> None:
        self.console.print("[bold]the incident is triggered[/]: PagerDuty sends its signed webhook")
        self.channel.restart()
        await asyncio.to_thread(self.systems.trigger)

    async def once(self) -> None:
        """The life of the incident without a person, and what must be true of it."""
        await self.trigger()
        commit = self.systems.tape.manifest["changes"][-1]["head"][:7]
        if not await self.until(f"a card that names the deploy {commit}", FACTS_SECONDS, lambda text: commit in text):
            return
        await self.until("a summary, or why there is none", self.model.seconds + 30, says_about_summary)
        await self.ask_status()
        await self.click(
            "tomas", "It was this change", "a card that says who confirmed it", "confirmed", form="sends the form"
        )
        await self.click("priya", "Acknowledge", "a card that says 'acknowledged after'", "acknowledged after")
        self.console.print("[bold]priya has resolved the incident[/] in PagerDuty")
        await asyncio.to_thread(self.systems.move, "resolved")
        await self.until(
            "a card that says 'resolved after'", EDIT_SECONDS, lambda text: "resolved after" in text.lower()
        )
        await self.check()
        await self.report()

    async def ask_status(self) -> None:
        """A slash command is answered, to the one who asks."""
        self.console.print("[bold]priya types /sitrep status[/]")
        before = len(await self.slack.messages(CHANNEL))
        await self.slack.command(CHANNEL, "/sitrep", "status", user="priya")
        for _ in range(int(EDIT_SECONDS / 0.15)):
            await self.cards()
            if any("1 open incident" in whole_text(one) for one in (await self.slack.messages(CHANNEL))[before:]):
                return
            await asyncio.sleep(0.15)
        self.problems.append("/sitrep status was not answered")

    async def click(self, user: str, label: str, what: str, word: str, *, form: str = "") -> None:
        """A button of the card has its effect on the card; where it opens a form, once that was sent."""
        self.console.print(f"[bold]{user} clicks “{label}”[/]")
        cards = await self.cards()
        action = next((found for card in cards if (found := button(card, label))), None)
        if action is None:
            self.problems.append(f"the card has no button “{label}”")
            return
        await self.slack.click(CHANNEL, cards[0]["ts"], action, user=user)
        if form and not await self.sent(user, form):
            self.problems.append(f"“{label}” opened no form")
            return
        await self.until(what, EDIT_SECONDS, lambda text: word in text.lower())

    async def sent(self, user: str, form: str) -> bool:
        """Whether a form stood open and was sent as it was filled in."""
        for _ in range(int(EDIT_SECONDS / 0.15)):
            try:
                await self.slack.submit({}, user=user)
            except LookupError:
                await asyncio.sleep(0.15)
                continue
            self.console.print(f"[bold]{user} {form}[/]")
            return True
        return False

    async def check(self) -> None:
        """What must be true after it all, whatever the model said."""
        cards = await self.cards()
        if len(cards) != 1:
            self.problems.append(f"{len(cards)} cards in {CHANNEL} instead of one")
        text = whole_text(cards[0]) if cards else ""
        for wanted, what in (
            (r"checkout-api: \d+(\.\d+)? % of requests fail", "the share of failed requests"),
            (r"normal 0(\.\d+)? %", "the normal share"),
            (r"\b4 of 4 sources\b", "that all four sources answered"),
        ):
            if not re.search(wanted, text):
                self.problems.append(f"the card does not show {what}")
        late = [
            one for one in self.systems.deliveries if not one["statuses"] or one["statuses"][-1] not in range(200, 300)
        ]
        if late or len(self.systems.deliveries) != 3:
            self.problems.append(f"webhooks: {len(self.systems.deliveries)} sent, {len(late)} not taken")
        await self.follow(cards[0] if cards else {})
        if self.slack.proxy.refusals:
            self.problems.append(f"Slack would have refused blocks: {self.slack.proxy.refusals[0]}")

    async def follow(self, card: Message) -> None:
        """Every link of the card leads to a page that is there."""
        found = links(card)
        if not found:
            self.problems.append("the card links to nothing")
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            for url in found:
                try:
                    status = (await client.get(url)).status_code
                except httpx.HTTPError as error:
                    status = type(error).__name__
                if status != 200:
                    self.problems.append(f"the card links to {url}, which answers {status}")

    async def report(self) -> None:
        """The week's report must count the one incident, with its times."""
        year, week, _ = datetime.fromtimestamp(self.systems.tape.triggered_at, UTC).isocalendar()
        arguments = ("report", "--week", f"{year}-W{week:02d}", "--format", "json")
        code, out, err = await self.bot.command(*arguments)
        if code != 0:
            said = err.strip().splitlines()
            self.problems.append(f"sitrep report ended with {code}: {said[-1] if said else 'nothing said'}")
            return
        report = json.loads(out)
        shown = {key: value for key, value in report.items() if key != "definitions"}
        self.console.print(f"[bold]sitrep {' '.join(arguments)}[/] (without its definitions)", highlight=False)
        self.console.print_json(data=shown)
        self.problems += [f"the report does not say {what}" for what in report_lacks(report)]

    async def interactive(self) -> None:
        """Until Ctrl-C: shows the channel; `a` acknowledges, `r` resolves, `t` triggers anew, `q` ends."""
        await self.trigger()
        self.console.print(
            f"the web page: [link={self.slack.url}]{self.slack.url}[/] (be priya; click, or type /sitrep help)"
        )
        self.console.print("here: [bold]a[/] acknowledge, [bold]r[/] resolve, [bold]q[/] quit, each with Enter")
        typed: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def read() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(typed.put_nowait, line.strip().lower())

        threading.Thread(target=read, daemon=True).start()
        while self.bot.running:
            await self.cards()
            with contextlib.suppress(TimeoutError):
                match await asyncio.wait_for(typed.get(), 0.3):
                    case "a":
                        await asyncio.to_thread(self.systems.move, "acknowledged")
                    case "r":
                        await asyncio.to_thread(self.systems.move, "resolved")
                    case "q":
                        return
        self.problems.append(f"the bot ended:\n{self.bot.log_tail()}")


def whole_text(message: Message) -> str:
    """Everything that a reader of the message sees, as one text; no-break spaces are spaces."""
    return "\n".join(_texts(message)).replace("\u00a0", " ")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (one for key, one in value.items() if key in ("text", "alt_text") and isinstance(one, str))
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def links(message: Message) -> list[str]:
    """The addresses that a message's mrkdwn links to, each once."""
    text = "\n".join(_texts(message))
    return list(dict.fromkeys(html.unescape(url) for url in re.findall(r"<(https?://[^|>\s]+)\|", text)))


def button(message: Message, label: str) -> str | None:
    """The action id of the button with these words."""
    for block in message.get("blocks", []):
        for element in block.get("elements", []):
            if (
                isinstance(element, dict)
                and isinstance(element.get("text"), dict)
                and element["text"].get("text") == label
            ):
                return str(element["action_id"])
    return None


def says_about_summary(text: str) -> bool:
    """Whether the card holds a summary or the reason why there is none."""
    return "no summary:" in text or "What is going on" in text


def report_lacks(report: Mapping[str, Any]) -> list[str]:
    """What a report on exactly one incident, acknowledged and resolved, should say and does not."""
    arms = report.get("arms") or [{}]
    wanted = {"incidents": "one incident", "acknowledged": "one acknowledged", "resolved": "one resolved"}
    lacks = [what for key, what in wanted.items() if sum(arm.get(key) or 0 for arm in arms) != 1]
    times = ("mtta_mean", "mttr_mean", "mttr_median", "mttr_p90")
    return lacks + [key for key in times if not any(arm.get(key) is not None for arm in arms)]


async def run(once: bool, model: str | None, console: Console, keep: pathlib.Path | None = None) -> int:
    """The demo; 0 when nothing is missing, 1 when something is, 3 when a part cannot be had."""

    def say(text: str) -> None:
        console.print(f"[dim]{text}[/]", highlight=False)

    home = keep or pathlib.Path(tempfile.mkdtemp(prefix="sitrep-demo-"))
    try:
        async with contextlib.AsyncExitStack() as stack:
            if keep is None:
                stack.callback(shutil.rmtree, home, ignore_errors=True)
            try:
                asked = await stack.enter_async_context(chosen(model, say))
            except Missing as missing:
                console.print(f"[red]{missing}[/]")
                return 3
            say(asked.said)
            systems = await asyncio.to_thread(stack.enter_context, Systems())
            recorded = systems.tape.manifest["recorded_at"][:10]
            say(f"PagerDuty, Prometheus, Jaeger and GitHub answer from an incident recorded on {recorded}")
            slack = await _slack(stack, say)
            environment = {**systems.environment(), **slack.environment(), **asked.environment}
            bot = BotProcess(home, environment, settings(systems.url, model_seconds=asked.seconds))
            stack.push_async_callback(bot.stop)
            began = time.monotonic()
            await bot.start()
            say(f"sitrep serve is up after {time.monotonic() - began:.1f} s at {bot.url}, state in {home}")
            systems.webhook_to(bot.webhook_url)
            demo = Demo(console, systems, slack, bot, asked)
            await (demo.once() if once else demo.interactive())
    except BotFailed as failed:
        console.print(f"[red]{failed}[/]")
        return 1
    for problem in demo.problems:
        console.print(f"[red]missing:[/] {problem}", highlight=False)
    if once and not demo.problems:
        life = "triggered, shown, confirmed, acknowledged, resolved, reported"
        console.print(f"[green]everything is there[/]: incident {INCIDENT_ID} {life}")
    return 1 if demo.problems else 0


async def _slack(stack: contextlib.AsyncExitStack, say: Callable[[str], None]) -> LocalSlack:
    try:
        slack = await stack.enter_async_context(LocalSlack.running(say))
    except Missing as missing:
        say(f"no local Slack, so no web page: {missing}. The card is shown in the terminal all the same")
        return await stack.enter_async_context(LocalSlack.minimal())
    say(f"local Slack: {slack.url} (as priya, tomas or mei)")
    if slack.exposed:
        say("its own port listens on all interfaces of this machine while the demo runs: mind your network")
    return slack
