"""The batch door of OpenAI and Azure OpenAI: requests in one file, answers in another within 24 hours.

Format: https://platform.openai.com/docs/guides/batch. POST {base}/files (purpose=batch) with one JSON object a line
`{custom_id, method, url, body}`; POST {base}/batches `{input_file_id, endpoint, completion_window, metadata}`; GET
{base}/batches/{id} until `status` is an end; GET {base}/files/{output_file_id}/content, one line a request
`{custom_id, response: {status_code, body}, error}`, in any order. Requests that failed stand in `error_file_id`. Azure
writes the path without /v1. vllm, llama.cpp and ollama have no such door.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from integrations.errors import Denied, IntegrationError, Malformed, Refused, Unavailable
from integrations.openai import OpenAI, Server
from integrations.ports import BatchState, Completion, PromptRequest

if TYPE_CHECKING:
    import httpx2

MOST_BYTES = 16 * 1024 * 1024
"""Of one file of answers: some 5,000 of our largest."""
MOST_REQUESTS = 2_000
_ENDS = frozenset({"completed", "failed", "expired", "cancelled"})


class Batches(OpenAI):
    """`BatchEndpoint` for one base URL. Close it with `aclose`."""

    def __init__(
        self, name: str, base_url: str, api_key: str | None, transport: httpx2.AsyncBaseTransport, server: Server
    ) -> None:
        super().__init__(name, base_url, api_key, transport, server, MOST_BYTES)
        self._path = "/chat/completions" if server == "azure" else "/v1/chat/completions"

    async def submit(self, requests: Mapping[str, PromptRequest], mark: str, timeout_seconds: float) -> BatchState:
        """Uploads the file and starts the batch, by whose `mark` it is found again. Raises Unavailable, Denied,
        Malformed or Refused."""
        if not 0 < len(requests) <= MOST_REQUESTS:
            raise ValueError(f"a batch has 1 to {MOST_REQUESTS} requests, not {len(requests)}")
        lines = "".join(json.dumps(self._line(key, one)) + "\n" for key, one in requests.items()).encode()
        async with asyncio.timeout(timeout_seconds) as limit:
            upload = self._client.files.with_raw_response.create(file=("batch.jsonl", lines), purpose="batch")
            file = await self._json(upload, _left(limit))
            made = self._client.batches.with_raw_response.create(
                input_file_id=self._text(file, "id"), endpoint=self._path,  # type: ignore[arg-type] # Azure's path
                completion_window="24h", metadata={"sitrep": mark},
            )  # fmt: skip
            return self._state(await self._json(made, _left(limit)))
        raise AssertionError("unreachable")

    async def find(self, mark: str, timeout_seconds: float) -> BatchState | None:
        """The batch that was submitted with this mark, among the newest hundred; None where there is none."""
        told = await self._json(self._client.batches.with_raw_response.list(limit=100), timeout_seconds)
        listed = told.get("data")
        if not isinstance(listed, list):
            raise Malformed(self.name, "the batch door's list of batches is none")
        for one in listed:
            marked = one.get("metadata") if isinstance(one, Mapping) else None
            if isinstance(marked, Mapping) and marked.get("sitrep") == mark:
                return self._state(one)
        return None

    async def state(self, batch_id: str, timeout_seconds: float) -> BatchState:
        return self._state(await self._json(self._client.batches.with_raw_response.retrieve(batch_id), timeout_seconds))

    async def cancel(self, batch_id: str, timeout_seconds: float) -> BatchState:
        """What was answered before stays answered, and is charged."""
        return self._state(await self._json(self._client.batches.with_raw_response.cancel(batch_id), timeout_seconds))

    async def results(
        self, state: BatchState, requests: Mapping[str, PromptRequest], timeout_seconds: float
    ) -> Mapping[str, Completion | IntegrationError]:
        """What became of each request that has an answer or an error; a request that has neither is missing."""
        found: dict[str, Completion | IntegrationError] = {}
        for file in (state.error_file, state.output_file):
            if file is not None:
                raw = await self._bytes(self._client.files.with_raw_response.content(file), timeout_seconds)
                for line in self._lines(raw):
                    key = line.get("custom_id")
                    if isinstance(key, str) and key in requests:  # an id that nobody gave is nobody's answer
                        found[key] = self._one(line, requests[key])
        return found

    def _line(self, key: str, request: PromptRequest) -> dict[str, Any]:
        body = {name: value for name, value in self._body(request).items() if name != "extra_headers"}
        return {"custom_id": key, "method": "POST", "url": self._path, "body": body}

    def _one(self, line: Mapping[str, Any], request: PromptRequest) -> Completion | IntegrationError:
        response = line.get("response")
        if not isinstance(response, Mapping):
            return Unavailable(self.name, "the batch ended before this request was answered")
        status, body = response.get("status_code"), response.get("body")
        if status != 200:
            if status in {401, 403, 404}:
                return Denied(self.name, f"answered {status} in a batch")
            if status == 429 or (isinstance(status, int) and status >= 500):
                return Unavailable(self.name, f"answered {status} in a batch")
            return Refused(self.name, "answered in a batch: the request is not acceptable as it is", code=str(status))
        try:
            return self._read(json.dumps(body).encode(), request)
        except IntegrationError as wrong:
            return wrong

    def _lines(self, raw: bytes) -> Iterator[Mapping[str, Any]]:
        for line in raw.splitlines():
            if not line.strip():
                continue
            try:
                told = json.loads(line)
            except (ValueError, RecursionError) as unread:
                raise Malformed(self.name, "a file of answers holds a line that is not JSON") from unread
            if isinstance(told, Mapping):
                yield told

    def _state(self, told: Mapping[str, Any]) -> BatchState:
        status = self._text(told, "status")
        files = {name: told.get(name) for name in ("output_file_id", "error_file_id")}
        return BatchState(
            id=self._text(told, "id"),
            status=status,
            ended=status in _ENDS,
            output_file=files["output_file_id"] if isinstance(files["output_file_id"], str) else None,
            error_file=files["error_file_id"] if isinstance(files["error_file_id"], str) else None,
        )

    def _text(self, told: Mapping[str, Any], name: str) -> str:
        value = told.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise Malformed(self.name, f"the batch door answered without {name!r}")
        return value

    async def _json(self, asked: Awaitable[Any], timeout_seconds: float) -> Mapping[str, Any]:
        raw = await self._bytes(asked, timeout_seconds)
        try:
            told = json.loads(raw)
        except (ValueError, RecursionError) as unread:
            raise Malformed(self.name, "the batch door answered with something that is not JSON") from unread
        if not isinstance(told, Mapping):
            raise Malformed(self.name, "the batch door answered with something that is no object")
        return told

    async def _bytes(self, asked: Awaitable[Any], timeout_seconds: float) -> bytes:
        """One request, its errors in our words. Raises Unavailable, Denied, Malformed or Refused."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return bytes((await asked).http_response.content)
        except TimeoutError as late:
            raise Unavailable(self.name, f"no answer in {timeout_seconds:.1f} s", answer_lost=True) from late
        except self._status as refused:
            code = refused.code if isinstance(refused.code, str) else ""
            raise self._failed(refused.status_code, refused.response, code) from None
        except self._connection as lost:
            raise self._lost(lost) from lost
        except (self._error, ValueError, TypeError, AttributeError, RecursionError) as unread:
            raise Malformed(self.name, f"the batch door could not be read ({type(unread).__name__})") from unread


def _left(limit: asyncio.Timeout) -> float:
    """What is left of the whole, for one of its requests."""
    when = limit.when()
    return 60.0 if when is None else max(when - asyncio.get_running_loop().time(), 0.01)
