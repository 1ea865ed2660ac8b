"""Pixels of a mosaic: each tile a window touches is fetched once and pasted where the mosaic puts it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window

from plant_traits.errors import RasterError
from plant_traits.sources.rasters.vrt import Mosaic
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.download import download

TILE_LIMIT_BYTES = 256 * 1024**2
_OFF_PLACE = 0.01  # pixels


class TileReader:
    """Reads windows of a mosaic; the tiles fetched so far lie in a folder and outlive a kill."""

    def __init__(self, web: Web, url: str, mosaic: Mosaic, cache: Path, *, fill: float | None = None) -> None:
        """Make a reader.

        Args:
            web: the client.
            url: address of the mosaic; its tiles lie below the same folder.
            mosaic: what it holds.
            cache: folder for the tiles.
            fill: stored number where no tile lies.
        """
        self._web = web
        self._base = url.rsplit("/", maxsplit=1)[0]
        self._mosaic = mosaic
        self._cache = cache
        self._fill = fill or 0

    def forget(self) -> None:
        """Delete the tiles."""
        shutil.rmtree(self._cache, ignore_errors=True)

    def read(self, window: Window) -> npt.NDArray[np.generic]:
        """Return the stored numbers of a window.

        Raises:
            WebError: a tile cannot be had.
            RasterError: a tile is not what the mosaic says.
        """
        header = self._mosaic.header
        dtype = np.dtype(header.dtype)
        found = np.full((window.height, window.width), self._fill, dtype=dtype)
        for tile in self._mosaic.tiles_in(window).tolist():
            column, row, to_column, to_row, width, height = self._mosaic.rectangles[tile].tolist()
            left, right = max(to_column, window.col_off), min(to_column + width, window.col_off + window.width)
            top, bottom = max(to_row, window.row_off), min(to_row + height, window.row_off + window.height)
            part = Window(column + left - to_column, row + top - to_row, right - left, bottom - top)
            values = self._read_tile(tile, part)
            rows = slice(top - window.row_off, bottom - window.row_off)
            columns = slice(left - window.col_off, right - window.col_off)
            found[rows, columns] = values
        return found

    def _read_tile(self, tile: int, part: Window) -> npt.NDArray[np.generic]:
        name = self._mosaic.names[tile]
        path = self._cache / name
        url = f"{self._base}/{name}"
        if not path.is_file():
            download(self._web, url, path, limit_bytes=TILE_LIMIT_BYTES)
        header = self._mosaic.header
        column, row, to_column, to_row, _, _ = self._mosaic.rectangles[tile].tolist()
        corner = header.transform @ Affine.translation(to_column - column, to_row - row)
        try:
            with rasterio.open(path, driver="GTiff", sharing=False) as dataset:
                place, wanted = tuple(dataset.transform)[:6], tuple(corner)[:6]
                in_place = np.allclose(place, wanted, rtol=0, atol=_OFF_PLACE * header.transform.a)
                fits = part.col_off + part.width <= dataset.width and part.row_off + part.height <= dataset.height
                if not in_place or not fits or dataset.dtypes[0] != header.dtype:
                    raise RasterError(
                        f"{url}: expected a tile of {header.dtype} at {wanted}, found {dataset.dtypes[0]}, "
                        f"{dataset.shape} pixels at {place}; the mosaic is not of its tiles"
                    )
                return np.asarray(dataset.read(1, window=part))
        except RasterioError as error:
            path.unlink(missing_ok=True)
            raise RasterError(f"{url}: the tile is damaged ({error}); run again to fetch it anew") from error
