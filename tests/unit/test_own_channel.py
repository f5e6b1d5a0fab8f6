"""An incident's own channel: what may be it, what only looks like it, and what the settings take."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.errors import ConfigurationError
from bot.incidents.own_channel import Joined, name_of, own_channel
from bot.settings import load
from integrations.pagerduty import described
from integrations.records import Incident

AT = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
INCIDENT = Incident(
    workspace_id="w", id="Q1TEASHOP7K2MP", number=4127, title="t", service="checkout", severity=2, triggered_at=AT,
    url="https://acme.pagerduty.com/incidents/Q1TEASHOP7K2MP",
)  # fmt: skip
NAMED = Joined("C0NAMED01", "inc-4127")
TOPIC = Joined("C0TOPIC01", "war-room", topic="all about Q1TEASHOP7K2MP, please join")
LINKED = Joined("C0LINKED1", "bridge")
OTHER = Joined("C0OTHER01", "general", topic="nothing")


def found(joined, hint=None, pattern="inc-{number}", by_topic=True):
    return own_channel(INCIDENT, hint, joined, pattern=pattern, by_topic=by_topic)


def test_the_sources_link_comes_before_the_name_and_the_name_before_the_topic():
    every = [OTHER, TOPIC, NAMED, LINKED]
    assert found(every, hint="C0LINKED1") == "C0LINKED1"
    assert found(every) == "C0NAMED01"
    assert found([OTHER, TOPIC]) == "C0TOPIC01"
    assert found([OTHER]) is None


def test_a_channel_that_the_app_is_not_in_is_never_it():
    assert found([OTHER], hint="C0LINKED1") is None
    assert found([NAMED], hint="C0LINKED1") == "C0NAMED01"


def test_names_and_topics_count_only_where_a_setting_says_so():
    assert found([NAMED, TOPIC], pattern=None, by_topic=False) is None


@pytest.mark.parametrize(
    "topic",
    ["Q1TEASHOP7K2MPX", "xQ1TEASHOP7K2MP", "https://acme.pagerduty.com/incidents/Q1TEASHOP7K2MP-2", "4127", ""],
)
def test_a_topic_that_only_contains_the_letters_is_not_about_it(topic):
    assert found([Joined("C0TOPIC01", "x", topic=topic)], pattern=None) is None


def test_two_channels_about_it_are_none():
    assert found([TOPIC, Joined("C0TOPIC02", "y", purpose=INCIDENT.url)], pattern=None) is None


def test_an_incident_without_a_number_has_no_name_by_number():
    incident = INCIDENT.model_copy(update={"number": None})
    assert name_of(incident, "inc-{number}") is None
    assert name_of(incident, "inc-{id}") == "inc-q1teashop7k2mp"


@pytest.mark.parametrize(
    ("url", "channel"),
    [
        ("https://acme.slack.com/archives/C0123ABCD", "C0123ABCD"),
        ("https://app.slack.com/client/T0123/C0123ABCD", "C0123ABCD"),
        ("slack://channel?team=T0123&id=G0123ABCD", "G0123ABCD"),
        ("https://acme.slack.com.evil.example/archives/C0123ABCD", None),
        ("https://acme.slack.com/archives/C0123ABCD/p1700000000000000", None),
        ("https://acme.zoom.us/j/123", None),
        (None, None),
        (3, None),
    ],
)
def test_pagerdutys_link_to_a_channel_is_read(url, channel):
    fields = described({"id": "P1AAAAA", "title": "t", "conference_bridge": {"conference_url": url}})
    assert fields is not None
    assert fields.own_channel == channel


@pytest.mark.parametrize("pattern", ["incidents", "Inc-{number}", "inc {number}", "inc-{name}", ""])
def test_a_pattern_that_is_no_channels_name_is_refused(tmp_path, pattern):
    (tmp_path / "sitrep.toml").write_text(f'[slack]\nown_channel_name = "{pattern}"\n')
    with pytest.raises(ConfigurationError, match=r"own_channel_name: not a channel's name"):
        load({"SITREP_HOME": str(tmp_path)}, folder=tmp_path)
