"""Fixtures that every test may use."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("long", derandomize=False, deadline=None)
settings.load_profile(os.environ.get("SITREP_TEST_PROFILE", "fixed"))  # "long" looks for what the fixed seeds miss

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder with the full public data sets, beside the checkout; absent in a stranger's clone."""
    folder = pathlib.Path(os.environ.get("SITREP_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the full data sets are not here ({folder.name!r} beside the checkout); set SITREP_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def without_part() -> Callable[[str, str], None]:
    """`without_part("chromium", "install it")` skips, or fails when SITREP_TEST_REQUIRE names that part."""

    def skip_or_fail(part: str, reason: str) -> None:
        if part in os.environ.get("SITREP_TEST_REQUIRE", "").replace(",", " ").split():
            pytest.fail(f"{part} is required by SITREP_TEST_REQUIRE and missing: {reason}")
        pytest.skip(f"{part}: {reason}")

    return skip_or_fail
