from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from pydantic import JsonValue

from data_catalog import RasterLayer, Source
from plant_traits.covariates.layers import open_layer
from plant_traits.covariates.sampling import sample_points
from plant_traits.errors import InputError, RasterError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.protocol import Request
from plant_traits.sources.rasters import ranges
from plant_traits.sources.rasters.source import RasterSource
from plant_traits.sources.web.client import Web

TiffBytes = Callable[..., bytes]


class Served(Protocol):
    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]
    failures: list[int]
    ranges: bool
    state: str
    sent: int
    cut_off: int


IGH = "+proj=igh +datum=WGS84 +units=m"
WORLD = Region("world", -180, -90, 180, 90)
ALPS = Region("alps", 5, 44, 16, 48)
PACIFIC = Region("pacific", 170, -20, -170, 10)


def layer(**changes: object) -> RasterLayer:
    fields: dict[str, object] = {
        "id": "bio1",
        "name": "annual mean temperature",
        "unit": "degC",
        "file": "bio1.tif",
        "scale": 0.1,
        "offset": -273.15,
        "valid_range": (-273.15, 7000),
    }
    return RasterLayer.model_validate(fields | changes)


def request_for(tmp_path: Path, region: Region, settings: Mapping[str, JsonValue], *layers: RasterLayer) -> Request:
    source = Source(
        id="climate",
        title="climate",
        kind="raster",
        url="https://files.example.org/bio",
        licence="CC0 1.0",
        citation="someone",
        layers=layers,
    )
    return Request(source, Month.parse("2026-10"), region, settings, tmp_path / "mirror")


def random_globe(seed: int = 0) -> np.ndarray:
    """A quarter degree of random numbers, so that no two pixels agree by chance."""
    return np.random.default_rng(seed).integers(1, 60_000, (720, 1440)).astype(np.uint16)


def test_whole_files_come_and_the_second_call_asks_for_nothing(
    served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes
) -> None:
    stored = random_globe()
    served.files["bio/bio1.tif"] = tiff_bytes(stored, size=0.25, nodata=65535)
    request = request_for(tmp_path, ALPS, {"layers": ["bio1"]}, layer())
    acquired = acquire_source(RasterSource(), request, web)
    assert list(acquired.files) == ["bio1.tif"]
    assert acquired.facts["licence"] == "CC0 1.0"
    assert (request.folder / "bio1.tif").read_bytes() == served.files["bio/bio1.tif"]
    before = len(served.asked)
    assert acquire_source(RasterSource(), request, web).reused
    (request.folder / "acquired.json").unlink()
    assert not acquire_source(RasterSource(), request, web).reused
    assert len(served.asked) == before == 1


@pytest.mark.parametrize("region", [ALPS, PACIFIC])
def test_a_region_equals_the_crop_of_the_whole_file(
    served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PIECE_BYTES", 16 * 1024)
    stored = random_globe()
    served.files["bio/bio1.tif"] = tiff_bytes(
        stored, size=0.25, west=-180 - 1 / 7200, nodata=65535, scale=0.1, offset=-273.15
    )
    request = request_for(tmp_path, region, {"whole": False}, layer())
    acquire_source(RasterSource(), request, web)
    assert served.sent < 0.2 * len(served.files["bio/bio1.tif"])
    rng = np.random.default_rng(3)
    width = (region.east - region.west) % 360
    latitude = rng.uniform(region.south, region.north, 500)
    longitude = (region.west + rng.uniform(0, width, 500) + 180) % 360 - 180
    whole = tmp_path / "whole.tif"
    whole.write_bytes(served.files["bio/bio1.tif"])
    with open_layer(request.folder / "bio1.tif", layer(), region) as cut, open_layer(whole, layer()) as full:
        assert cut.shape[0] * cut.shape[1] < 0.1 * stored.size
        assert cut.dataset.scales == (0.1,) and cut.dataset.offsets == (-273.15,) and cut.nodata == 65535
        values = sample_points(cut, latitude, longitude)
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, sample_points(full, latitude, longitude))


