"""Stage: the map product, as Zarr and as GeoTIFFs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maps.product.dataset import build_product
from maps.product.geotiff import write_cogs
from maps.product.layers import QUALITY, SOURCE
from maps.product.store import write_zarr
from maps.stages.applicability import read_applicability
from maps.stages.cells import read_estimates
from maps.stages.effort import EFFORT_FILE
from maps.stages.sampling_bias import read_expected_bias
from maps.stages.small_area import read_cells
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import EFFORT, read_table
from plant_traits.steps import Summary


def build_maps(
    destination: Path,
    *,
    spec: RunSpec,
    cells: Path,
    estimates: Path,
    applicability: Path,
    effort: Path,
    bias: Path,
    provenance: Mapping[str, str],
) -> Summary:
    """Lay the cells, their diagnostics, applicability and effort on the grid; write ``maps.zarr`` and ``geotiff/``.

    Args:
        destination: an empty folder.
        spec: the run.
        cells: output of ``fill_map``.
        estimates: output of ``estimate_cells``.
        applicability: output of ``assess_applicability``.
        effort: output of ``weigh_by_effort``.
        bias: output of ``expect_bias``.
        provenance: configuration, input hashes, code version and model id, kept in the product.

    Returns:
        Counts of cells by source.
    """
    profile = spec.profile
    published = profile.published_estimator
    product = build_product(
        read_cells(cells),
        read_estimates(estimates, "photo", [published])[published],
        spec.traits,
        spec.grid,
        published=published,
        minimum_photos=profile.minimum_photos,
        region=spec.region,
        month=spec.month,
        provenance=provenance,
        applicability=read_applicability(applicability),
        effort=read_table(effort / EFFORT_FILE, EFFORT),
        bias=read_expected_bias(bias),
    )
    write_zarr(product, spec.traits, destination / "maps.zarr")
    cogs = write_cogs(product, spec.traits, destination / "geotiff")
    source, quality = product["source"].to_numpy(), product["quality"].to_numpy()
    return {
        "in": {"cells": int(np.isfinite(product["location"].to_numpy()).any(axis=0).sum())},
        "out": {
            "cells mostly from photos": int((source == SOURCE["photos"]).any(axis=0).sum()),
            "cells mostly from climate and soil": int((source == SOURCE["geospatial"]).any(axis=0).sum()),
            "cells outside the area of applicability": int(
                (quality == QUALITY["outside_applicability"]).any(axis=0).sum()
            ),
            "GeoTIFFs": len(cogs),
        },
    }
