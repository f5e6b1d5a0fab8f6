"""A small made-up system whose healthy minutes and faults a test states line by line.

`gate` calls `shop`, which calls `stock` and `price`; each request logs a few lines. A test changes one thing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from integrations.records import (
    EVERYONE,
    Baseline,
    Batch,
    ChangeEvent,
    LogRecord,
    Readers,
    Series,
    Span,
    Telemetry,
    Window,
)

EVERYBODY = Readers.of([EVERYONE])
ALERTED = datetime(2026, 3, 1, 14, 2, 0, tzinfo=UTC)
MS = 1_000_000
POINTS = 30


@dataclass
class Request:
    """What one request does; a fault edits it before it is written down."""

    number: int
    shop_own_ms: float = 4.0
    stock_own_ms: float = 3.0
    price_own_ms: float = 2.0
    stock_transit_ms: float = 2.0
    price_transit_ms: float = 2.0
    calls_price: bool = True
    legs: int = 2
    """How many rows the shop works through: one “looking at row” and one “row done” each."""
    rows_done: int = 2
    shop_logs: list[tuple[str, str]] = field(
        default_factory=lambda: [("INFO", "order accepted"), ("INFO", "order paid")]
    )
    stock_logs: list[tuple[str, str]] = field(
        default_factory=lambda: [("INFO", "stock looked up"), ("INFO", "stock is Success")]
    )
    price_logs: list[tuple[str, str]] = field(default_factory=lambda: [("INFO", "price computed")])
    failed: tuple[str, ...] = ()
    """Services whose server span ends in an error."""


Edit = Callable[[Request, random.Random], None]


def healthy(request: Request, random: random.Random) -> None:
    """Nothing but the usual spread."""


def minute(edit: Edit = healthy, *, requests: int = 30, start: datetime | None = None, seed: int = 1,
           trace_logs: bool | None = True) -> tuple[list[Span], list[LogRecord]]:  # fmt: skip
    """The spans and log records of one minute."""
    chance = random.Random(seed)
    start = start or ALERTED - timedelta(minutes=1)
    spans: list[Span] = []
    logs: list[LogRecord] = []
    for number in range(requests):
        request = Request(number)
        for name in ("shop_own_ms", "stock_own_ms", "price_own_ms", "stock_transit_ms", "price_transit_ms"):
            setattr(request, name, getattr(request, name) * chance.uniform(0.8, 1.3))
        edit(request, chance)
        at = int(start.timestamp() * 1e9) + int(number * 60e9 / requests)
        _write(request, at, f"{seed:04x}{number:04x}", spans, logs, trace_logs)
    return spans, logs


def _write(
    request: Request, at: int, trace: str, spans: list[Span], logs: list[LogRecord], trace_logs: bool | None
) -> None:
    def add(name: str, service: str, operation: str, parent: str, start: float, length: float) -> str:
        span_id = f"{trace}{name}"
        spans.append(
            Span(
                trace_id=trace, span_id=span_id, parent_id=f"{trace}{parent}" if parent else "", service=service,
                name=operation, start_ns=at + int(start * MS), end_ns=at + int((start + length) * MS),
                kind="client" if operation.startswith("HTTP") else "server",
                error=service in request.failed and not operation.startswith("HTTP"),
            )
        )  # fmt: skip
        return span_id

    def write(service: str, span_id: str, start: float, lines: list[tuple[str, str]]) -> None:
        for i, (level, body) in enumerate(lines):
            logs.append(
                LogRecord(
                    at + int((start + i * 0.01) * MS),
                    service,
                    level,
                    body,
                    "" if trace_logs is None else trace,
                    span_id if trace_logs else "",
                )
            )

    stock = request.stock_own_ms
    stock_client = stock + request.stock_transit_ms
    price = request.price_own_ms if request.calls_price else 0.0
    price_client = price + request.price_transit_ms if request.calls_price else 0.0
    shop = request.shop_own_ms + stock_client + price_client
    add("root", "gate", "GET /buy", "", 0, shop + 4)
    add("gate", "gate", "HTTP GET", "root", 1, shop + 2)
    server = add("shop", "shop", "Shop.buy", "gate", 2, shop)
    rows = [("INFO", "looking at row")] * request.legs + [("INFO", "row done")] * request.rows_done
    write("shop", server, 2, request.shop_logs + rows)
    add("sc", "shop", "HTTP stock", "shop", 3, stock_client)
    found = add("stock", "stock", "Stock.find", "sc", 3 + request.stock_transit_ms / 2, stock)
    write("stock", found, 3, request.stock_logs)
    if request.calls_price:
        add("pc", "shop", "HTTP price", "shop", 3 + stock_client, price_client)
        asked = add("price", "price", "Price.get", "pc", 3 + stock_client + request.price_transit_ms / 2, price)
        write("price", asked, 4 + stock_client, request.price_logs)


def telemetry(
    edit: Edit = healthy,
    *,
    baseline: Edit = healthy,
    baselines: int = 2,
    series: tuple[Series, ...] = (),
    changes: tuple[ChangeEvent, ...] = (),
    requests: int = 30,
    trace_logs: bool | None = True,
    readers: Readers = EVERYBODY,
    log_readers: Readers | None = None,
    url: str = "",
) -> Telemetry:
    """One minute with the fault, and healthy minutes an hour, two hours … before.

    `trace_logs`: whether lines name their span; False: their trace alone; None: neither.
    """
    spans, logs = minute(edit, requests=requests, trace_logs=trace_logs)
    healthy_windows = []
    for back in range(1, baselines + 1):
        start = ALERTED - timedelta(minutes=1, hours=back)
        before_spans, before_logs = minute(
            baseline, requests=requests, start=start, seed=100 + back, trace_logs=trace_logs
        )
        healthy_windows.append(
            Baseline(
                Window(start, start + timedelta(minutes=1)),
                (Batch("traces", readers, before_spans, url=url),),
                (Batch("logs", log_readers or readers, before_logs),),
            )
        )
    return Telemetry(
        window=Window(ALERTED - timedelta(minutes=1), ALERTED),
        spans=(Batch("traces", readers, spans, url=url),),
        logs=(Batch("logs", log_readers or readers, logs),),
        series=(Batch("metrics", readers, series),) if series else (),
        changes=changes,
        baselines=tuple(healthy_windows),
    )


def percent(name: str, service: str, usual: float, now: float, *, seed: int = 7, unit: str = "percent") -> Series:
    """A metric every minute for half an hour; the last two points are `now`."""
    chance = random.Random(seed)
    end = ALERTED.timestamp()
    times = [end - 60 * i for i in range(POINTS - 1, -1, -1)]
    values = [usual * chance.uniform(0.9, 1.1) for _ in times[:-2]] + [now, now]
    return Series(name, service, times, values, unit=unit, pod=f"{service}-1")


def change(number: int, service: str, minutes_before: float, **more: object) -> ChangeEvent:
    """A deploy of `service`, so long before the alert."""
    values: dict[str, object] = {
        "id": f"chg-{number}", "kind": "deploy", "service": service, "source": "cd", "readers": EVERYBODY,
        "changed_at": ALERTED - timedelta(minutes=minutes_before), "summary": f"deploy {number} to {service}",
        "url": f"https://git.example/{number}",
    }  # fmt: skip
    return ChangeEvent.model_validate(values | more)
