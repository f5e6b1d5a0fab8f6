"""Files of a bundle as texts and JSON, with a clear failure for each."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from integrations import otlp
from integrations.errors import Malformed, Unavailable

SYSTEM = "bundle"
MAX_JSON_BYTES = 64 * 1024 * 1024


def parse_time(value: object, what: str) -> datetime:
    """An ISO instant as aware UTC. Raises Malformed."""
    if isinstance(value, str) and len(value) <= 64:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = None
        if parsed is not None:
            parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
            try:
                return parsed.astimezone(UTC)
            except OverflowError:
                pass
    raise Malformed(SYSTEM, f"{what} is {str(value)[:60]!r}; an ISO time such as 2026-03-01T14:02:10Z is expected")


def texts(raw: object) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        return {}
    return {str(key): value if isinstance(value, str) else json.dumps(value, default=str) for key, value in raw.items()}


def present(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        raise Unavailable(SYSTEM, f"{path.name} is not there")
    return path


def text_of(path: pathlib.Path) -> str:
    return otlp.read_bytes(path, MAX_JSON_BYTES).decode("utf-8-sig", errors="replace")


def document(path: pathlib.Path) -> Any:
    return parsed(text_of(path), path.name)


def parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise Malformed(SYSTEM, f"{where} is not JSON: {str(broken)[:120]}") from None