def test_passing_faults_are_waited_out(served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes) -> None:
    served.files["bio/bio1.tif"] = tiff_bytes(random_globe(), size=0.25)
    request = request_for(tmp_path, ALPS, {"whole": False}, layer(offset=0.0))
    plugin = RasterSource()
    served.failures, served.cut_off = [503], 1
    fetched = plugin.fetch(request, plugin.plan(request), web)
    assert fetched.files == ("bio1.tif",)
    asked = [found for _, found in served.asked]
    assert asked[:3] == ["bytes=0-262143"] * 3  # refused, cut off, answered
    assert len(set(asked[2:])) == len(asked[2:])


def test_pieces_of_a_killed_read_are_not_asked_for_again(
    served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PIECE_BYTES", 16 * 1024)
    served.files["bio/bio1.tif"] = tiff_bytes(random_globe(), size=0.25)
    request = request_for(tmp_path, ALPS, {"whole": False}, layer(offset=0.0))
    plugin = RasterSource()
    with monkeypatch.context() as patched:
        turn, turns = web.pace.wait_for_turn, iter(range(2))

        def killed_at_the_third(host: str) -> None:
            if next(turns, None) is None:
                raise KeyboardInterrupt
            turn(host)

        patched.setattr(web.pace, "wait_for_turn", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            plugin.fetch(request, plugin.plan(request), web)
    first = [found for _, found in served.asked]
    assert len(first) == 2
    acquire_source(plugin, request, web)
    assert len({found for _, found in served.asked}) == len(served.asked)
    assert not [path.name for path in request.folder.iterdir() if "pieces" in path.name or "part" in path.name]


def test_another_region_is_fetched_anew(served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes) -> None:
    served.files["bio/bio1.tif"] = tiff_bytes(random_globe(), size=0.25)
    asked = layer(offset=0.0)
    alps = request_for(tmp_path, ALPS, {"whole": False}, asked)
    acquire_source(RasterSource(), alps, web)
    pacific = replace(alps, region=PACIFIC)
    assert not acquire_source(RasterSource(), pacific, web).reused
    with open_layer(alps.folder / "bio1.tif", asked, PACIFIC) as raster:
        assert raster.dataset.bounds.left < 170
        assert raster.dataset.bounds.right > 190


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        ({"scale": 0.01, "offset": -273.15}, {}, "header states scale, offset"),
        ({"scale": 0.1}, {}, "header states scale, offset"),
        ({"nodata": 7}, {"nodata": 65535}, "nodata = 7"),
        ({"crs": "EPSG:4326"}, {"crs": IGH}, "expected the CRS"),
        ({"crs": "EPSG:3857", "west": 0, "north": 8e6, "size": 10_000}, {}, "expected the CRS EPSG:4326"),
        ({"west": 100, "north": 80, "size": 0.01}, {}, "does not overlap the region 'alps'"),
    ],
)
def test_a_header_that_contradicts_the_catalogue_stops_before_pixels_are_asked_for(
    served: Served,
    web: Web,
    tmp_path: Path,
    tiff_bytes: TiffBytes,
    made: dict[str, object],
    changes: dict[str, object],
    message: str,
) -> None:
    served.files["bio/bio1.tif"] = tiff_bytes(random_globe(), **({"size": 0.25} | made))
    request = request_for(tmp_path, ALPS, {"whole": False}, layer(**changes))
    with pytest.raises(RasterError, match=message):
        acquire_source(RasterSource(), request, web)
    assert len(served.asked) <= 2  # the header's scale lies at the end of the file
    assert not (request.folder / "bio1.tif").exists()
    whole = replace(request, settings={"whole": True}, folder=tmp_path / "whole", region=ALPS)
    if "region" not in message:
        with pytest.raises(RasterError, match=message):
            acquire_source(RasterSource(), whole, web)
    assert not (whole.folder / "acquired.json").exists()


