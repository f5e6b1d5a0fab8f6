"""How the demo reads a card, shows a channel and writes the bot's settings."""

import io
import tomllib
from typing import Any

from rich.console import Console

from bot.settings import load
from demo.bot_process import settings
from demo.run import button, links, report_lacks, says_about_summary, whole_text
from demo.show import Channel
from demo.slack import config

URLS = {
    "prometheus": "http://127.0.0.1:1",
    "jaeger": "http://127.0.0.1:2",
    "pagerduty": "https://127.0.0.1:3",
    "github": "http://127.0.0.1:4",
    "control": "http://127.0.0.1:5",
}


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def test_the_text_of_a_card_is_everything_that_a_reader_sees() -> None:
    blocks = [
        section("one"),
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "two"}]},
        {"type": "container", "title": {"text": "three"}, "child_blocks": [section("four")]},
    ]
    assert whole_text({"text": "zero", "blocks": blocks}).split() == ["zero", "one", "two", "three", "four"]


def test_a_card_says_what_became_of_its_summary() -> None:
    assert says_about_summary("… · no summary: no model is configured")
    assert says_about_summary("*What is going on*  Orders fail")
    assert not says_about_summary("Next: look at the graph")


def test_a_channel_shows_each_state_of_a_message_once() -> None:
    console = Console(file=io.StringIO(), width=100)
    channel = Channel(console, "#incidents")
    message = {"ts": "1.1", "text": "hello", "blocks": [section("hello")]}
    reply = {"ts": "1.2", "thread_ts": "1.1", "text": "a [bold]reply[/bold]"}
    channel.show([message])
    channel.show([message])
    channel.show([{**message, "blocks": [section("changed")]}, reply])
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("hello") == 1
    assert text.count("appears in #incidents") == 1
    assert text.count("changes in #incidents") == 1
    assert "appears in its thread" in text
    assert "a [bold]reply[/bold]" in text


def test_the_settings_of_the_demo_are_what_the_bot_reads(tmp_path) -> None:
    text = settings(URLS)
    assert tomllib.loads(text)["services"]["checkout-api"]["depends_on"] == ["payments", "payments-db"]
    (tmp_path / "sitrep.toml").write_text(text)
    environment = {
        "SITREP_HOME": str(tmp_path),
        "SITREP_CONFIG": str(tmp_path / "sitrep.toml"),
        "SLACK_BOT_TOKEN": "xoxb-x",
        "SLACK_APP_TOKEN": "xapp-x",
        "PAGERDUTY_API_TOKEN": "x",
        "PAGERDUTY_WEBHOOK_SECRETS": "x",
        "GITHUB_TOKEN": "x",
    }
    made = load(environment)
    assert set(made.file.sources) == {"pagerduty", "prometheus", "jaeger", "github"}
    assert made.service_for("PSVCCHK") == "checkout-api"


def test_the_workspace_can_have_other_channels() -> None:
    made = config(channels={"#sev1": {"id": "C0SEV1", "members": [], "is_private": True}})
    assert [one["name"] for one in made["channels"]] == ["incidents", "payments", "sev1"]


def test_a_report_on_anything_but_one_finished_incident_is_said_to_lack_it() -> None:
    times = {"mtta_mean": 2.0, "mttr_mean": 4.0, "mttr_median": 4.0, "mttr_p90": 4.0}
    assert report_lacks({"arms": [{"incidents": 1, "acknowledged": 1, "resolved": 1, **times}]}) == []
    two = [{"incidents": 1, "acknowledged": 1, "resolved": 1, **times}, {"incidents": 0, "acknowledged": 0}]
    assert report_lacks({"arms": two}) == []
    open_one = {"incidents": 1, "acknowledged": 1, "resolved": 0, "mtta_mean": 2.0}
    assert report_lacks({"arms": [open_one]}) == ["one resolved", "mttr_mean", "mttr_median", "mttr_p90"]
    assert len(report_lacks({})) == 7


def test_a_button_is_found_by_its_words() -> None:
    go = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
    blocks = [
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "Go"}]},
        {"type": "actions", "elements": [go]},
    ]
    assert button({"blocks": blocks}, "Go") == "go"
    assert button({"blocks": blocks}, "Stop") is None


def test_links_are_found_once_and_unescaped() -> None:
    text = "see <http://127.0.0.1:1/a?x=1&amp;y=2|e1>, <http://127.0.0.1:1/a?x=1&amp;y=2|e2> and <https://x.example|e3>"
    assert links({"text": "no <!here>", "blocks": [section(text)]}) == [
        "http://127.0.0.1:1/a?x=1&y=2",
        "https://x.example",
    ]
