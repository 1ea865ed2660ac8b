"""Names models of several folds of observers, each with what it says of the observers that it was not trained on.

Every observation, one that took part in the training or a later one, is judged by the model of its observer's fold,
which has seen no photo of that observer, and compared with the held-out observations of that fold. So a photo is never
judged as unseen by a model that was trained on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from plant_traits.errors import ModelError
from plant_traits.taxa.gate.calibration import (
    GENUS,
    GROWTH_FORM,
    KINDS,
    OF_UNKNOWN,
    OPEN_SET,
    PLANT,
    SPECIES,
    GateCalibration,
)
from plant_traits.taxa.gate.conformity import NameFit, NameJudge
from plant_traits.taxa.gate.folds import folds_of, observers_of
from plant_traits.taxa.prediction_sets.hierarchy import RANKS
from plant_traits.taxa.prediction_sets.scores import IntArray
from plant_traits.taxa.taxonet.names_model import load_names_model, save_names_model

CARD, TAXONOMY = "card.json", "taxonomy.parquet"
FORMAT = "plant-traits-crossed-names-1"
EVIDENCE = ("p_species", "p_genus", "p_growth_form", "p_open_set", "p_plant", "open_set", "best")
"""What photos say of each observation; ``best`` is the likeliest species. NaN and null without a photo."""


@dataclass(frozen=True)
class CrossFittedNames:
    """Names models by fold.

    Attributes:
        judges: the model of each fold, trained on the observers of the others.
        calibrations: conformities of the fold's own observations under it.
        taxonomy: species, genus, family and growth_form of every species that names were known of at the training.
        encoder_identity: of the encoder whose features the models read.
        model_id: hash of all of it.
    """

    judges: tuple[NameJudge, ...]
    calibrations: tuple[GateCalibration, ...]
    taxonomy: pd.DataFrame
    encoder_identity: str
    model_id: str = ""

    def evidence(
        self, rows: pd.DataFrame, stated: pd.DataFrame, features: npt.NDArray[np.float32], observation: IntArray
    ) -> pd.DataFrame:
        """Return what photos say of the names of m observations: a row each, columns ``EVIDENCE``.

        Args:
            rows: (m,) rows, columns observer, latitude and longitude.
            stated: (m,) rows, columns species, genus, family and growth_form: the names to judge.
            features: (n, d) of the observations' photos; rows of NaN are left out.
            observation: (n,) position of each photo's observation.

        Raises:
            ModelError: the features are not those of the models' encoder.
        """
        found = {name: np.full(len(rows), np.nan) for name in EVIDENCE[:-1]}
        best = np.full(len(rows), None, dtype=object)
        fold = folds_of(observers_of(rows), len(self.judges))
        usable = np.isfinite(features).all(axis=1)
        for number, (judge, calibration) in enumerate(zip(self.judges, self.calibrations, strict=True)):
            own = np.flatnonzero(fold == number)
            place = np.full(len(rows), -1, dtype=np.int64)
            place[own] = np.arange(len(own))
            photos = np.flatnonzero(usable & (place[observation] >= 0))
            if not photos.size:
                continue
            fit = judge.fit_of(features[photos], place[observation[photos]], stated.iloc[own])
            for name, values in _p_values(fit, calibration).items():
                found[name][own] = values
            found["open_set"][own] = fit.conformities[OPEN_SET]
            seen = fit.best >= 0
            best[own[seen]] = np.array(judge.model.species, dtype=object)[fit.best[seen]]
        return pd.DataFrame({**found, "best": pd.Series(best, dtype="str")})


def _p_values(fit: NameFit, calibration: GateCalibration) -> Mapping[str, npt.NDArray[np.float64]]:
    def p(kind: str) -> npt.NDArray[np.float64]:
        return calibration.p_values(kind, fit.conformities[kind])

    def either(rank: str) -> npt.NDArray[np.float64]:
        of_known = p(rank)
        return np.where(np.isnan(of_known), p(rank + OF_UNKNOWN), of_known)

    return {
        "p_species": p(SPECIES),
        "p_genus": either(GENUS),
        "p_growth_form": either(GROWTH_FORM),
        "p_open_set": p(OPEN_SET),
        "p_plant": p(PLANT),
    }


def save_cross_fitted(names: CrossFittedNames, folder: Path) -> None:
    """Write the models, their calibrations and the taxonomy into an empty folder."""
    for number, (judge, calibration) in enumerate(zip(names.judges, names.calibrations, strict=True)):
        save_names_model(judge.model, folder / _model_file(number))
        save_file(
            {kind: np.ascontiguousarray(x) for kind, x in calibration.conformities.items()}, folder / _held_file(number)
        )
    names.taxonomy[list(RANKS)].to_parquet(folder / TAXONOMY, index=False)
    card = {
        "format": FORMAT,
        "folds": len(names.judges),
        "encoder_identity": names.encoder_identity,
        "model_id": names.model_id,
    }
    (folder / CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")


def load_cross_fitted(folder: Path) -> CrossFittedNames:
    """Read what ``save_cross_fitted`` wrote.

    Raises:
        ModelError: the folder holds no such models, or damaged ones.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if card["format"] != FORMAT:
            raise ValueError(f"format {card['format']!r}")
        numbers = range(int(card["folds"]))
        judges = tuple(NameJudge(load_names_model(folder / _model_file(number))) for number in numbers)
        calibrations = tuple(GateCalibration(load_file(folder / _held_file(number))) for number in numbers)
        taxonomy = pd.read_parquet(folder / TAXONOMY, columns=list(RANKS))
        identity, model_id = str(card["encoder_identity"]), str(card["model_id"])
        for calibration in calibrations:
            for kind, held in calibration.conformities.items():
                if kind not in KINDS or held.ndim != 1 or np.isnan(held).any() or (np.diff(held) < 0).any():
                    raise ValueError(f"conformities {kind!r} that are not sorted numbers")
        if not judges or any(judge.model.encoder_identity != identity for judge in judges):
            raise ValueError("models of different encoders, or none")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"names model {folder}: expected the folder of a names model in the format {FORMAT}: {error}; run "
            "`plant-traits train-names` again"
        ) from error
    return CrossFittedNames(judges, calibrations, taxonomy, identity, model_id)


def _model_file(fold: int) -> str:
    return f"names-{fold}.safetensors"


def _held_file(fold: int) -> str:
    return f"held-out-{fold}.safetensors"
