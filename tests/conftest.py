"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from data_catalog import Catalog, load_catalog
from flows.environment import prepare_environment

REPOSITORY = Path(__file__).parent.parent

# Before any test module imports a library that would write to the home folder.
prepare_environment(str(REPOSITORY / ".pytest_cache"))

# The same examples in every run: what is green stays green until code changes.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("PLANT_TRAITS_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data folder {folder} is absent; set PLANT_TRAITS_REAL_DATA to run this test")
    return folder
