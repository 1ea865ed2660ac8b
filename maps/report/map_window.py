"""The part of the globe that a map shows, which may cross the antimeridian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class MapWindow:
    """The part of the globe a map shows: the central meridian and the box around it, degrees.

    ``west`` and ``east`` may lie outside ±180 when the box crosses the antimeridian; ``west < east`` always.
    """

    central_longitude: float = 0.0
    west: float = -180.0
    south: float = -90.0
    east: float = 180.0
    north: float = 90.0

    @property
    def is_global(self) -> bool:
        """Tell whether the window is the whole globe."""
        return self.east - self.west >= 360


def window_of(mask: xr.DataArray, margin: float = 3.0) -> MapWindow:
    """Return the window that holds the cells of a mask; the whole globe when they span more than half of it.

    Args:
        mask: boolean, (lat, lon).
        margin: degrees kept around the cells.
    """
    lat = np.asarray(mask["lat"], dtype=np.float64)[np.asarray(mask.any("lon"))]
    lon = np.sort(np.asarray(mask["lon"], dtype=np.float64)[np.asarray(mask.any("lat"))])
    if lat.size == 0:
        return MapWindow()
    # The window starts east of the widest empty stretch of longitudes, which may lie across the antimeridian.
    gaps = np.diff(np.append(lon, lon[0] + 360))
    after = int(np.argmax(gaps))
    west = float(lon[(after + 1) % lon.size]) - margin
    east = west + 2 * margin + (360.0 - float(gaps[after]))
    if east - west > 180:
        return MapWindow()
    centre = (((west + east) / 2 + 180) % 360) - 180
    half = max((east - west) / 2, 4.0)
    middle = (float(lat.min()) + float(lat.max())) / 2
    height = max((float(lat.max()) - float(lat.min())) / 2 + margin, 4.0)
    return MapWindow(centre, centre - half, max(middle - height, -90.0), centre + half, min(middle + height, 90.0))
