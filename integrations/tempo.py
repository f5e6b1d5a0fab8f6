"""Tempo: traces by TraceQL search and trace id, and what the same window looked like before.

`/api/search` takes start and end in seconds and answers the first traces that it finds, so that two calls may differ;
`/api/traces/<id>` answers OTLP/JSON as protobuf writes it (`batches`, ids in base64, enumerations by name) and refuses
a trace that is larger than the server's limit with 422; `/api/v2/traces/<id>`, which older servers lack, cuts such a
one and says so: `{"trace": {"resourceSpans": …}, "status": "PARTIAL"}`. A short trace id has lost its leading zeros.
Source: https://grafana.com/docs/tempo/latest/api_docs/, and modules/frontend/combiner/trace_by_id*.go of tempo.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from integrations.asked import Asked, edges_of, in_words, loosely, quoted, renamed, sliced
from integrations.asking import Names, Part, patience
from integrations.errors import Denied, IntegrationError, Malformed, Unavailable
from integrations.http import parse_json
from integrations.otlp import spans_of
from integrations.reading import mapping, objects, text
from integrations.records import Baseline, Findings, Question, ServiceNames, Span, Window

SERVICES_ASKED = 3
TRACES, TRACES_BEFORE, TRACES_NEAR = 25, 20, 10
"""Traces of one slice of the incident's window, of one before it, and of a neighbour's window."""
NEAR = timedelta(hours=1)
"""How far outside its window a trace may reach: Tempo looks only into blocks of that time."""
SPANS = 60_000
SPANS_OF_TRACE = 5000
TOO_LARGE = "(422)"
"""How the first version of the API ends where a trace is larger than the server's limit."""
_ID = re.compile(r"[0-9a-fA-F]{1,32}")


@dataclass
class Read:
    """Spans of some traces, each once."""

    spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    partial: bool = False
    full: bool = False
    failed: list[IntegrationError] = field(default_factory=list)

    def add(self, spans: Iterable[Span]) -> None:
        for span in spans:
            if len(self.spans) >= SPANS:
                self.full = True
                return
            self.spans.setdefault((span.trace_id, span.span_id), span)


