from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from maps.estimators.crossed_effects import CellBlock, cell_blocks
from maps.estimators.variance_components import collapsed_constant, estimate_components, log_likelihood

BOTH = np.ones((1, 2), dtype=bool)


@dataclass(frozen=True)
class Photos:
    """Photos of cells; groups are numbered within cells and nested in them."""

    cell: np.ndarray
    species: np.ndarray
    observer: np.ndarray
    y: np.ndarray
    v: np.ndarray

    @classmethod
    def draw(
        cls, seed: int, cells: int, n: int, pools: tuple[int, int] = (6, 5), sd: tuple[float, float] = (0.5, 0.4)
    ) -> Photos:
        rng = np.random.default_rng(seed)
        cell = np.repeat(np.arange(cells), n)
        species, observer = (rng.integers(0, pool, cells * n) for pool in pools)
        v = rng.uniform(0.05, 0.5, cells * n)
        y = rng.normal(0, 3, cells)[cell] + rng.normal(0, np.sqrt(v))
        y += rng.normal(0, sd[0], (cells, pools[0]))[cell, species]
        y += rng.normal(0, sd[1], (cells, pools[1]))[cell, observer]
        return cls(cell, cls.nest(cell, species), cls.nest(cell, observer), y, v)

    @staticmethod
    def nest(cell: np.ndarray, group: np.ndarray) -> np.ndarray:
        return np.unique(cell * 1000 + group, return_inverse=True)[1]

    def blocks(self) -> list[CellBlock]:
        return list(cell_blocks(1 / self.v, self.species, self.observer, self.cell))

    def dense_log_likelihood(self, a: float, b: float) -> float:
        total = 0.0
        for c in np.unique(self.cell):
            own = self.cell == c
            species, observer, y = self.species[own], self.observer[own], self.y[own]
            v = np.diag(self.v[own]) + a * (species[:, None] == species) + b * (observer[:, None] == observer)
            inverse = np.linalg.inv(v)
            residual = y - inverse.sum(axis=0) @ y / inverse.sum()
            total += np.linalg.slogdet(v)[1] + np.log(inverse.sum()) + residual @ inverse @ residual
            total += (len(y) - 1) * np.log(2 * np.pi)
        return -0.5 * total


