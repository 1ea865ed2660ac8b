"""Train the names models of all folds and keep what each says of the observers that it has not seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError
from plant_traits.taxa.gate.calibration import OPEN_SET, SPECIES, GateCalibration, fit_calibration
from plant_traits.taxa.gate.conformity import NameJudge
from plant_traits.taxa.gate.cross_fitted import CrossFittedNames
from plant_traits.taxa.gate.folds import folds_of, observers_of
from plant_traits.taxa.prediction_sets.hierarchy import RANKS
from plant_traits.taxa.taxonet.epochs import NameFitting
from plant_traits.taxa.taxonet.fit_names import FitSettings, fit_names
from plant_traits.taxa.taxonet.selection import TailSampling

Progress = Callable[[int, int, str], None]


LIGHT = NameFitting(
    loss="logit_adjustment",
    loss_settings={"scale": 8.0},
    dropout=0.0,
    learning_rate=2e-3,
    epochs=12,
    sampling=TailSampling(batch=128, extra=0),
)
"""Of a head that starts at the feature space: a small scale, since frozen features tell species apart by halves."""


@dataclass(frozen=True)
class CrossFitting:
    """How names models are trained.

    Attributes:
        folds: how many; each photo is judged by a model of the observers of the other folds.
        fit: of each fold's model, whose head starts at the feature space of its photos. Its own held-out share serves
            its thresholds alone, so it can be small.
    """

    folds: int = 5
    fit: FitSettings = field(
        default_factory=lambda: FitSettings(how=LIGHT, from_space=True, stop_share=0.15, calibration_share=0.1)
    )

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ModelError(f"names models: expected 2 folds or more, found {self.folds}")

    @property
    def parameters(self) -> dict[str, object]:
        """The settings as JSON, for step keys."""
        return asdict(self)


@dataclass(frozen=True)
class CrossFit:
    """What a training left.

    Attributes:
        names: the models and calibrations of all folds.
        figures: how often held-out observations are named as they are labelled, and what was left out.
    """

    names: CrossFittedNames
    figures: Mapping[str, float]


def fit_cross_fitted(
    rows: pd.DataFrame,
    features: npt.NDArray[np.float32],
    how: CrossFitting,
    *,
    encoder_identity: str,
    progress: Progress | None = None,
) -> CrossFit:
    """Train a names model for each fold of observers on the photos of the others.

    Args:
        rows: n photos: observation_id, species, genus, family, growth_form, observer, latitude and longitude. An
            observation has one species.
        features: (n, d), finite.
        how: settings.
        encoder_identity: of the encoder that made the features.
        progress: called with (epochs done, epochs planned, how it goes).

    Raises:
        ModelError: there are too few photos, species or observers to train on.
    """
    taxonomy = _taxonomy(rows)
    groups = observers_of(rows)
    fold = folds_of(groups, how.folds)
    empty = how.folds - len(np.unique(fold))
    if empty:
        raise ModelError(
            f"names models: expected observers in each of {how.folds} folds, found none in {empty}; ask for fewer "
            "folds, or train on more observers"
        )
    judges: list[NameJudge] = []
    calibrations: list[GateCalibration] = []
    named = {"species": 0, "genus": 0, "growth_form": 0}
    judged = 0
    for number in range(how.folds):
        others, own = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        fitted = fit_names(
            features[others],
            rows["species"].iloc[others].tolist(),
            rows["observation_id"].iloc[others].tolist(),
            taxonomy,
            replace(how.fit, seed=how.fit.seed + number),
            encoder_identity=encoder_identity,
            progress=_of_fold(progress, number, how.folds),
        )
        judge = NameJudge(fitted.model)
        position, first = np.unique(rows["observation_id"].iloc[own], return_index=True)
        stated = rows.iloc[own[first]]
        observation = pd.Index(position).get_indexer(pd.Index(rows["observation_id"].iloc[own])).astype(np.int64)
        fit = judge.fit_of(features[own], observation, stated[list(RANKS)])
        # Who is of no known species has no part in how far known ones lie.
        known = np.isfinite(fit.conformities[SPECIES])
        held = {**fit.conformities, OPEN_SET: np.where(known, fit.conformities[OPEN_SET], np.nan)}
        calibrations.append(fit_calibration(held))
        judges.append(judge)
        best = judge.model.taxa.iloc[fit.best]
        for rank in named:
            named[rank] += int((best[rank].to_numpy() == stated[rank].to_numpy()).sum())
        judged += len(stated)
    names = CrossFittedNames(tuple(judges), tuple(calibrations), taxonomy, encoder_identity)
    figures = {
        "observations": float(judged),
        "photos": float(len(rows)),
        "species": float(len(set.union(*(set(x.model.species) for x in judges)))),
        "species left out": float(len(taxonomy) - len(set.union(*(set(x.model.species) for x in judges)))),
        **{f"held-out observations named as labelled, {rank}": n / judged for rank, n in named.items()},
    }
    return CrossFit(replace(names, model_id=_identity(names)), figures)


def _taxonomy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each species once with the taxa that most of its photos state, ties going to the first in order."""
    parts = {}
    for rank in RANKS[1:]:
        known = rows.dropna(subset=["species", rank])
        counts = known.groupby(["species", rank]).size().rename("n").reset_index()
        ordered = counts.sort_values(["species", "n", rank], ascending=[True, False, True]).drop_duplicates("species")
        parts[rank] = ordered.set_index("species")[rank]
    species = pd.Index(sorted(rows["species"].dropna().unique()), name="species")
    table = pd.DataFrame({rank: values.reindex(species) for rank, values in parts.items()}, index=species)
    return table.reset_index()[list(RANKS)].astype("str").where(lambda frame: frame.notna())


def _of_fold(
    progress: Progress | None, number: int, folds: int
) -> Callable[[int, int, Mapping[str, float]], None] | None:
    if progress is None:
        return None

    def told(done: int, planned: int, figures: Mapping[str, float]) -> None:
        words = f"fold {number + 1} of {folds}: macro recall {figures.get('macro_recall', float('nan')):.3f}"
        progress(number * planned + done, folds * planned, words)

    return told


def _identity(names: CrossFittedNames) -> str:
    """Return a hash of every model and calibration."""
    digest = hashlib.sha256(names.encoder_identity.encode())
    for judge, calibration in zip(names.judges, names.calibrations, strict=True):
        digest.update("\n".join(judge.model.species).encode())
        for _, tensor in sorted(judge.model.head.state_dict().items()):
            digest.update(tensor.contiguous().numpy().tobytes())
        for kind, held in sorted(calibration.conformities.items()):
            digest.update(kind.encode() + np.ascontiguousarray(held).tobytes())
    return digest.hexdigest()[:16]
