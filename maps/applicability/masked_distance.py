"""Euclidean distances between points of which some coordinates are missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]

LEAST_SHARED = 0.5
"""Share of the squared weights that two points must both know for their distance to be known."""

_TREE_QUERIES = 256  # fewer queries of one pattern than this are not worth a tree of their own
_PAIRS = 1 << 22  # distances held at a time


def nearest_distance(queries: FloatArray, points: FloatArray, weight: FloatArray) -> FloatArray:
    """Return each query's distance to the nearest of the points.

    The distance of two points is the root of the sum over the coordinates known of both of (weight * difference) ** 2,
    times the sum of all squared weights over that of the shared ones: an unknown coordinate is taken to differ as the
    known ones do. Points that share less than ``LEAST_SHARED`` of the squared weights are at no distance.

    Queries of one pattern of missing coordinates are looked up in a k-d tree of the points that know all these know;
    pairs where that does not help are compared one by one, a bounded number at a time.

    Args:
        queries: (m, c), NaN where missing.
        points: (n, c), likewise.
        weight: (c,) non-negative weights of the coordinates.

    Returns:
        (m,) distances; infinite where there is no point at a known distance.

    Raises:
        TableError: the shapes do not fit, or a weight is negative or not finite.
    """
    queries, points, squares = _weighted(queries, points, weight)
    nearest = np.full(len(queries), np.inf)
    if len(queries) == 0 or len(points) == 0 or squares.sum() == 0:
        return nearest
    known = np.isfinite(points)
    rest = []
    for pattern, rows in _patterns(queries):
        share = squares[pattern].sum() / squares.sum()
        if share < LEAST_SHARED:
            continue
        if len(rows) < _TREE_QUERIES:
            rest.append(rows)
            continue
        columns = np.flatnonzero(pattern)
        whole = known[:, columns].all(axis=1)
        if whole.any():
            tree = cKDTree(points[np.ix_(whole, columns)], balanced_tree=False)
            distance, _ = tree.query(queries[np.ix_(rows, columns)])
            nearest[rows] = distance / np.sqrt(share)
        if not whole.all():
            nearest[rows] = np.minimum(nearest[rows], _nearest_of_all(queries[rows], points[~whole], squares))
    if rest:
        rows = np.concatenate(rest)
        nearest[rows] = _nearest_of_all(queries[rows], points, squares)
    return nearest


def mean_pairwise_distance(points: FloatArray, weight: FloatArray) -> float:
    """Return the mean of the known distances of all pairs of points, defined as in ``nearest_distance``.

    Args:
        points: (n, c), NaN where missing.
        weight: (c,) non-negative weights.

    Returns:
        The mean; NaN where no pair is at a known distance.

    Raises:
        TableError: see ``nearest_distance``.
    """
    points, _, squares = _weighted(points, points, weight)
    total, pairs = 0.0, 0
    step = max(_PAIRS // max(len(points), 1), 1)
    for start in range(0, len(points), step):
        distance = _distances(points[start : start + step], points, squares)
        later = np.arange(len(points))[None, :] > np.arange(start, start + len(distance))[:, None]
        usable = later & np.isfinite(distance)
        total += float(distance[usable].sum())
        pairs += int(usable.sum())
    return total / pairs if pairs else float("nan")


def _weighted(queries: FloatArray, points: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return both with their coordinates weighted, those of weight 0 left out, and the squared weights left."""
    wanted = (len(weight),)
    if queries.shape[1:] != wanted or points.shape[1:] != wanted or not (np.isfinite(weight) & (weight >= 0)).all():
        raise TableError(
            f"distances: expected {len(weight)} columns and as many finite weights of at least 0, found queries "
            f"{queries.shape}, points {points.shape} and weights from {np.min(weight, initial=0)}; align the columns"
        )
    counted = weight > 0
    return queries[:, counted] * weight[counted], points[:, counted] * weight[counted], weight[counted] ** 2


def _patterns(queries: FloatArray) -> Iterator[tuple[BoolArray, IntArray]]:
    """Yield every pattern of known coordinates with the rows that have it."""
    known = np.isfinite(queries)
    patterns, of_row = np.unique(np.packbits(known, axis=1), axis=0, return_inverse=True)
    order = np.argsort(of_row.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(of_row.ravel(), minlength=len(patterns)))
    for rows in np.split(order, ends[:-1]):
        yield known[rows[0]], rows


def _nearest_of_all(queries: FloatArray, points: FloatArray, squares: FloatArray) -> FloatArray:
    step = max(_PAIRS // len(points), 1)
    parts = [
        _distances(queries[start : start + step], points, squares).min(axis=1) for start in range(0, len(queries), step)
    ]
    return np.concatenate(parts)


def _distances(queries: FloatArray, points: FloatArray, squares: FloatArray) -> FloatArray:
    """Return the distances of every query to every point, weighted already; infinite where unknown."""
    of_query, of_point = np.isfinite(queries).astype(np.float64), np.isfinite(points).astype(np.float64)
    q, p = np.nan_to_num(queries), np.nan_to_num(points)
    square = (q * q) @ of_point.T + of_query @ (p * p).T - 2 * (q @ p.T)
    shared = (of_query * squares) @ of_point.T
    enough = (shared > 0) & (shared >= LEAST_SHARED * squares.sum() * (1 - 1e-12))
    scaled = np.maximum(square, 0.0) * squares.sum() / np.where(enough, shared, 1.0)
    return np.where(enough, np.sqrt(scaled), np.inf)
