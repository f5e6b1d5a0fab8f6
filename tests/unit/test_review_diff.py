"""Reading a unified diff: real ones by git, and those that somebody wrote to be misread."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.guardrails.diff import MOST_BYTES, MOST_LINE, NotADiff, read

PLAIN = """diff --git a/a.py b/a.py
index 1..2 100644
--- a/a.py
+++ b/a.py
@@ -1,3 +1,3 @@ def f():
 one
-two
+2
 three
"""


def test_lines_know_their_number_in_the_new_file() -> None:
    (file,) = read(PLAIN).files
    assert file.path == "a.py"
    assert [(line.sign, line.text, line.number) for line in file.hunks[0].lines] == [
        (" ", "one", 1), ("-", "two", 2), ("+", "2", 2), (" ", "three", 3),
    ]  # fmt: skip
    assert (read(PLAIN).lines_added, read(PLAIN).lines_removed) == (1, 1)


def test_content_that_looks_like_headers_is_content() -> None:
    hostile = """--- a/a.sql
+++ b/a.sql
@@ -1,2 +1,3 @@
--- drop nothing
+++ b/harmless.md
+@@ -1 +1 @@
 x
"""
    (file,) = read(hostile).files
    assert file.path == "a.sql"
    assert [line.text for line in file.lines("+")] == ["++ b/harmless.md", "@@ -1 +1 @@"]
    assert [line.text for line in file.lines("-")] == ["-- drop nothing"]


def test_what_git_itself_writes_is_read(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    git("init", "-q")
    (tmp_path / "kept.txt").write_text("a\nb\nc\n")
    (tmp_path / "goes.py").write_text("x = 1\n")
    (tmp_path / "moves.py").write_text("".join(f"line {n}\n" for n in range(30)))
    (tmp_path / "picture.bin").write_bytes(bytes(range(256)))
    git("add", ".")
    git("commit", "-qm", "one")
    (tmp_path / "kept.txt").write_text("a\nB\nc")
    (tmp_path / "goes.py").unlink()
    (tmp_path / "moves.py").rename(tmp_path / "moved to ä.py")
    (tmp_path / "picture.bin").write_bytes(bytes(range(255, -1, -1)))
    (tmp_path / 'new "quoted".py').write_text("y = 2\n")
    git("add", "-A")
    found = {file.path: file for file in read(git("diff", "--cached", "-M")).files}
    assert set(found) == {"kept.txt", "goes.py", "moved to ä.py", "picture.bin", 'new "quoted".py'}
    assert found["goes.py"].deleted
    assert found['new "quoted".py'].added
    assert found["picture.bin"].binary
    assert found["moved to ä.py"].old_path == "moves.py"
    assert [line.text for line in found["kept.txt"].lines("+")] == ["B", "c"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello", "there is no file in it"),
        ("@@ -1 +1 @@\n-a\n+b\n", "a hunk stands before any file"),
        (PLAIN[:-8], "cut off in the middle of a hunk"),
        (PLAIN.replace("-1,3 +1,3", "-1,2 +1,2"), ""),
        (PLAIN.replace("@@ -1,3", "@@ -x,3"), "is no header of a hunk"),
        (PLAIN.replace(" three", "three"), "belongs to no hunk"),
        ("x" * (MOST_BYTES + 1), "more than 4 MiB"),
    ],
)
def test_what_cannot_be_judged_says_why(text: str, why: str) -> None:
    if not why:  # a header that promises less leaves a line outside of every hunk: nothing of it is judged as changed
        assert [line.text for line in read(text).files[0].lines("+")] == ["2"]
        return
    with pytest.raises(NotADiff, match=why):
        read(text)


def test_a_line_of_megabytes_is_cut() -> None:
    text = f"--- a/x.js\n+++ b/x.js\n@@ -0,0 +1 @@\n+{'a' * 100_000}\n"
    assert len(next(read(text).files[0].lines("+")).text) == MOST_LINE


@given(st.text(alphabet=st.sampled_from('+- @\\\nab/1,"dif\u0000é'), max_size=200))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    for whole in (text, PLAIN + text, f"--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n{text}"):
        with contextlib.suppress(NotADiff):
            assert read(whole).files
