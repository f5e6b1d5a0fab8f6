"""Serves the recorded incident until it is interrupted: `python -m demo.systems [WEBHOOK_URL]`."""

import json
import signal
import sys

from demo.systems.server import Systems


def main() -> None:
    with Systems(webhook_url=sys.argv[1] if len(sys.argv) > 1 else None) as systems:
        print(json.dumps({"urls": systems.url, "environment": systems.environment()}, indent=1), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
