"""Runs the four systems and their control on loopback, in a thread: `Systems`, or `python -m demo.systems`.

    with Systems() as systems:
        systems.url["pagerduty"], systems.url["jaeger"], …    # addresses; PagerDuty's is https
        systems.ca_file                                       # the authority of its certificate
        systems.webhook_to("http://127.0.0.1:8080/webhooks/pagerduty")
        systems.trigger(); systems.move("acknowledged"); systems.move("resolved")
        systems.faults["jaeger"].delay_seconds = 5

The same over HTTP for other processes, at `systems.url["control"]`: POST /trigger, /acknowledge, /resolve, /reopen,
/webhook {url}, /faults {system, delay_seconds, status, retry_after_seconds, drop_answer, times, path_contains},
/faults/reset; GET /state.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from demo.answers import API, PD_API, PD_WEB, WEB
from demo.systems import github as github_api
from demo.systems import pagerduty as pagerduty_api
from demo.systems.faults import Faults, Faulty
from demo.systems.github import github
from demo.systems.incident import IncidentState
from demo.systems.jaeger import jaeger
from demo.systems.pagerduty import pagerduty
from demo.systems.pages import pagerduty_pages
from demo.systems.prometheus import prometheus
from demo.systems.webhooks import Webhooks
from demo.tape import FOLDER, Tape

NAMES = ("pagerduty", "prometheus", "jaeger", "github")
PAGERDUTY_TOKEN = "demo-pagerduty-token"
GITHUB_TOKEN = "demo-github-token"
WEBHOOK_SECRET = "demo-webhook-secret"
_RATE_LIMITED = {"pagerduty": pagerduty_api.RATE_LIMITED, "github": github_api.RATE_LIMITED}
T = TypeVar("T")


class Systems:
    """The outside world of one incident. A context manager; every port is random unless given."""

    def __init__(self, recording: pathlib.Path = FOLDER, webhook_url: str | None = None) -> None:
        self.tape = Tape(recording)
        self.faults = {name: Faults() for name in NAMES}
        self.url: dict[str, str] = {}
        self._webhook_url = webhook_url
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="sitrep-systems-"))
        self.ca_file = self._folder / "ca.pem"
        self._certificate = self._folder / "server.pem"
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="demo-systems", daemon=True)

    def __enter__(self) -> Systems:
        self._write_certificate()
        self._thread.start()
        self._started.wait(30)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- what a caller from another thread may do ---

    def webhook_to(self, url: str | None) -> None:
        """Where webhooks go from now on."""
        self._webhooks.url = url

    def trigger(self) -> None:
        """The incident happens now."""
        self._call(self.state.trigger)

    def move(self, status: str) -> bool:
        """Somebody acknowledges or resolves it, or it goes back to triggered."""
        return self._call(lambda: self.state.move(status))

    def reset_faults(self) -> None:
        """Every system well again, counts at zero."""
        for faults in self.faults.values():
            faults.reset()
            faults.requests.clear()

    def deliveries_forgotten(self) -> None:
        """Empties the list of deliveries."""
        self._call(self._webhooks.deliveries.clear)

    @property
    def deliveries(self) -> list[dict[str, Any]]:
        """Every webhook so far: event_type, webhook_id, statuses, seconds."""
        return [dataclasses.asdict(one) for one in self._webhooks.deliveries]

    @property
    def secret(self) -> str:
        return WEBHOOK_SECRET

    def environment(self) -> dict[str, str]:
        """What a bot needs in its environment to reach these systems."""
        return {
            "PAGERDUTY_API_TOKEN": PAGERDUTY_TOKEN,
            "PAGERDUTY_API_URL": self.url["pagerduty"],
            "PAGERDUTY_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "GITHUB_TOKEN": GITHUB_TOKEN,
            "GITHUB_API_URL": self.url["github"],
            "SITREP_CA_FILE": str(self.ca_file),
        }

    # --- the thread ---

    def _call(self, action: Callable[[], T]) -> T:
        async def do() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    def _write_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
            str(self._certificate)
        )
        self._certificate.chmod(0o600)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._webhooks = Webhooks(self._webhook_url, WEBHOOK_SECRET)
        self.state = IncidentState(self.tape, self._webhooks.send)
        applications = {
            "pagerduty": pagerduty(self.tape, self.state, PAGERDUTY_TOKEN),
            "prometheus": prometheus(self.tape),
            "jaeger": jaeger(self.tape),
            "github": github(self.tape, GITHUB_TOKEN),
        }
        servers = [
            self._server(name, Faulty(app, self.faults[name], _RATE_LIMITED.get(name, {})))
            for name, app in applications.items()
        ]
        servers.append(self._server("control", self._control()))
        self.tape.addresses = {
            API: self.url["github"],
            WEB: self.url["github"],
            PD_API: self.url["pagerduty"],
            PD_WEB: f"{self.url['control']}/pagerduty",
        }
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(one) for _, one in servers]
        delivering = asyncio.create_task(self._webhooks.run())
        while not all(server.started for server, _ in servers):
            await asyncio.sleep(0.01)
        self._started.set()
        await self._stop.wait()
        delivering.cancel()
        for server, _ in servers:
            server.should_exit = server.force_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, delivering, return_exceptions=True)

    def _server(self, name: str, app: Any) -> tuple[uvicorn.Server, Coroutine[Any, Any, None]]:
        listening = socket.create_server(("127.0.0.1", 0))
        secure = name == "pagerduty"
        self.url[name] = f"http{'s' if secure else ''}://127.0.0.1:{listening.getsockname()[1]}"
        tls = {"ssl_certfile": os.fspath(self._certificate)} if secure else {}
        config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False, **tls)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        return server, server.serve(sockets=[listening])

    # --- control over HTTP ---

    def _control(self) -> Starlette:
        async def state(_: Request) -> JSONResponse:
            return JSONResponse(self.report())

        async def trigger(_: Request) -> JSONResponse:
            return JSONResponse(self.state.trigger())

        def moving(status: str) -> Callable[[Request], Coroutine[Any, Any, JSONResponse]]:
            async def move(_: Request) -> JSONResponse:
                if self.state.incident is None:
                    return JSONResponse({"error": "trigger the incident first"}, 409)
                return JSONResponse({"changed": self.state.move(status), "status": self.state.status})

            return move

        async def webhook(request: Request) -> JSONResponse:
            self._webhooks.url = (await request.json())["url"]
            return JSONResponse({"url": self._webhooks.url})

        async def faults(request: Request) -> JSONResponse:
            body = await request.json()
            knobs = self.faults[body.pop("system")]
            for key, value in body.items():
                if not hasattr(knobs, key) or key == "requests":
                    return JSONResponse({"error": f"no knob {key!r}"}, 400)
                setattr(knobs, key, value)
            return JSONResponse({"ok": True})

        async def reset(_: Request) -> JSONResponse:
            self.reset_faults()
            return JSONResponse({"ok": True})

        moves = {
            "/acknowledge": "acknowledged",
            "/resolve": "resolved",
            "/unacknowledge": "triggered",
            "/reopen": "triggered",
        }
        return Starlette(
            routes=[
                *pagerduty_pages(self.tape, self.state),
                Route("/state", state),
                Route("/trigger", trigger, methods=["POST"]),
                Route("/webhook", webhook, methods=["POST"]),
                Route("/faults", faults, methods=["POST"]),
                Route("/faults/reset", reset, methods=["POST"]),
                *[Route(path, moving(status), methods=["POST"]) for path, status in moves.items()],
            ]
        )

    def report(self) -> dict[str, Any]:
        """Where the incident stands, what was delivered, what was asked."""
        return {
            "status": self.state.status,
            "incident": self.state.incident and self.state.incident["id"],
            "triggered_at": self.tape.triggered_at if self.state.incident else None,
            "urls": self.url,
            "ca_file": str(self.ca_file),
            "deliveries": self.deliveries,
            "notes": self.state.notes,
            "requests": {name: dict(faults.requests) for name, faults in self.faults.items()},
        }
