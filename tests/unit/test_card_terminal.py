"""A card in the terminal shows what Slack shows, and outside text never steers the terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from bot.cards.render import render
from bot.cards.samples import every_state
from bot.cards.terminal import draw, mrkdwn


def shown(blocks: list[dict[str, Any]], **options: Any) -> str:
    console = Console(file=io.StringIO(), width=200, **options)
    console.print(draw(blocks))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def section(text: str) -> list[dict[str, Any]]:
    return [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]


@pytest.mark.parametrize("form", ["classic", "modern"])
def test_every_state_of_a_card_is_drawn_in_both_forms(form: Any) -> None:
    for name, state in every_state().items():
        text = shown(list(render(state, form).blocks))
        assert "(None)" not in text
        assert not re.findall(r"^│ \([a-z_]+\) +│$", text, re.MULTILINE), (name, text)


def test_links_dates_and_styles_become_what_they_say() -> None:
    made = mrkdwn("*Probably* deploy `a1b2c3d` (<https://x.example/d|e3>) at <!date^1^{time}|14:02 UTC> _soon_ ~not~")
    assert made.plain == "Probably deploy a1b2c3d (e3) at 14:02 UTC soon not"
    styles = {made.plain[span.start : span.end]: str(span.style) for span in made.spans}
    assert styles["Probably"] == "bold"
    assert styles["a1b2c3d"] == "magenta"
    assert styles["e3"] == "underline link https://x.example/d"


def test_bold_may_hold_a_link() -> None:
    made = mrkdwn("*see <https://x.example|the diff> now*")
    assert made.plain == "see the diff now"


def test_stars_and_underscores_inside_words_stay() -> None:
    assert mrkdwn("2*3*4 and snake_case_name and a*b").plain == "2*3*4 and snake_case_name and a*b"


def test_entities_are_undone_once() -> None:
    assert mrkdwn("a &lt;b&gt; &amp;amp;").plain == "a <b> &amp;"


def test_outside_text_cannot_steer_the_terminal_or_use_richs_markup() -> None:
    text = shown(section("\x1b[31mred\x1b[0m [bold]not[/bold] \x07\x9b2J \u202eright to left"), force_terminal=True)
    assert "\x1b[31m" not in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "[bold]not[/bold]" in text


def test_an_unknown_block_is_named() -> None:
    assert "(hologram)" in shown([{"type": "hologram"}])


def test_newer_blocks_are_drawn() -> None:
    words = {"type": "rich_text_section", "elements": [{"type": "text", "text": "hello", "style": {"bold": True}}]}
    rows = [[{"type": "raw_text", "text": "what"}, {"type": "raw_text", "text": "where"}],
            [{"type": "raw_text", "text": "deploy"}, {"type": "rich_text", "elements": [words]}]]  # fmt: skip
    text = shown(
        [
            {"type": "container", "title": {"type": "plain_text", "text": "More"}, "child_blocks": section("inside")},
            {
                "type": "container",
                "title": {"type": "plain_text", "text": "Less"},
                "child_blocks": section("hidden"),
                "default_collapsed": True,
            },
            {"type": "table", "rows": rows},
            {
                "type": "rich_text",
                "elements": [{"type": "rich_text_list", "style": "ordered", "elements": [words, words]}],
            },
            {"type": "data_visualization", "title": "Minutes a week"},
            {"type": "image", "alt_text": "a graph", "image_url": "https://x.example/p.png"},
        ]
    )
    assert "hidden" not in text
    for part in (
        "▾ More",
        "▸ Less",
        "inside",
        "what",
        "deploy",
        "hello",
        "1. hello",
        "2. hello",
        "chart: Minutes a week",
        "a graph",
    ):
        assert part in text
