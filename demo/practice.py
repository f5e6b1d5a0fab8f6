"""A place to try the first day in: the systems of the demo and a local Slack, without the bot. `make practice`.

Writes `practice.env` with everything that a bot needs, for `. ./practice.env`, and stays until it is interrupted. Its
tokens open nothing but these servers.
"""

from __future__ import annotations

import pathlib
import shlex
import signal
import threading

from demo.slack import SlackThread
from demo.systems import Systems

FILE = pathlib.Path("practice.env")


def environment(systems: Systems, slack: SlackThread) -> dict[str, str]:
    """The bot's variables, and the addresses and the incident that the quickstart names."""
    return {
        **systems.environment(),
        **slack.environment(),
        "JAEGER_URL": systems.url["jaeger"],
        "PROMETHEUS_URL": systems.url["prometheus"],
        "INCIDENT": str(systems.state.incident["id"]),
    }


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Systems() as systems, SlackThread() as slack:
        systems.webhook_to(None)
        systems.trigger()
        told = environment(systems, slack)
        FILE.touch(mode=0o600)
        FILE.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in told.items()))
        print(f"Slack's page: {slack.url}   the incident: {told['INCIDENT']}   variables: {FILE} (. ./{FILE})")
        print("Ctrl-C ends it.", flush=True)
        try:
            stop.wait()
        finally:
            FILE.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
