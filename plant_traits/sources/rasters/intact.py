"""Tell whether a GeoTIFF is all there, without decoding it."""

from __future__ import annotations

import math
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from plant_traits.errors import RasterError


def check_intact(path: Path) -> None:
    """Check that every block a GeoTIFF's directory names ends within the file.

    Args:
        path: the file.

    Raises:
        RasterError: it is no GeoTIFF, or is cut off.
    """
    size = path.stat().st_size
    try:
        with rasterio.open(path, driver="GTiff", sharing=False) as dataset:
            height, width = dataset.block_shapes[0]
            rows, columns = math.ceil(dataset.height / height), math.ceil(dataset.width / width)
            end = 0
            for row in range(rows):
                for column in range(columns):
                    offset = dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", dm="TIFF", bidx=1)
                    length = dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", dm="TIFF", bidx=1)
                    if offset is not None and length is not None:
                        end = max(end, int(offset) + int(length))
    except RasterioError as error:
        raise RasterError(f"{path} is not a readable GeoTIFF ({error}); fetch it again") from error
    if end > size:
        raise RasterError(f"{path} is cut off: its last block ends at byte {end}, it has {size}; fetch it again")
