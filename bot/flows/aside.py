"""Where a request is kept while the store takes it too slowly: one sealed file each, on disk before Slack is answered.

Slack waits three seconds, and a database that is locked, or whose disk is busy with something else, may take longer. A
file is gone as soon as the store has the request; what is there at start-up is taken into the store first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.trust.sealed import Seal

log = logging.getLogger(__name__)

SUFFIX = ".request"
MAX_BYTES = 64 * 1024
"""Of one file that is read again; a request is far smaller."""
MAX_FILES = 1000


class Aside:
    """One folder in SITREP_HOME. Every method blocks, and is for a thread of its own."""

    def __init__(self, folder: Path, seal: Seal) -> None:
        self._folder = folder
        self._seal = seal

    def put(self, request_id: str, values: dict[str, Any]) -> None:
        """On disk, name and content, when this returns. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(request_id)
        if path.exists():
            return
        part = path.with_suffix(".part")
        content = self._seal.seal(json.dumps(values, default=_plain)).encode()
        handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        try:
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        part.replace(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name as well
        finally:
            os.close(folder)

    def drop(self, request_id: str) -> None:
        self._path(request_id).unlink(missing_ok=True)

    def left(self) -> list[dict[str, Any]]:
        """What an earlier process kept here, oldest first. What cannot be read is removed and said in the log."""
        if not self._folder.is_dir():
            return []
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=lambda one: one.stat().st_mtime)[:MAX_FILES]:
            values = self._read(path)
            if values is None:
                log.error("a request that was kept aside cannot be read; it is lost")
                path.unlink(missing_ok=True)
            else:
                found.append(values)
        return found

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            opened = self._seal.open(path.read_text(encoding="ascii"))
            values = json.loads(opened) if opened is not None else None
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) and isinstance(values.get("id"), str) else None

    def _path(self, request_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(request_id.encode()).hexdigest()[:32]}{SUFFIX}"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no {type(value).__name__} is kept aside")
