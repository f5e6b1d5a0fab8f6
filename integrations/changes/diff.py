"""What a comparison of two commits changed, as a short text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from integrations.reading import text

EXCERPT = 4000
EXCERPT_OF_FILE = 1200
_SETTINGS = re.compile(
    r"(\.(ya?ml|toml|json|ini|conf|cfg|env|properties|tf|tfvars|hcl|sql|xml)|Dockerfile|Procfile|\.env[.\w]*)$|"
    r"(^|/)(config|settings|deploy|charts?|k8s|helm|migrations?)/",
    re.IGNORECASE,
)


def excerpt(files: Sequence[Mapping[str, Any]]) -> str:
    """What a comparison changed, in at most 4,000 characters: settings first, only the lines that changed."""
    ordered = sorted(files, key=lambda one: not _SETTINGS.search(text(one.get("filename"), 300)))
    blocks: list[str] = []
    left = EXCERPT
    for one in ordered:
        name, patch = text(one.get("filename"), 300), text(one.get("patch"), 100_000)
        if not name:
            continue
        lines = [line for line in patch.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        changed = "\n".join(line[:300] for line in lines)[:EXCERPT_OF_FILE]
        before = text(one.get("previous_filename"), 300)
        what = text(one.get("status"), 20) or "changed"
        block = f"{name} ({what}{f' from {before}' if before else ''})" + (f"\n{changed}" if changed else "")
        if len(block) + 1 > left:
            break
        left -= len(block) + 1
        blocks.append(block)
    return "\n".join(blocks)
