"""Fit a model of names on features and stated species: split photos, train, and set thresholds on photos held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.epochs import NameFitting, Progress
from plant_traits.taxa.taxonet.feature_space import fit_feature_space
from plant_traits.taxa.taxonet.names_model import TAXA, NamesModel
from plant_traits.taxa.taxonet.open_set import known_threshold
from plant_traits.taxa.taxonet.priors import IntArray
from plant_traits.taxa.taxonet.recall import evaluate_names
from plant_traits.taxa.taxonet.training import Copies, train_names

_TRAIN, _STOP, _CALIBRATION = 0, 1, 2


@dataclass(frozen=True)
class FitSettings:
    """How photos are split and thresholds are set.

    Attributes:
        how: of the training; its seed is replaced by ``seed``.
        from_space: whether the head starts at the feature space of the training photos (see ``head_of_space``).
        seed: of the split and of the training.
        stop_share: share of a species' groups of photos on which training stops.
        calibration_share: share of a species' groups that thresholds and conformal scores are fitted on.
        least_photos: a species with fewer photos is left out.
        kept_known: share of calibration photos whose open-set score reaches the threshold.
        kept_plants: share of calibration photos whose plant score reaches the threshold.
    """

    how: NameFitting = field(default_factory=NameFitting)
    from_space: bool = False
    seed: int = 0
    stop_share: float = 0.15
    calibration_share: float = 0.15
    least_photos: int = 2
    kept_known: float = 0.95
    kept_plants: float = 0.99

    def __post_init__(self) -> None:
        shares = (self.stop_share, self.calibration_share)
        kept = (self.kept_known, self.kept_plants)
        if not all(0 < x < 1 for x in (*shares, *kept)) or sum(shares) >= 1 or self.least_photos < 1:
            raise ModelError(
                f"fitting names: expected shares between 0 and 1, those held out less than 1 together, and a photo or "
                f"more of a species, found {self}"
            )


@dataclass(frozen=True)
class FittedNames:
    """A model of names and what it was fitted on.

    Attributes:
        model: with its thresholds.
        calibration: (c,) positions of the photos held out, in the arrays given.
        calibration_labels: (c,) their classes.
        course: one row per epoch of the training.
        best_epoch: from 1.
        left_out: photos of species with too few of them, by species.
        figures: numbers of photos and species, and recall on the calibration photos.
    """

    model: NamesModel
    calibration: IntArray
    calibration_labels: IntArray
    course: pd.DataFrame
    best_epoch: int
    left_out: dict[str, int]
    figures: dict[str, float]


def fit_names(
    features: npt.NDArray[np.floating],
    species: Sequence[str],
    groups: Sequence[str] | npt.NDArray[np.generic],
    taxa: pd.DataFrame,
    settings: FitSettings | None = None,
    *,
    encoder_identity: str,
    copies: Copies | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> FittedNames:
    """Fit a model of names; the same arguments give the same model on the same machine.

    Of each species' groups of photos a share goes to the photos that training stops on, and a share to those that
    thresholds are set on, which nothing else has seen; every species keeps a group to train on.

    Args:
        features: (n, d) of the photos, finite.
        species: (n,) accepted names.
        groups: (n,) what is never split, such as the observation.
        taxa: a row per species, columns ``TAXA``, null where a taxon is not known.
        settings: of split, training and thresholds.
        encoder_identity: of the encoder that made the features.
        copies: altered copies of photos; those of photos that are held out are not used.
        device: ``cpu`` or ``cuda``, of the training.
        progress: see ``Progress``.

    Raises:
        ModelError: the arrays do not fit together, a species is not among the taxa, fewer than two species remain, or
            too few photos to hold some out.
    """
    settings = settings or FitSettings()
    names = np.asarray(species, dtype=np.str_)
    if features.ndim != 2 or not len(features) == names.size == len(groups):
        raise ModelError(
            f"fitting names: expected features (n, d), and a species and a group for each, found {features.shape}, "
            f"{names.size} and {len(groups)}"
        )
    found, photos = np.unique(names, return_counts=True)
    enough = found[photos >= settings.least_photos]
    left_out = {str(name): int(n) for name, n in zip(found, photos, strict=True) if n < settings.least_photos}
    if len(enough) < 2:
        raise ModelError(
            f"fitting names: expected two species or more with at least {settings.least_photos} photos, found "
            f"{len(enough)} of {len(found)}; add photos or lower least_photos"
        )
    of_species = _taxa_of(enough, taxa)
    label = pd.Index(enough).get_indexer(pd.Index(names)).astype(np.int64)
    part = _split(label, np.asarray(groups), settings)
    train, stop, held = (np.flatnonzero((part == x) & (label >= 0)) for x in (_TRAIN, _STOP, _CALIBRATION))
    if not stop.size or not held.size:
        raise ModelError(
            f"fitting names: expected enough groups of photos to hold some out, found {stop.size} photos to stop on "
            f"and {held.size} to calibrate on among {int((label >= 0).sum())}; add photos, or raise the shares"
        )
    space = fit_feature_space(features[train], label[train], len(enough))
    trained = train_names(
        features[train],
        label[train],
        [str(name) for name in enough],
        (features[stop], label[stop]),
        replace(settings.how, seed=settings.seed),
        start=space if settings.from_space else None,
        copies=_copies_of(copies, train, len(features)),
        encoder_identity=encoder_identity,
        device=device,
        progress=progress,
    )
    model = replace(
        trained.model,
        space=space,
        threshold=known_threshold(space.open_set_scores(features[held]), settings.kept_known),
        plant_threshold=known_threshold(space.plant_scores(features[held]), settings.kept_plants),
        genera=_column(of_species, "genus"),
        families=_column(of_species, "family"),
        growth_forms=_column(of_species, "growth_form"),
    )
    recall = evaluate_names(model.cosines(features[held]).argmax(axis=1), label[held], model.counts)
    figures = {
        "species": float(len(enough)),
        "photos trained on": float(train.size),
        "photos stopped on": float(stop.size),
        "photos calibrated on": float(held.size),
        "photos left out": float(sum(left_out.values())),
        "macro recall": recall.macro,
        "accuracy": recall.accuracy,
    }
    return FittedNames(model, held, label[held], trained.course, trained.best_epoch, left_out, figures)


def _split(label: IntArray, groups: npt.NDArray[np.generic], settings: FitSettings) -> IntArray:
    """Return the part of each photo: of each species' groups in random order the first are trained on."""
    table = pd.DataFrame({"label": label, "group": pd.factorize(groups)[0]})
    # A group goes as a whole, with the rarest of its species.
    photos = table["label"].map(table["label"].value_counts())
    first = table.assign(photos=photos).sort_values(["photos", "label"], kind="stable").drop_duplicates("group")
    first = first[first["label"] >= 0].sort_values("group", kind="stable")
    order = np.random.default_rng(settings.seed).permutation(len(first))
    shuffled = first.iloc[order]
    place = shuffled.groupby("label").cumcount().to_numpy()
    many = shuffled.groupby("label")["group"].transform("size").to_numpy()
    calibration = np.floor(many * settings.calibration_share + 0.5).astype(int)
    stop = np.floor(many * settings.stop_share + 0.5).astype(int)
    calibration = np.minimum(calibration, many - 1)
    stop = np.minimum(stop, many - 1 - calibration)
    back = many - 1 - place
    part = np.where(back < calibration, _CALIBRATION, np.where(back < calibration + stop, _STOP, _TRAIN))
    table["part"] = table["group"].map(pd.Series(part, index=shuffled["group"])).fillna(_TRAIN).astype(np.int64)
    # A species that shares all its groups with rarer ones may have lost every photo.
    trained = table.loc[table["part"] == _TRAIN, "label"]
    lost = table.loc[~table["label"].isin(trained), "group"]
    table.loc[table["group"].isin(lost), "part"] = _TRAIN
    return np.asarray(table["part"], dtype=np.int64)


