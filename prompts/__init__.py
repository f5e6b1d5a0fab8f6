"""Versioned prompt folders and the list of approved models. Imports nothing of ours."""

from __future__ import annotations

from importlib import resources


def models_text() -> str:
    """The shipped `models.toml`, as text."""
    return (resources.files("prompts") / "models.toml").read_text(encoding="utf-8")
