"""The lock files hold what they promise, and a pin that is none is found."""

from __future__ import annotations

import importlib.util
import pathlib
from types import ModuleType

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_dependencies", ROOT / "tools" / "audit_dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HASHED = f"    --hash=sha256:{'0' * 64}\n"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-check.lock", "demo/requirements-node.lock"])
def test_every_pin_has_its_hashes(audit: ModuleType, name: str) -> None:
    pins, problems = audit.lock_problems((ROOT / name).read_text(encoding="utf-8"), name)
    assert pins
    assert problems == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "pins nothing"),
        ("click==8.2.0\n", "has no sha256"),
        ("click==8.2.0 \\\n" + HASHED + "rich==15.0\n", "rich has no sha256"),
        ("click==8.2.0 \\\n    --hash=md5:00\n", "no sha256"),
        ("click>=8\n" + HASHED, "no pin by version"),
        ("click @ https://example.com/click.whl\n" + HASHED, "no pin by version"),
        ("-e ./click\n", "no pin by version"),
        ("--index-url https://example.com\n", "no pin by version"),
        (("click==8.2.0 \\\n" + HASHED) * 2, "stands there twice"),
    ],
)  # fmt: skip
def test_what_is_no_pin_is_said(audit: ModuleType, text: str, said: str) -> None:
    _, problems = audit.lock_problems(text, "x.lock")
    assert any(said in problem for problem in problems), problems


def test_what_is_installed_is_pinned_under_an_agreed_licence(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins, _ = audit.lock_problems((ROOT / "requirements.lock").read_text(encoding="utf-8"), "requirements.lock")
    seen, problems = audit.licence_problems(pins)
    assert seen > 60
    assert problems == []
    monkeypatch.setattr(audit, "LICENCES", frozenset({"MIT"}))
    assert any("click: licence BSD-3-Clause" in problem for problem in audit.licence_problems(pins)[1])
    without = {name: versions for name, versions in pins.items() if name != "click"}
    assert "click is installed and not pinned" in audit.licence_problems(without)[1]
