from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plant_traits.errors import RasterError
from plant_traits.sources.rasters.intact import check_intact


def test_a_file_without_its_last_bytes_is_told(tmp_path: Path, tiff_bytes: Callable[..., bytes]) -> None:
    content = tiff_bytes(np.random.default_rng(0).integers(0, 999, (200, 300)).astype(np.int16))
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    check_intact(path)
    path.write_bytes(content[:-1])
    with pytest.raises(RasterError, match=f"ends at byte {len(content)}, it has {len(content) - 1}"):
        check_intact(path)
    path.write_bytes(b"II*\0")
    with pytest.raises(RasterError, match="not a readable GeoTIFF"):
        check_intact(path)
