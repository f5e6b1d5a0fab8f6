"""The one way out: an allow-list of addresses, a client per HTTP stack, and one reading of how calls fail."""

from integrations.http.answers import Answer, Api, broken, exchanges_within, failure, parse_json, rate_limited, wait_of
from integrations.http.egress import ANSWER_LIMIT_BYTES, Count, Egress, Origin, Verdict, origin_of
from integrations.http.stacks import (
    Transport,
    aiohttp_connector,
    aiohttp_session,
    client,
    httpx2_async_client,
    httpx2_async_transport,
    httpx2_transport,
)

__all__ = [
    "ANSWER_LIMIT_BYTES", "Answer", "Api", "Count", "Egress", "Origin", "Transport", "Verdict", "aiohttp_connector",
    "aiohttp_session", "broken", "client", "exchanges_within", "failure", "httpx2_async_client",
    "httpx2_async_transport", "httpx2_transport", "origin_of", "parse_json", "rate_limited", "wait_of",
]  # fmt: skip
