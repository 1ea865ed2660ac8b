"""A run keeps its maps as a version, and one that follows a killed run makes up for it."""

from __future__ import annotations

import shutil

import pytest
import xarray as xr

from maps.product.versions import history, open_map

pytestmark = pytest.mark.system


def test_a_release_without_its_version_gets_it_from_the_next_run(tiny_run, run_refresh) -> None:
    repository = tiny_run.workspace / "versions" / "tiny-world-5deg"
    (first,) = history(repository)
    assert first.tag == "2026-10.1"
    assert first.release == tiny_run.release.resolve().name
    xr.testing.assert_identical(open_map(repository).load(), xr.open_zarr(tiny_run.release / "maps.zarr").load())
    shutil.rmtree(repository)  # as after a kill between release and commit
    again = run_refresh(tiny_run.workspace, profile="tiny")
    assert again.shown.computed == ["version"]
    assert [version.release for version in history(repository)] == [first.release]
