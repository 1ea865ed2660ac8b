"""Deal records to the splits of a training run: what is fitted, what stops it, and three ways of being held out.

Fate depends on a record's own block, species and occasion and on the seed, each by a hash, so that new records never
move old ones across a divide. An occasion (one photo, one observation, one observer's day) is never in two splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_catalog import ModelSettings
from plant_traits.errors import ModelError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Split = Literal["regions", "stopping", "species", "photos", "fitting", "aside"]

SPLITS: tuple[Split, ...] = ("regions", "stopping", "species", "photos", "fitting", "aside")
"""In the order in which a record that could be of several takes one; ``aside`` is of none."""

SCORED: tuple[Split, ...] = ("regions", "species", "photos")
"""The splits that neither the fit nor its stopping sees: other places, other species, other photos of either."""


def assign_splits(
    latitude: FloatArray,
    longitude: FloatArray,
    species: Sequence[str | None],
    occasion: IntArray,
    settings: ModelSettings,
) -> npt.NDArray[np.str_]:
    """Deal n records to ``SPLITS``.

    A share of the spatial blocks is held out, half of them to stop the training (``stopping``), half to score and
    calibrate it (``regions``). Outside them, all records of a share of the species are held out (``species``), and
    of the rest a share of the occasions (``photos``); what is left is fitted. Records that share an occasion with a
    record of a split before their own, but do not belong there themselves, are set ``aside``, and so are those in
    stopping blocks whose species is held out.

    Args:
        latitude: (n,) degrees north, NaN where unknown; such records are in no block.
        longitude: (n,) degrees east.
        species: (n,) names; None is no species.
        occasion: (n,) from ``occasions``.
        settings: shares, side of the blocks and seed.

    Returns:
        (n,) the name of each record's split.
    """
    seed = settings.seed
    block, known = _blocks(latitude, longitude, settings.validation_block_degrees)
    held = _chosen(block, settings.validation_share, lambda name: f"{seed} {name}") & known
    stops = held & _chosen(block, 0.5, lambda name: f"{seed + 1_000_003} {name}")
    if stops.all() or not stops.any() or not (held & ~stops).any():
        stops = np.zeros(len(held), dtype=bool)  # blocks of one half alone: they score, and nothing stops early
    names = np.array([name or "" for name in species], dtype=object)
    named = names != ""
    unseen = _chosen(names, settings.species_share, lambda name: f"{seed} species {name}") & named
    days = _chosen(occasion, settings.photo_share, lambda name: f"{seed} occasion {name}")
    own = np.select(
        [held & ~stops, stops & ~unseen, unseen & ~stops, days & ~held & ~unseen, ~held & ~unseen],
        [0, 1, 2, 3, 4],
        default=5,
    )
    first = pd.Series(own).groupby(occasion).transform("min").to_numpy()
    return np.array(SPLITS)[np.where(own == first, own, len(SPLITS) - 1)]


def check_splits(split: npt.NDArray[np.str_], occasion: IntArray) -> None:
    """Check that no occasion is in two splits.

    Raises:
        ModelError: one is.
    """
    pairs = pd.DataFrame({"split": split, "occasion": occasion})
    pairs = pairs[pairs["split"] != "aside"].drop_duplicates()
    torn = pairs["occasion"].duplicated()
    if torn.any():
        raise ModelError(
            f"splits: expected every photo, observation and observer's day in one split, found "
            f"{int(torn.sum())} in two; deal the records with assign_splits"
        )


def occasions(key: pd.Series, *others: pd.Series) -> IntArray:
    """Name the occasions: records that share a key of any kind, directly or through others, are one occasion.

    Args:
        key: (n,) a text of each record's own, such as its observation id.
        others: further kinds of keys (photo, observer and day), (n,) each; a missing one joins nothing.

    Returns:
        (n,) the occasion of each record: the smallest hash among its records' own keys, so that it stays the same
        when records of other occasions come or go.
    """
    n = len(key)
    rows, columns, size = [], [], n
    for values in (key, *others):
        codes, names = pd.factorize(values.astype("object"))
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        columns.append(size + codes[known])
        size += len(names)
    row, column = np.concatenate(rows), np.concatenate(columns)
    _, label = connected_components(coo_array((np.ones(len(row)), (row, column)), shape=(size, size)), directed=False)
    hashes = pd.util.hash_array(key.to_numpy(dtype=object), categorize=False).view(np.int64)
    return pd.Series(hashes).groupby(label[:n]).transform("min").to_numpy(dtype=np.int64)


def _blocks(latitude: FloatArray, longitude: FloatArray, degrees: float) -> tuple[npt.NDArray[np.object_], BoolArray]:
    known = ~(np.isnan(latitude) | np.isnan(longitude))
    points = np.nan_to_num(np.stack([latitude, longitude], axis=1), nan=0.0)
    cells, inverse = np.unique(np.floor(points / degrees).astype(np.int64), axis=0, return_inverse=True)
    names = np.array([f"{row} {column}" for row, column in cells], dtype=object)
    return names[inverse.reshape(-1)] if len(names) else np.zeros(0, dtype=object), known


def _chosen(values: npt.NDArray[np.generic], share: float, key: Callable[[object], str]) -> BoolArray:
    codes, names = pd.factorize(values)
    fate = np.array([_unit_hash(key(name)) < share for name in names], dtype=bool)
    return np.asarray(fate[codes]) if len(fate) else np.zeros(len(values), dtype=bool)


def _unit_hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
