"""The errors that a cell's photos and the geospatial prediction make, learned where vegetation plots look as well.

Three looks at the same cell mean, each with an error of its own: the direct estimate d from photos, the geospatial
prediction z, and the mean p of the plots. With V the variance of p about the cell and S the squared standard error of
d, which knows the sampling of species and observers only,

    E (p - d)²         = shared + S + V     shared: what all photos of a cell err by together
    E (p - z)²         = place + V          place: the error of the geospatial prediction
    E (p - d) (p - z)  = common + V         common: their covariance, for photos and place are read by one model
    E (d - z)²         = shared + S + place - 2 common

The last line holds in every cell with photos, plots or none. The four are fitted together by maximum likelihood as of
normal errors about zero, so the variances are mean squared errors, a bias included. Cells without photos, which are
farther from what the model saw, have a geospatial error of their own.

Errors of plots that V does not know, such as those that neighbouring plots share, add the same to shared, place and
common: they widen the errors of cells and leave the weights of photos and place as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maps.small_area.limited_variance import (
    KEPT_OF_ONE,
    KEPT_OF_TWO,
    LIMIT_OF_ONE,
    LIMIT_OF_TWO,
    ROUNDS,
    fit_power,
    fit_variance,
    kept,
    minimum,
)
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, IntArray

CELLS_OF_PRIOR = 20.0
LEAST_CELLS = 10


@dataclass(frozen=True)
class Looks:
    """What is known of n cells of one trait, working space; NaN where a look is missing.

    Attributes:
        direct: (n,) the direct estimate from photos.
        sampling: (n,) its squared standard error.
        geospatial: (n,) the geospatial prediction.
        stated: (n,) the variance that its model states for it, in any unit.
        plot: (n,) the mean of the cell's plots.
        plot_error: (n,) the error variance of that mean.
        group: (n,) biome from 1; 0 where unknown.

    Raises:
        TableError: lengths differ or a variance is negative.
    """

    direct: FloatArray
    sampling: FloatArray
    geospatial: FloatArray
    stated: FloatArray
    plot: FloatArray
    plot_error: FloatArray
    group: IntArray

    def __post_init__(self) -> None:
        lengths = sorted({len(getattr(self, name)) for name in self.__dataclass_fields__})
        if len(lengths) > 1:
            raise TableError(f"errors of cells: expected looks at the same cells, found {lengths} of them")
        for name in ("sampling", "stated", "plot_error"):
            if (getattr(self, name) < 0).any():
                raise TableError(f"errors of cells: expected {name} of at least 0, found less; correct the estimates")


@dataclass(frozen=True)
class CellErrors:
    """Variances by group; group 0 is of all cells together.

    Attributes:
        shared: (g,) variance of what all photos of a cell err by together.
        place: (g,) of the geospatial prediction, in cells with photos.
        place_without: (g,) the same in cells without photos.
        common: (g,) covariance of the two errors of a cell.
        three: (g,) cells with photos, prediction and plots.
        two: (g,) cells with photos and prediction, without plots.
        without: (g,) cells with plots and a prediction, without photos.
        power: place and place_without are those of a cell whose stated variance is ``typical``, and go with this power
            of what is stated; common goes with half of it.
        typical: geometric mean of the stated variances.
    """

    shared: FloatArray
    place: FloatArray
    place_without: FloatArray
    common: FloatArray
    three: IntArray
    two: IntArray
    without: IntArray
    power: float
    typical: float


@dataclass(frozen=True)
class Combination:
    """The best linear combination of the looks at each cell.

    Attributes:
        location: (n,) NaN where a cell has neither photos nor a prediction.
        variance: (n,) of its error.
        photo_share: (n,) weight of the direct estimate.
    """

    location: FloatArray
    variance: FloatArray
    photo_share: FloatArray


def fit_cell_errors(looks: Looks, groups: int) -> CellErrors:
    """Fit the variances of each group, drawn towards those of all cells as by ``CELLS_OF_PRIOR`` cells.

    That prior is an inverse Wishart density about the variances of all cells, an inverse gamma density for cells
    without photos; a group without cells has the variances of all. Their own prior, with the weight of one cell, is the
    robust variance of plots about both looks, and for cells without photos the variance of those with photos. Outlying
    residuals are limited as ``maps.small_area.limited_variance`` says. The matrix of shared, common and place is always
    positive definite.

    Args:
        looks: the cells.
        groups: how many there are, group 0 included.

    Raises:
        TableError: fewer than ``LEAST_CELLS`` cells have plots and a prediction or photos.
    """
    has_d, has_z, has_p = (np.isfinite(x) for x in (looks.direct, looks.geospatial, looks.plot))
    learned = int((has_p & (has_d | has_z)).sum())
    if learned < LEAST_CELLS:
        raise TableError(
            f"errors of cells: expected at least {LEAST_CELLS} mapped cells with plots, found {learned}; fill the "
            "trait without plots"
        )
    spread = _robust_variance(np.concatenate([looks.plot - looks.geospatial, looks.plot - looks.direct]))
    known = looks.stated[has_z & (looks.stated > 0)]
    typical = float(np.exp(np.log(known).mean())) if len(known) else 1.0
    both = has_p & has_z
    residual = looks.plot - looks.geospatial
    stated = _relative(looks.stated, typical, 1.0)
    power = fit_power(residual[both], looks.plot_error[both], stated[both], spread)
    relative = stated**power
    kinds = (has_d & both, has_d & has_z & ~has_p, ~has_d & both)
    matrix, without = np.empty((groups, 2, 2)), np.empty(groups)
    counts = np.empty((3, groups), dtype=np.int64)
    for group in range(groups):
        chosen = (looks.group == group) | (group == 0)
        counts[:, group] = [int((kind & chosen).sum()) for kind in kinds]
        prior, weight = (matrix[0], CELLS_OF_PRIOR) if group else (np.diag([spread, spread]), 1.0)
        matrix[group] = _fit_pair(looks, relative, chosen, prior, weight)
        far = kinds[2] & chosen
        centre, weight = (float(without[0]), CELLS_OF_PRIOR) if group else (float(matrix[0, 1, 1]), 1.0)
        without[group] = fit_variance(residual[far], looks.plot_error[far], centre, weight, relative[far])
    variances = (matrix[:, 0, 0], matrix[:, 1, 1], without, matrix[:, 0, 1])
    return CellErrors(*variances, three=counts[0], two=counts[1], without=counts[2], power=power, typical=typical)


def combine(looks: Looks, errors: CellErrors) -> Combination:
    """Combine the direct estimate and the geospatial prediction of each cell so that the error's variance is least.

    The weight of the direct estimate, (place - common) / (place + shared + S - 2 common), is cut to [0, 1]. A cell with
    one of the two has that one.

    Args:
        looks: the cells; their plots are not read.
        errors: from ``fit_cell_errors``, of these groups.
    """
    has_d, has_z = np.isfinite(looks.direct), np.isfinite(looks.geospatial)
    known = has_d | has_z
    relative = _relative(looks.stated, errors.typical, errors.power)
    place = relative * np.where(has_d, errors.place[looks.group], errors.place_without[looks.group])
    common = np.sqrt(relative) * errors.common[looks.group]
    photos = np.where(has_d, errors.shared[looks.group] + looks.sampling, 0.0)
    weight = np.clip((place - common) / (place + np.where(has_d, photos, np.inf) - 2 * common), 0.0, 1.0)
    weight = np.where(has_z, weight, has_d)
    location = weight * np.where(has_d, looks.direct, 0.0) + (1 - weight) * np.where(has_z, looks.geospatial, 0.0)
    variance = weight**2 * photos + (1 - weight) ** 2 * place + 2 * weight * (1 - weight) * common
    return Combination(*(np.where(known, x, np.nan) for x in (location, variance, weight)))


def _fit_pair(
    looks: Looks, relative: FloatArray, chosen: npt.NDArray[np.bool_], prior: FloatArray, weight: float
) -> FloatArray:
    """Return the matrix of (shared, common, place) of the chosen cells, parametrised by its Cholesky factor."""
    has_d, has_z, has_p = (np.isfinite(x) & chosen for x in (looks.direct, looks.geospatial, looks.plot))
    three, apart, alone = has_d & has_z & has_p, has_d & has_z & ~has_p, has_d & ~has_z & has_p
    first, second = (looks.plot - looks.direct)[three], (looks.plot - looks.geospatial)[three]
    difference, single = (looks.direct - looks.geospatial)[apart], (looks.plot - looks.direct)[alone]
    h, v, s, g = relative[three], looks.plot_error[three], looks.sampling[three], relative[apart]
    unit = float(np.sqrt(prior[1, 1]))
    counted = [np.ones(len(x)) for x in (first, difference, single)]

    def factor(p: FloatArray) -> FloatArray:
        return np.array([[np.exp(p[0]), 0.0], [unit * p[1], np.exp(p[2])]])

    def parts(p: FloatArray) -> tuple[FloatArray, ...]:
        (shared, common), (_, place) = factor(p) @ factor(p).T
        a, b, c = shared + s + v, place * h + v, common * np.sqrt(h) + v
        determinant = a * b - c**2
        pair = (b * first**2 - 2 * c * first * second + a * second**2) / determinant
        of_difference = shared + looks.sampling[apart] + place * g - 2 * common * np.sqrt(g)
        of_single = shared + looks.sampling[alone] + looks.plot_error[alone]
        return a, b, c, determinant, pair, of_difference, of_single

    def loss(p: FloatArray) -> tuple[float, FloatArray]:
        a, b, c, determinant, pair, of_difference, of_single = parts(p)
        (shared, common), (_, place) = factor(p) @ factor(p).T
        of_prior = shared * place - common**2
        trace = (prior[0, 0] * place - 2 * prior[0, 1] * common + prior[1, 1] * shared) / of_prior
        far, lone = counted[1] * difference**2 / of_difference, counted[2] * single**2 / of_single
        value = (
            (np.log(determinant) + counted[0] * pair).sum()
            + (np.log(of_difference) + far).sum()
            + (np.log(of_single) + lone).sum()
            + weight * (np.log(of_prior) + trace)
        )
        # Derivatives by shared, common and place, term by term, then by the parameters.
        k = counted[0]
        by_a = (b + k * (second**2 - pair * b)) / determinant
        by_b = (a + k * (first**2 - pair * a)) / determinant
        by_c = -2 * (c + k * (first * second - pair * c)) / determinant
        apart_slope, alone_slope = (1 - far) / of_difference, (1 - lone) / of_single
        by_shared = by_a.sum() + apart_slope.sum() + alone_slope.sum()
        by_shared += weight * (place + prior[1, 1] - trace * place) / of_prior
        by_place = by_b @ h + apart_slope @ g + weight * (shared + prior[0, 0] - trace * shared) / of_prior
        by_common = by_c @ np.sqrt(h) - 2 * (apart_slope @ np.sqrt(g))
        by_common -= 2 * weight * (common + prior[0, 1] - trace * common) / of_prior
        gradient = (
            2 * shared * by_shared + common * by_common,
            unit * np.exp(p[0]) * by_common + 2 * unit**2 * p[1] * by_place,
            2 * np.exp(2 * p[2]) * by_place,
        )
        return float(value), np.array(gradient)

    root = np.linalg.cholesky(prior)
    found = np.array([np.log(root[0, 0]), root[1, 0] / unit, np.log(root[1, 1])])
    for _ in range(ROUNDS if any(map(len, counted)) else 0):
        *_, pair, of_difference, of_single = parts(found)
        counted = [
            kept(pair, LIMIT_OF_TWO) / KEPT_OF_TWO,
            kept(difference**2 / of_difference, LIMIT_OF_ONE) / KEPT_OF_ONE,
            kept(single**2 / of_single, LIMIT_OF_ONE) / KEPT_OF_ONE,
        ]
        found = minimum(loss, found)
    return np.asarray(factor(found) @ factor(found).T)


def _robust_variance(residual: FloatArray) -> float:
    """Return the squared median absolute residual, scaled to the variance of a normal, never 0."""
    residual = np.abs(residual[np.isfinite(residual)])
    return float(max((1.4826 * np.median(residual)) ** 2, 1e-12 * (1 + float(residual.max()) ** 2)))


def _relative(stated: FloatArray, typical: float, power: float) -> FloatArray:
    """Return by how much the geospatial error's variance of each cell differs from that of a typical cell."""
    known = np.isfinite(stated) & (stated > 0)
    return np.asarray((np.where(known, stated, typical) / typical) ** power)
