"""The demo's parts are used only when they are what was pinned."""

import base64
import hashlib

import pytest

from demo.parts import SLACK_INTEGRITY, Missing, check_integrity

CONTENT = b"a package"
HASH = "sha512-" + base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()


def test_what_was_pinned_passes_in_silence() -> None:
    said: list[str] = []
    check_integrity(CONTENT, HASH, "local-slack", said.append)
    assert said == []


def test_another_content_is_refused_with_both_hashes() -> None:
    with pytest.raises(Missing, match="is not the package that was pinned") as refused:
        check_integrity(CONTENT + b"!", HASH, "local-slack", print)
    assert HASH in str(refused.value)


def test_a_platform_without_a_pin_is_said() -> None:
    said: list[str] = []
    check_integrity(CONTENT, None, "local-slack-darwin-x64", said.append)
    assert said == [
        "local-slack-darwin-x64: no hash is pinned for this platform, npm's own check of its registry counts"
    ]


def test_pins_are_sha512() -> None:
    assert all(len(base64.b64decode(one.removeprefix("sha512-"))) == 64 for one in SLACK_INTEGRITY.values())
