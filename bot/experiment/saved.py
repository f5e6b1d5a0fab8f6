"""Cells of a simulation that are done, in a file of JSON lines: a run that was ended goes on where it stopped.

A line is used again only where everything that made it is the same: the cell, the seed and the code that decides.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from bot.errors import ConfigurationError
from bot.experiment.simulate import PATHS, TAU_HOURS, WEEKS, Case, Cell

_DECIDES = ("assign", "binomial", "design", "harm", "open", "planned", "scores", "simulate", "units", "worlds")
"""The modules whose change makes other figures."""


class SavedCells:
    """Results by cell. Each is written as soon as it is known."""

    def __init__(self, path: Path, *, seed: int) -> None:
        """Read what is there. Raises ConfigurationError for a file that holds something else."""
        self._path = path
        self._made_by = {"seed": seed, "paths": PATHS, "weeks": WEEKS, "tau_hours": TAU_HOURS, "code": code_sha256()}
        self._found: dict[str, Case] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole, _, _torn = text.rpartition("\n")  # a line that was not finished when the run ended is run again
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                told = json.loads(line)
                key, case = str(told["key"]), Case(**told["case"])
            except (ValueError, KeyError, TypeError) as wrong:
                raise ConfigurationError(
                    [f"{path}, line {number}: no cell of a simulation ({type(wrong).__name__}); give another file"]
                ) from wrong
            self._found[key] = case
        if text != whole and not text.endswith("\n"):
            path.write_text(whole + "\n" if whole else "", encoding="utf-8")

    def get(self, cell: Cell) -> Case | None:
        """The result of a cell that was run before."""
        return self._found.get(self._key(cell))

    def put(self, cell: Cell, case: Case) -> None:
        """Write a result down."""
        key = self._key(cell)
        self._found[key] = case
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"key": key, "case": asdict(case)}, ensure_ascii=False) + "\n")

    def _key(self, cell: Cell) -> str:
        told = json.dumps({**asdict(cell), **self._made_by}, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


def code_sha256() -> str:
    """Hash of the code that decides."""
    digest = hashlib.sha256()
    for name in _DECIDES:
        digest.update(resources.files("bot.experiment").joinpath(f"{name}.py").read_bytes())
    return digest.hexdigest()
