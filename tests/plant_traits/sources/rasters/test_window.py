from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from plant_traits.covariates.coordinates import pixel_lat_lon
from plant_traits.errors import RasterError, WorkspaceError
from plant_traits.regions import Region
from plant_traits.sources.rasters import window
from plant_traits.sources.rasters.window import Cut, Header, cut_region, write_cut

IGH = "+proj=igh +datum=WGS84 +units=m"


def globe(size: float = 1.0, west: float = -180.0) -> Header:
    shape = (int(180 / size), int(360 / size))
    return Header(pyproj.CRS.from_epsg(4326).to_wkt(), Affine(size, 0, west, 0, -size, 90), shape, "int16", -1, 1, 0)


def columns_of(cut: Cut) -> list[int]:
    """Return the raster's column of each column of the cut, in order."""
    row = cut.pieces[0].row
    parts = [(x.column, x.source.col_off, x.source.width) for x in cut.pieces if x.row == row]
    return [column + i for _, column, width in sorted(parts) for i in range(width)]


def test_a_box_is_cut_along_pixels_with_a_margin() -> None:
    cut = cut_region(globe(), Region("box", 10.2, 40.5, 12.0, 42.0), margin=1)
    assert (cut.row, cut.column, cut.shape) == (47, 189, (4, 4))
    assert columns_of(cut) == [189, 190, 191, 192]


@pytest.mark.parametrize(
    ("west", "east", "first", "columns"),
    [
        (178.0, -178.0, 357, [357, 358, 359, 0, 1, 2]),
        (-180.0, -178.0, 359, [359, 0, 1, 2]),
        (178.0, 180.0, 357, [357, 358, 359, 0]),
        (-180.0, 180.0, 0, list(range(360))),
    ],
)
def test_the_seam_of_a_global_raster_is_crossed(west: float, east: float, first: int, columns: list[int]) -> None:
    cut = cut_region(globe(), Region("box", west, 0, east, 2), margin=1)
    assert cut.column == first
    assert columns_of(cut) == columns
    assert cut.shape[1] == len(columns)


def test_the_whole_globe_is_every_pixel_once() -> None:
    cut = cut_region(globe(0.25), Region("world", -180, -90, 180, 90))
    taken = np.zeros((720, 1440), dtype=int)
    for piece in cut.pieces:
        rows, columns = piece.source.toslices()
        taken[rows, columns] += 1
        assert (piece.row, piece.column) == (piece.source.row_off, piece.source.col_off)
    assert (taken == 1).all()


def test_a_raster_of_part_of_the_globe_is_cut_where_it_lies() -> None:
    header = Header(globe().crs, Affine(1, 0, 350, 0, -1, 10), (20, 15), "int16", None, 1, 0)  # 350 to 365 degrees east
    cut = cut_region(header, Region("box", -8, 0, 2, 5), margin=0)
    assert (cut.row, cut.column, cut.shape) == (5, 2, (5, 10))
    with pytest.raises(RasterError, match="does not overlap the region 'far'"):
        cut_region(header, Region("far", 100, 0, 110, 5))


@pytest.mark.parametrize(
    "box", [(-60, 30, -20, 60), (-180, -90, 180, 90), (150, -60, -150, -10), (10, 45, 10.1, 45.1), (-41, -5, -39, 70)]
)
def test_every_pixel_of_a_homolosine_raster_in_the_region_is_taken(
    box: tuple[float, float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "_PATCH", 16)
    size, nx, ny = 20_000.0, 2003, 867
    west, north = -nx * size / 2, ny * size / 2
    crs = pyproj.CRS.from_user_input(IGH)
    header = Header(crs.to_wkt(), Affine(size, 0, west, 0, -size, north), (ny, nx), "int16", -1, 1, 0)
    region = Region("box", *box)
    cut = cut_region(header, region)
    taken = np.zeros((ny, nx), dtype=int)
    for piece in cut.pieces:
        rows, columns = piece.source.toslices()
        taken[rows, columns] += 1
        assert piece.row == piece.source.row_off - cut.row
        assert piece.column == piece.source.col_off - cut.column
    x, y = np.meshgrid(west + (np.arange(nx) + 0.5) * size, north - (np.arange(ny) + 0.5) * size)
    inside = region.contains(*pixel_lat_lon(crs, x, y))
    assert taken.max() == 1
    assert (taken[inside] == 1).all()
    if box == (-60, 30, -20, 60):  # two lobes; the pixels between them at high latitudes are left out
        assert taken.sum() < cut.shape[0] * cut.shape[1]


def test_a_cut_repeats_the_header_and_leaves_what_is_not_read_missing(tmp_path: Path) -> None:
    header = Header(globe().crs, Affine(1, 0, -180, 0, -1, 90), (180, 360), "uint16", None, 0.1, -273.15)
    cut = Cut(10, 350, (600, 700), (window.Piece(Window(350, 10, 3, 2), 1, 4),))
    write_cut(tmp_path / "a" / "cut.tif", header, cut, lambda _: np.full((2, 3), 7, np.uint16), fill=65535)
    with rasterio.open(tmp_path / "a" / "cut.tif") as dataset:
        assert dataset.transform == Affine(1, 0, 170, 0, -1, 80)
        assert (dataset.scales, dataset.offsets, dataset.nodata) == ((0.1,), (-273.15,), 65535)
        values = dataset.read(1)
    assert (values[1:3, 4:7] == 7).all()
    assert (values == 65535).sum() == 600 * 700 - 6
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cut.tif"]


def test_a_failure_to_read_leaves_no_file(tmp_path: Path) -> None:
    cut = cut_region(globe(), Region("box", 0, 0, 5, 5))

    def fail(_: Window) -> np.ndarray:
        raise RasterError("cut off")

    with pytest.raises(RasterError, match="cut off"):
        write_cut(tmp_path / "cut.tif", globe(), cut, fail, fill=None)
    assert not (tmp_path / "cut.tif").exists()
    (tmp_path / "folder").write_text("a file in the way")
    with pytest.raises((WorkspaceError, FileExistsError, NotADirectoryError)):
        write_cut(tmp_path / "folder" / "cut.tif", globe(), cut, fail, fill=None)
