"""Stage: the map product, as Zarr and as GeoTIFFs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maps.geotiff import write_cogs
from maps.layers import SOURCE
from maps.product import build_product
from maps.stages.cells import read_estimates
from maps.store import write_zarr
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import LAND_PREDICTION, read_table
from plant_traits.steps import Summary


def build_maps(
    destination: Path, *, spec: RunSpec, estimates: Path, land: Path, provenance: Mapping[str, str]
) -> Summary:
    """Lay the published estimator and the geospatial prediction on the grid; write ``maps.zarr`` and ``geotiff/``.

    Args:
        destination: an empty folder.
        spec: the run.
        estimates: output of ``estimate_cells``.
        land: output of ``predict_land``.
        provenance: configuration, input hashes, code version and model id, kept in the product.

    Returns:
        Counts of cells by source.
    """
    profile = spec.profile
    product = build_product(
        read_estimates(estimates, "photo", profile.estimators),
        profile.published_estimator,
        read_table(land / "land.parquet", LAND_PREDICTION),
        spec.traits,
        spec.grid,
        minimum_photos=profile.minimum_photos,
        region=spec.region,
        month=spec.month,
        provenance=provenance,
    )
    write_zarr(product, spec.traits, destination / "maps.zarr")
    cogs = write_cogs(product, spec.traits, destination / "geotiff")
    source = product["source"].to_numpy()
    return {
        "in": {"land cells predicted": int(np.isfinite(product["location"].to_numpy()).any(axis=0).sum())},
        "out": {
            "cells mapped from photos": int((source == SOURCE["photos"]).any(axis=0).sum()),
            "cells mapped from climate and soil": int((source == SOURCE["geospatial"]).any(axis=0).sum()),
            "GeoTIFFs": len(cogs),
        },
    }
