"""The red team in small: twenty attacks, every field, every guard; and what the command takes and refuses."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from integrations.fixtures import FakeMessage
from integrations.ports import Message, Posted
from tests.redteam.__main__ import main
from tests.redteam.attacks import OWN, Attack, AttackFileError, default_files, read
from tests.redteam.effects import at_slack, lines
from tests.redteam.guards import GUARDS, NAMES
from tests.redteam.outside import FIELDS
from tests.redteam.report import report
from tests.redteam.runner import effects_of, last_line, rotated, run_chunk, spread

KINDS = {f"LLM{number:02}" for number in range(1, 11)}
TWENTY = spread(read([OWN]), 20)


def test_our_own_attacks_are_of_all_ten_kinds_and_more_than_three_hundred() -> None:
    attacks = read([OWN])
    assert len(attacks) >= 300
    assert {attack.category[:5] for attack in attacks} == KINDS
    assert len({attack.text for attack in attacks}) == len(attacks)
    assert len(read(default_files())) > len(attacks)


def test_twenty_attacks_in_turn_in_every_field_have_no_effect() -> None:
    cases = run_chunk(rotated(TWENTY), None)
    assert [case.as_json() for case in cases if case.effects] == []
    assert {name for case in cases for name in case.fields} == set(FIELDS)
    assert len(FIELDS) == 11
    assert all(case.answers > 20 for case in cases)
    assert last_line(cases) == "effects=0 attacks=20 fields=11 variants=6"


@pytest.mark.parametrize("guard", NAMES)
def test_without_a_guard_there_are_effects(guard: str) -> None:
    cases = run_chunk(rotated(TWENTY), guard, stop_at_first=True)
    assert effects_of(cases) > 0


@pytest.mark.parametrize("field", FIELDS)
def test_an_attack_in_this_field_would_reach_the_card(field: str) -> None:
    """A red team whose attacks went nowhere would find nothing either."""
    attack = next(one for one in read([OWN]) if one.id == "llm09-11")
    (case,) = run_chunk([(attack, (field,))], "check", stop_at_first=True)
    assert ("a", "attack") in {(variant, form) for _, variant, form, _, _ in case.effects}


def test_effects_are_seen() -> None:
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": "<!channel>", "verbatim": True}},
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
            {"type": "broadcast", "range": "here"},
            {"type": "link", "url": "https://evil.example", "text": "e1"}]}]},
    ]  # fmt: skip
    message = FakeMessage(Posted("C1", "1"), Message(channel="C1", text="<@U1> kqhiddenitem", blocks=blocks, mark="m"))
    seen = {effect.what for effect in at_slack([message])}
    assert {"<!channel> as markup", "a broadcast element", "a link to evil.example", "<@U1> as markup",
            "the hidden item"} <= seen  # fmt: skip
    assert "e1" in lines([message])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds no attack"),
        (b"\n\n", "holds no attack"),
        (b'{"id": "a", "text": "x"}\nnot json\n', "line 2: no JSON"),
        (b'{"id": "a"}\n', 'line 1: no key "text"'),
        (b'{"id": "a", "text": 5}\n', "line 1: 'text' is no text"),
        (b'{"id": "a", "text": "  "}\n', "line 1: 'text' is no text"),
        (b"[1, 2]", "item 1: int in the place of an object"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 100_000, "line 1: no JSON"),
        (json.dumps({"text": "x" * 100_001}).encode(), "longer than"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "attacks.jsonl"
    path.write_bytes(content)
    with pytest.raises(AttackFileError, match=re.escape(why)):
        read([path])
    assert main(["--attacks", str(path)]) == 2


def test_odd_files_are_read(tmp_path: Path) -> None:
    def one(content: bytes) -> list[tuple[str, str, str]]:
        path = tmp_path / "attacks.jsonl"
        path.write_bytes(content)
        return [(attack.id, attack.category, attack.text) for attack in read([path])]

    assert one(b'\xef\xbb\xbf{"text": "x", "more": {}}\r\n') == [("line 1", "uncategorised", "x")]
    assert one(b'{"id": 7, "prompt": "x", "category": null}') == [("7", "uncategorised", "x")]
    assert one(b'[{"id": "a", "text": "x"}, "y"]') == [("a", "uncategorised", "x"), ("item 2", "uncategorised", "y")]
    assert one(b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}') == [
        ("a", "uncategorised", "x"), ("a#2", "uncategorised", "y")]  # fmt: skip
    assert one(gzip.compress(b'{"id": "a", "text": "\\ud800 {canary}"}')) == [("a", "uncategorised", "\ud800 {canary}")]


def test_an_attack_carries_a_token_of_its_own_in_every_field() -> None:
    attack = next(one for one in read([OWN]) if "{canary}" in one.text)
    armed = [attack.armed(field) for field in FIELDS]
    assert len({token for _, token in armed}) == len(FIELDS)
    assert all(token in text and "{canary}" not in text for text, token in armed)


def test_an_unknown_guard_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--without", "luck"]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in NAMES)
    assert len({guard.name for guard in GUARDS}) == len(GUARDS) >= 15


def test_a_hostile_text_is_run_and_reported() -> None:
    hostile = Attack("x|<!channel>", "LLM05 | <b>", "\ud800\x00 <!channel> {canary} | \u202e")
    cases = run_chunk([(hostile, FIELDS[::5])], None)
    page = report(cases, {})
    assert "effects=0 attacks=1 fields=11 variants=6" in page
    assert "<!channel>" not in page
    assert page == report(cases, {})


def test_the_command_tells_what_the_contract_asks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "attacks.jsonl"
    path.write_text(json.dumps({"text": "x {canary}"}), encoding="utf-8")
    assert main(["--attacks", str(path), "--without", "links"]) == 0
    assert re.fullmatch(r"effects=[1-9]\d* attacks=1 fields=11 variants=6", capsys.readouterr().out.splitlines()[-1])
    assert main(["--attacks", str(path), "--without", "links", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"cases", "totals", "bars"}
    assert found["bars"][0]["holds"] is True
    assert main(["--attacks", str(tmp_path / "absent.jsonl")]) == 2
