"""The plug-in for climate and soil rasters: whole files, or the pixels of the run's region."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from pydantic import JsonValue
from rasterio.errors import RasterioError
from rasterio.windows import Window

from data_catalog import RasterLayer
from plant_traits.covariates.layers import agree_numbers, check_crs, check_dataset, check_layer, open_layer
from plant_traits.covariates.raster import CACHE_BYTES
from plant_traits.errors import InputError, RasterError
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.rasters.intact import check_intact
from plant_traits.sources.rasters.ranges import RangedFile, RangedStream
from plant_traits.sources.rasters.tiles import TileReader
from plant_traits.sources.rasters.vrt import VRT_LIMIT_BYTES, parse_vrt
from plant_traits.sources.rasters.window import Header, cut_region, write_cut
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.download import download

FILE_LIMIT_BYTES = 16 * 1024**3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)*")
# GDAL looks for no files beside a raster, and keeps little of it in memory.
_GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": CACHE_BYTES, "GTIFF_VIRTUAL_MEM_IO": "NO"}


class RasterSettings(PluginSettings):
    """Settings of the plug-in ``rasters``.

    Attributes:
        layers: ids of the layers to bring; all of the source by default.
        whole: bring whole files; False brings the pixels of the run's region only.
        address: path of a layer's file below the source's address, in which ``{layer}`` is the layer's id, ``{file}``
            the catalogue's file and ``{stem}`` that without its ending. It may end in ``.vrt``, a mosaic, which is
            always read by region.
    """

    layers: tuple[str, ...] = ()
    whole: bool = True
    address: str = "{file}"


class RasterSource:
    """Brings raster layers to where later stages read them: ``<folder>/<file of the layer>``.

    A region's pixels keep the alignment, the stored numbers and the header's scale, offset and nodata of the whole
    file, so that both are read alike.
    """

    def plan(self, request: Request) -> Plan:
        """List the layers and their addresses.

        Raises:
            InputError: the settings are wrong, or the source lacks an address or a layer.
        """
        settings = read_settings(request, RasterSettings, "rasters")
        layers = _layers(request, settings)
        addresses = {layer.id: _address(request, settings, layer) for layer in layers}
        mosaics = [layer_id for layer_id, url in addresses.items() if url.endswith(".vrt")]
        if mosaics and settings.whole:
            raise InputError(
                f"source {request.source.id!r}: layers {mosaics} are mosaics, of which no whole file exists; set "
                "`whole: false` (for the globe with the region `world`)"
            )
        asked: dict[str, JsonValue] = {layer.id: _asked(request, settings, layer) for layer in layers}
        return Plan(asked, requests=len(layers) if settings.whole else None)

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Bring each layer; what an earlier, killed call brought is kept.

        Raises:
            WebError: a file cannot be had.
            RasterError: a remote raster contradicts the catalogue, before its pixels are asked for.
        """
        settings = read_settings(request, RasterSettings, "rasters")
        layers = _layers(request, settings)
        facts: dict[str, JsonValue] = {}
        for layer in layers:
            url = _address(request, settings, layer)
            asked = _asked(request, settings, layer)
            path = request.folder / layer.file
            note = path.with_name(f".{path.name}.asked.json")
            wanted = json.dumps(asked)
            if not (note.is_file() and note.read_text(encoding="utf-8", errors="replace") == wanted):
                _forget(path)
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(wanted, encoding="utf-8")
            if not path.is_file():
                if settings.whole:
                    download(web, url, path, limit_bytes=FILE_LIMIT_BYTES)
                elif url.endswith(".vrt"):
                    _fetch_mosaic(request, web, url, path, layer)
                else:
                    _fetch_region(request, web, url, path, layer)
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            facts[layer.id] = {**asked, "bytes": path.stat().st_size, "sha256": digest}
        source = request.source
        provenance = {"doi": source.doi, "licence": source.licence, "citation": source.citation}
        return Fetched(tuple(layer.file for layer in layers), {**provenance, "layers": facts})

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that every file is whole and agrees with the catalogue: CRS, scale, offset, nodata, place and units.

        Raises:
            RasterError: it does not; a file that is cut off is discarded, another stays for the catalogue's correction.
        """
        settings = read_settings(request, RasterSettings, "rasters")
        for layer in _layers(request, settings):
            path = request.folder / layer.file
            try:
                check_intact(path)
            except RasterError:
                path.unlink()
                raise
            open_layer(path, layer, None if settings.whole else request.region).close()

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write nothing: the files are read as they are."""
        return {"layers": len(fetched.files)}


