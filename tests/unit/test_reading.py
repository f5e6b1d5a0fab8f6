"""Reading outside JSON without trusting its types."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.reading import mapping, moment, number, objects, storable, strings, text, web_address, whole

AT = datetime(2025, 2, 3, 21, 41, 42, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800\x00"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "value",
    [
        "2025-02-03T21:41:42Z", "2025-02-03T21:41:42.000Z", "2025-02-03 21:41:42", "2025-02-03 21:41:42 UTC",
        "2025-02-03T22:41:42+01:00", "2025-02-03T22:41:42+0100", "2025-02-03T22:41:42+01", "2025-02-03T22:41:42+01.00",
        "2025-02-03 21:41:42 +0000 UTC", "2025-02-03 21:41:42.000000000 +0000 UTC", "2025/02/03 21:41:42 GMT",
        "Mon Feb 03 21:41:42 UTC 2025", "Mon Feb  3 21:41:42 2025", "Mon, 03 Feb 2025 21:41:42 GMT",
        "03 Feb 2025 21:41:42", "03/Feb/2025:22:41:42 +0100", 1738618902, 1738618902.0, "1738618902", 1738618902000,
        "1738618902000", "1738618902000000", 1738618902000000000,
    ],
)  # fmt: skip
def test_a_time_is_read_in_every_form_that_the_systems_write(value):
    assert moment(value) == AT


@pytest.mark.parametrize(
    "value",
    [
        None, True, "", "soon", "0001-01-01T00:00:00Z", 0, "0", -1, 1e300, math.nan, "2025-02-30T00:00:00Z", [], {},
        "2025-02-03T21:41:42+99:00", "9" * 50, "date", "10.0.0.1", "12", "2999-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_or_a_null_in_disguise_is_none(value):
    assert moment(value) is None


def test_fractions_of_a_second_are_kept_to_the_microsecond():
    assert moment("2025-02-03T21:41:42.853014999Z") == AT.replace(microsecond=853014)
    assert moment("2025-02-03") == datetime(2025, 2, 3, tzinfo=UTC)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(JSON)
def test_no_value_makes_a_reader_raise_and_what_is_storable_survives_utf_8(value):
    for read in (text, mapping, strings, number, whole, web_address, moment):
        read(value)
    list(objects(value))
    assert json.loads(json.dumps(storable(value), allow_nan=False, ensure_ascii=False).encode()) == storable(value)


def test_only_addresses_of_the_web_are_links():
    assert web_address("https://grafana.example.com/d/1?x=1#y") == "https://grafana.example.com/d/1?x=1#y"
    for no in ("javascript:alert(1)", "/relative", "https://a b", "http:///x", "https://x\n", "https://" + "a" * 2000):
        assert web_address(no) is None


def test_texts_are_bounded_and_have_no_character_that_a_database_refuses():
    assert text("a" * 50, 10) == "a" * 10
    assert text("a\ud800\x00b") == "a��b"
    assert (text(True), text(None), text([1]), text(3), text(10**50)) == ("", "", "", "3", "a very large number")
