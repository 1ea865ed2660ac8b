"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_catalog import Catalog, load_catalog
from flows.environment import prepare_environment

REPOSITORY = Path(__file__).parent.parent

# Before any test module imports a library that would write to the home folder.
prepare_environment(str(REPOSITORY / ".pytest_cache"))


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("PLANT_TRAITS_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data folder {folder} is absent; set PLANT_TRAITS_REAL_DATA to run this test")
    return folder
