"""The material of a report as its readers may see it: names are veiled, counts stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from bot.report.build import HIDDEN_CHANGE
from bot.report.material import NOT_MAPPED
from bot.report.rows import LabelRow, Material, TriageRow
from bot.store import Store
from bot.trust.audience import Audience, AudienceUnknown, may_all_read
from integrations.records import Readers


async def permitted(
    store: Store,
    workspace_id: str,
    material: Material,
    audience: Audience | AudienceUnknown,
    incident_readers: Callable[[str, str], Readers],
    change_readers: Callable[[str], Readers],
) -> Material:
    """The material with the names veiled that not every reader may see; every count stays.

    Where it cannot be said who the readers are, every name is veiled.
    """

    def may_read(readers: Readers) -> bool:
        return not isinstance(audience, AudienceUnknown) and may_all_read(audience, readers)

    rows = await store.query(
        "SELECT DISTINCT source, service FROM incidents WHERE workspace_id = :w AND service IS NOT NULL",
        {"w": workspace_id},
    )
    readers: dict[str, Readers] = {}
    for row in rows:
        found = incident_readers(row["source"], row["service"])
        readers[row["service"]] = found.narrowed(readers.get(row["service"]))
    named = {suspect.service for triage in material.triages for suspect in triage.suspects}
    named |= {label.service for label in material.labels if label.service}
    for service in named - readers.keys() - {NOT_MAPPED}:
        readers[service] = change_readers(service)
    hidden = frozenset(service for service, found in readers.items() if not may_read(found))
    changes = {service: may_read(change_readers(service)) for service in named}
    return replace(without_changes(material, changes), hidden_services=hidden)


def without_changes(material: Material, readable: Mapping[str, bool]) -> Material:
    """The material without the names of changes that not every reader may see; a label keeps its match.

    readable: by service, whether changes to it may be named.
    """
    names: dict[tuple[str, str], str] = {}

    def of(triage: TriageRow) -> TriageRow:
        suspects = []
        for i, suspect in enumerate(triage.suspects, 1):
            if not readable.get(suspect.service, False):
                names[triage.incident_id, suspect.change_id] = f"{HIDDEN_CHANGE} {i}"
                suspect = replace(suspect, change_id=f"{HIDDEN_CHANGE} {i}")
            suspects.append(suspect)
        return replace(triage, suspects=tuple(suspects))

    def label(one: LabelRow) -> LabelRow:
        known = names.get((one.incident_id, one.change_id))
        if known is None and one.change_id and not readable.get(one.service, False):
            known = HIDDEN_CHANGE
        return one if known is None else replace(one, change_id=known)

    triages = tuple(map(of, material.triages))
    return replace(material, triages=triages, labels=tuple(map(label, material.labels)))
