"""Train a small head on cached frozen features to name species, with any of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from plant_traits.errors import ModelError
from plant_traits.model.deterministic import deterministic
from plant_traits.taxa.taxonet.epochs import (
    NameFitting,
    Progress,
    checked_classes,
    checked_device,
    macro_recall,
    run_epochs,
)
from plant_traits.taxa.taxonet.feature_space import FeatureSpace
from plant_traits.taxa.taxonet.name_head import HeadShape, NameHead, head_of_space
from plant_traits.taxa.taxonet.names_model import NamesModel
from plant_traits.taxa.taxonet.open_set import familiarity, known_threshold
from plant_traits.taxa.taxonet.priors import IntArray

__all__ = ["Copies", "NameFitting", "TrainedNames", "train_names"]


@dataclass(frozen=True)
class Copies:
    """Features of altered copies of training photos.

    Attributes:
        features: (m, d).
        copy_of: (m,) position of the training photo that each shows.
        extra_only: (m,) whether a copy is for the photos that are added to batches from the tail; the others may stand
            for their photo anywhere. None where all may.
    """

    features: npt.NDArray[np.floating]
    copy_of: IntArray
    extra_only: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class TrainedNames:
    """What a training left.

    Attributes:
        model: of the epoch with the best macro recall of the validation photos.
        course: one row per epoch: epoch, loss, macro_recall, and zeta (NaN but for the dual margin).
        best_epoch: from 1.
    """

    model: NamesModel
    course: pd.DataFrame
    best_epoch: int


def train_names(
    features: npt.NDArray[np.floating],
    labels: npt.ArrayLike,
    species: Sequence[str],
    validation: tuple[npt.NDArray[np.floating], npt.ArrayLike],
    how: NameFitting | None = None,
    *,
    start: FeatureSpace | None = None,
    copies: Copies | None = None,
    encoder_identity: str = "",
    device: str = "cpu",
    progress: Progress | None = None,
) -> TrainedNames:
    """Train a head; stop on the macro recall of the validation photos, and take the open-set threshold from them.

    The same arguments give the same model on the same machine; the global state of torch's generator is left as it was.

    Args:
        features: (n, d) of the training photos.
        labels: (n,) classes.
        species: the k names of the classes; each needs a training photo.
        validation: features (m, d) and classes of photos to stop on; not every class needs one.
        how: settings.
        start: of the training photos: where the head starts, which then has no hidden layer, and embeddings as long as
            the space has contrasts, whatever the settings say; None for a head that starts at random.
        copies: altered copies; each time a photo is used, it or one of its copies is, at random.
        encoder_identity: of the encoder that made the features.
        device: ``cpu`` or ``cuda``; the model is on the CPU.
        progress: see ``Progress``.

    Raises:
        ModelError: the arrays do not fit together, a feature is not finite, a class has no photo, or the device is
            not there.
    """
    how = how or NameFitting()
    plain, stop = _checked_features(features, "training"), _checked_features(validation[0], "validation")
    which, stop_labels = np.asarray(labels), np.asarray(validation[1])
    if len(plain) != which.size or plain.shape[1] != stop.shape[1] or len(stop) != stop_labels.size:
        raise ModelError(
            f"training names: expected features (n, d), a label for each and validation photos of the same length with "
            f"a label each, found {features.shape}, {which.shape}, {stop.shape} and {stop_labels.shape}"
        )
    counts, truth = checked_classes(which, stop_labels, len(species))
    if start is not None and (len(start.mean), len(start.centres)) != (plain.shape[1], len(species)):
        raise ModelError(
            f"training names: expected a feature space of {len(species)} species and features of length "
            f"{plain.shape[1]}, found one of {len(start.centres)} and {len(start.mean)}; fit it to the training photos"
        )
    pool = _Pool(plain, _checked_copies(copies, plain))
    with deterministic(1, device):  # small matrices: more threads would only wait for each other
        torch.manual_seed(how.seed)
        if start is None:
            head = NameHead(HeadShape(plain.shape[1], how.hidden, how.embedding, len(species), how.dropout))
            head.standardise(torch.from_numpy(np.asarray(plain, dtype=np.float32)))
        else:
            head = head_of_space(start, how.dropout)
        head.to(checked_device(device))
        seen = torch.from_numpy(np.ascontiguousarray(stop, dtype=np.float32)).to(device)

        def recall() -> float:
            with torch.inference_mode():
                return macro_recall(head(seen).cpu().numpy(), truth, counts)

        course = run_epochs(head, pool.fetch, which.astype(np.int64), counts, recall, how, progress=progress)
    head.to("cpu")
    blank = NamesModel(tuple(species), counts, head, course.shift, course.scale, -np.inf, encoder_identity)
    threshold = known_threshold(familiarity(blank.cosines(stop)))
    model = NamesModel(tuple(species), counts, head, course.shift, course.scale, threshold, encoder_identity)
    return TrainedNames(model, course.table, course.best_epoch)


class _Pool:
    """The features of photos and of their copies, and which of them may stand for a photo."""

    def __init__(self, plain: npt.NDArray[np.floating], copies: Copies) -> None:
        self.all = torch.from_numpy(np.concatenate([plain, copies.features]).astype(np.float32, copy=False))
        extra = np.zeros(len(copies.copy_of), dtype=bool) if copies.extra_only is None else copies.extra_only
        self.anywhere = _Choice(len(plain), copies.copy_of, ~extra)
        self.extra = _Choice(len(plain), copies.copy_of, np.ones(len(extra), dtype=bool))

    def fetch(self, rows: IntArray, extra: npt.NDArray[np.bool_], rng: np.random.Generator) -> Tensor:
        share = rng.random(len(rows))
        chosen = np.where(extra, self.extra.draw(rows, share), self.anywhere.draw(rows, share))
        return self.all[torch.from_numpy(chosen)]


class _Choice:
    """For each of n photos, itself and some of its copies, which stand behind the photos."""

    def __init__(self, photos: int, copy_of: IntArray, allowed: npt.NDArray[np.bool_]) -> None:
        owner = np.concatenate([np.arange(photos), copy_of[allowed]])
        position = np.concatenate([np.arange(photos), photos + np.flatnonzero(allowed)])
        self.position = position[np.argsort(owner, kind="stable")]
        self.many = np.bincount(owner, minlength=photos)
        self.first = np.cumsum(self.many) - self.many

    def draw(self, rows: IntArray, share: npt.NDArray[np.float64]) -> IntArray:
        drawn: IntArray = self.position[self.first[rows] + (share * self.many[rows]).astype(np.int64)]
        return drawn


def _checked_copies(copies: Copies | None, plain: npt.NDArray[np.floating]) -> Copies:
    if copies is None:
        return Copies(plain[:0], np.empty(0, dtype=np.int64))
    altered, of = _checked_features(copies.features, "copies'"), np.asarray(copies.copy_of)
    extra = np.zeros(len(of), dtype=bool) if copies.extra_only is None else np.asarray(copies.extra_only, dtype=bool)
    fits = altered.shape[1] == plain.shape[1] and len(altered) == len(of) == len(extra)
    if not fits or (of.size and not 0 <= of.min() <= of.max() < len(plain)):
        raise ModelError(
            f"training names: expected altered copies' features of length {plain.shape[1]}, each of one of "
            f"{len(plain)} photos, found {altered.shape} for {of.shape} positions"
        )
    return Copies(altered, of.astype(np.int64), extra)


def _checked_features(features: npt.NDArray[np.floating], which: str) -> npt.NDArray[np.floating]:
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ModelError(
            f"training names: expected finite {which} features (n, d), found shape {features.shape}; leave out photos "
            "without features"
        )
    return features
