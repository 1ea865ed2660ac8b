"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from data_catalog import Catalog, load_catalog
from flows.environment import prepare_environment

REPOSITORY = Path(__file__).parent.parent

# Before any test module imports a library that would write to the home folder.
prepare_environment(str(REPOSITORY / ".pytest_cache"))

# The same examples in every run, however busy the machine: what is green stays green until code changes.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Share the tests among workers by file; whole runs, which share a finished run, stay together and start first."""
    system = REPOSITORY / "tests" / "system"
    items.sort(key=lambda item: not item.path.is_relative_to(system))
    for item in items:
        name = "system" if item.path.is_relative_to(system) else item.path.relative_to(REPOSITORY).as_posix()
        item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("PLANT_TRAITS_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data folder {folder} is absent; set PLANT_TRAITS_REAL_DATA to run this test")
    return folder
