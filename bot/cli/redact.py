"""`sitrep redact`: text in, text without secrets and personal data out."""

from __future__ import annotations

import codecs
import json
import secrets
import sys
from collections.abc import Iterator
from typing import BinaryIO

import click

from bot.settings import secret_keys
from bot.trust.redaction import Redacted, Redactor

_CHUNK = 1 << 20
_CONTEXT_LINES = 270


@click.command("redact")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for the whole input: text, spans, suspicious, reasons."
)
@click.option("--jsonl", is_flag=True, help='One JSON object a line in ({"id", "text"}) and out, in order, streaming.')
def command(as_json: bool, jsonl: bool) -> None:
    """Replace secrets and personal data in standard input by placeholders such as <secret:aws-key:7f3a>.

    The digest in a placeholder is keyed by SITREP_SECRET_KEY, or by a key of this run where that is not set.
    """
    if as_json and jsonl:
        raise click.UsageError("--json and --jsonl exclude each other: choose one")
    redactor = Redactor(secret_keys() or [secrets.token_bytes(32)])
    if jsonl:
        bad = redact_lines(redactor, sys.stdin.buffer, sys.stdout.buffer)
        if bad:
            click.echo(f"sitrep redact: {bad} lines were no JSON object with a text and were left out", err=True)
            raise click.exceptions.Exit(1)
    elif as_json:
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        sys.stdout.write(json.dumps(_record(redactor.redact(text))) + "\n")
    else:
        redact_stream(redactor, sys.stdin.buffer, sys.stdout.buffer)


def _record(done: Redacted) -> dict[str, object]:
    return {
        "text": done.text,
        "spans": [{"start": span.start, "end": span.end, "kind": span.kind} for span in done.spans],
        "suspicious": done.suspicious,
        "reasons": list(done.reasons),
    }


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    """Whole lines, as many as have arrived; the last may lack its line feed. A line may be of any length."""
    read = getattr(source, "read1", source.read)
    kept: list[bytes] = []
    while chunk := read(_CHUNK):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            kept.append(chunk)
            continue
        yield b"".join((*kept, chunk[:cut]))
        kept = [chunk[cut:]] if cut < len(chunk) else []
    if kept:
        yield b"".join(kept)


def redact_lines(redactor: Redactor, source: BinaryIO, sink: BinaryIO) -> int:
    """`{"id", "text"}` a line to `{"id", "text", "spans", "suspicious", "reasons"}` a line; the number of bad lines.

    An absent id is answered as null. A bad line is named on standard error with its number and left out; all others are
    answered, in order.
    """
    number = bad = 0
    for block in _blocks(source):
        ids: list[object] = []
        texts: list[str] = []
        for line in block.removesuffix(b"\n").split(b"\n"):
            number += 1
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8", "replace"))
            except (ValueError, RecursionError) as wrong:
                bad += 1
                click.echo(f"line {number}: no JSON ({wrong}): write one object with id and text a line", err=True)
                continue
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                bad += 1
                click.echo(f'line {number}: no object with a string "text": write {{"id": …, "text": "…"}}', err=True)
                continue
            ids.append(record.get("id"))
            texts.append(record["text"])
        answers = (
            json.dumps({"id": identity, **_record(done)}) + "\n"
            for identity, done in zip(ids, redactor.redact_many(texts), strict=True)
        )
        sink.write("".join(answers).encode("ascii"))
        sink.flush()
    return bad


def redact_stream(redactor: Redactor, source: BinaryIO, sink: BinaryIO) -> None:
    """Bytes to bytes, lines as they come; the lines before are kept as context, so that a key over many lines is seen.

    What is no UTF-8 passes unchanged.
    """
    context = ""
    for block in _blocks(source):
        new = block.decode("utf-8", "surrogateescape")
        done = redactor.redact(context + new)
        at = len(context)
        pieces: list[str] = []
        for span in done.spans:
            if span.end <= at:
                continue
            start = max(span.start, at)
            pieces.append((context + new)[at:start] if start > at else "")
            pieces.append(redactor.placeholder((context + new)[span.start : span.end], span.kind))
            at = span.end
        pieces.append((context + new)[at:])
        sink.write("".join(pieces).encode("utf-8", "surrogateescape"))
        sink.flush()
        lines = (context + new).rsplit("\n", _CONTEXT_LINES)
        context = "\n".join(lines[1:] if len(lines) > _CONTEXT_LINES else lines)
