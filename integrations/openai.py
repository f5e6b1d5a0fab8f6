"""Any OpenAI-compatible chat endpoint, through the `openai` SDK. One request is one attempt; retries are the gateway's.

Format: POST {base}/chat/completions, https://platform.openai.com/docs/api-reference/chat. What the SDK would do by
itself is off or undone here: its retries, its 600 s timeout, redirects, proxies and headers from the environment. The
answer is read by us, because a 200 may hold HTML (the SDK returns a `str`), half a JSON (it raises JSONDecodeError) or
an error body (it returns `choices=None`).

Servers differ (docs/model.md has the table):

    openai      strict schemas without lengths or counts; max_completion_tokens
    azure       as openai, by its v1 base URL (https://<resource>.openai.azure.com/openai/v1), key in `api-key`;
                a content filter answers 400 `content_filter`, or finish_reason `content_filter`
    vllm        whole schemas, max_tokens (max_completion_tokens since 0.6)
    llama.cpp   whole schemas without `strict`; max_tokens
    ollama      whole schemas without `strict`; max_tokens; often no cached-token figure
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from integrations.errors import Denied, IntegrationError, Malformed, Refused, Unavailable
from integrations.ports import Completion, PromptRequest

if TYPE_CHECKING:
    import httpx2

Server = Literal["openai", "azure", "vllm", "llama.cpp", "ollama"]

MAX_BODY_BYTES = 1024 * 1024
"""An answer of this size is no answer to our prompts: the largest has some 10 KiB."""
BYTES_PER_TOKEN = 1.4
"""Fewest bytes a token takes on text like ours; used where a server reports no usage, so that we never count less."""
_COMMON_SUBSET_LACKS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "pattern", "format"})
_SENT_HEADERS = frozenset({
    "host", "content-type", "content-length", "transfer-encoding", "accept", "connection", "user-agent",
    "traceparent", "tracestate",
})  # fmt: skip
_WILL_NOT_CHANGE = frozenset({"insufficient_quota", "billing_hard_limit_reached", "access_terminated"})
"""Codes that come with 429 and are not about rate: a person has to pay or ask."""


class _Tokens(BaseModel):
    model_config = ConfigDict(extra="ignore")
    cached_tokens: int | None = None


class _Usage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Tokens | None = None


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    message: _Message
    finish_reason: str | None = None


class _Answer(BaseModel):
    """What we read of a chat completion; anything else in it is ignored."""

    model_config = ConfigDict(extra="ignore")
    model: str
    choices: list[_Choice]
    usage: _Usage | None = None
    system_fingerprint: str | None = None


class OpenAI:
    """`ModelEndpoint` for one base URL. Close it with `aclose`."""

    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str | None,
        transport: httpx2.AsyncBaseTransport,
        server: Server = "openai",
        most_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        """`transport` decides where requests may go (egress) and how many connections there are.

        Its pool must be at least as large as the gateway's concurrency: waiting for a connection counts as a timeout.
        """
        import httpx2
        import openai

        self.name = name
        self._server = server
        self._timeout = openai.APITimeoutError
        self._status = openai.APIStatusError
        self._connection = openai.APIConnectionError
        self._error = openai.OpenAIError
        self._http = httpx2.AsyncClient(
            transport=_guarded(transport, _credentials(api_key, server), most_bytes),
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # the attempt's own timeout bounds everything, a drip of bytes included
        )
        self._client = openai.AsyncOpenAI(
            # Every value that the SDK would read from the environment is given.
            base_url=base_url,
            api_key=api_key or "none",
            organization="",
            project="",
            webhook_secret="",
            admin_api_key="",
            max_retries=0,
            http_client=self._http,
        )

    async def aclose(self) -> None:
        await self._client.close()

    async def complete(self, request: PromptRequest, timeout_seconds: float) -> Completion:
        """One attempt. Raises Unavailable, Denied, Malformed, or Refused for a request that will never be accepted."""
        try:
            async with asyncio.timeout(timeout_seconds):
                raw = await self._client.chat.completions.with_raw_response.create(**self._body(request))
                content = raw.http_response.content
        except TimeoutError as late:
            raise Unavailable(self.name, f"no answer in {timeout_seconds:.1f} s", answer_lost=True) from late
        except self._status as refused:
            return self._refused(refused.status_code, refused.response, request)
        except self._connection as lost:
            raise self._lost(lost) from lost
        except self._error as other:
            raise Malformed(self.name, f"the SDK could not read the answer ({type(other).__name__})") from other
        except (ValueError, TypeError, AttributeError, RecursionError) as unread:
            raise Malformed(self.name, f"the answer is not a chat completion ({type(unread).__name__})") from unread
        return self._read(content, request)

    async def models(self, timeout_seconds: float) -> frozenset[str]:
        """Names of the models that the server offers (GET {base}/models): costs nothing, and shows whether the key is
        good. Raises Unavailable, Denied, Malformed or Refused."""
        try:
            async with asyncio.timeout(timeout_seconds):
                raw = await self._client.models.with_raw_response.list()
                listed = json.loads(raw.http_response.content)["data"]
                return frozenset(str(one["id"]) for one in listed)
        except TimeoutError as late:
            raise Unavailable(self.name, f"no answer in {timeout_seconds:.1f} s") from late
        except self._status as refused:
            raise self._failed(refused.status_code, refused.response, _error_code(refused.response)) from None
        except self._connection as lost:
            raise self._lost(lost) from lost
        except (self._error, ValueError, TypeError, LookupError, AttributeError, RecursionError) as unread:
            raise Malformed(self.name, f"the answer is no list of models ({type(unread).__name__})") from unread

    def _body(self, request: PromptRequest) -> dict[str, Any]:
        schema: Any = request.schema
        strict: dict[str, Any] = {}
        if self._server in {"openai", "azure"}:
            schema, strict = _common_subset(schema), {"strict": True}
        limit = "max_completion_tokens" if self._server in {"openai", "azure"} else "max_tokens"
        return {
            "model": request.model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.user},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": request.schema_name, "schema": schema, **strict},
            },
            limit: request.max_output_tokens,
            "extra_headers": _trace_context(),
            **request.parameters,
        }

    def _read(self, content: bytes, request: PromptRequest) -> Completion:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError) as unread:
            raise Malformed(self.name, "answered 200 with something that is not JSON") from unread
        if isinstance(data, dict) and data.get("error"):
            raise Malformed(self.name, "answered 200 with an error in it")
        try:
            answer = _Answer.model_validate(data)
        except ValidationError as wrong:
            raise Malformed(self.name, f"answered 200 with no chat completion: {wrong.error_count()} fields") from wrong
        if not answer.choices:
            raise Malformed(self.name, "answered without a choice")
        choice = answer.choices[0]
        text, refusal = choice.message.content or "", choice.message.refusal
        finish = choice.finish_reason or "unknown"
        if finish == "content_filter" and not refusal:
            refusal = "content filter"
        if not text and not refusal and finish != "length":
            raise Malformed(self.name, f"answered without text (finish_reason {finish!r})")
        tokens_in, tokens_cached, tokens_out = _usage(answer.usage, request, text)
        return Completion(
            text=text,
            answered_by=answer.model,
            tokens_in=tokens_in,
            tokens_cached=tokens_cached,
            tokens_out=tokens_out,
            finish_reason=finish,
            refusal=refusal,
            fingerprint=answer.system_fingerprint,
        )

    def _refused(self, status: int, response: httpx2.Response, request: PromptRequest) -> Completion:
        """What an answer outside 200 means for the caller; Azure's content filter is a refusal of the model's side."""
        code = _error_code(response)
        if status in {400, 403} and code in {"content_filter", "content_policy_violation"}:
            tokens_in, _, _ = _usage(None, request, "")
            return Completion(
                text="",
                answered_by=request.model,
                tokens_in=tokens_in,
                tokens_cached=0,
                tokens_out=0,
                finish_reason="content_filter",
                refusal="content filter",
            )
        raise self._failed(status, response, code)

    def _failed(self, status: int, response: httpx2.Response, code: str) -> IntegrationError:
        if status < 400:
            return Malformed(self.name, f"answered {status}, a redirect; redirects are not followed")
        if status == 429 and code not in _WILL_NOT_CHANGE:
            return Unavailable(self.name, "answered 429, too many requests", retry_after_seconds=_retry_after(response))
        if status in {401, 402, 403, 404, 429}:
            return Denied(self.name, f"answered {status}: check the key, the plan and the model's name")
        if status in {408, 409, 425} or status >= 500:
            return Unavailable(self.name, f"answered {status}", retry_after_seconds=_retry_after(response))
        said = f"answered {status}: the request is not acceptable as it is"
        return Refused(self.name, said, code=code or str(status))

    def _lost(self, lost: Exception) -> IntegrationError:
        """A connection that failed; an error of ours (egress, size) travels through the SDK as the cause."""
        import httpx2

        cause: BaseException | None = lost
        while cause is not None:
            if isinstance(cause, IntegrationError):
                return cause
            if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
                return Unavailable(self.name, f"no connection ({type(cause).__name__})")
            if isinstance(cause, httpx2.RemoteProtocolError | httpx2.DecodingError):
                return Unavailable(self.name, f"the answer broke off ({type(cause).__name__})", answer_lost=True)
            cause = cause.__cause__
        return Unavailable(self.name, f"the connection failed ({type(lost.__cause__).__name__})", answer_lost=True)


def _credentials(api_key: str | None, server: Server) -> dict[str, str]:
    if not api_key:
        return {}
    return {"api-key": api_key} if server == "azure" else {"authorization": f"Bearer {api_key}"}


def _guarded(
    inner: httpx2.AsyncBaseTransport, credentials: Mapping[str, str], most_bytes: int
) -> httpx2.AsyncBaseTransport:
    """Sends only headers that we mean to send, and stops reading a body that is too large.

    Uncompressed answers only: a small compressed body can unfold into gigabytes.
    """
    import httpx2

    class Guarded(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            kept = [(name, value) for name, value in request.headers.multi_items() if name.lower() in _SENT_HEADERS]
            sent = httpx2.Request(  # a copy: the SDK reads its own headers again from the request of the response
                request.method,
                request.url,
                headers=[*kept, ("accept-encoding", "identity"), *credentials.items()],
                stream=request.stream,
                extensions=request.extensions,
            )
            response = await inner.handle_async_request(sent)
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                await response.aclose()
                raise Malformed(request.url.host, "answered in a compressed form that was not asked for")
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = Capped(response.stream, request.url.host)
            return response

        async def aclose(self) -> None:
            await inner.aclose()

    class Capped(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream, host: str) -> None:
            self._stream = stream
            self._host = host

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self._stream:
                size += len(chunk)
                if size > most_bytes:
                    raise Malformed(self._host, f"answered with more than {most_bytes} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Guarded()


def _trace_context() -> dict[str, str]:
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def _common_subset(schema: Any) -> Any:
    """The schema without lengths and counts, which strict mode refuses in part; `check` enforces them on the answer."""
    if isinstance(schema, Mapping):
        return {key: _common_subset(value) for key, value in schema.items() if key not in _COMMON_SUBSET_LACKS}
    if isinstance(schema, list | tuple):
        return [_common_subset(value) for value in schema]
    return schema


def _usage(usage: _Usage | None, request: PromptRequest, text: str) -> tuple[int, int, int]:
    """Tokens in, of those cached, and out; where the server does not say, as many as there can be."""
    sent = len(request.system.encode()) + len(request.user.encode())
    tokens_in = usage.prompt_tokens if usage and usage.prompt_tokens is not None else None
    tokens_out = usage.completion_tokens if usage and usage.completion_tokens is not None else None
    cached = usage.prompt_tokens_details.cached_tokens if usage and usage.prompt_tokens_details else None
    charged = math.ceil(sent / BYTES_PER_TOKEN) if tokens_in is None or tokens_in < 0 else tokens_in
    written = math.ceil(len(text.encode()) / BYTES_PER_TOKEN) if tokens_out is None or tokens_out < 0 else tokens_out
    return charged, min(max(cached or 0, 0), charged), written


def _error_code(response: httpx2.Response) -> str:
    """The server's own word (`error.code`), for decisions only; it is outside text and is never shown."""
    try:
        body = json.loads(response.content)
        code = body["error"].get("code") or body["error"].get("type")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""  # whatever they sent, it is no code
    return code[:64] if isinstance(code, str) else ""


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds from `retry-after-ms` or `Retry-After` (seconds or an HTTP date); None if absent or absurd."""
    headers = response.headers
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif "retry-after" in headers:
            value = headers["retry-after"].strip()
            try:
                seconds = float(value)
            except ValueError:
                seconds = (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        else:
            return None
    except (ValueError, TypeError, OverflowError):
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
