"""flagd: the whole set of flags from its two addresses, and the watch that finds what changed."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.clock import ManualClock
from bot.incidents.changes import StoredChanges
from bot.incidents.flags import FlagWatch
from bot.incidents.intake import Drainer
from bot.incidents.routing import Routing
from bot.incidents.signals import store_signals
from bot.settings import Match, SeverityTest
from bot.store.sqlite import SqliteStore
from integrations.errors import Malformed, Unavailable
from integrations.flagd import TOGETHER, Flagd, differences, parse_flags
from integrations.http import Egress
from integrations.ports import Source

URL = "http://flagd.internal:8016"
T0 = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)


def made(access, url, **more) -> Flagd:
    egress = Egress([url], answer_limit_bytes=more.pop("limit", 1_000_000))
    return Flagd(url=url, egress=egress, access=access, **more)


async def test_definitions_and_evaluations_are_read_as_one_set(access, question, cassette):
    played = cassette("flagd")
    defined, evaluated = made(access, f"{URL}/flags.json"), made(access, URL, token="f-token")
    assert isinstance(defined, Source)
    flags = await defined.flags()
    assert flags["pool-size"] == {
        "state": "ENABLED", "default variant": "large", "variant small": "2", "variant large": "20",
    }  # fmt: skip
    assert "@acme.example" in flags["checkout-new-pool"]["shared rules"]
    now = await evaluated.flags()
    assert now["pool-size"] == {"variant": "large", "value": "20"}
    assert now["broken"] == {"error": "PARSE_ERROR"}
    assert json.loads(played.sent[1].body) == {"context": {"targetingKey": "sitrep"}}
    assert played.sent[1].headers["Authorization"] == "Bearer f-token"
    for source in (defined, evaluated):
        await source.aclose()


async def test_each_failure_is_exactly_one_error(serve, access, question, failing):
    _, answer, error = failing
    served = await serve()
    served.answer = lambda one: answer
    source = made(access, served.url, deadline_seconds=0.2 if answer is None else 20, limit=65_536)
    with pytest.raises(error):
        await source.fetch(question)
    await source.aclose()


def test_published_definitions_show_what_changed_between_two(wire):
    samples = {
        name: parse_flags("flagd", json.dumps(one).encode()) for name, one in wire("flagd", "loadtest_*").items()
    }
    start, end = samples["loadtest_start.json"], samples["loadtest_end.json"]
    changes = differences("flagd", start, end, T0, T0 + timedelta(seconds=10), "https://flags.example/x.json")
    assert changes
    assert {change.kind for change in changes} == {"flag"}
    assert differences("flagd", start, start, T0, T0, "") == []
    assert [c.id for c in changes] == [c.id for c in differences("flagd", start, end, T0, T0 + timedelta(hours=1), "")]


def test_each_kind_of_change_is_said_in_words():
    before = {"a": {"state": "ENABLED", "default variant": "off"}, "gone": {"state": "ENABLED"}}
    after = {"a": {"state": "DISABLED", "default variant": "on"}, "new": {"state": "ENABLED"}}
    a, gone, new = differences("flagd", before, after, T0, T0, "https://x.example/f")
    assert (a.summary, a.service) == ("Flag a: state: ENABLED → DISABLED", "flag:a")
    assert a.detail == "state: ENABLED → DISABLED\ndefault variant: off → on"
    assert (gone.summary, new.summary) == ("Flag gone: removed", "Flag new: added")
    many = {f"f{n}": {"state": "x"} for n in range(TOGETHER + 1)}
    (one,) = differences("flagd", {}, many, T0, T0, "")
    assert (one.summary, one.service) == (f"{TOGETHER + 1} flags changed at once", None)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"flags": 7}', b'{"errorCode": "INVALID_CONTEXT"}', b"null"])
def test_what_holds_no_flags_is_malformed(body):
    with pytest.raises(Malformed, match="without flags"):
        parse_flags("flagd", body)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_set_is_read_or_malformed_and_compared(wire, mutate, junk, data):
    samples = list(wire("flagd", "[fl]*").values())
    sample = data.draw(st.sampled_from(samples))
    wrong = mutate(sample, data.draw(st.lists(st.integers(0, 30), max_size=5)), data.draw(junk))
    try:
        sets = [parse_flags("flagd", json.dumps(one).encode()) for one in (sample, wrong)]
    except Malformed:
        return
    for change in differences("flagd", *sets, T0, T0, ""):
        change.model_dump_json()


# --- the watch ----------------------------------------------------------------------------------------------------


class Told:
    name, link = "flagd", "https://flags.example/x.json"

    def __init__(self) -> None:
        self.now = {"checkout-pool": {"state": "ENABLED", "default variant": "large"}}
        self.down = False

    async def flags(self):
        if self.down:
            raise Unavailable("flagd", "no answer in 3 s")
        return self.now


@pytest.fixture
async def bench(tmp_path, access):
    store = SqliteStore.open(tmp_path / "s.db")
    clock = ManualClock(T0)

    async def intake(signals):
        return await store_signals(store, "W", signals)

    yield store, clock, Told(), FlagWatch([Told()], store, "W", clock, intake, 10)
    await store.close()


async def test_a_flag_that_changed_is_stored_once_and_read_back_as_a_change_of_its_service(bench, question, access):
    store, clock, told, watch = bench
    assert await watch.look(told) == 0  # the first set tells of no change
    assert await watch.look(told) == 0
    told.now = {"checkout-pool": {"state": "ENABLED", "default variant": "small"}}
    assert await watch.look(told) == 1
    assert await watch.look(told) == 0

    async def nothing(*_):
        return {}

    routing = Routing(default_channel="#i", when=Match(severity=SeverityTest(operator="<=", value=3)))
    await Drainer(store, "W", routing, clock, nothing, nothing).drain()
    found = await StoredChanges(store, "W", clock, lambda _: access, 2.0).fetch(question)
    (change,) = found.changes
    assert (change.kind, change.service) == ("flag", "checkout-api")  # by the beginning of its key
    assert change.summary == "Flag checkout-pool: default variant: large → small"
    assert change.changed_at == T0


async def test_a_crash_before_the_cursor_moved_finds_the_same_change_again(bench):
    _, clock, told, watch = bench
    await watch.look(told)
    told.now = {}
    assert await watch.look(told) == 0  # an empty set is not believed
    told.now = {"checkout-pool": {"state": "DISABLED"}}

    async def lost(*_):
        raise RuntimeError("killed")

    remember, watch._remember = watch._remember, lost
    with pytest.raises(RuntimeError):
        await watch.look(told)
    watch._remember = remember
    clock.advance(30)
    assert await watch.look(told) == 0  # the same change under the same id


async def test_a_source_that_is_down_is_said_once_and_stops_no_other(bench, caplog, tmp_path):
    store, _, told, _ = bench
    down, rounds = Told(), 0
    down.down, down.name = True, "other"

    class Ends(Exception):
        pass

    class Clock(ManualClock):
        async def sleep(self, seconds):
            nonlocal rounds
            rounds += 1
            if rounds == 3:
                raise Ends

    async def intake(signals):
        return 0

    watch = FlagWatch([down, told], store, "W", Clock(T0), intake, 10)
    with caplog.at_level(logging.WARNING), pytest.raises(Ends):
        await watch.run()
    assert caplog.text.count("reading the flags of other failed") == 1
    assert len(await store.query("SELECT id FROM notices WHERE id = 'cursor:flags:flagd'")) == 1
