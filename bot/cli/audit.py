"""`sitrep audit show`: the whole story of one post, from the store: what was found, asked, answered and shown."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bot.store import Row, Store


@click.group("audit")
def command() -> None:
    """What happened, who did it, and what it cost."""


@command.command("show")
@click.argument("triage", metavar="TRIAGE")
@click.option("--texts", is_flag=True, help="Also the prompt and the answers, redacted, while they are kept.")
@click.option("--json", "as_json", is_flag=True)
def show_command(triage: str, texts: bool, as_json: bool) -> None:
    """Tell the story of TRIAGE: an incident (its newest triage), or incident/number as in P8K2Q1/2."""
    from bot.settings import load
    from bot.store.sqlite import SqliteStore

    settings = load()

    async def read() -> dict[str, Any]:
        store = SqliteStore.open(settings.home / "sitrep.db")
        try:
            return await story(store, settings.file.workspace, triage, texts=texts)
        finally:
            await store.close()

    told = asyncio.run(read())
    click.echo(json.dumps(told, ensure_ascii=False, indent=1) if as_json else "\n".join(lines(told)))


async def story(store: Store, workspace_id: str, triage: str, *, texts: bool) -> dict[str, Any]:
    """Everything that is stored about one triage. Raises SitrepError when there is none."""
    from bot.errors import SitrepError

    incident_id, _, number = triage.partition("/")
    found = await store.query(
        "SELECT * FROM triages WHERE workspace_id = :w AND incident_id = :incident ORDER BY n DESC",
        {"w": workspace_id, "incident": incident_id},
    )
    row = next((one for one in found if not number or str(one["n"]) == number), None)
    if row is None:
        known = ", ".join(f"{incident_id}/{one['n']}" for one in reversed(found))
        raise SitrepError(f"no triage {triage!r}; " + (f"there are {known}" if known else "no such incident is stored"))
    where = {"w": workspace_id, "incident": incident_id, "triage": row["id"], "target": f"incident:{incident_id}"}
    calls = await store.query(
        "SELECT * FROM calls WHERE workspace_id = :w AND triage_id = :triage ORDER BY started_at", where
    )
    attempts = await store.query(
        "SELECT t.* FROM transcripts t JOIN calls c ON c.workspace_id = t.workspace_id AND c.id = t.call_id"
        " WHERE c.workspace_id = :w AND c.triage_id = :triage ORDER BY t.created_at, t.attempt",
        where,
    )
    return {
        "triage": _plain(row, drop=("ranked", "checked")),
        "signals": await store.query(
            "SELECT received_at, occurred_at, source, kind, state, note FROM signals"
            " WHERE workspace_id = :w AND incident_id = :incident ORDER BY seq LIMIT 200",
            where,
        ),
        **_decided(row),
        "evidence": await store.query(
            "SELECT mark, kind, source, service, title, url, readers, model, suspicious, observed_at FROM evidence"
            " WHERE workspace_id = :w AND incident_id = :incident ORDER BY length(mark), mark",
            where,
        ),
        "calls": [_plain(call) | {"texts": _texts(call["id"], attempts) if texts else []} for call in calls],
        "spend": await store.query(
            "SELECT step, attempt, model, reserved_usd, settled_usd, state, reserved_at, settled_at FROM spend"
            " WHERE workspace_id = :w AND workflow_id = :triage ORDER BY reserved_at",
            where,
        ),
        "posts": await store.query(
            "SELECT part, version, sent_version, kind, channel, status, ts, permitted_at, first_sent_at, sent_at"
            " FROM posts WHERE workspace_id = :w AND target = :target ORDER BY part",
            where,
        ),
        "audit": [
            _plain(one)
            for one in await store.query(
                "SELECT at, by, action, detail FROM audit"
                " WHERE workspace_id = :w AND incident_id = :incident ORDER BY at",
                where,
            )
        ],
    }


def _decided(row: Row) -> dict[str, Any]:
    """What the rooms decided, from what they handed on: sources, suspects, what was looked at, the claims shown."""
    ranked = json.loads(row["ranked"]) if row["ranked"] else {}
    checked = json.loads(row["checked"]) if row["checked"] else {}
    sections = checked.get("summary") or {}
    return {
        "sources": [
            {key: one.get(key) for key in ("name", "answered", "seconds", "note")} for one in ranked.get("sources", ())
        ],
        "suspects": [
            {key: one.get(key) for key in ("mark", "service", "probability", "summary", "ruled_out")}
            for one in ranked.get("suspects", ())
        ],
        "audience": ranked.get("audience", ""),
        "claims": [
            {"section": section, "text": claim["text"], "evidence": claim["evidence"]}
            for section in ("going_on", "cause", "next")
            for claim in sections.get(section, ())
        ],
    }


def lines(told: dict[str, Any]) -> list[str]:
    """The story for people; ids and figures as they are stored."""
    triage = told["triage"]
    arm = "" if triage["arm"] is None else f", arm {triage['arm']}"
    why = f" ({triage['outcome_reason']})" if triage["outcome_reason"] else ""
    found = [
        f"triage {triage['id']}  started {triage['started_at']}  channel {triage['channel']}{arm}",
        f"  outcome: {triage['outcome'] or 'not yet'}{why}",
        f"  facts {triage['facts_at'] or '-'}  summary {triage['summary_at'] or '-'}  hidden items {triage['hidden']}",
        f"  readers {told['audience'] or '-'}",
        "",
        f"signals ({len(told['signals'])})",
        *(
            f"  {one['received_at']}  {one['source']:<12} {one['kind']:<24} {one['state']} {one['note'] or ''}".rstrip()
            for one in told["signals"]
        ),
        "",
        f"sources ({len(told['sources'])})",
        *(
            f"  {one['name']:<12} {'answered' if one['answered'] else 'did not answer'} in {one['seconds']:.2f} s"
            + (f": {one['note']}" if one["note"] else "")
            for one in told["sources"]
        ),
        "",
        f"suspects ({len(told['suspects'])})",
        *(
            f"  {one['mark']:>4}  {one['probability']:.2f}  {one['summary'][:80]}"
            + ("  [ruled out]" if one["ruled_out"] else "")
            for one in told["suspects"]
        ),
        "",
        f"evidence of the incident ({len(told['evidence'])})",
    ]
    found += [
        f"  {item['mark']:>4}  {item['kind']:<13} {item['source']:<12} {item['title'][:70]}"
        + ("  [not for the model]" if item["model"] == "never" else "")
        + ("  [reads like orders]" if item["suspicious"] else "")
        for item in told["evidence"]
    ]
    found += ["", f"model calls ({len(told['calls'])})"]
    for call in told["calls"]:
        found += _call(call)
    found += ["", f"money ({len(told['spend'])})"]
    found += [
        f"  {one['step']} try {one['attempt']}  {one['model']}  reserved ${one['reserved_usd']:.6f},"
        f" {one['state']} ${one['settled_usd'] or 0:.6f}"
        for one in told["spend"]
    ]
    found += ["", f"claims shown ({len(told['claims'])})"]
    found += [f"  {one['section']:<9} {one['text']}  [{' '.join(one['evidence'])}]" for one in told["claims"]]
    found += ["", f"posts ({len(told['posts'])})"]
    found += [
        f"  {post['part']:<8} version {post['sent_version']} of {post['version']} is out, {post['status']},"
        f" first {post['first_sent_at'] or '-'}, permitted {post['permitted_at'] or '-'}"
        for post in told["posts"]
    ]
    if told["audit"]:
        found += ["", f"what people did ({len(told['audit'])})"]
        found += [f"  {one['at']}  {one['by']}  {one['action']}" for one in told["audit"]]
    return found


def _call(call: Row) -> list[str]:
    answered = call["answered_by"] if call["answered_by"] != call["model"] else "the same"
    found = [
        f"  {call['id']}  {call['use']}  {call['outcome']}" + (f": {call['reason']}" if call["reason"] else ""),
        f"      asked {call['model']}, answered {answered or 'nobody'}"
        + (f", fingerprint {call['fingerprint']}" if call["fingerprint"] else "")
        + (", from the cache" if call["cache_hit"] else ""),
        f"      prompt {call['prompt']} sha256 {call['prompt_sha256'][:12]}, snapshot {call['snapshot'] or '-'},"
        f" shown {' '.join(call['evidence']) or 'nothing'}",
        f"      {call['tokens_in']} tokens in ({call['tokens_cached']} cached), {call['tokens_out']} out,"
        f" ${call['cost_usd']:.6f}, {call['latency_seconds']:.2f} s, {call['attempts']} requests",
    ]
    for text in call["texts"]:
        found += [f"      -- {text['kind']}", *(f"      | {line}" for line in text["text"].splitlines())]
    return found


def _texts(call_id: str, attempts: list[Row]) -> list[dict[str, str]]:
    found = []
    for row in attempts:
        if row["call_id"] == call_id:
            if row["request"]:
                found.append({"kind": "prompt", "text": row["request"]})
            found.append({"kind": f"answer {row['attempt']}", "text": row["answer"]})
    return found


def _plain(row: Row, drop: tuple[str, ...] = ()) -> dict[str, Any]:
    """JSON columns as values."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key in drop or key == "workspace_id":
            continue
        if isinstance(value, str) and value[:1] in "[{":
            try:
                found[key] = json.loads(value)
                continue
            except ValueError:
                pass
        found[key] = value
    return found
