"""Fixtures that every test may use."""

from __future__ import annotations

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder with the full public data sets, beside the checkout; absent in a stranger's clone."""
    folder = pathlib.Path(os.environ.get("SITREP_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the full data sets are not here ({folder.name!r} beside the checkout); set SITREP_TEST_DATA")
    return folder


def _required(part: str) -> bool:
    return part in os.environ.get("SITREP_TEST_REQUIRE", "").replace(",", " ").split()


def skip_without(part: str, reason: str) -> None:
    """Skip because a part of the machine is missing, or fail if SITREP_TEST_REQUIRE names that part."""
    if _required(part):
        pytest.fail(f"{part} is required by SITREP_TEST_REQUIRE and missing: {reason}")
    pytest.skip(reason)
