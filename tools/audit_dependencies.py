"""What is installed with Sitrep is pinned, hashed, named, and under a licence that was agreed to. Needs no network.

It does not know of vulnerabilities: that takes an advisory service (docs/security/supply-chain.md has the command).
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-check.lock", "demo/requirements-node.lock")
PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[a-z0-9,_-]+\])?==([0-9][^\s;]*)(?:\s*;[^\\]*)?(?:\s*\\)?")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")

LICENCES = frozenset(
    {
        "MIT", "MIT-0", "0BSD", "ISC", "Zlib", "CC0-1.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0",
        "PSF-2.0", "MPL-2.0", "Unlicense", "Public Domain",
    }
)  # fmt: skip
"""Permissive ones, and MPL-2.0, whose conditions hold for changes to its own files, which we do not make."""
WORDS = {
    "Apache 2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause", "BSD License": "BSD", "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}  # fmt: skip
AGREED = {
    "psycopg": "LGPL-3.0-only: comes with dbos, installed unchanged from its own wheel and replaceable",
    "psycopg-binary": "LGPL-3.0-only: the same",
    "pagerduty": "MIT as its repository says; its metadata names none",
}
"""Packages outside the list that were looked at one by one."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_problems(text: str, where: str) -> tuple[dict[str, set[str]], list[str]]:
    """Name to versions (one for each platform or Python) of everything in a lock file, and what is wrong with it."""
    pins: dict[str, set[str]] = {}
    problems: list[str] = []
    current, hashes = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if HASH.fullmatch(line):
            hashes += 1
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not hashes:
            problems.append(f"{where}: {current} has no sha256")
        found = PINNED.fullmatch(line)
        if found is None:
            problems.append(f"{where}:{number}: {line.strip()[:80]!r} is no pin by version (no address, path or range)")
            current, hashes = line.strip()[:40], 1
            continue
        current, hashes = normal(found[1]), 0
        if current in pins and ";" not in line:
            problems.append(f"{where}: {current} stands there twice")
        pins.setdefault(current, set()).add(found[3])
    if not hashes:
        problems.append(f"{where}: {current} has no sha256")
    if not pins:
        problems.append(f"{where}: pins nothing")
    return pins, problems


def licence_of(found: importlib.metadata.Distribution) -> list[str]:
    """The licences that a distribution names, as SPDX words where we know them."""
    meta = found.metadata
    expression = meta.get("License-Expression") or ""
    if not expression:
        said = (meta.get("License") or "").strip()
        classified = [
            one.split(" :: ")[-1] for one in meta.get_all("Classifier") or [] if one.startswith("License :: ")
        ]
        if said and len(said) < 60:
            expression = WORDS.get(said, said)
        else:
            return [WORDS.get(one, one) for one in classified]
    return [part for part in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression) if part.strip()]


def licence_problems(pins: dict[str, set[str]]) -> tuple[int, list[str]]:
    """How many of the pinned packages are installed here, and which have a licence that nobody agreed to."""
    installed = {
        normal(one.metadata["Name"]): one for one in importlib.metadata.distributions() if one.metadata["Name"]
    }
    problems: list[str] = []
    seen = 0
    for name, versions in sorted(pins.items()):
        found = installed.get(name)
        if found is None:
            continue  # for another platform
        seen += 1
        if found.version not in versions:
            problems.append(f"{name} {found.version} is installed, {min(versions)} is pinned: run make .venv")
        named = licence_of(found)
        if name not in AGREED and (not named or not set(named) <= LICENCES):
            problems.append(
                f"{name}: licence {' / '.join(named) or 'not named'}: agree to it in {pathlib.Path(__file__).name}"
            )
    strangers = installed.keys() - pins.keys() - {"pip", "setuptools", "sitrep"}
    problems += [f"{name} is installed and not pinned" for name in sorted(strangers)]
    return seen, problems


def main() -> None:
    problems: list[str] = []
    pins: dict[str, set[str]] = {}
    for name in LOCKS:
        found, wrong = lock_problems((ROOT / name).read_text(encoding="utf-8"), name)
        problems += wrong
        if name == LOCKS[0]:
            pins = found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    for one in wanted:
        name = normal(re.split(r"[^A-Za-z0-9._-]", one)[0])
        if name not in pins:
            problems.append(f"pyproject.toml wants {one!r}, which {LOCKS[0]} does not pin: run make lock")
    seen, wrong = licence_problems(pins)
    problems += wrong
    if problems:
        sys.exit("\n".join(problems))
    print(f"dependencies: {len(pins)} pinned with hashes, {seen} installed here, all under agreed licences")


if __name__ == "__main__":
    main()
