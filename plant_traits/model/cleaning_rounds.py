"""Drop photos whose labels are probably wrong, by what models say of them, before the model that counts is trained.

Two ways. ``published`` is that of PlantTraitNet (arXiv 2511.06943): a model predicts the very photos it was trained on,
and the most uncertain go; then, of the photos that a second model is uncertain of, those far from their label. It finds
hard photos rather than wrong labels. ``cross_fitted`` asks models that have not seen a photo's occasion how far its
label is from what they expect, in all traits at once, and how much sooner another species' label would be that far.
``benchmarks/label_errors.py`` measures both. Neither finds the label of a similar species, which does less harm.

Photos alone are dropped: a record without one teaches the geospatial branch and has no picture to contradict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError
from plant_traits.model.prediction import predict
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training_set import TrainingSet
from plant_traits.model.wrong_labels import wrong_label_probability

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Fit = Callable[[TrainingSet], TrainedModel]
Rule = Literal["published", "cross_fitted"]

UNCERTAIN = 0.95
"""Quantile of the predicted standard deviation from which a photo is uncertain, as published."""

OFF = 0.5
"""Share of a trait's range beyond which an uncertain photo is off, as published."""

RANGE = (0.01, 0.99)
"""Quantiles of the labels that bound a trait's range: those of the project's nMAE, so that one wrong label of an
extreme species does not widen it."""

FOLDS = 5
"""Parts the photos are dealt into; each is predicted by members that saw the other four fifths."""

WRONG = 0.5
"""Probability of a wrong label above which a photo is dropped: wrong sooner than right."""

ENOUGH_LABELS = 20
"""Labels that a trait needs among the photos, and among those of the other folds, to bear witness."""

LARGEST_SHARE = 0.3
"""Share of the photos above which nothing is dropped: then photos, labels or models are at fault as a whole, which
dropping would hide."""

DROPPED = {
    "row": "int64",
    "round": "int64",
    "reason": "str",
    "trait": "int64",
    "value": "float64",
    "threshold": "float64",
    "label": "float64",
    "predicted": "float64",
    "sd": "float64",
}
"""Columns of ``CleaningRounds.dropped`` and their types."""

IS_UNCERTAIN = "uncertain"
IS_OFF = "uncertain and off"
IS_CONTRADICTED = "label contradicted"


@dataclass(frozen=True)
class CleaningRounds:
    """What cleaning decided about n records.

    Attributes:
        rule: ``published`` or ``cross_fitted``.
        keep: (n,) whether a record stays.
        dropped: one line per dropped record, columns ``DROPPED``: ``row``, its position in the training set; ``round``,
            from 1; ``reason``, one of ``uncertain``, ``uncertain and off`` and ``label contradicted``; ``trait``, the
            position of the one that is furthest beyond its threshold or its expectation; ``value``, which passed
            ``threshold``: the predicted standard deviation of the trait (uncertain), the distance between its label and
            its prediction (uncertain and off), or the probability that the label is wrong, by all traits (label
            contradicted); and of the trait ``label``, ``predicted`` and ``sd``, working space.
        rounds: for each round ``round``, ``photos`` that it looked at and ``dropped`` of them.
        wrong_share: estimated share of photos with labels of quite other species before cleaning; None where the rule
            does not say.
        skipped: why nothing was judged; None where photos were.
    """

    rule: Rule
    keep: BoolArray
    dropped: pd.DataFrame = field(repr=False)
    rounds: tuple[dict[str, int], ...]
    wrong_share: float | None = None
    skipped: str | None = None

    def counts(self) -> dict[str, int]:
        """Return the number of dropped records by reason and round, for the report of a run."""
        lines = "photo " + self.dropped["reason"] + " (round " + self.dropped["round"].astype("str") + ")"
        return {str(line): int(n) for line, n in lines.value_counts().sort_index().items()}


