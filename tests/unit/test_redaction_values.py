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


@pytest.mark.parametrize(
    ("value", "expected_shape"),
    [
        ({"password": "x", "user": "bob"}, {"password": "<secret:password:", "user": "bob"}),
        ({"password": 123456, "port": 5432}, {"password": "<secret:password:", "port": 5432}),
        ({"password": {"value": "deep"}}, {"password": {"value": "<secret:password:"}}),
        ({"kind": "Secret", "data": {"u": "YXBw"}}, {"kind": "Secret", "data": {"u": "<secret:k8s-secret:"}}),
        ({"a": "ghp_ABCDEFGHIJKL", "b": "MNOPQRSTUVWXYZ0123456789"}, {"a": "<secret:", "b": "<secret:"}),
        ([["Authorization", "Bearer abcdef0123456789"]], [["Authorization", "Bearer <secret:"]]),
        ({"max_tokens": 40, "token_type": "bearer"}, {"max_tokens": 40, "token_type": "bearer"}),
    ],
)
def test_the_name_of_a_field_counts(value, expected_shape):
    def alike(got, wanted):
        if isinstance(wanted, dict):
            return got.keys() == wanted.keys() and all(alike(got[key], wanted[key]) for key in wanted)
        if isinstance(wanted, list):
            return len(got) == len(wanted) and all(map(alike, got, wanted))
        return got.startswith(wanted) if isinstance(wanted, str) else got == wanted

    redacted = redact_value(REDACTOR, value)
    assert alike(redacted, expected_shape), redacted
    assert redact_value(REDACTOR, redacted) == redacted


def test_personal_data_in_a_key_is_replaced():
    redacted = redact_value(REDACTOR, {"anna@example.com": {"logins": 3}})
    assert [key.split(":")[:2] for key in redacted] == [["<personal", "email"]]
