"""Mosaics: read a GDAL VRT without GDAL, and accept nothing but plain tiles beside it."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from pyproj.exceptions import CRSError
from rasterio.windows import Window

from plant_traits.errors import RasterError
from plant_traits.sources.rasters.window import Header

VRT_LIMIT_BYTES = 64 * 1024**2
_TILES = 1_000_000
_SIDE = 1_000_000
_NAME = re.compile(r"(\./)?[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)*\.tiff?")
_TYPES = {"Byte": "uint8", "Int8": "int8"} | {
    name: name.lower() for name in ("UInt16", "Int16", "UInt32", "Int32", "Float32", "Float64")
}
_SKIPPED = frozenset(
    ["Metadata", "OverviewList", "Overview", "Histograms", "ColorInterp", "Description", "UnitType", "ColorTable",
     "HideNoDataValue", "BlockXSize", "BlockYSize", "CategoryNames", "SourceProperties"]
)  # fmt: skip
_KNOWN = {
    "": {"VRTDataset"},
    "VRTDataset": {"SRS", "GeoTransform", "VRTRasterBand"},
    "VRTRasterBand": {"NoDataValue", "Scale", "Offset", "SimpleSource", "ComplexSource"},
    "SimpleSource": {"SourceFilename", "SourceBand", "SrcRect", "DstRect"},
    "ComplexSource": {"SourceFilename", "SourceBand", "SrcRect", "DstRect", "NODATA"},
}
_ATTRIBUTES = {
    "VRTDataset": {"rasterXSize", "rasterYSize"},
    "VRTRasterBand": {"dataType", "band", "blockXSize", "blockYSize"},
    "SourceFilename": {"relativeToVRT", "shared"},
    "SimpleSource": {"resampling"},
    "ComplexSource": {"resampling"},
    "SRS": {"dataAxisToSRSAxisMapping"},
}


@dataclass(frozen=True)
class Mosaic:
    """A mosaic of tiles.

    Attributes:
        header: CRS, place, size and type of the whole.
        names: path of each tile, relative to the mosaic's folder.
        rectangles: (n, 6) integers: first column and row in the tile, first column and row in the mosaic, columns,
            rows.
    """

    header: Header
    names: tuple[str, ...]
    rectangles: npt.NDArray[np.int64]

    def tiles_in(self, window: Window) -> npt.NDArray[np.int64]:
        """Return the indices of the tiles that touch a window, in the mosaic's order."""
        _, _, column, row, width, height = self.rectangles.T
        across = (column < window.col_off + window.width) & (column + width > window.col_off)
        down = (row < window.row_off + window.height) & (row + height > window.row_off)
        return np.flatnonzero(across & down)


def parse_vrt(data: bytes, name: str) -> Mosaic:
    """Read a mosaic, element by element; whatever is not a plain placement of tiles is refused.

    Refused are: a document type (so no entities can be declared), tiles that are not named relative to the mosaic and
    inside its folder, nested mosaics, names of GDAL's virtual file systems, derived bands, pixel functions, warped or
    processed mosaics, rescaling sources, and any element not known to be harmless. GDAL's own VRT driver, which follows
    all of those, is never used.

    Args:
        data: the file.
        name: what to call it in messages.

    Raises:
        RasterError: it is too large, no XML, or not such a mosaic.
    """
    if len(data) > VRT_LIMIT_BYTES:
        raise RasterError(f"{name}: {len(data)} bytes, at most {VRT_LIMIT_BYTES} are accepted for a mosaic")
    reader = _Reader(name)
    parser = ET.XMLParser(target=reader)  # noqa: S314 - bounded, and the target refuses a document type
    try:
        parser.feed(data)
        parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:
        raise RasterError(f"{name}: not readable XML ({error}); fetch it again") from error
    return reader.mosaic()


