"""How plants of one species differ between places, learned from measured plants and given to weak labels.

A species' median says nothing of where a plant grows, so a network trained on it learns that place does not matter
within a species. Measured plants at known places tell otherwise. The response is the within-species (fixed-effects)
estimator: measurements and covariates, each less their species' mean, related by ridge regression; a species' label at
a place is then its median plus the response to what the place's covariates differ from where the species was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.model.standardisation import Standardisation, fit_standardisation
from plant_traits.model.training_set import TrainingSet

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4)
FOLDS = 5

ENOUGH = 50
"""Measurements of a trait in species measured at several places below which it has no response."""

FAR = 3.0
"""Standard deviations beyond which a covariate counts as that far: the response is linear, places are not."""


@dataclass(frozen=True)
class PlaceResponse:
    """A response of t traits to c covariates, within species.

    Attributes:
        scaling: of the covariates.
        coefficients: (c, t) working space per standard deviation; zero for a trait without a response.
        home: (s, c, t) scaled covariates at which each species' label is meant, NaN where unknown.
        species: the s names.
        n: (t,) measurements it was learned from.
        skill: (t,) share of the variance within species that it explains in blocks left out; NaN with too few
            measurements.
    """

    scaling: Standardisation
    coefficients: FloatArray
    home: FloatArray
    species: tuple[str, ...]
    n: IntArray
    skill: FloatArray

    def shift(self, training: TrainingSet) -> FloatArray:
        """Return what each record's place adds to its species' label, (n, t), working space; zero where unknown."""
        scaled = _scaled(training, self.scaling)
        at = pd.Index(self.species).get_indexer(pd.Index(np.array(training.species, dtype=object)))
        added = np.zeros((len(scaled), self.coefficients.shape[1]))
        for trait in np.flatnonzero((self.coefficients != 0).any(axis=0)):
            away = scaled - np.where((at >= 0)[:, None], self.home[at, :, trait], np.nan)
            added[:, trait] = np.nan_to_num(away, nan=0.0) @ self.coefficients[:, trait]
        return added


def fit_place_response(training: TrainingSet, fitted: BoolArray, block_degrees: float) -> PlaceResponse:
    """Learn the response from the measured plants among some records.

    The penalty is the largest whose squared error on blocks left out is within one standard error of the least
    [one-standard-error rule, Hastie et al. 2009]; a trait whose response does not help there has none. A species'
    label is meant where the species was measured, or where its records lie if it was measured nowhere.

    Args:
        training: n records.
        fitted: (n,) those that may be learned from.
        block_degrees: side of the blocks left out.
    """
    scaling = fit_standardisation(training.covariates[fitted])
    scaled = np.nan_to_num(_scaled(training, scaling), nan=0.0)
    code, names = pd.factorize(np.array(training.species, dtype=object))
    t, c = training.measured.shape[1], scaled.shape[1]
    coefficients, n, skill = np.zeros((c, t)), np.zeros(t, dtype=np.int64), np.full(t, np.nan)
    home = np.full((len(names), c, t), np.nan)
    seen = fitted & (code >= 0)
    home[:] = _means(scaled, code, seen, len(names))[:, :, None]
    block = np.floor(np.stack([training.latitude, training.longitude], axis=1) / block_degrees)
    for trait in range(t):
        measured = np.isfinite(training.measured[:, trait]) & seen
        several = pd.Series(code[measured]).map(pd.Series(code[measured]).value_counts()).to_numpy() > 1
        rows = np.flatnonzero(measured)[several]
        n[trait] = len(rows)
        if c == 0 or len(rows) < ENOUGH:
            continue
        own = _means(scaled, code, measured, len(names))
        home[:, :, trait] = np.where(np.isnan(own), home[:, :, trait], own)
        y = _within(training.measured[rows, trait][:, None], code[rows])[:, 0]
        x = _within(scaled[rows], code[rows])
        fold = pd.factorize(pd.MultiIndex.from_arrays(list(block[rows].T)))[0] % FOLDS
        penalty, skill[trait] = _choose(x, y, fold)
        if skill[trait] > 0:
            coefficients[:, trait] = _ridge(x, y, penalty)
    return PlaceResponse(scaling, coefficients, home, tuple(map(str, names)), n, skill)


def localise(training: TrainingSet, response: PlaceResponse) -> TrainingSet:
    """Let weak labels know their place; measurements stay as they are."""
    return replace(training, label_shift=response.shift(training))


def _scaled(training: TrainingSet, scaling: Standardisation) -> FloatArray:
    return np.clip(scaling.apply(training.covariates).astype(np.float64), -FAR, FAR)


def _means(values: FloatArray, code: IntArray, chosen: BoolArray, groups: int) -> FloatArray:
    """Return the mean of chosen rows by group, (groups, c); NaN for a group without any."""
    mean = pd.DataFrame(values[chosen]).groupby(code[chosen]).mean()
    return mean.reindex(range(groups)).to_numpy(dtype=np.float64)


def _within(values: FloatArray, code: IntArray) -> FloatArray:
    """Return values less the mean of their group."""
    return np.asarray(values - pd.DataFrame(values).groupby(code).transform("mean").to_numpy())


def _choose(x: FloatArray, y: FloatArray, fold: IntArray) -> tuple[float, float]:
    """Return the penalty and the share of variance it explains on folds left out."""
    parts = [(fold == part, fold != part) for part in np.unique(fold)]

    def gain_of(penalty: float, out: BoolArray, rest: BoolArray) -> FloatArray:
        return np.asarray((y[out] - x[out] @ _ridge(x[rest], y[rest], penalty)) ** 2 - y[out] ** 2)

    gain = np.array([np.concatenate([gain_of(penalty, *part) for part in parts]) for penalty in PENALTIES])
    total = gain.sum(axis=1)
    best = int(np.argmin(total))
    error = gain[best].std() * np.sqrt(gain.shape[1])
    chosen = int(np.flatnonzero(total <= total[best] + error).max())
    return PENALTIES[chosen], float(-total[chosen] / (y**2).sum())


def _ridge(x: FloatArray, y: FloatArray, penalty: float) -> FloatArray:
    return np.asarray(np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y))
