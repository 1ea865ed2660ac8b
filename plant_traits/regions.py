"""A region of the globe as a bounding box that may cross the antimeridian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_catalog import Catalog
from plant_traits.errors import GridError


@dataclass(frozen=True)
class Region:
    """A named box in degrees; ``west > east`` means that it crosses the antimeridian.

    Raises:
        GridError: the box is empty or out of range.
    """

    name: str
    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        in_range = all(-180 <= x <= 180 for x in (self.west, self.east))
        if not (in_range and -90 <= self.south < self.north <= 90 and self.west != self.east):
            raise GridError(
                f"region {self.name!r} needs west and east within ±180, south < north within ±90 and a width, "
                f"found {self.bbox}"
            )

    @classmethod
    def parse(cls, text: str, catalog: Catalog) -> Region:
        """Read a region of the catalogue by name, or ``west,south,east,north``."""
        if "," in text:
            try:
                west, south, east, north = (float(part) for part in text.split(","))
            except ValueError as error:
                raise GridError(
                    f"cannot read the region {text!r}: expected west,south,east,north in degrees or one of "
                    f"{', '.join(sorted(catalog.regions))}"
                ) from error
            return cls(text, west, south, east, north)
        entry = catalog.region(text)
        return cls(entry.id, *entry.bbox)

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        return self.west, self.south, self.east, self.north

    def contains(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell which points lie inside; NaN lies nowhere."""
        lat = np.asarray(latitude, dtype=np.float64)
        lon = np.asarray(longitude, dtype=np.float64)
        if self.west < self.east:
            inside_lon = (lon >= self.west) & (lon <= self.east)
        else:
            inside_lon = (lon >= self.west) | (lon <= self.east)
        return np.asarray((lat >= self.south) & (lat <= self.north) & inside_lon)
