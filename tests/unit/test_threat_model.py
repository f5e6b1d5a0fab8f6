"""The threat model names the ten kinds, and every test that it calls a proof exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "security" / "threat-model.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_kind_has_an_attack_a_defence_and_a_proof() -> None:
    kinds = re.split(r"^### ", PAGE.split("\n## Doors")[0], flags=re.M)[1:]
    assert [kind[:5] for kind in kinds] == [f"LLM{number:02}" for number in range(1, 11)]
    for kind in kinds:
        assert "*On this bot*:" in kind
        assert "*Defence*:" in kind
        assert len(NAMED.findall(kind.split("*Proof*:")[1])) >= 3, kind[:30]


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    gone = [f"{path}::{name}" for path, name in named if name not in names_in(ROOT / path)]
    assert gone == []
    assert len(re.findall(r"tests/[\w/]+\.py::", PAGE)) == len(named)


def test_every_guard_of_the_red_team_stands_against_a_kind_and_the_page_links_its_report() -> None:
    from tests.redteam.guards import GUARDS

    assert all(re.fullmatch(r"LLM\d\d(?:, LLM\d\d)*", guard.owasp) for guard in GUARDS)
    assert "(redteam-report.md)" in PAGE
    assert "threat-model.md" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
