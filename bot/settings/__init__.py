"""The only reader of the environment, `sitrep.toml` and `models.toml`. Every problem is reported at once.

Secrets and addresses come from the environment (each also as `…_FILE`, plurals comma-separated and newest first);
everything else from `sitrep.toml`. Nothing is read at import; `load` takes the environment as a mapping.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, ValidationError

from bot.errors import ConfigurationError
from bot.experiment.hypothesis import Hypothesis, parse
from bot.experiment.schedule import overlaps
from bot.policy import read_policy
from bot.settings.checks import ALLOWED_BY_KIND, cross_checks
from bot.settings.environment import SYSTEMS, Environment, Secrets, parse_secrets
from bot.settings.sections import (
    BudgetSection,
    File,
    Match,
    McpSection,
    RetentionSection,
    Section,
    ServiceSection,
    SeverityTest,
    SourceSection,
)

__all__ = [
    "ALLOWED_BY_KIND",
    "SYSTEMS",
    "BudgetSection",
    "File",
    "Match",
    "McpSection",
    "RetentionSection",
    "Secrets",
    "Section",
    "ServiceSection",
    "Settings",
    "SeverityTest",
    "SourceSection",
    "load",
    "secret_keys",
]


class Settings(Section):
    """Everything that was set, checked. `home` is the state folder; `config` the file that was read, if any."""

    home: Path
    config: Path | None
    file: File
    secrets: Secrets
    experiments: tuple[Hypothesis, ...] = ()
    """`experiments/*.toml` beside `sitrep.toml`, by the day they start."""
    policy: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Reason to phrases of `[summary] policy_file`, beside the phrases that are shipped."""

    def service_for(self, source_name: str | None, system: Literal["pagerduty", "otel"] = "pagerduty") -> str | None:
        """Our name for what a system calls a service: an explicit mapping, else the same name without case and
        punctuation, else None ("not mapped")."""
        if not source_name:
            return None
        for name, service in self.file.services.items():
            if source_name in getattr(service, system) or source_name == name:
                return name
        plain = _plain(source_name)
        return next((name for name in self.file.services if _plain(name) == plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def load(environment: Mapping[str, str] | None = None, *, folder: Path | None = None) -> Settings:
    """Read and check everything. Raises ConfigurationError with every problem that was found."""
    reader = Environment(os.environ if environment is None else environment)
    home = Path(reader.one("SITREP_HOME") or platformdirs.user_state_dir("sitrep")).expanduser()
    problems: list[str] = reader.problems
    path, text = _config_text(reader.one("SITREP_CONFIG"), folder or Path.cwd(), home, problems)
    file = _parse_file(path, text, problems)
    secrets = parse_secrets(reader, problems)
    if file is not None and secrets is not None:
        problems += cross_checks(file, secrets)
    beside = path.parent if path else folder or Path.cwd()
    experiments = _experiments(beside / "experiments", problems)
    policy = _policy(beside, file.summary.policy_file, problems) if file is not None else {}
    if problems or file is None or secrets is None:
        raise ConfigurationError(problems)
    return Settings(home=home, config=path, file=file, secrets=secrets, experiments=experiments, policy=policy)


def secret_keys(environment: Mapping[str, str] | None = None) -> list[bytes]:
    """The keys of SITREP_SECRET_KEY, newest first, for commands that need no other setting; [] where it is unset."""
    reader = Environment(os.environ if environment is None else environment)
    keys = [key.encode() for key in reader.many("SITREP_SECRET_KEY")]
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return keys


def _config_text(named: str | None, folder: Path, home: Path, problems: list[str]) -> tuple[Path | None, str]:
    candidates = [Path(named).expanduser()] if named else [folder / "sitrep.toml", home / "sitrep.toml"]
    for path in candidates:
        try:
            return path, path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as failed:
            problems.append(f"{path} cannot be read ({type(failed).__name__}); it must be a UTF-8 text file")
            return path, ""
    if named:
        problems.append(f"SITREP_CONFIG={named!r} does not exist; copy sitrep.example.toml there")
    return None, ""


def _experiments(folder: Path, problems: list[str]) -> tuple[Hypothesis, ...]:
    """The hypothesis files of a folder; `*.example.toml` is documentation. At most one may run at a time."""
    found: list[Hypothesis] = []
    for path in sorted(folder.glob("*.toml")):
        if path.name.endswith(".example.toml"):
            continue
        name = f"experiments/{path.name}"
        try:
            hypothesis = parse(path.read_text(encoding="utf-8"), file=name)
        except ConfigurationError as wrong:
            problems += wrong.problems
            continue
        except (OSError, UnicodeDecodeError) as failed:
            problems.append(f"{name} cannot be read ({type(failed).__name__}); it must be a UTF-8 text file")
            continue
        if hypothesis.name != path.stem:
            problems.append(f"{name}: name = {hypothesis.name!r}; it must be the file's own, {path.stem!r}")
            continue
        found.append(hypothesis)
    problems += overlaps(found)
    return tuple(sorted(found, key=lambda one: (one.starts_on, one.name)))


def _policy(folder: Path, name: str, problems: list[str]) -> dict[str, tuple[str, ...]]:
    """The phrases of `[summary] policy_file`; nothing where none is named."""
    if not name:
        return {}
    path = folder / Path(name).expanduser()
    where = f"[summary] policy_file = {name!r}"
    try:
        found = read_policy(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{where} does not exist ({path}); leave it empty for the shipped phrases alone")
    except (OSError, UnicodeDecodeError) as failed:
        problems.append(f"{where} cannot be read ({type(failed).__name__}); it must be a UTF-8 text file")
    except ValueError as wrong:
        problems.append(f"{where}: {wrong}")
    else:
        return {reason: tuple(lines) for reason, lines in found.items()}
    return {}


def _parse_file(path: Path | None, text: str, problems: list[str]) -> File | None:
    name = path.name if path else "sitrep.toml"
    try:
        return File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as wrong:
        problems.append(f"{name} is not TOML: {wrong}")
    except ValidationError as wrong:
        problems += [_explain(name, error) for error in wrong.errors()]
    return None


def _explain(name: str, error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys_beside(error["loc"])
        close = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
        return f"{name}: {where} is not a setting; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {where}: {message} (found {error['input']!r})"


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    model: Any = File
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            continue  # the name of a service, source or team
        inner = [
            t for t in (field.annotation, *getattr(field.annotation, "__args__", ())) if hasattr(t, "model_fields")
        ]
        model = inner[-1] if inner else model
    return list(getattr(model, "model_fields", {}))