def test_scale_of_the_header_alone_or_of_the_catalogue_alone_is_applied_once(
    served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes
) -> None:
    stored = np.full((180, 360), 2831, np.uint16)
    for stated in ({}, {"scale": 0.1, "offset": -273.15}):
        served.files["bio/bio1.tif"] = tiff_bytes(stored, **stated)
        request = request_for(tmp_path / str(len(stated)), ALPS, {"whole": False}, layer())
        acquire_source(RasterSource(), request, web)
        with open_layer(request.folder / "bio1.tif", layer(), ALPS) as raster:
            assert raster.dataset.scales == (stated.get("scale", 1.0),)
            np.testing.assert_allclose(raster.read()[0], 9.95, atol=1e-5)


def test_a_truncated_file_is_refused_and_says_so(
    served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes
) -> None:
    content = tiff_bytes(random_globe(), size=0.25)
    served.files["bio/bio1.tif"] = content[: len(content) // 2]
    for settings in ({"whole": True}, {"whole": False}):
        request = request_for(tmp_path / str(settings["whole"]), WORLD, settings, layer(offset=0.0))
        with pytest.raises(RasterError, match=r"cut off|damaged|not a readable"):
            acquire_source(RasterSource(), request, web)
        assert not (request.folder / "acquired.json").exists()
    served.files["bio/bio1.tif"], served.state = content, '"mended"'
    for settings in ({"whole": True}, {"whole": False}):
        request = request_for(tmp_path / str(settings["whole"]), WORLD, settings, layer(offset=0.0))
        assert acquire_source(RasterSource(), request, web).counts == {"layers": 1}


def test_what_is_no_raster_is_refused(served: Served, web: Web, tmp_path: Path) -> None:
    served.files["bio/bio1.tif"] = b"<html>Not what you wanted</html>"
    for settings in ({"whole": True}, {"whole": False}):
        request = request_for(tmp_path / str(settings["whole"]), ALPS, settings, layer())
        with pytest.raises(RasterError, match="not a readable GeoTIFF"):
            acquire_source(RasterSource(), request, web)


def test_a_missing_file_and_a_failing_server_are_told_apart(served: Served, web: Web, tmp_path: Path) -> None:
    request = request_for(tmp_path, ALPS, {"whole": False}, layer())
    with pytest.raises(WebError) as gone:
        acquire_source(RasterSource(), request, web)
    assert gone.value.reason == "gone"
    served.failures = [500] * 3
    with pytest.raises(WebError) as unavailable:
        acquire_source(RasterSource(), request, web)
    assert unavailable.value.reason == "unavailable"


def test_a_server_without_ranges_is_told(served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes) -> None:
    served.files["bio/bio1.tif"] = tiff_bytes(random_globe(), size=0.25)
    served.ranges = False
    with pytest.raises(WebError, match="does not serve ranges; set `whole: true`"):
        acquire_source(RasterSource(), request_for(tmp_path, ALPS, {"whole": False}, layer()), web)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ["bio99"]}, "no layer 'bio99'"),
        ({"address": "../{file}"}, "plain path"),
        ({"address": "https://evil.org/{file}"}, "plain path"),
        ({"address": "{file}?x=1"}, "plain path"),
        ({"address": "{layer}.vrt"}, "are mosaics, of which no whole file exists"),
        ({"adress": "x"}, "adress"),
        ({"whole": "perhaps"}, "whole"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: dict[str, JsonValue], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RasterSource().plan(request_for(tmp_path, ALPS, settings, layer()))


@pytest.mark.parametrize("file", ["../bio1.tif", "/etc/bio1.tif", "bio1.vrt", "a//b.tif", "vsicurl:x.tif"])
def test_a_layer_cannot_leave_its_folder(tmp_path: Path, file: str) -> None:
    with pytest.raises(InputError, match="no plain relative path"):
        RasterSource().plan(request_for(tmp_path, ALPS, {}, layer(file=file)))


def test_the_key_of_a_plan_tells_regions_and_whole_files_apart(tmp_path: Path) -> None:
    plan = RasterSource().plan
    cut, whole = {"whole": False}, {"whole": True}
    keys = {
        plan(request_for(tmp_path, ALPS, cut, layer())).key,
        plan(request_for(tmp_path, PACIFIC, cut, layer())).key,
        plan(request_for(tmp_path, ALPS, whole, layer())).key,
    }
    assert len(keys) == 3
    assert plan(request_for(tmp_path, PACIFIC, whole, layer())).key in keys


def clay(**changes: object) -> RasterLayer:
    fields = {"id": "clay", "file": "clay_mean.tif", "crs": IGH, "scale": 1.0, "offset": 0.0, "nodata": -32768}
    return layer(**(fields | {"valid_range": (0, 20_000)} | changes))


# The second box spans the interruption at 40 W and lies in two lobes; the third crosses the antimeridian.
@pytest.mark.parametrize(
    "box", [(5.0, 44.0, 16.0, 48.0), (-60.0, 30.0, -20.0, 60.0), (160.0, -50.0, -160.0, -30.0), (-25.0, -25.0, -10, 5)]
)
def test_a_mosaic_gives_the_pixels_of_the_region_from_the_tiles_it_touches(
    served: Served, web: Web, tmp_path: Path, soil_files: dict[str, bytes], box: tuple[float, float, float, float]
) -> None:
    served.files |= soil_files
    region = Region("box", *box)
    request = request_for(tmp_path, region, {"whole": False, "address": "{layer}/{stem}.vrt"}, clay())
    acquire_source(RasterSource(), request, web)
    tiles = [path for path, _ in served.asked if path.endswith(".tif")]
    assert len(tiles) == len(set(tiles))
    assert 0 < len(tiles) < 0.5 * (len(served.files) - 1)
    rng = np.random.default_rng(5)
    latitude = rng.uniform(region.south, region.north, 2000)
    longitude = (region.west + rng.uniform(0, (region.east - region.west) % 360, 2000) + 180) % 360 - 180
    with open_layer(request.folder / "clay_mean.tif", clay(), region) as raster:
        code = sample_points(raster, latitude, longitude)
    # Latitude and longitude come back to within half a pixel's diagonal; only lobe edges hold no pixel's centre.
    known = np.isfinite(code)
    assert known.mean() > 0.98
    # A pixel is 25 km wide and sheared: up to 0.2 degrees off in latitude and 0.6 in longitude, besides the rounding.
    np.testing.assert_allclose(code[known] // 100 - 90, latitude[known], atol=0.5 + 0.25)
    off = (code[known] % 100 * 4 - 180 - longitude[known] + 180) % 360 - 180
    assert np.abs(off).max() < 2.0 + 0.8
    assert not [path.name for path in request.folder.iterdir() if path.name.endswith((".tiles", ".vrt"))]


def test_a_mosaic_of_other_tiles_than_it_says_is_refused(
    served: Served, web: Web, tmp_path: Path, tiff_bytes: TiffBytes, soil_files: dict[str, bytes]
) -> None:
    served.files |= soil_files
    moved = tiff_bytes(np.zeros((64, 64), np.int16), west=0, north=0, size=25_000.0, crs=IGH)
    served.files = {k: v if k.endswith(".vrt") else moved for k, v in served.files.items()}
    request = request_for(tmp_path, ALPS, {"whole": False, "address": "{layer}/{stem}.vrt"}, clay())
    with pytest.raises(RasterError, match="the mosaic is not of its tiles"):
        acquire_source(RasterSource(), request, web)


@pytest.mark.parametrize(
    ("changes", "message"), [({"crs": "EPSG:4326"}, "expected the CRS"), ({"nodata": -9999}, "nodata = -32768")]
)
def test_a_mosaic_that_contradicts_the_catalogue_costs_no_tile(
    served: Served, web: Web, tmp_path: Path, soil_files: dict[str, bytes], changes: dict[str, object], message: str
) -> None:
    served.files |= soil_files
    request = request_for(tmp_path, ALPS, {"whole": False, "address": "{layer}/{stem}.vrt"}, clay(**changes))
    with pytest.raises(RasterError, match=message):
        acquire_source(RasterSource(), request, web)
    assert [path for path, _ in served.asked] == ["bio/clay/clay_mean.vrt"]