def _layers(request: Request, settings: RasterSettings) -> tuple[RasterLayer, ...]:
    source = request.source
    try:
        layers = tuple(source.layer(x) for x in settings.layers) if settings.layers else source.layers
    except KeyError as error:
        raise InputError(f"{error.args[0]}; correct `layers` of the acquisition") from error
    files = [layer.file for layer in layers]
    if not layers or len(set(files)) < len(files) or source.url is None:
        raise InputError(
            f"source {source.id!r}: expected an address and layers of different files, found {source.url} and {files}; "
            "correct the catalogue's entry"
        )
    for file in files:
        if not _NAME.fullmatch(file) or not file.endswith((".tif", ".tiff")):
            raise InputError(f"source {source.id!r}: {file!r} is no plain relative path of a GeoTIFF; correct it")
    return layers


def _address(request: Request, settings: RasterSettings, layer: RasterLayer) -> str:
    filled = settings.address
    stem = str(PurePosixPath(layer.file).with_suffix(""))
    for key, value in {"{layer}": layer.id, "{file}": layer.file, "{stem}": stem}.items():
        filled = filled.replace(key, value)
    if not _NAME.fullmatch(filled) or not filled.endswith((".tif", ".tiff", ".vrt")):
        raise InputError(
            f"source {request.source.id!r}: the address {settings.address!r} becomes {filled!r}, expected a plain path "
            "ending in .tif or .vrt; correct `address` of the acquisition"
        )
    return f"{str(request.source.url).rstrip('/')}/{filled}"


def _asked(request: Request, settings: RasterSettings, layer: RasterLayer) -> dict[str, JsonValue]:
    region: JsonValue = None if settings.whole else list(request.region.bbox)
    return {"url": _address(request, settings, layer), "file": layer.file, "region": region}


def _forget(path: Path) -> None:
    """Delete a layer that was asked for otherwise, and what was kept of it."""
    for pattern in (path.name, f"{path.name}.*", f".{path.name}.*"):
        for old in path.parent.glob(pattern):
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()


def _fetch_region(request: Request, web: Web, url: str, path: Path, layer: RasterLayer) -> None:
    remote = RangedFile(web, url, path.with_name(f".{path.name}"), limit_bytes=FILE_LIMIT_BYTES)

    def opener(_: str, mode: str = "rb") -> RangedStream:
        return remote.open()

    # GDAL is handed a made-up name and bytes, never the address: it cannot ask anyone for anything.
    alias = f"{hashlib.sha256(str(path).encode()).hexdigest()}/{path.name}"
    with rasterio.Env(**_GDAL):
        try:
            dataset = rasterio.open(alias, driver="GTiff", sharing=False, opener=opener)
        except RasterioError as error:
            remote.raise_failure()
            raise RasterError(f"{url}: not a readable GeoTIFF ({error}); check the address") from error
        with dataset:
            remote.raise_failure()
            found = check_dataset(dataset, name=url, crs=layer.crs, region=request.region)
            agreed = check_layer(found, layer, check_values=False)

            def read(window: Window) -> npt.NDArray[np.generic]:
                try:
                    return found.read_stored(window)
                except RasterError:
                    remote.raise_failure()
                    remote.forget()  # a later run asks for everything again
                    raise
                finally:
                    remote.raise_failure()

            header = Header(
                crs=dataset.crs.to_wkt(),
                transform=dataset.transform,
                shape=found.shape,
                dtype=dataset.dtypes[0],
                nodata=found.nodata,
                scale=found.scale,
                offset=found.offset,
            )
            write_cut(path, header, cut_region(header, request.region), read, fill=agreed.nodata)
    remote.forget()


def _fetch_mosaic(request: Request, web: Web, url: str, path: Path, layer: RasterLayer) -> None:
    kept = path.with_name(f".{path.name}.vrt")
    if not kept.is_file():
        download(web, url, kept, limit_bytes=VRT_LIMIT_BYTES)
    mosaic = parse_vrt(kept.read_bytes(), url)
    header = mosaic.header
    check_crs(pyproj.CRS.from_wkt(header.crs), layer.crs, url)
    nodata = agree_numbers(url, layer, scale=header.scale, offset=header.offset, nodata=header.nodata)
    tiles = TileReader(web, url, mosaic, path.with_name(f".{path.name}.tiles"), fill=nodata)
    write_cut(path, header, cut_region(header, request.region), tiles.read, fill=nodata)
    tiles.forget()
    kept.unlink()