class Tempo(Asked):
    """Spans of the incident's window and of healthy windows before it, and the calls they show.

    `link_url` may be a template with `{trace_id}`, such as a Grafana page.
    """

    kind = "tempo"
    at_once = 8

    async def fetch(self, question: Question) -> Findings:
        """Raises Unavailable, Denied or Malformed when nothing could be read."""
        names = Names(question.services, "otel")
        until = asyncio.get_running_loop().time() + 0.85 * patience(self, question)
        parts = [Part("traces", self._window(question, names, until))]
        for at, window in enumerate(question.baselines if question.services else ()):
            back = in_words(question.window.start - window.start)
            middle = window.start + (window.end - window.start) / 2
            halves = [Window(middle, window.end), Window(window.start, middle)] if at == 0 else [window]
            parts.append(Part(f"traces {back} before", self._baseline(question, window, halves, names, until)))
        return await self.ask_all(parts, question)

    async def _window(self, question: Question, names: Names, until: float) -> Findings:
        if not question.services:
            return Findings(notes=(f"{self.name}: the incident names no service",))
        first, *others = question.services[:SERVICES_ASKED]
        slices = sliced(question.window, question.incident.triggered_at)
        wanted = [(first, part, TRACES) for part in slices]
        wanted += [(one, question.window, TRACES_NEAR) for one in others]
        read = await self._read(wanted, names, until)
        notes = []
        if read.partial:
            notes.append(f"{self.name}: traces are partial (some of its answers were errors or late)")
        if not read.spans:
            notes.append(f"{self.name}: no traces of {first.name} in the window")
        elif read.full:
            notes.append(f"{self.name}: traces are a sample (at most {TRACES} a search)")
        spans = renamed(read.spans.values(), names)
        return Findings(
            spans=self.batched(spans, self._page()), edges=edges_of(spans), edge_readers=self.access.readers,
            notes=tuple(notes),
        )  # fmt: skip

    async def _baseline(
        self, question: Question, window: Window, parts: Sequence[Window], names: Names, until: float
    ) -> Findings:
        wanted = [(question.services[0], part, TRACES if len(parts) > 1 else TRACES_BEFORE) for part in parts]
        spans = renamed((await self._read(wanted, names, until)).spans.values(), names)
        if not spans:
            return Findings()
        healthy = Baseline(window, self.batched(spans, self._page()))
        return Findings(baselines=(healthy,), edges=edges_of(spans), edge_readers=self.access.readers)

    async def _read(self, wanted: Sequence[tuple[ServiceNames, Window, int]], names: Names, until: float) -> Read:
        """The traces of some services in some windows, as far as they have come by `until` (the loop's time)."""
        read = Read()
        tasks = [asyncio.create_task(self._search(*one, names, read)) for one in wanted]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        finally:
            for task in tasks:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, IntegrationError):
                read.failed.append(answer)
            elif isinstance(answer, asyncio.CancelledError):
                read.failed.append(Unavailable(self.name, f"no answer in {0.85 * self.deadline_seconds:.3g} s"))
            elif answer is not None:
                raise answer
        if read.failed and not read.spans:
            raise read.failed[0]
        read.partial |= bool(read.failed)
        return read

    async def _search(self, service: ServiceNames, window: Window, limit: int, names: Names, read: Read) -> None:
        params = {
            "q": query_of(service),
            "start": int(window.start.timestamp()),
            "end": max(int(window.start.timestamp()) + 1, int(window.end.timestamp())),
            "limit": limit,
            "spss": 1,
        }
        ids = [one for one in await self.ask(parse_search, "api/search", params) if one not in read.asked]
        read.asked.update(ids)
        read.full |= len(ids) >= limit
        await asyncio.gather(*(self._trace(one, window, read) for one in ids[:limit]))

    async def _trace(self, trace_id: str, window: Window, read: Read) -> None:
        """One trace; one that is gone, or cannot be read, does not cost the others."""
        try:
            params = {
                "start": int((window.start - NEAR).timestamp()), "end": int((window.end + NEAR).timestamp()),
            }  # fmt: skip
            try:
                spans, partial = await self.ask(parse_trace, f"api/traces/{trace_id}", params)
            except Malformed as refused:
                if not refused.message.endswith(TOO_LARGE):
                    raise
                spans, partial = await self.ask(parse_trace, f"api/v2/traces/{trace_id}", params)
        except (Denied, Malformed, Unavailable) as failed:
            read.failed.append(failed)
            return
        read.partial |= partial
        read.add(spans)

    def _page(self) -> str:
        return self.link if "{trace_id}" in self.link else f"{self.link}/api/traces/{{trace_id}}"


def query_of(service: ServiceNames) -> str:
    """TraceQL for the traces of one service: its mapped names exactly, else its own whatever separates the words."""
    if service.otel:
        return "{ " + " || ".join(f'resource.service.name = "{quoted(one)}"' for one in service.otel) + " }"
    return f'{{ resource.service.name =~ "(?i){quoted(loosely(service.name))}" }}'


def parse_search(system: str, body: bytes) -> list[str]:
    """The ids of the traces that a search found, each once, 32 digits long. Raises Malformed."""
    answer = parse_json(system, body)
    if not isinstance(answer, dict) or not isinstance(answer.get("traces", []), list | None):
        raise Malformed(system, "an answer that is no result of a search (no traces)")
    found = (text(one.get("traceID"), 64) for one in objects(answer.get("traces")))
    return list(dict.fromkeys(one.lower().zfill(32) for one in found if _ID.fullmatch(one)))


def parse_trace(system: str, body: bytes) -> tuple[list[Span], bool]:
    """The spans of one trace, and whether Tempo calls it partial. Raises Malformed."""
    answer: Any = parse_json(system, body)
    try:
        spans = [span for span, _ in zip(spans_of(answer, where="trace"), range(SPANS_OF_TRACE), strict=False)]
    except Malformed as wrong:
        raise Malformed(system, wrong.message) from None
    return spans, text(mapping(answer).get("status"), 20).upper() in ("PARTIAL", "1")
