"""A server of ranges on loopback, and rasters in the formats of the real providers."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from rasterio.transform import from_origin

from data_catalog import HostLimits
from plant_traits.covariates.coordinates import pixel_lat_lon
from plant_traits.sources.web.client import Patience, Web

HOST = "files.example.org"
IGH = "+proj=igh +datum=WGS84 +units=m"


@dataclass
class Served:
    """What the server holds, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    state: str = '"one"'
    failures: list[int] = field(default_factory=list)
    sent: int = 0
    cut_off: int = 0
    base: str = ""

    def url(self, path: str) -> str:
        return f"https://{HOST}/{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        served: Served = self.server.served  # type: ignore[attr-defined]
        path, asked = self.path.lstrip("/"), self.headers.get("Range")
        served.asked.append((path, asked))
        if served.failures:
            return self._answer(served.failures.pop(0), b"")
        if path not in served.files:
            return self._answer(404, b"")
        body = served.files[path]
        unchanged = self.headers.get("If-Range") in (None, served.state)
        if asked is None or not served.ranges or not unchanged:
            served.sent += len(body)
            return self._answer(200, body, {"ETag": served.state})
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(body) - 1) + 1, len(body))
        served.sent += stop - start
        whole = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}", "ETag": served.state}
        self._answer(206, body[start:stop], whole)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        served: Served = self.server.served  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if served.cut_off and len(body) > 1:
            served.cut_off -= 1
            self.close_connection = True
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Served]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    content = Served(base=f"http://127.0.0.1:{server.server_address[1]}")
    server.served = content  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield content
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def web(served: Served, tmp_path: Path) -> Iterator[Web]:
    limits = {HOST: HostLimits(host=HOST, requests_per_minute=1e6)}
    patience = Patience(attempts=3, first_wait_s=0.001, longest_wait_s=0.001, timeout_s=5)
    with Web(limits, tmp_path / "account.sqlite", routes={HOST: served.base}, patience=patience) as client:
        yield client


@pytest.fixture(scope="session")
def tiff_bytes() -> Callable[..., bytes]:
    def make(
        values: npt.NDArray[np.generic],
        *,
        west: float = -180.0,
        north: float = 90.0,
        size: float = 1.0,
        crs: str = "EPSG:4326",
        nodata: float | None = None,
        scale: float | None = None,
        offset: float | None = None,
        block: int = 64,
    ) -> bytes:
        with rasterio.MemoryFile() as memory:
            with memory.open(
                driver="GTiff",
                height=values.shape[0],
                width=values.shape[1],
                count=1,
                dtype=values.dtype,
                crs=crs,
                transform=from_origin(west, north, size, size),
                nodata=nodata,
                tiled=True,
                blockxsize=block,
                blockysize=block,
                compress="deflate",
            ) as dataset:
                dataset.write(values, 1)
                if scale is not None:
                    dataset.scales = (scale,)
                if offset is not None:
                    dataset.offsets = (offset,)
            return bytes(memory.read())

    return make


@pytest.fixture(scope="session")
def soil_files(tiff_bytes: Callable[..., bytes]) -> dict[str, bytes]:
    """A homolosine globe of latitude and longitude at 25 km, as a mosaic of tiles of 64 pixels."""
    size, tile, nx, ny = 25_000.0, 64, 1600, 694
    west, north = -nx * size / 2, ny * size / 2
    crs = pyproj.CRS.from_user_input(IGH)
    x, y = np.meshgrid(west + (np.arange(nx) + 0.5) * size, north - (np.arange(ny) + 0.5) * size)
    latitude, longitude = pixel_lat_lon(crs, x, y)
    code = np.round(latitude + 90) * 100 + np.round((longitude + 180) / 4)
    stored = np.where(np.isfinite(latitude), code, -32768).astype(np.int16)
    files, sources = {}, []
    for row in range(0, ny, tile):
        for column in range(0, nx, tile):
            part = stored[row : row + tile, column : column + tile]
            if (part == -32768).all():
                continue
            name = f"clay_mean/tile-{row}/tile-{row}_{column}.tif"
            files[f"bio/clay/{name}"] = tiff_bytes(
                part, west=west + column * size, north=north - row * size, size=size, crs=IGH, nodata=-32768, block=16
            )
            place = f'xSize="{part.shape[1]}" ySize="{part.shape[0]}"'
            sources.append(
                f'<ComplexSource><SourceFilename relativeToVRT="1">./{name}</SourceFilename><SourceBand>1</SourceBand>'
                f'<SourceProperties RasterXSize="{part.shape[1]}" RasterYSize="{part.shape[0]}" DataType="Int16"/>'
                f'<SrcRect xOff="0" yOff="0" {place}/><DstRect xOff="{column}" yOff="{row}" {place}/>'
                "<NODATA>-32768</NODATA></ComplexSource>"
            )
    files["bio/clay/clay_mean.vrt"] = (
        f'<VRTDataset rasterXSize="{nx}" rasterYSize="{ny}"><SRS dataAxisToSRSAxisMapping="1,2">'
        f"{crs.to_wkt('WKT1_GDAL')}</SRS><GeoTransform>{west}, {size}, 0, {north}, 0, -{size}</GeoTransform>"
        '<VRTRasterBand dataType="Int16" band="1"><NoDataValue>-32768</NoDataValue><ColorInterp>Gray</ColorInterp>'
        f"{''.join(sources)}</VRTRasterBand><OverviewList>2 4</OverviewList></VRTDataset>"
    ).encode()
    return files
