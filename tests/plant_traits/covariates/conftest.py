"""Miniature rasters in the formats of the real providers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.transform import from_origin

WriteRaster = Callable[..., Path]


@pytest.fixture
def write_raster(tmp_path: Path) -> WriteRaster:
    def write(
        values: npt.ArrayLike,
        *,
        west: float,
        north: float,
        size: float,
        name: str = "layer.tif",
        crs: str = "EPSG:4326",
        nodata: float | None = None,
        scale: float | None = None,
        offset: float | None = None,
        height: float | None = None,
    ) -> Path:
        array = np.asarray(values)
        path = tmp_path / name
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=array.shape[0],
            width=array.shape[1],
            count=1,
            dtype=array.dtype,
            crs=crs or None,
            transform=from_origin(west, north, size, height or size),
            nodata=nodata,
        ) as dataset:
            dataset.write(array, 1)
            if scale is not None:
                dataset.scales = (scale,)
            if offset is not None:
                dataset.offsets = (offset,)
        return path

    return write
