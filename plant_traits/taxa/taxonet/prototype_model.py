"""A model of names without training: prototypes of frozen features, for floras with a handful of photos per species."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.name_head import HeadShape, NameHead
from plant_traits.taxa.taxonet.names_model import NamesModel
from plant_traits.taxa.taxonet.open_set import familiarity, known_threshold
from plant_traits.taxa.taxonet.priors import class_counts
from plant_traits.taxa.taxonet.prototypes import class_prototypes

LEAST_SCALE, LARGEST_SCALE = 1.0, 200.0


def prototype_model(
    features: npt.NDArray[np.floating],
    labels: npt.ArrayLike,
    species: Sequence[str],
    validation: tuple[npt.NDArray[np.floating], npt.ArrayLike],
    *,
    encoder_identity: str = "",
) -> NamesModel:
    """Make the model whose species' vectors are the prototypes of features centred on their mean.

    Nothing is learned but the scale of the cosines, with which validation photos are most likely, and the open-set
    threshold. Posteriors are under the training frequencies, as a trained model's are.

    Args:
        features: (n, d) of the training photos.
        labels: (n,) classes.
        species: the k names of the classes; each needs a training photo.
        validation: features (m, d) and classes of further photos.
        encoder_identity: of the encoder that made the features.

    Raises:
        ModelError: the arrays do not fit together, a feature is not finite, or a class has no photo.
    """
    counts = class_counts(labels, len(species))
    truth = np.asarray(validation[1])
    if features.ndim != 2 or validation[0].shape[1:] != features.shape[1:] or not 0 < truth.size == len(validation[0]):
        raise ModelError(
            f"prototype model: expected features (n, d), and validation photos of the same length with a label each, "
            f"found {features.shape}, {validation[0].shape} and {truth.shape}"
        )
    class_counts(np.concatenate([truth, np.arange(len(species))]), len(species))
    centre = np.asarray(features, dtype=np.float64).mean(axis=0)
    prototypes = class_prototypes(features - centre, labels, len(species))
    head = NameHead(HeadShape(features.shape[1], 0, features.shape[1], len(species)))
    state = head.state_dict()
    (weight,) = (name for name in state if name.startswith("projection") and name.endswith("weight"))
    identity = {weight: torch.eye(features.shape[1]), weight.replace("weight", "bias"): torch.zeros(features.shape[1])}
    placed = {"mean": torch.from_numpy(centre), "vectors": torch.from_numpy(prototypes)}
    head.load_state_dict({**state, **identity, **placed})
    head.eval()
    blank = np.zeros(len(species))
    unscaled = NamesModel(tuple(species), counts, head, blank, 1.0, -np.inf, encoder_identity)
    likeness = unscaled.cosines(validation[0]).astype(np.float64)
    scale = _likeliest_scale(likeness, truth)
    shift = -np.log(counts / counts.sum()) / scale
    threshold = known_threshold(familiarity(likeness))
    return NamesModel(tuple(species), counts, head, shift, scale, threshold, encoder_identity)


def _likeliest_scale(likeness: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> float:
    """Return the scale of cosines, all species being equally likely beforehand, that validation photos speak for."""

    def loss(log_scale: float) -> float:
        logits = np.exp(log_scale) * likeness
        return float((logsumexp(logits, axis=1) - logits[np.arange(truth.size), truth]).mean())

    bounds = (float(np.log(LEAST_SCALE)), float(np.log(LARGEST_SCALE)))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
