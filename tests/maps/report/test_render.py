"""Maps and figures: cells land where they should, bytes repeat, and no network is touched."""

from __future__ import annotations

import io
import socket

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import ListedColormap
from PIL import Image

from maps.report.figures import ScatterPanel, draw_reliability, draw_scatter
from maps.report.map_window import MapWindow, window_of
from maps.report.render import draw_map, natural_ticks, tick_text
from plant_traits.errors import InputError
from plant_traits.grid import Grid

GRID = Grid.parse("10deg")
RED = ListedColormap(["#ff0000"])


def field(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("lat", "lon"), coords={"lat": GRID.lat, "lon": GRID.lon})


def one_cell(latitude: float, longitude: float) -> xr.DataArray:
    values = np.full(GRID.shape, np.nan)
    values.flat[int(GRID.cell_of(latitude, longitude))] = 1.0
    return field(values)


def red_pixels(png: bytes) -> np.ndarray:
    """Return (row, column) of the map's pure red pixels, as shares of the picture, the colour bar left out."""
    rgb = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    red = (rgb[..., 0] > 200) & (rgb[..., 1] < 60) & (rgb[..., 2] < 60)
    red[:, int(rgb.shape[1] * 0.87) :] = False
    return np.argwhere(red) / np.array(red.shape)


def draw(values: xr.DataArray, **options: object) -> bytes:
    return draw_map(values, title="t", label="l", **{"cmap": RED, **options})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a map tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_cell_in_the_middle_of_the_globe_is_drawn_in_the_middle_of_the_map() -> None:
    at = red_pixels(draw(one_cell(5, 5)))
    rows, columns = at.mean(axis=0)
    assert 0.44 < rows < 0.53  # a little north of the equator, under the title
    assert 0.43 < columns < 0.46  # a little east of Greenwich, left of the colour bar


def test_a_cell_beside_the_antimeridian_stays_on_its_own_edge() -> None:
    east, west = red_pixels(draw(one_cell(5, 175))), red_pixels(draw(one_cell(5, -175)))
    assert east[:, 1].min() > 0.8
    assert west[:, 1].max() < 0.06
    assert len(east) == pytest.approx(len(west), rel=0.15)


def test_cells_keep_their_area_share() -> None:
    """Equal Earth is equal-area: a polar cell covers as many pixels as its true area says."""
    polar, equatorial = len(red_pixels(draw(one_cell(75, 5)))), len(red_pixels(draw(one_cell(5, 5))))
    assert polar / equatorial == pytest.approx(GRID.row_area_m2[1] / GRID.row_area_m2[8], rel=0.1)


def test_rows_from_south_to_north_draw_the_same_map() -> None:
    cell = one_cell(45, 95)
    assert draw(cell) == draw(cell.isel(lat=slice(None, None, -1)))


def test_the_same_field_gives_the_same_bytes_without_a_software_mark() -> None:
    values = field(np.linspace(1, 9, GRID.size).reshape(GRID.shape))
    first = draw(values, log=True)
    assert first == draw(values, log=True)
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first
    assert b"tIME" not in first


@pytest.mark.parametrize(
    "values",
    [np.full(GRID.shape, np.nan), np.full(GRID.shape, -1.0), np.full(GRID.shape, 2.0), np.zeros(GRID.shape)],
    ids=["all missing", "all negative", "all equal", "all zero"],
)
@pytest.mark.parametrize("log", [False, True])
def test_fields_without_spread_or_values_are_drawn(values: np.ndarray, log: bool) -> None:
    assert draw(field(values), log=log, cmap=None).startswith(b"\x89PNG")


def test_an_underlay_adds_its_flat_tone() -> None:
    plain = draw(one_cell(5, 5))
    below = draw(one_cell(5, 5), underlay=one_cell(5, 105).notnull(), underlay_label="predicted")
    tone = np.array([0xD6, 0xC7, 0xA6])

    def pixels(png: bytes) -> int:
        rgb = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        return int((np.abs(rgb - tone).max(axis=-1) <= 2).sum())

    assert pixels(plain) == 0
    assert pixels(below) > 400


