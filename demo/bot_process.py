"""The bot as a process of its own, with settings and a state folder made for one run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

import httpx

from demo.parts import ROOT
from demo.scenario import PEOPLE, SERVICES

START_SECONDS = 60.0
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "PYTHONWARNINGS")


class BotFailed(Exception):
    """The bot did not start or ended; the text ends with what it last said."""


def settings(urls: Mapping[str, str], *, channel: str = "#incidents", model_seconds: float = 45.0) -> str:
    """`sitrep.toml` for the tea shop: its services, the four sources, everybody may read everything."""
    lines = [
        'timezone = "UTC"',
        "[slack]",
        f'channel = "{channel}"',
        'blocks = "classic"  # the local Slack shows newer kinds of block as a placeholder',
        "[timeouts]  # everything shares one small machine here",
        "permit_seconds = 5",
        f"model_seconds = {model_seconds:g}",
        f"model_attempt_seconds = {model_seconds * 0.9:g}",
        "[links]",
        f'hosts = ["{urls["github"]}", "{urls["control"]}"]',
        "[severity]",
        "P1 = 1",
        "P2 = 2",
        "[groups]",
        f"payments = [{', '.join(f'{one.email!r}' for one in PEOPLE if one.team == 'payments')}]".replace("'", '"'),
        f"pagerduty = [{', '.join(f'{one.email!r}' for one in PEOPLE)}]".replace("'", '"'),
    ]
    lines += ["[teams.payments]", "[teams.storefront]"]
    for one in SERVICES:
        lines += [
            f'[services."{one.name}"]',
            f'pagerduty = ["{one.pagerduty_id}"]',
            f'otel = ["{one.name}"]',
            f'repositories = ["{one.repository}"]',
            f'prometheus = {{ service = "{one.name}" }}',
            f'team = "{"storefront" if one.name == "storefront" else "payments"}"',
            f"depends_on = {list(one.depends_on)}".replace("'", '"'),
        ]
    for name in ("pagerduty", "prometheus", "jaeger", "github"):
        # Everything shares one small machine here: twice the usual patience.
        lines += [f"[sources.{name}]", 'readers = ["everyone"]', "deadline_seconds = 6"]
        lines += [f'url = "{urls[name]}"'] if name in ("prometheus", "jaeger") else []
    return "\n".join(lines) + "\n"


class BotProcess:
    """`sitrep serve` with its own home; `home` stays when it ends, so that it can be started again."""

    def __init__(self, home: pathlib.Path, environment: Mapping[str, str], toml: str) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        (home / "sitrep.toml").write_text(toml, encoding="utf-8")
        self.port = _free_port()
        ours = {key: value for key, value in os.environ.items() if key in _KEPT}
        self.environment = {
            **ours,
            **environment,
            "SITREP_HOME": str(home),
            "SITREP_CONFIG": str(home / "sitrep.toml"),
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def webhook_url(self) -> str:
        return f"{self.url}/webhooks/pagerduty"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Starts, and waits until it says that it is well. Raises BotFailed."""
        log = (self.home / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bot", "serve"], cwd=ROOT, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started it, who ends it in good order
            )  # fmt: skip
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=2) as client:
            for _ in range(int(START_SECONDS / 0.1)):
                if not self.running:
                    raise BotFailed(f"the bot ended with {self._process.returncode}:\n{self.log_tail()}")
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get("/healthz")).status_code == 200:
                        return
                await asyncio.sleep(0.1)
        raise BotFailed(f"the bot was not well within {START_SECONDS:g} s:\n{self.log_tail()}")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and returns its exit code."""
        if self._process is None:
            return 0
        if self.running:
            self._process.send_signal(how)
        try:
            return await asyncio.to_thread(self._process.wait, 15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return await asyncio.to_thread(self._process.wait, 15)

    async def command(self, *arguments: str, seconds: float = 60.0) -> tuple[int, str, str]:
        """Another `sitrep` command on the same home: exit code, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", *arguments, cwd=ROOT, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
            return 124, "", f"no answer within {seconds:g} s"
        return process.returncode or 0, out.decode(), err.decode()

    def log_tail(self, lines: int = 15) -> str:
        path = self.home / "log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
