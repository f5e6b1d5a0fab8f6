"""The schema, forward only: one SQL file a step, named `NNNN_<what>.sql`, applied in order and never edited."""

from __future__ import annotations

from importlib import resources


def steps() -> list[tuple[str, str]]:
    """Name and SQL of every step, in order."""
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql")]
    return [
        (file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in sorted(files, key=lambda f: f.name)
    ]
