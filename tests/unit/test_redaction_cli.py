"""`sitrep redact` and `sitrep eval redaction|injection`, as a shell sees them."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner

from bot.cli import main, sitrep
from bot.cli.redact import redact_lines, redact_stream
from bot.trust.redaction import Redactor

REDACTOR = Redactor([b"k"])


def run(arguments: list[str], given: bytes) -> tuple[int, str, str]:
    result = CliRunner().invoke(sitrep, arguments, input=given)
    return result.exit_code, result.stdout, result.stderr


def test_a_bad_line_is_named_and_the_others_are_answered_in_order() -> None:
    given = b'{"id": 1, "text": "password=hunter2x"}\nno json\n\n{"id": "b"}\n[1]\n{"id": null, "text": "fine"}\n'
    code, out, err = run(["redact", "--jsonl"], given)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[0]["spans"] == [{"start": 9, "end": 17, "kind": "password"}]
    assert "hunter2x" not in out + err
    assert [line.split(":")[0] for line in err.splitlines()[:3]] == ["line 2", "line 4", "line 5"]
    assert code == 1


def test_what_is_no_utf_8_is_read_and_answered() -> None:
    code, out, _ = run(["redact", "--jsonl"], b'{"id": 1, "text": "\xff password=hunter2x"}\n')
    assert code == 0
    assert json.loads(out)["text"].startswith("\ufffd password=<secret:password:")


def test_odd_lines_are_answered_or_named_and_never_end_the_stream() -> None:
    given = b"".join(
        (
            b'\xef\xbb\xbf{"id": "bom", "text": "x"}\r\n', b'{"text": "token=abc123def456"}\n', b"[" * 100_000 + b"\n",
            b'{"id": {"deep": [1]}, "text": "lone \\ud800 surrogate password=hunter2x"}\n',
            b'{"id": "digits", "n": ' + b"9" * 5000 + b', "text": "x"}\n',
            b'{"id": "twice", "text": "a", "text": "password=dupdup9"}\n',
            b'{"id": 6, "text": 7}\n', b'{"id": "last", "text": "\\u0000password=hunter2x"}',
        )
    )  # fmt: skip
    code, out, err = run(["redact", "--jsonl"], given)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["id"] for answer in answers] == ["bom", None, {"deep": [1]}, "twice", "last"]
    assert all(word not in out + err for word in ("hunter2x", "dupdup9", "abc123def456"))
    assert [line.split(":")[0] for line in err.splitlines()[:-1]] == ["line 3", "line 5", "line 7"]
    assert code == 1


def test_a_huge_line_is_one_item() -> None:
    text = "x " * 1_500_000 + "password=hunter2x"
    code, out, _ = run(["redact", "--jsonl"], json.dumps({"id": 1, "text": text}).encode())
    assert code == 0
    assert [span["kind"] for span in json.loads(out)["spans"]] == ["password"]


def test_plain_text_keeps_every_other_byte() -> None:
    sink = io.BytesIO()
    redact_stream(REDACTOR, io.BytesIO(b"\xff\xfe one\r\nDB_PASSWORD=hunter2x\r\nlast"), sink)
    done = sink.getvalue()
    assert done.startswith(b"\xff\xfe one\r\nDB_PASSWORD=<secret:password:")
    assert done.endswith(b">\r\nlast")


class Slow(io.RawIOBase):
    """A pipe that hands out one line at a time."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    def readable(self) -> bool:
        return True

    def read1(self, _: int = -1) -> bytes:
        return self.lines.pop(0) if self.lines else b""


def test_a_key_whose_lines_arrive_one_by_one_is_seen() -> None:
    body = [b"2026-01-01 app | " + b"QUJD" * 16 + b"\n" for _ in range(5)]
    source = Slow(
        [b"2026-01-01 app | -----BEGIN PRIVATE KEY-----\n", *body, b"2026-01-01 app | -----END PRIVATE KEY-----\n"]
    )
    sink = io.BytesIO()
    redact_stream(REDACTOR, source, sink)  # type: ignore[arg-type]
    assert b"QUJD" not in sink.getvalue()
    assert sink.getvalue().count(b"2026-01-01 app | ") == 7


def test_answers_do_not_wait_for_the_end_of_the_input() -> None:
    seen: list[int] = []
    sink = io.BytesIO()

    class Watching(Slow):
        def read1(self, size: int = -1) -> bytes:
            seen.append(sink.getvalue().count(b"\n"))
            return super().read1(size)

    redact_lines(REDACTOR, Watching([b'{"id": 1, "text": "a"}\n', b'{"id": 2, "text": "b"}\n']), sink)  # type: ignore[arg-type]
    assert seen == [0, 1, 2]


def test_the_evals_answer_in_the_common_form(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("redaction", "injection"):
        code = main(["eval", name, "--json"])
        outcome = json.loads(capsys.readouterr().out)
        assert set(outcome) == {"cases", "totals", "bars"}
        assert code == (0 if all(bar["holds"] for bar in outcome["bars"]) else 1)
        assert code == 0, outcome["bars"]


def test_a_corpus_that_is_not_there_is_a_missing_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "redaction", "--corpus", "nowhere.jsonl"]) == 3
    assert "nowhere.jsonl" in capsys.readouterr().err