def test_hostile_titles_are_text_not_mathematics() -> None:
    png = draw_map(one_cell(5, 5), title=r"$\frac{ <script>", label=r"$\bad{")
    assert png.startswith(b"\x89PNG")


def test_a_field_of_one_row_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 x 2 cells"):
        draw(one_cell(5, 5).isel(lat=slice(0, 1)))


def test_an_uneven_grid_is_refused() -> None:
    with pytest.raises(InputError, match="evenly spaced"):
        draw(one_cell(5, 5).isel(lat=[0, 1, 5]))


def test_a_fine_grid_is_averaged_not_sampled() -> None:
    """Every second column red, the rest missing: a sample would leave gaps, an average fills the block."""
    grid = Grid.parse("1/8deg")
    values = np.full(grid.shape, np.nan, dtype=np.float32)
    values[:, ::2] = 1.0
    fine = xr.DataArray(values, dims=("lat", "lon"), coords={"lat": grid.lat, "lon": grid.lon})
    covered = len(red_pixels(draw(fine)))
    whole = len(red_pixels(draw(field(np.ones(GRID.shape)))))
    assert covered == pytest.approx(whole, rel=0.01)


def test_the_window_of_a_region_crosses_the_antimeridian_when_its_cells_do() -> None:
    mask = (one_cell(-35, 175).notnull()) | (one_cell(-35, -175).notnull())
    window = window_of(mask, margin=5)
    assert abs(window.central_longitude) == 180
    assert window.east - window.west == pytest.approx(20)
    assert (window.south, window.north) == (-40, -30)


def test_the_window_of_a_wide_or_empty_mask_is_the_globe() -> None:
    assert window_of(field(np.ones(GRID.shape)).notnull()) == MapWindow()
    assert window_of(field(np.full(GRID.shape, np.nan)).notnull()) == MapWindow()


def test_a_regional_map_is_drawn() -> None:
    cell = one_cell(45, 5)
    assert len(red_pixels(draw(cell, window=window_of(cell.notnull())))) > 5000


@given(st.floats(1e-4, 1e5), st.floats(1.01, 1e6))
@settings(max_examples=60, deadline=None)
def test_ticks_lie_within_their_axis(low: float, factor: float) -> None:
    ticks = natural_ticks(low, low * factor)
    assert all(low <= tick <= low * factor for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_tick_labels_are_natural_numbers() -> None:
    assert [tick_text(x) for x in (0.005, 0.1, 1.5, 20, 5000)] == ["0.005", "0.1", "1.5", "20", "5,000"]


@pytest.mark.parametrize("n", [0, 1, 40, 2000])
@pytest.mark.parametrize("log", [False, True])
def test_scatter_is_drawn_for_any_number_of_cells(n: int, log: bool) -> None:
    rng = np.random.default_rng(1)
    x = np.exp(rng.normal(size=n))
    panel = ScatterPanel("this $map", x, x * np.exp(0.3 * rng.normal(size=n)), np.ones(n))
    first = draw_scatter([panel, panel], reference="truth", unit="m", log=log)
    assert first == draw_scatter([panel, panel], reference="truth", unit="m", log=log)
    assert first.startswith(b"\x89PNG")


def test_scatter_without_maps_is_drawn() -> None:
    assert draw_scatter([], reference="truth", unit="m", log=True).startswith(b"\x89PNG")


def test_reliability_does_not_depend_on_the_order_of_levels() -> None:
    level, observed = np.array([0.5, 0.8, 0.95]), np.array([0.4, 0.7, 0.9])
    assert draw_reliability({"a": (level, observed)}) == draw_reliability({"a": (level[::-1], observed[::-1])})
