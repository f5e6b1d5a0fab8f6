"""Write the sha256 of every new prompt version into prompts/lock.json. A version that is locked is never edited.

Usage: python tools/lock_prompts.py
"""

from __future__ import annotations

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import prompts  # noqa: E402


def main() -> int:
    path = ROOT / "prompts" / "lock.json"
    lock: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, version in prompts.names():
        known = f"{name}/v{version}"
        found = prompts.digest(ROOT / "prompts" / name / f"v{version}")
        if lock.setdefault(known, found) != found:
            print(f"{known} is released and was edited; restore it and make {name}/v{version + 1}", file=sys.stderr)
            return 1
    path.write_text(json.dumps(dict(sorted(lock.items())), indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
