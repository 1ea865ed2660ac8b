"""The cells of one trait with the errors that were learned for them: on vegetation plots, or without any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maps.small_area.errors import LEAST_CELLS, CellErrors, Combination, Looks, combine, fit_cell_errors
from maps.small_area.fay_herriot import LEAST_AREAS, FayHerriot, fit_fay_herriot, predict_fay_herriot
from maps.small_area.limited_variance import fit_variance
from maps.small_area.plots import plot_variance
from maps.small_area.recalibration import FORMS, NONE, SHIFT, SHIFT_BY_BIOME, Recalibration, line_of_form, recalibrate
from maps.small_area.trait_cells import TraitCells
from plant_traits.grid import FloatArray

MINIMUM_SHARE = 0.1  # of a rough total variance, that a part of it has at least


@dataclass(frozen=True)
class PlotFit:
    """What plots tell of the cells of a trait.

    Attributes:
        of_place: line from the geospatial prediction to plots.
        of_photos: shift from the direct estimate to plots.
        plot_variance: (g,) variance of a plot about its cell.
        plot_error: (n,) error variance of the mean of a cell's plots.
        errors: variances of the errors of cells.
        combined: location, variance and share of photos of every cell.
    """

    of_place: Recalibration
    of_photos: Recalibration
    plot_variance: FloatArray
    plot_error: FloatArray
    errors: CellErrors
    combined: Combination


@dataclass(frozen=True)
class AreaFit:
    """What the cells of a trait tell without plots.

    Attributes:
        combined: location, variance and share of photos of every cell.
        model: the fit of the variance among cells; None where too few cells have photos and a prediction.
        shared: variance of what photos and prediction err by together.
        shown: mean squared error of the geospatial prediction on held-out regions; None where nothing was held out.
    """

    combined: Combination
    model: FayHerriot | None
    shared: float
    shown: float | None


def enough_plots(cells: TraitCells, learn: npt.NDArray[np.bool_]) -> bool:
    """Tell whether the chosen cells with plots are enough to learn errors from."""
    return int((learn & cells.seen).sum()) >= LEAST_CELLS


def fit_on_plots(cells: TraitCells, learn: npt.NDArray[np.bool_], chosen: PlotFit | None = None) -> PlotFit:
    """Learn lines and errors from the plots of the chosen cells, and combine photos and place in all cells.

    Args:
        cells: the cells.
        learn: (n,) whose plots tell.
        chosen: a fit whose forms of lines are taken over; chosen on these plots where it is None.

    Raises:
        TableError: too few of the chosen cells have plots.
    """
    plot = np.where(learn, cells["plot_mean"], np.nan)
    of_one = plot_variance(np.where(learn, cells["scatter"], np.nan), cells["n_plots"], cells.group, cells.groups)
    plot_error = of_one[cells.group] / np.maximum(cells["n_plots"], 1)
    sampling = cells["standard_error"] ** 2
    forms = (None, None) if chosen is None else (chosen.of_place.form, chosen.of_photos.form)
    of_place = _line(cells, cells["mean"], plot, plot_error, FORMS, forms[0])
    shifts = (NONE, SHIFT, SHIFT_BY_BIOME)
    of_photos = _line(cells, cells["location"], plot, sampling + plot_error, shifts, forms[1])
    looks = Looks(
        of_photos.apply(cells["location"], cells.group),
        sampling,
        of_place.apply(cells["mean"], cells.group),
        cells.stated,
        plot,
        plot_error,
        cells.group,
    )
    errors = fit_cell_errors(looks, cells.groups)
    return PlotFit(of_place, of_photos, of_one, plot_error, errors, combine(looks, errors))


def fit_without_plots(cells: TraitCells, residual: FloatArray | None = None) -> AreaFit:
    """Combine photos and place where no plots look on, after Fay and Herriot with covariates (1, prediction).

    The prediction is brought to the photos' scale, and the variance among cells that it leaves open is fitted by
    biome, by restricted maximum likelihood. Photos and prediction come of one model, and what both err by cannot be
    seen in their difference. The geospatial error as a whole is told by held-out residuals or, without these, by the
    variance that its model states for a plant (calibrated on held-out regions) less the variance among the plants of
    cells with photos. What of it exceeds the fitted variance counts as ``shared``: an error that photos and prediction
    have in common, added to the mean squared error of every cell.

    Where fewer than ``LEAST_AREAS`` cells have both, a cell with photos keeps its estimate and its error, and one
    without has the prediction with the error that held-out residuals show or, without these, the variance stated for a
    plant, which is too wide.

    Args:
        cells: the cells.
        residual: (r,) held-out residuals of the geospatial prediction of cells in regions that its model did not see;
            fewer than ``LEAST_CELLS`` tell nothing.
    """
    has_d, has_z = np.isfinite(cells["location"]), np.isfinite(cells["mean"])
    both = has_d & has_z
    sampling = cells["standard_error"] ** 2
    shown = _error_shown(residual)
    if int(both.sum()) < LEAST_AREAS:
        location = np.where(has_d, cells["location"], cells["mean"])
        of_place = cells.stated if shown is None else np.full(cells.size, shown)
        variance = np.where(has_d, sampling, of_place)
        return AreaFit(Combination(location, variance, has_d.astype(np.float64)), None, 0.0, shown)
    place = cells["mean"] - cells["mean"][both].mean()
    varied = float(np.ptp(place[both])) > 0
    covariates = np.column_stack([np.ones(cells.size), place]) if varied else np.ones((cells.size, 1))
    covariates = np.where(has_z[:, None], covariates, 0.0)
    direct, group = np.where(both, cells["location"], np.nan), cells.group
    model = fit_fay_herriot(direct[both], sampling[both], covariates[both], group[both], groups=cells.groups)
    whole = shown
    if whole is None:
        whole = float(np.nanmean((cells.stated - cells["variance_among_plants"])[both]))
    shared = max(whole - float(model.variance[group[both]].mean()), 0.0)
    predicted = predict_fay_herriot(model, covariates, direct, sampling, group)
    location = np.where(has_z, predicted.location, cells["location"])
    variance = np.where(has_z, predicted.mean_squared_error, sampling) + shared
    combined = Combination(location, variance, np.where(has_z, predicted.direct_share, 1.0))
    return AreaFit(combined, model, shared, shown)


def _error_shown(residual: FloatArray | None) -> float | None:
    """Return the mean squared error of the prediction that residuals show; None where they are too few."""
    residual = np.zeros(0) if residual is None else residual[np.isfinite(residual)]
    if len(residual) < LEAST_CELLS:
        return None
    return fit_variance(residual, np.zeros(len(residual)), float(np.mean(residual**2)), 1.0)


def _line(
    cells: TraitCells,
    look: FloatArray,
    plot: FloatArray,
    known: FloatArray,
    forms: tuple[str, ...],
    form: str | None,
) -> Recalibration:
    """Fit the line of one look, of a given form or the best, cells weighted by a rough variance of their residuals."""
    residual = plot - look
    finite = np.isfinite(residual)
    excess = 1.0
    if finite.any():
        total = float((1.4826 * np.median(np.abs(residual[finite]))) ** 2)
        excess = max(total - float(np.median(known[finite])), MINIMUM_SHARE * total, 1e-12)
    weight = 1 / (excess + known)
    if form is not None:
        return line_of_form(form, look, plot, weight, cells.group, cells.groups)
    return recalibrate(look, plot, weight, cells.group, cells.groups, cells.fold, cells.block, forms)
