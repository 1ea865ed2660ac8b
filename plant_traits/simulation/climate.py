"""Monthly temperature and precipitation of the virtual world, and the nineteen bioclimatic variables from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plant_traits.simulation.noise import sphere_field
from plant_traits.simulation.seeds import stream

FloatArray = npt.NDArray[np.float64]


def bioclim(
    seed: int, latitude: FloatArray, longitude: FloatArray, elevation: FloatArray, continentality: FloatArray
) -> dict[str, FloatArray]:
    """Simulate a climate and summarise it as bio1 ... bio19 in CHELSA's units.

    Temperature falls with latitude and height (6 K per km), its yearly swing grows with latitude and distance to the
    sea; rain follows the intertropical and the westerly belts, fades inland and in the lee of mountains.

    Args:
        seed: of the world.
        latitude: (n,) degrees, north to south.
        longitude: (m,) degrees.
        elevation: (n, m) metres.
        continentality: (n, m), 0 at the coast to 1 far inland.

    Returns:
        Nineteen (n, m) arrays: degrees Celsius, kelvin, per cent, kg m-2 per year or month; bio16 to bio19 are mean
        monthly amounts of a quarter.
    """
    tmin, tmax, rain = _monthly(seed, latitude, longitude, elevation, continentality)
    mean = 0.5 * (tmin + tmax)
    season_t = (mean + np.roll(mean, -1, 0) + np.roll(mean, -2, 0)) / 3
    season_p = (rain + np.roll(rain, -1, 0) + np.roll(rain, -2, 0)) / 3
    wet, dry = season_p.argmax(0), season_p.argmin(0)
    warm, cold = season_t.argmax(0), season_t.argmin(0)
    out = {"bio1": mean.mean(0), "bio2": (tmax - tmin).mean(0), "bio4": 100 * mean.std(0, ddof=1)}
    out["bio5"], out["bio6"] = tmax.max(0), tmin.min(0)
    out["bio7"] = out["bio5"] - out["bio6"]
    out["bio3"] = 100 * out["bio2"] / out["bio7"]
    for name, source, which in (
        ("bio8", season_t, wet),
        ("bio9", season_t, dry),
        ("bio10", season_t, warm),
        ("bio11", season_t, cold),
        ("bio16", season_p, wet),
        ("bio17", season_p, dry),
        ("bio18", season_p, warm),
        ("bio19", season_p, cold),
    ):
        out[name] = np.take_along_axis(source, which[None], 0)[0]
    out["bio12"], out["bio13"], out["bio14"] = rain.sum(0), rain.max(0), rain.min(0)
    out["bio15"] = 100 * rain.std(0, ddof=1) / (1 + rain.mean(0))
    return out


def _monthly(
    seed: int, latitude: FloatArray, longitude: FloatArray, elevation: FloatArray, continentality: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    lat = latitude[:, None] + 0 * longitude[None, :]
    steep = np.abs(lat)
    month = np.arange(12)[:, None, None]
    summer = np.where(lat >= 0, 6.5, 0.5)  # month of the warmest day

    wander = sphere_field(stream(seed, "climate", "temperature"), latitude, longitude, 12)
    annual = 28 - 0.0086 * lat**2 - 6.0 * elevation / 1000 + 1.6 * wander
    swing = (1 + 0.28 * steep) * (0.45 + 0.7 * continentality)
    mean = annual + swing * np.cos(2 * np.pi * (month - summer) / 12)

    patches = sphere_field(stream(seed, "climate", "rain"), latitude, longitude, 9)
    belts = 1900 * np.exp(-((lat / 11) ** 2)) + 850 * np.exp(-(((steep - 48) / 14) ** 2)) + 200
    wind = np.where((steep > 30) & (steep < 65), 1.0, -1.0)  # westerlies, else trades
    slope = (elevation - np.roll(elevation, 4, axis=1)) / 1000
    shadow = np.exp(np.clip(0.6 * wind * slope, -0.9, 0.6))
    yearly = np.clip(belts * (1 - 0.65 * continentality) * np.exp(0.45 * patches) * shadow, 15, 6500)
    phase = sphere_field(stream(seed, "climate", "phase"), latitude, longitude, 15)
    winter_rain = np.exp(-(((steep - 36) / 8) ** 2)) * (phase > 0.2)
    uneven = np.clip(0.15 + 0.75 * np.exp(-(((steep - 15) / 10) ** 2)) + 0.5 * winter_rain + 0.1 * patches, 0.05, 0.95)
    peak = summer + 6.0 * (winter_rain > 0.5)
    shape = 1 + uneven * np.cos(2 * np.pi * (month - peak) / 12)
    rain = yearly * shape / 12
    daily = np.clip(12 - 2.6 * np.log(yearly / 500) + 2 * continentality, 4, 19)
    return mean - daily / 2, mean + daily / 2, rain