@dataclass
class _Reader:
    """Target of the XML parser: keeps what a mosaic needs and refuses the rest."""

    name: str
    path: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    skipping: int = 0
    size: tuple[int, int] = (0, 0)
    bands: int = 0
    dtype: str = ""
    values: dict[str, str] = field(default_factory=dict)
    tile: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    rectangles: list[list[int]] = field(default_factory=list)

    def doctype(self, *_: object) -> None:
        """Refuse a document type."""
        raise self.refusal("it declares a document type")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        self.text.clear()
        parent = self.path[-1] if self.path else ""
        self.path.append(tag)
        if self.skipping or (parent and tag in _SKIPPED):
            self.skipping += 1
            return
        if tag not in _KNOWN.get(parent, set()):
            raise self.refusal(f"it has an element {'/'.join(self.path)[:200]}")
        strange = set(attributes) - _ATTRIBUTES.get(tag, {"xOff", "yOff", "xSize", "ySize"})
        if strange:
            raise self.refusal(f"{tag} has the attributes {sorted(strange)}")
        if tag == "VRTDataset":
            self.size = self.whole(attributes, "rasterYSize"), self.whole(attributes, "rasterXSize")
        elif tag == "VRTRasterBand":
            self.bands += 1
            self.dtype = attributes.get("dataType", "Byte")
        elif tag in ("SimpleSource", "ComplexSource"):
            self.tile = {}
        elif tag in ("SrcRect", "DstRect"):
            self.tile |= {f"{tag} {key}": value for key, value in attributes.items()}
        elif tag == "SourceFilename" and attributes.get("relativeToVRT") != "1":
            raise self.refusal("a tile is not named relative to it")

    def data(self, text: str) -> None:
        """Take text."""
        if not self.skipping:
            self.text.append(text)

    def end(self, tag: str) -> None:
        """Close an element."""
        self.path.pop()
        if self.skipping:
            self.skipping -= 1
            return
        text = "".join(self.text).strip()
        self.text.clear()
        if tag in ("SRS", "GeoTransform", "NoDataValue", "Scale", "Offset"):
            self.values[tag] = text
        elif tag in ("SourceFilename", "SourceBand", "NODATA"):
            self.tile[tag] = text
        elif tag in ("SimpleSource", "ComplexSource"):
            self.place()

    def close(self) -> None:
        """End the document."""

    def place(self) -> None:
        """Take a tile."""
        found = self.tile.get("SourceFilename", "")
        if not _NAME.fullmatch(found) or ".." in PurePosixPath(found).parts or len(found) > 300:
            raise self.refusal(f"a tile is called {found[:200]!r}")
        if self.tile.get("SourceBand", "1") != "1":
            raise self.refusal(f"tile {found!r} is read from band {self.tile['SourceBand'][:20]!r}")
        column, row, width, height = (self.whole(self.tile, f"SrcRect {key}") for key in _RECTANGLE)
        to_column, to_row, to_width, to_height = (self.whole(self.tile, f"DstRect {key}") for key in _RECTANGLE)
        inside = to_column + to_width <= self.size[1] and to_row + to_height <= self.size[0]
        if (width, height) != (to_width, to_height) or not inside or min(width, height) < 1:
            raise self.refusal(f"tile {found!r} is resampled or lies outside")
        if len(self.names) >= _TILES:
            raise self.refusal(f"it has more than {_TILES} tiles")
        self.names.append(found.removeprefix("./"))
        self.rectangles.append([column, row, to_column, to_row, width, height])

    def mosaic(self) -> Mosaic:
        """Return what was read."""
        if self.bands != 1 or self.dtype not in _TYPES or not self.names:
            raise self.refusal(f"it has {self.bands} bands of type {self.dtype[:20]!r} and {len(self.names)} tiles")
        numbers = [self.number(part) for part in self.values.get("GeoTransform", "").split(",")]
        if len(numbers) != 6 or numbers[2] != 0 or numbers[4] != 0 or numbers[1] <= 0 or numbers[5] == 0:
            raise self.refusal(f"its GeoTransform is {self.values.get('GeoTransform', '')[:200]!r}")
        try:
            crs = pyproj.CRS.from_user_input(self.values.get("SRS", "")[:20_000])
        except CRSError as error:
            raise self.refusal(f"its SRS is not understood ({str(error)[:200]})") from error
        nodata = self.values.get("NoDataValue")
        header = Header(
            crs=crs.to_wkt(),
            transform=Affine.from_gdal(*numbers),
            shape=self.size,
            dtype=_TYPES[self.dtype],
            nodata=None if nodata is None else self.number(nodata, finite=False),
            scale=self.number(self.values.get("Scale", "1")),
            offset=self.number(self.values.get("Offset", "0")),
        )
        return Mosaic(header, tuple(self.names), np.array(self.rectangles, dtype=np.int64))

    def whole(self, found: dict[str, str], key: str) -> int:
        """Read a whole number of pixels."""
        number = self.number(found.get(key, ""))
        if number != round(number) or not 0 <= number <= _SIDE:
            raise self.refusal(f"{key} is {found.get(key, '')[:40]!r}")
        return int(number)

    def number(self, text: str, *, finite: bool = True) -> float:
        """Read a number."""
        try:
            value = float(text)
        except ValueError:
            raise self.refusal(f"{text[:40]!r} is no number") from None
        if finite and not math.isfinite(value):
            raise self.refusal(f"{text[:40]!r} is no finite number")
        return value

    def refusal(self, what: str) -> RasterError:
        """Return the error that refuses the mosaic."""
        return RasterError(
            f"{self.name}: expected a mosaic of unscaled tiles named relative to it and inside its folder, but {what}; "
            "refused, check the address"
        )


_RECTANGLE = ("xOff", "yOff", "xSize", "ySize")
