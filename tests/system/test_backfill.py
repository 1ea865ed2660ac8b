"""Backfills: regions in any order end as one run of the whole map; a repeated one asks and computes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr

from plant_traits.errors import PlantTraitsError
from plant_traits.simulation.services.request_log import LOG_NAME

pytestmark = pytest.mark.system

MONTH = "2026-10"
WEST, EAST, TROPICS = "-180,-90,20,90", "-20,-90,180,90", "-180,-30,180,30"
SEA = "-140,-40,-130,-35"
PACIFIC = shapely.Polygon([(90, -70), (290, 0), (90, 70)])  # across the antimeridian, beyond 180 degrees


@pytest.fixture(scope="module")
def run_backfill(prefect_server: None, tiny_run):
    from flows.backfill import backfill
    from tasks.showing import showing

    def run(workspace: Path, region: str, months: list[str], **words: object) -> list[object]:
        shown = type(tiny_run.shown)()
        with showing(shown):
            releases = backfill(profile="tiny", region=region, months=months, workspace=str(workspace), **words)
        return [type(tiny_run)(Path(release), workspace, shown) for release in releases]

    return run


@pytest.fixture(scope="module")
def pacific(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("regions") / "pacific.geojson"
    path.write_text(shapely.to_geojson(PACIFIC))
    return path


def requests(workspace: Path) -> int:
    return sum(len(log.read_text().splitlines()) for log in workspace.glob(f"mirror/*/.services/{LOG_NAME}"))


def output(workspace: Path, stage: str) -> Path:
    """Return the folder of a stage of the recorded run that collected most."""
    records = [json.loads(x.read_text()) for x in workspace.glob(f"runs/*/{MONTH}/tiny-world-5deg-*.json")]
    record = max(records, key=lambda x: (not x["collected"], len(x["collected"])))
    return workspace / "steps" / record["stages"][stage]["step"] / record["stages"][stage]["key"]


def tables(workspace: Path, stage: str) -> dict[str, pd.DataFrame]:
    return {path.name: pd.read_parquet(path) for path in sorted(output(workspace, stage).glob("*.parquet"))}


def assert_same(found: pd.DataFrame, expected: pd.DataFrame, keys: list[str]) -> None:
    found, expected = (x.sort_values(keys, ignore_index=True) for x in (found, expected))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.timeout(2400)
def test_three_regions_in_any_order_equal_one_global_run(tiny_run, run_backfill, pacific: Path, tmp_path: Path) -> None:
    model = str(output(tiny_run.workspace, "model"))
    expected = xr.open_zarr(tiny_run.release / "maps.zarr").load()
    for name, order in (("one", (WEST, EAST, TROPICS)), ("other", (str(pacific), EAST, WEST))):
        workspace = tmp_path / name
        if name == "other":
            with pytest.raises(PlantTraitsError, match=r"no record of a plant is left .* choose a larger region"):
                run_backfill(workspace, SEA, [MONTH], model=model)
        for region in order:
            (run,) = run_backfill(workspace, region, [MONTH], model=model)
            if region == str(pacific):
                observations = tables(workspace, "observations")["observations.parquet"]
                east = observations["longitude"].where(observations["longitude"] > 0, observations["longitude"] + 360)
                assert len(observations) > 0
                assert shapely.intersects_xy(PACIFIC, east, observations["latitude"]).all()
        maps = xr.open_zarr(run.release / "maps.zarr").load()
        assert set(maps.data_vars) == set(expected.data_vars)
        for layer in expected.data_vars:
            np.testing.assert_allclose(maps[layer], expected[layer], rtol=1e-10, err_msg=f"{layer}, order {name}")
        for stage in ("observations", "estimates", "cells"):
            wanted, found = tables(tiny_run.workspace, stage), tables(workspace, stage)
            assert set(found) == set(wanted)
            assert found
            for file, table in wanted.items():
                keys = [x for x in ("observation_id", "photo_id", "cell", "trait") if x in table.columns]
                assert_same(found[file], table, keys)

        asked = requests(workspace)
        (again,) = run_backfill(workspace, order[0], [MONTH], model=model)
        assert again.shown.computed == []
        assert again.release.resolve() == run.release.resolve()
        assert asked > 100
        assert requests(workspace) == asked


@pytest.mark.parametrize(
    ("region", "months", "words", "message"),
    [
        ("-180,-90,20,90", ["October"], {}, "expected YYYY-MM"),
        ("-180,-90,20,90", ["2026-10..2026-08"], {}, "end before they begin"),
        ("-180,-90,20,90", [], {}, "expected 1 to 240 months"),
        ("europe", [MONTH], {"mapped": "oceania"}, "lies outside what profile 'tiny' maps"),
        ("/nowhere.geojson", [MONTH], {}, "is not there"),
    ],
)
def test_wrong_words(
    run_backfill, tmp_path: Path, region: str, months: list[str], words: dict[str, str], message: str
) -> None:
    with pytest.raises(PlantTraitsError, match=message):
        run_backfill(tmp_path, region, months, **words)
