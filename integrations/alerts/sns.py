"""Amazon SNS over HTTPS: the signature, the certificate it needs, and the confirmation of a subscription.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html. Only version 2 (SHA-256) is
accepted; nothing is fetched before the topic is one of ours and the host is SNS of that topic's region.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from integrations.alerts.cloudwatch import CloudWatchParser
from integrations.alerts.doors import AlertDoor, unread
from integrations.errors import BadSignature, IntegrationError
from integrations.http import Api, Egress, client
from integrations.reading import mapping, text
from integrations.records import Signal

log = logging.getLogger(__name__)

_TOPIC = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]{5,30}):\d{12}:[A-Za-z0-9_.-]{1,256}")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-f]{16,64}\.pem")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]
CERTIFICATES = 16
FETCHES = 8
"""Certificates that may be fetched in `FETCH_SECONDS`: an address in a forged body must not make us fetch for ever."""
FETCH_SECONDS = 60.0


def origin_of_topic(topic: str) -> str:
    """The one address that a topic's certificate and confirmation may come from. Raises ValueError for no topic."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        raise ValueError(f"{topic!r} is no SNS topic (arn:aws:sns:<region>:<account>:<name>)")
    partition, region = match.groups()
    return f"https://sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"


Fetch = Callable[[str, str, Mapping[str, str]], Awaitable[bytes]]
"""Origin, path and query to the body of a 2xx answer; raises IntegrationError."""


def fetch_by(egress: Egress, topics: Sequence[str], stack: AsyncExitStack, *, timeout_seconds: float = 3.0) -> Fetch:
    """Fetches from SNS of the topics' regions, which `egress` must allow; closed with the stack."""
    apis: dict[str, Api] = {}
    for origin in dict.fromkeys(map(origin_of_topic, topics)):
        apis[origin] = Api(
            "cloudwatch_sns",
            client(egress, "cloudwatch_sns", origin, timeout_seconds=timeout_seconds),
            credential="allow.topics",
            address="allow.topics of [sources.cloudwatch_sns]",
            timeout_seconds=timeout_seconds,
            answer_limit_bytes=65_536,
        )
        stack.push_async_callback(apis[origin].aclose)

    async def fetch(origin: str, path: str, query: Mapping[str, str]) -> bytes:
        return (await apis[origin].answer(path, dict(query))).body

    return fetch


class SnsDoor(AlertDoor):
    """CloudWatch alarms through SNS at `/webhooks/cloudwatch_sns`, from the topics that the settings name.

    `prepare` does the only I/O, before `verify`: it fetches a certificate that is not known yet, and confirms a
    subscription whose signature is right.
    """

    def __init__(self, topics: Sequence[str], fetch: Fetch) -> None:
        super().__init__("cloudwatch_sns", self, CloudWatchParser())
        self._origins = {topic: origin_of_topic(topic) for topic in topics}
        self._get = fetch
        self._certificates: dict[str, Any] = {}
        self._fetched: list[float] = []
        self._lock = asyncio.Lock()

    async def prepare(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        """Fetches what `verify` needs; confirms a subscription. What is wrong is left for `verify` to refuse."""
        try:
            message = _message(body)
            origin, path = self._certificate_address(message)
            if f"{origin}{path}" not in self._certificates:
                async with self._lock:
                    await self._fetch(origin, path)
            self.check(headers, body, received_at)
            if message.get("Type") == "SubscriptionConfirmation":
                await self._confirm(origin, message)
        except BadSignature:
            return
        except IntegrationError as failed:
            log.warning("%s: %s", self.path, failed.message)

    def check(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256

        message = _message(body)
        origin, path = self._certificate_address(message)
        certificate = self._certificates.get(f"{origin}{path}")
        if certificate is None:
            raise BadSignature("the certificate of this signature could not be fetched")
        if not certificate.not_valid_before_utc <= received_at <= certificate.not_valid_after_utc:
            raise BadSignature("the certificate of this signature is not valid now")
        try:
            signature = base64.b64decode(text(message.get("Signature"), 4000), validate=True)
        except (binascii.Error, ValueError):
            raise BadSignature("the signature is not base64") from None
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise BadSignature("the certificate of this signature has no RSA key")
        try:
            key.verify(signature, string_to_sign(message), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise BadSignature("the signature does not fit the message") from None

    def parse(self, headers: Mapping[str, str], payload: Any, sha256: str, received_at: datetime) -> list[Signal]:
        message = mapping(payload)
        if message.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            kept = {key: text(message.get(key), 300) for key in ("Type", "MessageId", "TopicArn", "Timestamp")}
            return [unread(self.name, kept, sha256, received_at, f"an SNS {kept['Type']}")]  # without its token
        return super().parse(headers, payload, sha256, received_at)

    def _certificate_address(self, message: Mapping[str, Any]) -> tuple[str, str]:
        """Origin and path of the certificate, when topic, version, type and address are what they must be."""
        if message.get("Type") not in _SIGNED:
            raise BadSignature("no SNS message")
        origin = self._origins.get(text(message.get("TopicArn"), 400))
        if origin is None:
            raise BadSignature("a topic that is not in `allow.topics` of [sources.cloudwatch_sns]")
        if message.get("SignatureVersion") != "2":
            raise BadSignature("SNS signature version 2 is needed: set SignatureVersion = 2 on the topic")
        url = urlsplit(text(message.get("SigningCertURL"), 500))
        if f"{url.scheme}://{url.netloc}" != origin or not _CERTIFICATE.fullmatch(url.path) or url.query:
            raise BadSignature(f"the certificate's address is not on {origin}")
        return origin, url.path

    async def _fetch(self, origin: str, path: str) -> None:
        from cryptography import x509

        if f"{origin}{path}" in self._certificates:
            return
        now = asyncio.get_running_loop().time()
        self._fetched = [at for at in self._fetched if now - at < FETCH_SECONDS]
        if len(self._fetched) >= FETCHES:
            raise BadSignature("too many unknown certificates in a minute")
        self._fetched.append(now)
        try:
            certificate = x509.load_pem_x509_certificate(await self._get(origin, path, {}))
        except ValueError:
            raise BadSignature("what stands at the certificate's address is no certificate") from None
        if len(self._certificates) >= CERTIFICATES:
            self._certificates.pop(next(iter(self._certificates)))
        self._certificates[f"{origin}{path}"] = certificate

    async def _confirm(self, origin: str, message: Mapping[str, Any]) -> None:
        url = urlsplit(text(message.get("SubscribeURL"), 2000))
        query = parse_qs(url.query)
        same = f"{url.scheme}://{url.netloc}" == origin and url.path in ("", "/")
        if not same or query.get("TopicArn") != [message.get("TopicArn")]:
            raise BadSignature("the confirmation's address is not SNS of this topic")
        if query.get("Action") != ["ConfirmSubscription"]:
            raise BadSignature("the confirmation's address confirms nothing")
        await self._get(origin, url.path or "/", {key: values[0] for key, values in query.items()})
        log.info("%s: subscription to %s confirmed", self.path, message.get("TopicArn"))


def string_to_sign(message: Mapping[str, Any]) -> bytes:
    """The signed fields that the message has, in order, each as `key\\nvalue\\n`."""
    fields = _SIGNED.get(text(message.get("Type"), 60), ())
    return "".join(f"{key}\n{message[key]}\n" for key in fields if isinstance(message.get(key), str)).encode(
        "utf-8", "replace"
    )


def _message(body: bytes) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(body))
    except (ValueError, RecursionError):
        raise BadSignature("no SNS message") from None


__all__ = ["SnsDoor", "fetch_by", "origin_of_topic", "string_to_sign"]
