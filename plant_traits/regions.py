"""A region of the globe: a bounding box that may cross the antimeridian, or polygons inside one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import shapely

from data_catalog import Catalog
from plant_traits.errors import GridError
from plant_traits.grid import Grid


class Area(Protocol):
    """A part of the globe that points lie in or not."""

    def contains(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell which points lie inside, borders included; NaN lies nowhere."""
        ...


@dataclass(frozen=True)
class Region:
    """A named box in degrees, EPSG:4326; ``west > east`` means that it crosses the antimeridian.

    Attributes:
        name: what people call it.
        west: longitude in degrees east, within ±180.
        south: latitude in degrees north, within ±90.
        east: as ``west``.
        north: as ``south``.
        shape: polygons inside the box (x longitude, y latitude, within ±180 and ±90); the whole box where None.

    Raises:
        GridError: the box is empty or out of range, or the shape leaves it.
    """

    name: str
    west: float
    south: float
    east: float
    north: float
    shape: shapely.MultiPolygon | None = None

    def __post_init__(self) -> None:
        in_range = all(-180 <= x <= 180 for x in (self.west, self.east))
        if not (in_range and -90 <= self.south < self.north <= 90 and self.west != self.east):
            raise GridError(
                f"region {self.name!r} needs west and east within ±180, south < north within ±90 and a width, "
                f"found {self.bbox}"
            )
        if self.shape is not None and not self.box.covers(self.shape):
            raise GridError(
                f"region {self.name!r}: its shape spans {self.shape.bounds}, more than its box {self.bbox}; "
                "give it the box of its shape"
            )

    @classmethod
    def parse(cls, text: str, catalog: Catalog) -> Region:
        """Read a region of the catalogue by name, or ``west,south,east,north``.

        Raises:
            GridError: the box cannot be read.
            CatalogError: the catalogue has no such region.
        """
        if "," in text:
            try:
                west, south, east, north = (float(part) + 0.0 for part in text.split(","))  # no minus before a zero
            except ValueError as error:
                raise GridError(
                    f"cannot read the region {text!r}: expected west,south,east,north in degrees or one of "
                    f"{', '.join(sorted(catalog.regions))}"
                ) from error
            return cls(",".join(f"{x:.10g}" for x in (west, south, east, north)), west, south, east, north)
        entry = catalog.region(text)
        return cls(entry.id, *entry.bbox)

    @classmethod
    def of_shape(cls, name: str, shape: shapely.MultiPolygon) -> Region:
        """Build the region of a shape; its box takes the shorter way round the globe.

        Args:
            name: what people call it.
            shape: polygons within ±180 and ±90 degrees, cut where they cross the antimeridian.

        Raises:
            GridError: the shape is empty or out of range.
        """
        if shape.is_empty:
            raise GridError(f"region {name!r}: its shape is empty; give it a polygon")
        spans = [(float(west), float(east)) for west, _, east, _ in shapely.bounds(shapely.get_parts(shape))]
        west, east = _shortest_span(spans)
        _, south, _, north = shape.bounds
        return cls(name, west, south, east, north, shape)

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        return self.west, self.south, self.east, self.north

    @cached_property
    def box(self) -> shapely.MultiPolygon:
        """The bounding box as polygons, two where it crosses the antimeridian."""
        spans = [(self.west, self.east)] if self.west < self.east else [(self.west, 180.0), (-180.0, self.east)]
        return shapely.MultiPolygon([shapely.box(a, self.south, b, self.north) for a, b in spans if a < b])

    @property
    def geometry(self) -> shapely.MultiPolygon:
        """The shape, else the box."""
        return self.box if self.shape is None else self.shape

    @property
    def key(self) -> list[str | float]:
        """Name, box and a hash of the shape where there is one: what tells this region from others."""
        bounds = [float(x) for x in self.bbox]  # 10 and 10.0 are one number, but two texts
        return [self.name, *bounds, *([] if self.shape is None else [shape_hash(self.shape)])]

    @property
    def path_name(self) -> str:
        """The name with every character replaced that a path may not have."""
        return "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "_" for c in self.name)

    def overlaps(self, other: Region) -> bool:
        """Tell whether two regions share more than a border."""
        return bool(shapely.relate_pattern(self.geometry, other.geometry, "T********"))

    def check_holds_cells(self, grid: Grid) -> None:
        """Check that the region holds the centre of some cell of a grid, for of a region a map shows only such cells.

        Raises:
            GridError: it holds none.
        """
        rows = grid.lat[(grid.lat >= self.south) & (grid.lat <= self.north)]
        if any(self.contains(latitude, grid.lon).any() for latitude in rows):
            return
        raise GridError(
            f"region {self.name!r}, {self.bbox}: expected the centre of at least one cell of the {grid} grid inside, "
            "found none, so its map would be empty; choose a finer grid or a larger region"
        )

    def contains(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell which points lie inside, borders included; NaN lies nowhere.

        Args:
            latitude: degrees north.
            longitude: degrees east, within ±180; broadcast with the latitudes.
        """
        lat = np.asarray(latitude, dtype=np.float64)
        lon = np.asarray(longitude, dtype=np.float64)
        if self.west < self.east:
            inside_lon = (lon >= self.west) & (lon <= self.east)
        else:
            inside_lon = (lon >= self.west) | (lon <= self.east)
        inside = np.asarray((lat >= self.south) & (lat <= self.north) & inside_lon)
        if self.shape is None or not inside.any():
            return inside
        shapely.prepare(self.shape)
        lat, lon = np.broadcast_arrays(lat, lon)
        # `intersects`, not `contains`: a point on the border of two regions belongs to both.
        of_box = shapely.intersects_xy(self.shape, lon[inside], lat[inside])
        result = np.zeros(inside.shape, dtype=bool)
        result[inside] = of_box
        return result


@dataclass(frozen=True)
class Collected:
    """The part of a mapped region that has been collected: what lies in it and in one of several regions.

    Attributes:
        mapped: the region of the maps.
        regions: at least one.
    """

    mapped: Region
    regions: tuple[Region, ...]

    def contains(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell which points lie inside, borders included; NaN lies nowhere."""
        some = np.any([region.contains(latitude, longitude) for region in self.regions], axis=0)
        return np.asarray(self.mapped.contains(latitude, longitude) & some)


def shape_hash(shape: shapely.MultiPolygon) -> str:
    """Hash the polygons of a shape, whatever their order and where their rings begin: 16 hexadecimal digits."""
    return hashlib.sha256(shapely.to_wkb(shapely.normalize(shape), byte_order=1)).hexdigest()[:16]


def _shortest_span(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return west and east of the shortest arc that holds several; ``west > east`` crosses the antimeridian."""
    merged: list[tuple[float, float]] = []
    for west, east in sorted(spans):
        if merged and west <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], east))
        else:
            merged.append((west, east))
    # The widest gap between neighbours, the first of which follows the last across the antimeridian.
    gaps = [(merged[0][0] + 360.0 - merged[-1][1], 0)]
    gaps += [(after[0] - before[1], k) for k, (before, after) in enumerate(pairwise(merged), start=1)]
    first = max(gaps, key=lambda gap: (gap[0], -gap[1]))[1]
    return merged[first][0], merged[first - 1][1]
