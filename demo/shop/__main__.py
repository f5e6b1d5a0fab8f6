"""Runs one service of the shop: `python -m demo.shop SERVICE CONFIG ADDRESSES_JSON`.

ADDRESSES_JSON names `otlp` (base address), `sampled_ratio`, `version`, `fd` (the listening socket, which the old and
the new process of a deploy share, so that no request is refused in between), `storage` (a path for payments-db) and
`services` (name to [host, port] of what others call).
"""

from __future__ import annotations

import json
import pathlib
import socket
import sys
import tomllib

import uvicorn

from demo.shop.services import SERVICES
from demo.shop.telemetry import ServiceTelemetry


def main(name: str, config: str, described: str) -> None:
    world = json.loads(described)
    settings = tomllib.loads(pathlib.Path(config).read_text(encoding="utf-8"))
    if name == "payments-db":
        settings["storage"]["path"] = world["storage"]
    telemetry = ServiceTelemetry(name, world["version"], world["otlp"], world["sampled_ratio"])
    addresses = {service: (host, port) for service, (host, port) in world["services"].items()}
    app = SERVICES[name](telemetry, settings, addresses)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=6))
    server.run(sockets=[socket.socket(fileno=world["fd"])])


if __name__ == "__main__":
    main(*sys.argv[1:])
