"""Parsed JSON loses its secrets and keeps its shape."""

from __future__ import annotations

import pytest

from bot.trust.redaction import Redactor
from bot.trust.redaction.values import redact_value

REDACTOR = Redactor([b"k" * 32])


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ({"password": "hunter2-and-more"}, "hunter2-and-more"),
        ({"env": [{"name": "DB_PASSWORD", "value": "s3cr3tV4lue99"}]}, "s3cr3tV4lue99"),
        ({"a": [{"b": "mail priya@example.com now"}]}, "priya@example.com"),
        (["postgres://app:pa55w0rdX@db:5432/x"], "pa55w0rdX"),
        ("AKIAIOSFODNN7EXAMPLQ", "AKIAIOSFODNN7EXAMPLQ"),
    ],
)
def test_a_secret_anywhere_in_a_structure_is_replaced(value, secret):
    redacted = redact_value(REDACTOR, value)
    assert secret not in str(redacted)
    assert type(redacted) is type(value)


def test_what_triage_needs_and_the_shape_stay():
    value = {"id": "P8K2Q1", "n": 3, "ok": True, "none": None, "commit": "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"}
    assert redact_value(REDACTOR, value) == value


def test_the_input_is_left_as_it_is_and_deep_nesting_is_no_trouble():
    value: list = []
    for _ in range(5000):
        value = [value]
    redact_value(REDACTOR, value)
    secret = {"token": ["password=abcDEF123456"]}
    redact_value(REDACTOR, secret)
    assert secret == {"token": ["password=abcDEF123456"]}
