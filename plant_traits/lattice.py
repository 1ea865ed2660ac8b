"""The fixed lattice along which regions are cut into pieces: whole tiles, so that regions that overlap share them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from plant_traits.errors import GridError
from plant_traits.regions import Region

BORDER_DEGREES = 0.001
"""How far a piece reaches beyond its tile: whether a service counts its border in or out, no record falls between."""


def pieces(regions: Sequence[Region], mapped: Region, degrees: float) -> tuple[Region, ...]:
    """Return the tiles of the lattice that regions lie in, as far as they are mapped.

    The lattice begins at 180° W, 90° S, whatever the regions, so that a tile is the same piece to each of them. A piece
    is a whole tile and a border of ``BORDER_DEGREES``, not beyond the globe: it holds records of no region too, and
    those on the border of two tiles twice.

    Args:
        regions: what is wanted; the order does not matter.
        mapped: what is mapped.
        degrees: size of a tile; divides 180.

    Returns:
        Boxes, by name: from south to north, then from west to east.

    Raises:
        GridError: the size does not divide 180 degrees.
    """
    if not (degrees > 0 and (180 / degrees).is_integer()):
        raise GridError(f"tiles of {degrees:g}° do not divide 180 degrees; choose a size such as 30")
    count = round(180 / degrees)
    row, column = (x.ravel() for x in np.divmod(np.arange(2 * count * count), 2 * count))
    west, south = -180 + column * degrees, -90 + row * degrees
    tiles = shapely.box(west, south, west + degrees, south + degrees)
    wanted = np.zeros(len(tiles), dtype=bool)
    for region in regions:
        wanted |= _shares(tiles, region)
    wanted &= _shares(tiles, mapped)
    return tuple(_piece(float(west[k]), float(south[k]), degrees) for k in np.flatnonzero(wanted))


def _shares(tiles: npt.NDArray[np.object_], region: Region) -> npt.NDArray[np.bool_]:
    """Tell which tiles share more than a border with a region."""
    shape = region.geometry
    shapely.prepare(shape)
    touched = shapely.intersects(shape, tiles)
    touched[touched] = ~shapely.touches(shape, tiles[touched])
    return np.asarray(touched)


def _piece(west: float, south: float, degrees: float) -> Region:
    """Return the box of a tile with its border, named after its size and south-western corner."""
    ns = f"{'s' if south < 0 else 'n'}{abs(south):g}"
    we = f"{'w' if west < 0 else 'e'}{abs(west):g}"
    return Region(
        f"tile{degrees:g}-{ns}-{we}",
        max(west - BORDER_DEGREES, -180.0),
        max(south - BORDER_DEGREES, -90.0),
        min(west + degrees + BORDER_DEGREES, 180.0),
        min(south + degrees + BORDER_DEGREES, 90.0),
    )
