"""Versioned prompt folders and the list of approved models. Imports nothing of ours.

A prompt is a folder `prompts/<name>/v<N>/`:

    system.j2    what every request begins with; no variables, so that providers can cache the prefix
    user.j2      the request itself
    schema.json  the only acceptable answer; `$defs.position` lists every position that may be cited
    prompt.toml  name of the schema, largest answer, fixed parameters
    cases.toml   given X, expect structure Y or refusal Z; run by tests/prompts

The first four are what a model sees: their sha256 stands in `lock.json`, a test compares it, and a released version
is never edited (`tools/lock_prompts.py` adds new ones). Cases may be added at any time.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

POSITIONS = (16, 32, 64)
"""Sizes of the position enum: few, so that providers can keep the compiled schemas."""
HASHED = ("prompt.toml", "schema.json", "system.j2", "user.j2")


class PromptError(Exception):
    """A prompt that does not exist, is broken, or was given the wrong variables. A defect, not an input."""


def models_text() -> str:
    """The shipped `models.toml`, as text."""
    return (resources.files("prompts") / "models.toml").read_text(encoding="utf-8")


def locked() -> dict[str, str]:
    """`lock.json`: prompt id (`triage/v1`) to the sha256 of what a model sees."""
    lock: dict[str, str] = json.loads((resources.files("prompts") / "lock.json").read_text(encoding="utf-8"))
    return lock


def names() -> list[tuple[str, int]]:
    """Every prompt in the package, as name and version."""
    found = []
    for folder in resources.files("prompts").iterdir():
        if folder.is_dir() and not folder.name.startswith("_"):
            for inner in folder.iterdir():
                if match := re.fullmatch(r"v([1-9][0-9]*)", inner.name):
                    found.append((folder.name, int(match[1])))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of one prompt. `sha256` covers what a model sees, and goes into every record of a call."""

    name: str
    version: int
    system_template: str
    user_template: str
    schema_name: str
    schema_text: str
    max_output_tokens: int
    parameters: Mapping[str, Any]
    sha256: str
    cases_text: str

    @property
    def id(self) -> str:
        return f"{self.name}/v{self.version}"

    def schema(self, positions: int) -> dict[str, Any]:
        """The answer's schema with the positions s1…sN as a fixed enum. N is 16, 32 or 64."""
        if positions not in POSITIONS:
            raise PromptError(
                f"{self.id}: {positions!r} positions; only {POSITIONS} are made, so that they can be cached"
            )
        schema: dict[str, Any] = json.loads(self.schema_text)
        position = schema["$defs"]["position"]
        position["enum"] = position["enum"][:positions]
        return schema

    def render(self, **variables: Any) -> tuple[str, str]:
        """System and user text. A variable that is missing, or that no template uses, is an error.

        Pure: no clock, no randomness, no loading of other files. Values are data; nothing in them is expanded.
        """
        from jinja2 import TemplateError

        wanted, templates = _compiled(self.id, self.system_template, self.user_template)
        if missing := wanted - variables.keys():
            raise PromptError(f"{self.id}: no value for {sorted(missing)!r}")
        if unused := variables.keys() - wanted:
            raise PromptError(f"{self.id}: no template uses {sorted(unused)!r}")
        try:
            system, user = (template.render(variables) for template in templates)
        except TemplateError as wrong:
            raise PromptError(f"{self.id}: {wrong}") from wrong
        return system, user


@lru_cache(maxsize=32)
def _compiled(prompt_id: str, *texts: str) -> tuple[frozenset[str], tuple[Template, ...]]:
    """The variables that the templates use, and the templates; nothing else can be reached from them."""
    from jinja2 import Environment, StrictUndefined, TemplateError, meta, nodes

    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text for a model, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.globals.clear()
    try:
        trees = [environment.parse(text) for text in texts]
        loaders: list[type[nodes.Node]] = [nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends]
        if any(tree.find(loader) for tree in trees for loader in loaders):
            raise PromptError(f"{prompt_id}: a template may not load another one")
        wanted = frozenset[str]().union(*(meta.find_undeclared_variables(tree) for tree in trees))
        return wanted, tuple(environment.from_string(text) for text in texts)
    except TemplateError as wrong:
        raise PromptError(f"{prompt_id}: {wrong}") from wrong


def digest(folder: Traversable) -> str:
    """sha256 over names and contents of the files that decide what a model sees."""
    total = hashlib.sha256()
    for name in HASHED:
        content = (folder / name).read_bytes()
        total.update(f"{name} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


@lru_cache(maxsize=32)
def load(name: str, version: int) -> Prompt:
    """One prompt by name and version. Raises PromptError if it does not exist or is not whole."""
    folder = resources.files("prompts") / name / f"v{version}"
    if not re.fullmatch(r"[a-z][a-z_]*", name) or not folder.is_dir():
        raise PromptError(f"no prompt {name!r} v{version}; there are {names()!r}")
    try:
        texts = {file: (folder / file).read_text(encoding="utf-8") for file in (*HASHED, "cases.toml")}
        settings = tomllib.loads(texts["prompt.toml"])
        enum = json.loads(texts["schema.json"])["$defs"]["position"]["enum"]
        if enum != [f"s{number}" for number in range(1, POSITIONS[-1] + 1)]:
            raise PromptError(f"{name}/v{version}: schema.json must list the positions s1 to s{POSITIONS[-1]}")
        return Prompt(
            name=name,
            version=version,
            system_template=texts["system.j2"],
            user_template=texts["user.j2"],
            schema_name=settings["schema_name"],
            schema_text=texts["schema.json"],
            max_output_tokens=settings["max_output_tokens"],
            parameters=settings["parameters"],
            sha256=digest(folder),
            cases_text=texts["cases.toml"],
        )
    except (OSError, ValueError, KeyError, TypeError) as broken:
        raise PromptError(f"{name}/v{version} is not a whole prompt: {broken!r}") from broken
