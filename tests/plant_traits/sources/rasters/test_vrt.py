from __future__ import annotations

import pytest
from rasterio.windows import Window

from plant_traits.errors import RasterError
from plant_traits.sources.rasters import vrt
from plant_traits.sources.rasters.vrt import parse_vrt

TILE = (
    '<SimpleSource resampling="nearest"><SourceFilename relativeToVRT="1" shared="0">{name}</SourceFilename>'
    "<SourceBand>1</SourceBand>"
    '<SourceProperties RasterXSize="100" RasterYSize="100" DataType="Int16" BlockXSize="128" BlockYSize="128"/>'
    '<SrcRect xOff="0" yOff="0" xSize="100" ySize="100"/><DstRect xOff="{x}" yOff="{y}" xSize="100" ySize="100"/>'
    "</SimpleSource>"
)
GOOD = (
    '<VRTDataset rasterXSize="200" rasterYSize="100"><SRS>EPSG:4326</SRS>'
    "<GeoTransform>-10.0, 0.5, 0, 60.0, 0, -0.5</GeoTransform><Metadata><MDI key='x'>y</MDI></Metadata>"
    '<VRTRasterBand dataType="Int16" band="1" blockXSize="128" blockYSize="128"><NoDataValue>-32768</NoDataValue>'
    "<Scale>0.1</Scale><Offset>2</Offset><ColorInterp>Gray</ColorInterp>"
    + TILE.format(name="./a/b_1-1.tif", x=0, y=0)
    + TILE.format(name="a/b_1-2.tif", x=100, y=0)
    + "</VRTRasterBand></VRTDataset>"
)


def test_a_plain_mosaic_is_read() -> None:
    mosaic = parse_vrt(GOOD.encode(), "x")
    header = mosaic.header
    assert (header.shape, header.dtype, header.nodata) == ((100, 200), "int16", -32768)
    assert (header.scale, header.offset) == (0.1, 2.0)
    assert tuple(header.transform)[:6] == (0.5, 0, -10, 0, -0.5, 60)
    assert mosaic.names == ("a/b_1-1.tif", "a/b_1-2.tif")
    assert mosaic.rectangles.tolist() == [[0, 0, 0, 0, 100, 100], [0, 0, 100, 0, 100, 100]]
    assert mosaic.tiles_in(Window(10, 10, 90, 5)).tolist() == [0]
    assert mosaic.tiles_in(Window(99, 10, 2, 5)).tolist() == [0, 1]


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd.tif",
        "../../secret.tif",
        "a/../../secret.tif",
        "./../secret.tif",
        "/vsicurl/http://evil.example/x.tif",
        "/vsizip/a.zip/x.tif",
        "vsicurl?url=http://evil.example/x.tif",
        "http://evil.example/x.tif",
        "https://evil.example/x.tif",
        "//evil.example/x.tif",
        "a/nested.vrt",
        "a/%2e%2e/x.tif",
        "a\\..\\x.tif",
        "C:x.tif",
        ".hidden/x.tif",
        "GTIFF_RAW:x.tif",
        "HDF5:x.tif",
        "a/x.tif?version=1",
        "",
        "a/" + "x" * 400 + ".tif",
    ],
)
def test_tiles_outside_the_mosaics_folder_are_refused(name: str) -> None:
    with pytest.raises(RasterError, match="a tile is called"):
        parse_vrt(GOOD.replace("./a/b_1-1.tif", name).encode(), "x")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('relativeToVRT="1"', 'relativeToVRT="0"', "not named relative"),
        ('relativeToVRT="1" ', "", "not named relative"),
        ("<VRTDataset ", '<VRTDataset subClass="VRTWarpedDataset" ', "subClass"),
        ("<VRTRasterBand ", '<VRTRasterBand subClass="VRTDerivedRasterBand" ', "subClass"),
        (
            "<ColorInterp>Gray</ColorInterp>",
            "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>",
            "PixelFunctionType",
        ),
        ("<ColorInterp>Gray</ColorInterp>", "<PixelFunctionCode>import os</PixelFunctionCode>", "PixelFunctionCode"),
        ("<SourceBand>1</SourceBand>", "<SourceBand>mask,1</SourceBand>", "band 'mask,1'"),
        ("<SourceBand>1</SourceBand>", "<OpenOptions><OOI key='x'>y</OOI></OpenOptions>", "OpenOptions"),
        ("<SimpleSource", "<KernelFilteredSource", "KernelFilteredSource"),
        ('ySize="100"/></SimpleSource>', 'ySize="50"/></SimpleSource>', "resampled or lies outside"),
        ('<DstRect xOff="100"', '<DstRect xOff="150"', "resampled or lies outside"),
        ('<SrcRect xOff="0"', '<SrcRect xOff="0.5"', "xOff is '0.5'"),
        ('<SrcRect xOff="0"', '<SrcRect xOff="-1"', "xOff is '-1'"),
        ('rasterXSize="200"', 'rasterXSize="99999999"', "rasterXSize is '99999999'"),
        ('rasterXSize="200"', 'rasterXSize="nan"', "no finite number"),
        ("</VRTRasterBand>", '</VRTRasterBand><VRTRasterBand dataType="Byte" band="2"/>', "2 bands"),
        ('dataType="Int16" band', 'dataType="CFloat64" band', "CFloat64"),
        ("-10.0, 0.5, 0, 60.0", "-10.0, 0.5, 0.1, 60.0", "GeoTransform"),
        ("-10.0, 0.5, 0, 60.0", "-10.0, 0.5, 60.0", "GeoTransform"),
        ("EPSG:4326", "EPSG:nonsense", "SRS is not understood"),
        ("</VRTDataset>", "<MaskBand/></VRTDataset>", "MaskBand"),
        ("</VRTDataset>", "", "not readable XML"),
    ],
)
def test_anything_but_a_plain_mosaic_is_refused(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(RasterError, match=message):
        parse_vrt(GOOD.replace(old, new, 1).encode(), "x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_before_any_entity(encoding: str) -> None:
    bomb = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE VRTDataset [<!ENTITY a "{"a" * 1000}">'
        '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    )
    with pytest.raises(RasterError, match="declares a document type"):
        parse_vrt((bomb + GOOD.replace("EPSG:4326", "&b;")).encode(encoding), "x")


def test_elements_that_are_skipped_cannot_hide_a_tile() -> None:
    hidden = GOOD.replace(
        "<ColorInterp>Gray</ColorInterp>", f"<Overview>{TILE.format(name='x.tif', x=0, y=0)}</Overview>"
    )
    assert parse_vrt(hidden.encode(), "x").names == ("a/b_1-1.tif", "a/b_1-2.tif")


def test_a_mosaic_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vrt, "_TILES", 1)
    with pytest.raises(RasterError, match="more than 1 tiles"):
        parse_vrt(GOOD.encode(), "x")
    monkeypatch.setattr(vrt, "VRT_LIMIT_BYTES", 100)
    with pytest.raises(RasterError, match="at most 100 are accepted"):
        parse_vrt(GOOD.encode(), "x")
