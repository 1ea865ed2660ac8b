"""The biome of a place: the five main climates after Köppen and Geiger, approximated from bioclimatic variables.

Rules and thresholds are those of Peel, Finlayson & McMahon (2007, Hydrol. Earth Syst. Sci. 11, 1633-1644) as restated
by Beck et al. (2018, Sci. Data 5, 180214), applied in this order:

========== ============= ===========================================================================================
biome      main climate  rule
========== ============= ===========================================================================================
arid       B             MAP < 10 P mm, where P = 2 MAT if at least 70 % of the precipitation falls in the winter half
                         of the year, 2 MAT + 28 if at least 70 % falls in the summer half, else 2 MAT + 14
tropical   A             coldest month at least 18 °C
polar      E             warmest month at most 10 °C
continental D            coldest month at most 0 °C
temperate  C             the rest
========== ============= ===========================================================================================

Those rules ask for monthly means, which bioclimatic variables lack: they hold means of the warmest and the coldest
quarter. A year that runs like a sine relates them: a month at the turn departs from the annual mean by 3 / (1 + √3) =
1.098 times as much as the quarter around it, and a half-year's share of the precipitation departs from one half by 1/√2
times as much as the share of its middle quarter in that of both opposite quarters. So close to a threshold, and where
the year has two rainy seasons, the class may differ from that of monthly data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from plant_traits.errors import InputError

FloatArray = npt.NDArray[np.float64]

BIOMES = ("tropical", "arid", "temperate", "continental", "polar")
"""The main climates A to E."""

NEEDED = ("bio1", "bio10", "bio11", "bio12", "bio18", "bio19")
"""Layers read: annual mean, warmest and coldest quarter of temperature; annual sum, warmest and coldest quarter of
precipitation."""

AS_LOGARITHM = ("bio12", "bio18", "bio19")
"""Those of them that the catalogue has a model read as ln(1 + value)."""

MONTH_FROM_QUARTER = 3 / (1 + math.sqrt(3))
HALF_YEAR_FROM_QUARTER = 1 / math.sqrt(2)
_MOST_PRECIPITATION = 15_000.0  # the upper end of the catalogue's valid range, mm per year


def biomes(covariates: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.object_]:
    """Return the biome of each place, one of ``BIOMES``; see the module for the rules.

    Args:
        covariates: arrays of one shape by the names of a run (see ``plant_traits.covariates.cube.list_covariates``), in
            the catalogue's units: degrees Celsius and mm a year. bio18 and bio19 may be amounts of a quarter or of a
            month, since only their ratio is read. Of sources that share the layers the first with bio1 is read.

    Returns:
        Strings in an object array of that shape. None where one of the values needed is missing, and everywhere
        where a layer is; of length 0 where there is no array at all.

    Raises:
        InputError: the needed arrays differ in shape.
    """
    read = _names_of_needed(tuple(covariates))
    if read is None:
        shapes = [np.shape(values) for values in covariates.values()]
        return np.full(shapes[0] if shapes else (0,), None, dtype=object)
    values = {layer: np.asarray(covariates[name], dtype=np.float64) for layer, name in read.items()}
    shapes = sorted({x.shape for x in values.values()})
    if len(shapes) > 1:
        raise InputError(f"biomes: expected layers {NEEDED} of one shape, found {shapes}; read them at the same places")
    return _classify(values)


def biomes_of_matrix(matrix: npt.NDArray[np.floating], names: Sequence[str]) -> npt.NDArray[np.object_]:
    """Return the biome of each row of the matrix that a model reads.

    Args:
        matrix: (n, c) from ``plant_traits.covariates.cube.model_matrix``, features of location encoders beside it or
            not: precipitation as ln(1 + value), all else in the catalogue's units.
        names: of the c columns.

    Returns:
        (n,) as of :func:`biomes`; None everywhere for a model that reads no climate.

    Raises:
        InputError: columns and names differ in number, or precipitation is no logarithm.
    """
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise InputError(
            f"biomes: expected a matrix of {len(names)} columns, namely {tuple(names)[:40]}, found the shape "
            f"{matrix.shape}; read both from the same points"
        )
    read = _names_of_needed(names)
    if read is None:
        return np.full(len(matrix), None, dtype=object)
    at = {name: column for column, name in enumerate(names)}
    values = {layer: matrix[:, at[name]].astype(np.float64) for layer, name in read.items()}
    for layer in AS_LOGARITHM:
        highest = np.fmax.reduce(values[layer], initial=0.0)
        if highest > math.log1p(_MOST_PRECIPITATION):
            raise InputError(
                f"biomes: expected {read[layer]} as ln(1 + mm), at most {math.log1p(_MOST_PRECIPITATION):.1f}, found "
                f"{highest:.1f}; mark the layer with log: true in the catalogue, or give its amounts to biomes()"
            )
        values[layer] = np.expm1(values[layer])
    return _classify(values)


def _names_of_needed(names: Sequence[str]) -> dict[str, str] | None:
    """Return the name of each layer needed, of one source as far as several hold it; None if one is absent."""
    held = set(names)
    sources = [name.removesuffix(NEEDED[0]) for name in names if name == NEEDED[0] or name.endswith("." + NEEDED[0])]
    for source in sources:
        found = {layer: source + layer if source + layer in held else layer for layer in NEEDED}
        if held.issuperset(found.values()):
            return found
    return None


def _classify(values: Mapping[str, FloatArray]) -> npt.NDArray[np.object_]:
    mean, annual = values["bio1"], values["bio12"]
    known = np.logical_and.reduce([np.isfinite(x) for x in values.values()])
    warmest = mean + MONTH_FROM_QUARTER * (values["bio10"] - mean)
    coldest = mean + MONTH_FROM_QUARTER * (values["bio11"] - mean)
    both = values["bio18"] + values["bio19"]
    with np.errstate(invalid="ignore", divide="ignore"):
        in_quarter = np.where(both > 0, values["bio18"] / both, 0.5)
    in_summer = 0.5 + HALF_YEAR_FROM_QUARTER * (in_quarter - 0.5)
    dryness = 2 * mean + np.select([in_summer <= 0.3, in_summer >= 0.7], [0.0, 28.0], default=14.0)
    rules = (annual < 10 * dryness, coldest >= 18, warmest <= 10, coldest <= 0)
    found = np.select([known & rule for rule in rules], [2, 1, 5, 4], default=3)
    return np.array([None, *BIOMES], dtype=object)[np.where(known, found, 0)]
