"""The virtual planet: land, climate, soil, and the history that no covariate shows, on a half-degree grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from plant_traits.grid import Grid
from plant_traits.simulation.climate import bioclim
from plant_traits.simulation.geography import land_raster
from plant_traits.simulation.noise import sphere_field
from plant_traits.simulation.seeds import stream

FloatArray = npt.NDArray[np.float64]

HIDDEN = ("history", "disturbance")  # they shape traits and are in no covariate
_REALMS = ((48, -100), (10, -72), (-22, -58), (50, 12), (55, 85), (0, 18), (-22, 28), (24, 82), (30, 112), (-2, 110),
           (-26, 135), (-41, 172))  # fmt: skip


@dataclass(frozen=True)
class Planet:
    """Fields of the virtual planet.

    Attributes:
        grid: half-degree grid of every array.
        land: (360, 720) which cells are land with plants (north of 60 S).
        layers: (360, 720) fields by name: bio1 ... bio19, the soil properties, elevation, and the hidden fields.
        realm: (360, 720) floristic realm of each cell.
    """

    grid: Grid
    land: npt.NDArray[np.bool_]
    layers: Mapping[str, FloatArray]
    realm: npt.NDArray[np.int64]

    def sample(self, layer: str, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> FloatArray:
        """Return a field at points, bilinear between cell centres, seamless at the antimeridian."""
        return bilinear(self.layers[layer], latitude, longitude)


def bilinear(field: FloatArray, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> FloatArray:
    """Interpolate a global (n, 2n) field at points given in degrees."""
    per_degree = field.shape[0] / 180
    row = (90 - np.asarray(latitude, dtype=np.float64)) * per_degree - 0.5
    column = (np.asarray(longitude, dtype=np.float64) + 180) * per_degree - 0.5
    padded = np.pad(field, ((0, 0), (1, 1)), mode="wrap")
    column = np.mod(column, field.shape[1]) + 1
    return np.asarray(map_coordinates(padded, [row, column], order=1, mode="nearest"))


def build_planet(seed: int) -> Planet:
    """Make the planet of that seed: real land, simulated relief, climate and soil, two hidden smooth fields."""
    grid = Grid(Fraction(1, 2))
    lat, lon = grid.lat, grid.lon
    land = land_raster(Affine(*grid.transform), grid.shape, detail="50m")
    padded = np.pad(land, ((0, 0), (360, 360)), mode="wrap")
    inland_km = distance_transform_edt(padded)[:, 360:-360] * 40.0
    continentality = 1 - np.exp(-gaussian_filter(inland_km, 2) / 700)
    elevation = _relief(seed, lat, lon) * np.clip(gaussian_filter(land.astype(np.float64), 2) * 1.6 - 0.4, 0, 1)
    layers = {"elevation": elevation, **bioclim(seed, lat, lon, elevation, continentality)}
    layers |= _soil(seed, lat, lon, layers)
    living = land & (lat[:, None] > -60)
    for name in HIDDEN:
        field = sphere_field(stream(seed, "hidden", name), lat, lon, 9, waves=96)
        layers[name] = (field - field[living].mean()) / field[living].std()
    return Planet(grid=grid, land=living, layers=layers, realm=_realms(seed, lat, lon))


def _relief(seed: int, lat: FloatArray, lon: FloatArray) -> FloatArray:
    ridge = 1 - np.abs(sphere_field(stream(seed, "relief", "ridge"), lat, lon, 14)) / 1.1
    rough = sphere_field(stream(seed, "relief", "rough"), lat, lon, 3)
    return np.clip(150 + 2600 * np.clip(ridge, 0, 1) ** 4 * (1 + 0.35 * rough) + 120 * rough, 0, 6000)


def _soil(seed: int, lat: FloatArray, lon: FloatArray, climate: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    texture, parent, stones, organic = (
        sphere_field(stream(seed, "soil", name), lat, lon, scale)
        for name, scale in (("texture", 5.0), ("parent", 7.0), ("stones", 4.0), ("organic", 4.0))
    )
    wet = np.log(climate["bio12"] / 500)
    clay = np.clip(24 + 7 * texture + 4 * np.tanh(climate["bio1"] / 15), 3, 60)
    sand = np.clip((100 - clay) * (0.58 - 0.10 * texture + 0.08 * parent), 2, 94)
    soc = np.clip(np.exp(3.4 + 0.35 * wet - 0.035 * (climate["bio1"] - 10) + 0.25 * organic), 1, 450)
    return {
        "clay": clay,
        "sand": sand,
        "silt": 100 - clay - sand,
        "soc": soc,
        "nitrogen": np.clip(soc / (12.5 + 1.5 * parent), 0.05, 40),
        "phh2o": np.clip(6.7 - 0.75 * wet + 0.45 * parent, 3.8, 9.2),
        "bdod": np.clip(1.62 - 0.13 * np.log(soc) + 0.04 * texture, 0.2, 1.8),
        "cec": np.clip(3 + 0.45 * clay + 0.12 * soc, 1, 120),
        "cfvo": np.clip(120 + 60 * stones + climate["elevation"] * 0.05, 0, 700),
    }


def _realms(seed: int, lat: FloatArray, lon: FloatArray) -> npt.NDArray[np.int64]:
    centres = np.deg2rad(np.array(_REALMS, dtype=np.float64))
    latitude, longitude = np.deg2rad(lat)[:, None], np.deg2rad(lon)[None, :]
    bend = 0.12 * sphere_field(stream(seed, "realms"), lat, lon, 8)
    nearness = [
        np.sin(latitude) * np.sin(a) + np.cos(latitude) * np.cos(a) * np.cos(longitude - b) + bend * np.cos(3 * b)
        for a, b in centres
    ]
    return np.asarray(np.argmax(np.stack(nearness), axis=0))
