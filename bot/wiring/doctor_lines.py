"""One line of `sitrep doctor`, and what a failed call means for whoever runs Sitrep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from integrations.errors import Denied, IntegrationError, Malformed, NotIncluded, Unavailable

NOT_REACHED = "look whether it is up and can be reached from here"
Status = Literal["ok", "warning", "failed", "missing"]
"""`missing`: a needed part is not there at all (a token, a database), which ends in another exit code."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one check found; `do` is empty where nothing has to be done."""

    name: str
    status: Status
    found: str
    do: str = ""


def of_error(name: str, wrong: IntegrationError, do: str = "") -> Line:
    """What a failed call means for whoever runs Sitrep."""
    if isinstance(wrong, NotIncluded):
        return Line(name, "warning", wrong.message, do or "nothing, or change the plan; the card says what it lacks")
    if isinstance(wrong, Unavailable):
        return Line(name, "failed", wrong.message, do or NOT_REACHED)
    if isinstance(wrong, Denied):
        return Line(name, "failed", wrong.message, do or "check the token, and what it may do")
    if isinstance(wrong, Malformed):
        return Line(name, "failed", wrong.message, do or "check the address: something else answers there")
    return Line(name, "failed", wrong.message, do or "look at the sentence: the request was not accepted")


def exit_code(lines: Iterable[Line]) -> int:
    """0: nothing to do, or only to consider; 3: a needed part is missing; 1: something else does not hold."""
    found = {line.status for line in lines}
    return 3 if "missing" in found else 1 if "failed" in found else 0
