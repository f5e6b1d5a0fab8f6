"""What a person takes from a card: by the lock screen alone, from its first lines, by a screen reader."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bot.cards import content
from bot.cards.render import plain, render
from bot.cards.samples import every_state


def visible(blocks: Any) -> list[str]:
    """The texts of a message in reading order, a collapsed container's title alone; no link's address."""
    shown: list[str] = []

    def read(one: Any) -> None:
        if isinstance(one, list):
            for part in one:
                read(part)
        elif isinstance(one, dict):
            if one.get("type") == "container":
                read(one.get("title"))
                return
            if isinstance(one.get("text"), str):
                shown.append(re.sub(r"<[^|>]*\|([^>]*)>", r"\1", one["text"]).replace("\u00a0", " "))
            for name in ("text", "elements", "fields", "accessory", "title", "rows"):
                if not isinstance(one.get(name), str):
                    read(one.get(name))

    read(blocks)
    return shown


@pytest.mark.parametrize("form", ["modern", "classic"])
@pytest.mark.parametrize("name", list(every_state()))
def test_who_reads_only_the_top_knows_the_suspect_and_the_next_step(name: str, form: Any) -> None:
    """The lock screen names the suspect; on the card the suspect, or that nothing stands out, comes before the first
    step, and both before anything to click."""
    state = every_state()[name]
    drawn = render(state, form)
    lock_screen = drawn.text.partition("\n")[0].replace("\u00a0", " ")
    assert f"SEV{state.incident.severity}" in lock_screen
    shown = visible(drawn.blocks)
    first_button = next(
        (i for i, one in enumerate(shown) if one in ("Ask", "Acknowledge", "Draft a report")), len(shown)
    )
    if state.restricted:
        assert state.incident.id in lock_screen
        return
    first = state.first_suspect
    before = " ".join(shown[:first_button])
    if first is None:
        assert "Nothing stands out" in lock_screen or "No source answered" in lock_screen
        named = before.index("Nothing ")
    else:
        item = state.item(first.mark)
        commit = item.commit[:7] if item is not None and item.commit else first.summary
        assert commit in lock_screen
        named = before.index(commit)
    if state.phase == "resolved":
        assert "Next" not in shown
    else:
        assert named < before.index("Next")
        assert re.search(r"Next\W{0,4}(1\.)?\W*(Look|Follow|Open|Roll) ", before), "the first step is a thing to do"


@pytest.mark.parametrize("name", list(every_state()))
def test_a_screen_reader_hears_the_whole_card_and_nothing_is_said_by_colour_alone(name: str) -> None:
    """Every paragraph and step of the card is in `text`; each picture and chart has words; a state is a word, and a
    button's style never stands for what its label does not say."""
    state = every_state()[name]
    heard = render(state, "classic").text.replace("\u00a0", " ")
    told = content.card(state)
    if not state.restricted:
        for paragraph in told.paragraphs:
            for line in (paragraph.line, *paragraph.steps):
                assert plain(line).replace("\u00a0", " ") in heard
    assert plain(told.footer).replace("\u00a0", " ") in heard
    for form in ("modern", "classic"):
        drawn = render(state, form)
        parts = [*drawn.blocks, *(block for part in drawn.thread.values() for block in part.blocks)]
        for block in json.loads(json.dumps(parts)):
            assert block["type"] not in ("image", "data_visualization") or block.get("alt_text") or block.get("title")
            assert block.get("color") is None
        if state.phase in ("acknowledged", "mitigated", "resolved", "reopened"):
            assert state.phase.capitalize() in visible(drawn.blocks)[0]
    assert all(one.label.strip() for one in told.buttons)