@dataclass(frozen=True)
class _Judged:
    """What models say of some photos: their rows, and label, prediction and standard deviation of each trait."""

    rows: IntArray
    label: FloatArray
    mean: FloatArray
    sd: FloatArray


def clean(
    training: TrainingSet,
    fit: Fit,
    rule: Rule,
    *,
    groups: IntArray | None = None,
    seed: int = 0,
    largest_share: float = LARGEST_SHARE,
    device: str = "cpu",
) -> CleaningRounds:
    """Find the photos to leave out of training.

    The caller trains its model on ``training.rows(result.keep)``. To judge, one member of a few epochs is enough.

    Args:
        training: the n records that are to be fitted.
        fit: trains an uncalibrated model on some of them, its traits in the order of the label columns; it is called
            twice by ``published`` and at most ``FOLDS`` times by ``cross_fitted``.
        rule: ``published`` or ``cross_fitted``.
        groups: (n,) records that share one are never on both sides of a fold; by default their occasions.
        seed: of the folds and of the permutations.
        largest_share: share of the photos that may be dropped, and that ``cross_fitted`` believes may be wrong.
        device: where models predict.

    Returns:
        What was dropped and why. Where too few photos are labelled, all are of one occasion, or the models that
        ``cross_fitted`` asks know too little to judge, that is nothing, and ``skipped`` says so.

    Raises:
        ModelError: more than ``largest_share`` of the photos would be dropped.
    """
    photo = training.present()[0]
    enough = (~np.isnan(training.centres()[photo])).sum(axis=0) >= ENOUGH_LABELS
    if not enough.any():
        return _nothing(rule, photo, f"no trait has {ENOUGH_LABELS} labels among {int(photo.sum())} photos")
    if rule == "published":
        found = _published(training, fit, photo, enough, device)
    else:
        fold = _folds(training.occasion if groups is None else groups, seed)
        found = _cross_fitted(training, fit, photo, enough, fold, seed=seed, largest_share=largest_share, device=device)
    if len(found.dropped) > largest_share * photo.sum():
        raise ModelError(
            f"cleaning rounds ({rule}): expected to drop at most {largest_share:.0%} of {int(photo.sum())} photos, "
            f"found {len(found.dropped)} to drop, {found.counts()}; check the names, or set model.cleaning to none"
        )
    return found


def _published(training: TrainingSet, fit: Fit, photo: BoolArray, enough: BoolArray, device: str) -> CleaningRounds:
    """Drop the most uncertain photos; then, by a model trained without them, uncertain photos far from their label."""
    keep = np.ones(len(photo), dtype=bool)
    label = training.centres()[photo]
    reach = np.full(len(enough), np.inf)
    low, high = np.nanquantile(label[:, enough], RANGE, axis=0)
    reach[enough] = OFF * (high - low)
    frames, rounds = [], []
    for number, reason in enumerate((IS_UNCERTAIN, IS_OFF), start=1):
        if not (photo & keep).any():
            break  # too much was dropped, which the caller refuses
        said = _ask(fit(training.rows(keep)), training, np.flatnonzero(photo & keep), device)
        bound = np.where(enough, np.quantile(said.sd, UNCERTAIN, axis=0), np.inf)
        hit, value, threshold = said.sd >= bound, said.sd, bound
        if reason == IS_OFF:
            value, threshold = np.abs(said.label - said.mean), reach
            hit = hit & (value > threshold)
        frames.append(_table(number, reason, hit, value / threshold, value, threshold, said))
        keep[frames[-1]["row"]] = False
        rounds.append({"round": number, "photos": len(said.rows), "dropped": len(frames[-1])})
    return CleaningRounds("published", keep, pd.concat(frames, ignore_index=True), tuple(rounds))