def _copies_of(copies: Copies | None, train: IntArray, photos: int) -> Copies | None:
    """Return the copies of the photos trained on, with their positions among these."""
    if copies is None:
        return None
    if len(copies.copy_of) and not 0 <= copies.copy_of.min() <= copies.copy_of.max() < photos:
        raise ModelError(f"fitting names: expected copies of photos 0 to {photos - 1}, found positions beyond them")
    place = np.full(photos, -1, dtype=np.int64)
    place[train] = np.arange(train.size)
    of = place[copies.copy_of]
    some = of >= 0
    extra = None if copies.extra_only is None else copies.extra_only[some]
    return Copies(copies.features[some], of[some], extra)


def _taxa_of(species: npt.NDArray[np.str_], taxa: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in TAXA if name not in taxa]
    if missing:
        raise ModelError(f"fitting names: expected taxa with the columns {', '.join(TAXA)}, found none of {missing}")
    known = taxa.drop_duplicates("species").set_index("species")
    absent = [str(name) for name in species if name not in known.index]
    if absent:
        raise ModelError(
            f"fitting names: expected a row of taxa for each species, found none for {len(absent)}, such as "
            f"{', '.join(absent[:3])}; add them, with null where a taxon is not known"
        )
    return known.reindex(pd.Index(species))


def _column(taxa: pd.DataFrame, rank: str) -> tuple[str | None, ...]:
    return tuple(None if pd.isna(name) else str(name) for name in taxa[rank])