def no_groups(photos: Photos) -> np.ndarray:
    return np.zeros(photos.cell.max() + 1, dtype=np.int64)


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.1), (0.0, 0.1), (0.2, 0.0), (0.0, 0.0), (9.0, 3.0)])
def test_likelihood_and_gradient_equal_dense_algebra(a: float, b: float) -> None:
    photos = Photos.draw(1, 5, 25)
    found, score = log_likelihood(photos.blocks(), photos.y, no_groups(photos), np.array([[a, b]]))
    assert found[0] == pytest.approx(photos.dense_log_likelihood(a, b), rel=1e-12)
    e = 1e-6
    for k, (da, db) in enumerate([(e, 0), (0, e)]):
        around = photos.dense_log_likelihood(a + da, b + db) - photos.dense_log_likelihood(a - da, b - db)
        assert score[0, k] == pytest.approx(around / (2 * e), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_variances_equal_those_of_mixedlm(seed: int) -> None:
    photos = Photos.draw(seed, 6, 30)
    cells = range(6)
    matrices = [
        [(group[photos.cell == c][:, None] == np.unique(group[photos.cell == c])).astype(float) for c in cells]
        for group in (photos.species, photos.observer)
    ]
    names = [[[str(k) for k in range(x.shape[1])] for x in of_effect] for of_effect in matrices]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        effects = VCSpec(["species", "observer"], names, matrices)
        model = MixedLM(photos.y, np.eye(6)[photos.cell], groups=photos.cell, exog_vc=effects)
        fitted = model.fit(reml=True, method=["bfgs"], gtol=1e-12)
    # MixedLM estimates one variance for all photos; given that one, both maximise the same likelihood.
    equal = Photos(photos.cell, photos.species, photos.observer, photos.y, np.full(len(photos.y), fitted.scale))
    found = estimate_components(equal.blocks(), equal.y, no_groups(equal), np.full((1, 2), 0.1), BOTH)
    np.testing.assert_allclose(found.variance[0], fitted.vcomp, rtol=0, atol=1e-6)
    assert found.log_likelihood[0] == pytest.approx(fitted.llf, rel=1e-8)
    assert found.converged.all()


def test_photos_collapse_to_moments_without_loss() -> None:
    photos = Photos.draw(3, 8, 60, pools=(4, 3))
    row = np.unique(np.stack([photos.cell, photos.species, photos.observer]), axis=1, return_inverse=True)[1]
    w = 1 / photos.v
    n, sum_w, sum_wy, sum_wy2 = (np.bincount(row, x) for x in (np.ones_like(w), w, w * photos.y, w * photos.y**2))
    assert len(n) < 0.3 * len(w)
    first = np.unique(row, return_index=True)[1]
    collapsed = Photos(photos.cell[first], photos.species[first], photos.observer[first], sum_wy / sum_w, 1 / sum_w)
    group, both = no_groups(photos), []
    for table in (photos, collapsed):
        both.append(estimate_components(table.blocks(), table.y, group, np.full((1, 2), 0.1), BOTH))
    single, rows = both
    np.testing.assert_allclose(rows.variance, single.variance, rtol=1e-9)
    constant = collapsed_constant(n, sum_w, sum_wy, sum_wy2).sum() + 0.5 * np.log(w).sum()
    for variance in (np.array([[0.3, 0.1]]), np.array([[0.0, 2.0]])):
        alone, alone_score = log_likelihood(photos.blocks(), photos.y, group, variance)
        together, together_score = log_likelihood(collapsed.blocks(), collapsed.y, group, variance)
        assert alone[0] == pytest.approx(together[0] + constant, rel=1e-12)
        np.testing.assert_allclose(alone_score, together_score, rtol=1e-10)


def test_groups_are_estimated_as_if_alone_and_may_be_left_out() -> None:
    photos = Photos.draw(4, 30, 20)
    group = np.arange(30) % 3 - 1
    start, informed = np.full((2, 2), 0.1), np.ones((2, 2), dtype=bool)
    together = estimate_components(photos.blocks(), photos.y, group, start, informed)
    for g in (0, 1):
        own = group[photos.cell] == g
        alone = Photos(
            np.unique(photos.cell[own], return_inverse=True)[1],
            np.unique(photos.species[own], return_inverse=True)[1],
            np.unique(photos.observer[own], return_inverse=True)[1],
            photos.y[own],
            photos.v[own],
        )
        expected = estimate_components(alone.blocks(), alone.y, no_groups(alone), start[:1], BOTH)
        np.testing.assert_allclose(together.variance[g], expected.variance[0], rtol=1e-8)
        np.testing.assert_allclose(together.covariance[g], expected.covariance[0], rtol=1e-6)


@pytest.mark.parametrize("start", [0.0, 0.01, 100.0])
def test_the_start_does_not_matter(start: float) -> None:
    photos = Photos.draw(8, 10, 20)
    found = estimate_components(photos.blocks(), photos.y, no_groups(photos), np.full((1, 2), start), BOTH)
    near = estimate_components(photos.blocks(), photos.y, no_groups(photos), np.array([[0.25, 0.16]]), BOTH)
    assert found.converged.all()
    np.testing.assert_allclose(found.variance, near.variance, rtol=1e-7)


def test_a_variance_on_its_boundary_is_zero_and_the_other_maximises_the_rest() -> None:
    photos = Photos.draw(12, 6, 30, sd=(0.5, 0.0))
    found = estimate_components(photos.blocks(), photos.y, no_groups(photos), np.full((1, 2), 0.1), BOTH)
    a, b = found.variance[0]
    assert b == 0.0
    _, score = log_likelihood(photos.blocks(), photos.y, no_groups(photos), found.variance)
    assert score[0, 0] == pytest.approx(0.0, abs=1e-5)
    assert score[0, 1] < 0
    assert found.covariance[0, 1].tolist() == [0.0, 0.0]
    assert found.covariance[0, 0, 0] > 0
    best = photos.dense_log_likelihood(a, 0.0)
    assert best > max(photos.dense_log_likelihood(a * f, c) for f in (0.9, 1.0, 1.1) for c in (0.005, 0.02))


def test_a_variance_nothing_is_said_about_stays() -> None:
    photos = Photos.draw(12, 10, 20, pools=(1, 5))
    informed = np.array([[False, True]])
    found = estimate_components(photos.blocks(), photos.y, no_groups(photos), np.array([[0.7, 0.1]]), informed)
    assert found.variance[0, 0] == 0.7
    assert found.variance[0, 1] == pytest.approx(0.16, rel=0.6)
    assert found.covariance[0, 0].tolist() == [0.0, 0.0]


def test_values_that_are_all_the_same_have_no_variances() -> None:
    photos = Photos.draw(13, 4, 20)
    equal = Photos(photos.cell, photos.species, photos.observer, np.full_like(photos.y, 2.5), photos.v)
    found = estimate_components(equal.blocks(), equal.y, no_groups(equal), np.full((1, 2), 0.1), BOTH)
    assert found.variance.tolist() == [[0.0, 0.0]]
    assert found.converged.all()


def test_species_that_no_photo_tells_from_observers_share_the_variance() -> None:
    photos = Photos.draw(14, 40, 12, pools=(12, 5), sd=(0.6, 0.0))
    confounded = Photos(photos.cell, photos.species, photos.species, photos.y, photos.v)
    found = estimate_components(confounded.blocks(), photos.y, no_groups(photos), np.full((1, 2), 0.1), BOTH)
    assert found.converged.all()
    assert found.variance.sum() == pytest.approx(0.36, rel=0.3)
    assert np.isfinite(found.covariance).all()


def test_many_cells_recover_the_variances_they_were_drawn_with() -> None:
    photos = Photos.draw(15, 2000, 12)
    found = estimate_components(photos.blocks(), photos.y, no_groups(photos), np.full((1, 2), 0.1), BOTH)
    error = np.sqrt(np.diagonal(found.covariance[0]))
    assert (np.abs(found.variance[0] - [0.25, 0.16]) < 4 * error).all()
    assert (error < 0.02).all()
