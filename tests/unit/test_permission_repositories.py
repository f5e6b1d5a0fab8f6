"""A change of a repository is for the people who may read the repository, where a directory tells who they are."""

from __future__ import annotations

import pathlib
from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock
from bot.incidents.changes import StoredChanges
from bot.settings import Settings, load
from bot.wiring.values import access_of, change_readers_of, repository_rule
from integrations.records import ChangeEvent, Incident, Question, Readers, Window
from tests.support.memory_store import MemoryStore

NOW = datetime(2026, 11, 24, 14, tzinfo=UTC)
TOML = """
[sources.github]
readers = ["everyone"]
[directories.github]
organization = "Acme"
repositories = ["Acme/checkout", "acme/ledger"]
[directories.other]
kind = "github"
organization = "acme"
repositories = ["acme/checkout"]
[services.checkout]
repositories = ["acme/checkout", "acme/open"]
readers = ["shop"]
[services.ledger]
repositories = ["acme/ledger"]
[services.open]
repositories = ["acme/open"]
"""


@pytest.fixture
def settings(tmp_path: pathlib.Path) -> Settings:
    (tmp_path / "sitrep.toml").write_text(TOML, encoding="utf-8")
    return load({"SITREP_HOME": str(tmp_path / "home"), "GITHUB_TOKEN": "t"}, folder=tmp_path)


@pytest.mark.parametrize(
    ("item_id", "groups"),
    [
        ("deployment/acme/checkout/17", ["github:Acme/checkout", "other:acme/checkout"]),
        ("github/run/ACME/Ledger/4", ["github:Acme/ledger"]),
        ("github/deployment/acme/open/4", None),
        ("github/deployment/acme/checkout-web/4", None),
        ("github/deployment/checkout/ledger/acme", None),
        ("", None),
    ],
)
def test_the_id_of_a_change_tells_its_repository(settings: Settings, item_id: str, groups: list[str] | None) -> None:
    assert repository_rule(settings)(item_id) == (Readers.of(groups) if groups else None)


def test_a_change_is_narrowed_by_it_and_never_widened(settings: Settings) -> None:
    access = access_of(settings, settings.file.sources["github"])
    assert access.of("checkout")[0] == Readers.of(["everyone"], ["shop"])
    narrowed = access.of_item("checkout", "deployment/acme/checkout/1")[0]
    assert narrowed == Readers.of(["everyone"], ["shop"], ["github:Acme/checkout", "other:acme/checkout"])
    assert access.of_item("open", "deployment/acme/open/1")[0] == access.of("open")[0]
    told = change_readers_of(settings)
    assert told("ledger") == Readers.of(["everyone"], ["github:Acme/ledger"])
    assert told("open") == Readers.of(["everyone"])


async def test_changes_that_came_by_webhook_are_narrowed_when_they_are_read(settings: Settings) -> None:
    store, clock = MemoryStore(), ManualClock(NOW)
    for number, repository in enumerate(("acme/checkout", "acme/open")):
        change = ChangeEvent(
            id=f"github/deployment/{repository}/{number}", kind="deploy", service="checkout", changed_at=NOW,
            summary="x", source="github", url="https://github.com/x", readers=Readers.of(["world"]),
        )  # fmt: skip
        row = {
            "workspace_id": "w", "source": "github", "id": change.id, "kind": "deploy", "service": "checkout",
            "changed_at": NOW, "record": change.model_dump(mode="json"), "readers": change.readers.signature,
            "received_at": NOW,
        }  # fmt: skip
        await store.insert("changes", [row])
    stored = StoredChanges(
        store, "w", clock, lambda sender: access_of(settings, settings.file.sources.get(sender)), 2.0
    )
    incident = Incident(
        workspace_id="w",
        id="P1",
        title="t",
        severity=2,
        service="checkout",
        url="https://x.example/P1",
        triggered_at=NOW,
    )
    window = Window(NOW - timedelta(minutes=15), NOW)
    asked = Question(incident, (), window, changes_since=NOW - timedelta(hours=1))
    found = {one.id.split("/")[3]: one.readers for one in (await stored.fetch(asked)).changes}
    assert found["checkout"] == Readers.of(["everyone"], ["shop"], ["github:Acme/checkout", "other:acme/checkout"])
    assert found["open"] == Readers.of(["everyone"], ["shop"])
    await store.close()
