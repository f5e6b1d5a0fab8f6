"""Files that hold what is nobody else's business: readable and writable by their owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def private(path: Path) -> Path:
    """Make the file with mode 0600 where it is not there; take the rights of others from one that is."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(mode & 0o700)
    return path
