"""SoilGrids' mosaics: a raster of the world cut into tiles, and the VRT that puts them together."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_TILE = 128
_TYPES = {"int16": "Int16", "uint16": "UInt16", "uint8": "Byte", "float32": "Float32"}


def mosaic_routes(base: str, source: Path, made: Path) -> list[Route]:
    """Return the routes of ``<base>/<property>/<property>_0-5cm_mean.vrt`` and of its tiles.

    Args:
        base: path at the host.
        source: folder of the world's rasters, ``<property>_0-5cm_mean_5000.tif``.
        made: receives tiles and mosaics when they are first asked for.
    """

    async def answer(request: Request) -> Response:
        soil, rest = request.path_params["soil"], request.path_params["rest"]
        raster = source / f"{soil}_0-5cm_mean_5000.tif"
        if raster.parent != source or not raster.is_file():
            return Response(status_code=404)
        folder = made / soil
        if not folder.exists():
            await run_in_threadpool(write_mosaic, raster, folder, f"{soil}_0-5cm_mean")
        path = (folder / rest).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return Response(status_code=404)
        return FileResponse(path, media_type="image/tiff" if path.suffix == ".tif" else "text/xml")

    return [Route(f"{base}/{{soil}}/{{rest:path}}", answer, methods=["GET", "HEAD"])]


def write_mosaic(raster: Path, folder: Path, name: str) -> None:
    """Cut a raster into tiles of 128 pixels and write ``<name>.vrt``; tiles without data are left out, as there.

    Args:
        raster: one band.
        folder: must not exist; gets its name when it is whole.
        name: of the mosaic and the folder of its tiles.
    """
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / name).mkdir(parents=True)
    parts = []
    with rasterio.open(raster) as source:
        nodata = source.nodata
        for row in range(0, source.height, _TILE):
            for column in range(0, source.width, _TILE):
                window = Window(column, row, min(_TILE, source.width - column), min(_TILE, source.height - row))
                values = source.read(1, window=window)
                if (values == nodata).all():
                    continue
                tile = f"{name}/tileSG-{row // _TILE:03d}-{column // _TILE:03d}.tif"
                profile = {
                    "driver": "GTiff", "width": window.width, "height": window.height, "count": 1, "nodata": nodata,
                    "dtype": values.dtype, "crs": source.crs, "compress": "deflate", "predictor": 2,
                    "transform": _moved(source.transform, column, row),
                }  # fmt: skip
                with rasterio.open(aside / tile, "w", **profile) as target:
                    target.write(values, 1)
                place = f'ySize="{window.height}" xSize="{window.width}"'
                parts.append(
                    f'    <ComplexSource>\n      <SourceFilename relativeToVRT="1">./{tile}</SourceFilename>\n'
                    f"      <SourceBand>1</SourceBand>\n"
                    f'      <SrcRect xOff="0" yOff="0" {place}/>\n'
                    f'      <DstRect xOff="{column}" yOff="{row}" {place}/>\n'
                    f"      <NODATA>{nodata:g}</NODATA>\n    </ComplexSource>\n"
                )
        numbers = ", ".join(f"{x!r}" for x in source.transform.to_gdal())
        head = (
            f'<VRTDataset rasterXSize="{source.width}" rasterYSize="{source.height}">\n'
            f"  <SRS>{escape(source.crs.to_wkt())}</SRS>\n  <GeoTransform>{numbers}</GeoTransform>\n"
            f'  <VRTRasterBand dataType="{_TYPES[source.dtypes[0]]}" band="1">\n'
            f"    <NoDataValue>{nodata:g}</NoDataValue>\n"
        )
    text = head + "".join(parts) + "  </VRTRasterBand>\n</VRTDataset>\n"
    (aside / f"{name}.vrt").write_text(text, encoding="utf-8")
    aside.replace(folder)


def _moved(transform: Affine, columns: int, rows: int) -> Affine:
    """Return the transform of a raster's part that begins so many columns and rows later."""
    return Affine(transform.a, 0, transform.c + columns * transform.a, 0, transform.e, transform.f + rows * transform.e)