def _cross_fitted(
    training: TrainingSet,
    fit: Fit,
    photo: BoolArray,
    enough: BoolArray,
    fold: IntArray,
    *,
    seed: int,
    largest_share: float,
    device: str,
) -> CleaningRounds:
    """Drop photos whose label is sooner that of another photo, by models that have not seen their group."""
    rows, label = np.flatnonzero(photo), training.centres()
    if len(set(fold[rows])) < 2:
        return _nothing("cross_fitted", photo, "all photos fall into one fold, since they are of one occasion or few")
    said = _Judged(rows, label[rows], *(np.full((len(rows), len(enough)), np.nan) for _ in range(2)))
    for number in sorted(set(fold[rows])):
        apart = photo & (fold == number)
        part = _ask(fit(training.rows(~apart)), training, np.flatnonzero(apart), device)
        taught = enough & ((~np.isnan(label[~apart])).sum(axis=0) >= ENOUGH_LABELS)
        said.mean[fold[rows] == number] = np.where(taught, part.mean, np.nan)
        said.sd[fold[rows] == number] = np.where(taught, part.sd, np.nan)
    species = pd.factorize(np.array(training.species, dtype=object)[rows])[0]
    wrong, share = wrong_label_probability(said.label, said.mean, said.sd, species, seed=seed)
    if share > largest_share:
        why = f"the models cannot tell labels of other species from a photo's own: by them up to {share:.0%} are wrong"
        return _nothing("cross_fitted", photo, why, share)
    distance = np.nan_to_num(np.abs(said.label - said.mean) / said.sd, nan=-1.0)
    value = np.broadcast_to(wrong[:, None], said.mean.shape)
    threshold = np.full(len(enough), WRONG)
    dropped = _table(1, IS_CONTRADICTED, value > threshold, distance, value, threshold, said)
    keep = np.ones(len(photo), dtype=bool)
    keep[dropped["row"]] = False
    rounds = ({"round": 1, "photos": len(rows), "dropped": len(dropped)},)
    return CleaningRounds("cross_fitted", keep, dropped, rounds, share)


def _nothing(rule: Rule, photo: BoolArray, why: str, share: float | None = None) -> CleaningRounds:
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in DROPPED.items()})
    rounds = ({"round": 1, "photos": int(photo.sum()), "dropped": 0},)
    return CleaningRounds(rule, np.ones(len(photo), dtype=bool), empty, rounds, share, why)


def _ask(model: TrainedModel, training: TrainingSet, rows: IntArray, device: str) -> _Judged:
    images = None if training.image_features is None else training.image_features[rows]
    said = predict(model, images, training.covariates[rows], device=device)
    variance = said.variance_aleatoric.astype(np.float64) + said.variance_epistemic
    return _Judged(rows, training.centres()[rows], said.mean.astype(np.float64), np.sqrt(variance))


def _table(
    number: int,
    reason: str,
    hit: BoolArray,
    excess: FloatArray,
    value: FloatArray,
    threshold: FloatArray,
    said: _Judged,
) -> pd.DataFrame:
    """Return one line per row with a hit, for the trait of the largest excess among its hits."""
    which = np.flatnonzero(hit.any(axis=1))
    trait = np.argmax(np.where(hit, excess, -np.inf)[which], axis=1)
    columns = {
        "row": said.rows[which],
        "round": np.full(len(which), number),
        "reason": np.full(len(which), reason, dtype=object),
        "trait": trait,
        "value": value[which, trait],
        "threshold": threshold[trait],
        "label": said.label[which, trait],
        "predicted": said.mean[which, trait],
        "sd": said.sd[which, trait],
    }
    return pd.DataFrame(columns).astype(DROPPED)


def _folds(groups: IntArray, seed: int) -> IntArray:
    """Deal groups to folds by a hash of each, (n,) fold of each record."""
    names, inverse = np.unique(groups, return_inverse=True)
    dealt = [
        int.from_bytes(hashlib.sha256(f"{seed} fold {name}".encode()).digest()[:8], "big") % FOLDS for name in names
    ]
    return np.array(dealt, dtype=np.int64)[inverse.reshape(-1)]
