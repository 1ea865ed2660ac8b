"""Train a small head on cached frozen features to name species, with any of the losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.losses import CosineLoss, DualMargin, LossName, make_loss
from plant_traits.taxa.taxonet.names_model import HeadShape, NameHead, NamesModel
from plant_traits.taxa.taxonet.open_set import familiarity, known_threshold
from plant_traits.taxa.taxonet.priors import IntArray, class_counts
from plant_traits.taxa.taxonet.recall import evaluate_names, parts_of_tail
from plant_traits.taxa.taxonet.selection import TailSampling, lowest_norms


@dataclass(frozen=True)
class NameFitting:
    """How a head is trained.

    Attributes:
        loss: which loss.
        loss_settings: further arguments of the loss.
        hidden: width of the hidden layer; 0 for a linear projection.
        embedding: length of an embedding.
        dropout: share dropped in training.
        learning_rate: of AdamW at the start; it falls to zero along a cosine.
        weight_decay: of the projection and the species' vectors.
        epochs: at most.
        patience: epochs without a better macro recall of the validation photos, after which training stops.
        sampling: batch size, and how batches are enlarged with tail photos; ``extra=0`` for plain batches.
        norm_guided: whether an enlarged batch keeps the photos with the smallest norms; otherwise it keeps all.
        seed: of everything random.
    """

    loss: LossName = "dual_margin"
    loss_settings: Mapping[str, float] = field(default_factory=dict)
    hidden: int = 512
    embedding: int = 256
    dropout: float = 0.2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    epochs: int = 40
    patience: int = 8
    sampling: TailSampling = field(default_factory=TailSampling)
    norm_guided: bool = True
    seed: int = 0


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
    encoder_identity: str = "",
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> TrainedNames:
    """Train a head; stop on the macro recall of the validation photos, and take the open-set threshold from them.

    The same arguments give the same model on the same machine; the global state of torch's generator is left as it was.

    Args:
        features: (n, d) of the training photos, or (n, v, d) with v views of each, the photo itself and altered copies:
            each epoch takes one at random.
        labels: (n,) classes.
        species: the k names of the classes; each needs a training photo.
        validation: features (m, d) and classes of photos to stop on; not every class needs one.
        how: settings.
        encoder_identity: of the encoder that made the features.
        progress: called after each epoch with (epochs done, epochs planned, loss and recall).

    Raises:
        ModelError: the arrays do not fit together, a feature is not finite, or a class has no photo.
    """
    how = how or NameFitting()
    views = _checked_features(features, "training")[:, None] if features.ndim == 2 else features
    which = np.asarray(labels)
    stop_features, stop_labels = _checked_features(validation[0], "validation"), np.asarray(validation[1])
    if views.ndim != 3 or len(views) != which.size or views.shape[2] != stop_features.shape[1]:
        raise ModelError(
            f"training names: expected features (n, d) or (n, v, d), a label for each and validation features of the "
            f"same length, found {features.shape}, {which.shape} and {stop_features.shape}"
        )
    if not stop_labels.size or stop_labels.size != len(stop_features) or not np.isfinite(views).all():
        raise ModelError(
            f"training names: expected finite features, and validation photos with a label each, found "
            f"{int((~np.isfinite(views)).sum())} numbers that are not finite, and {len(stop_features)} photos with "
            f"{stop_labels.size} labels"
        )
    counts = class_counts(which, len(species))
    class_counts(np.concatenate([stop_labels, np.arange(len(species))]), len(species))
    data = _Data(torch.from_numpy(np.asarray(views, dtype=np.float32)), torch.from_numpy(which.astype(np.int64)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        return _fit(data, counts, tuple(species), (stop_features, stop_labels), how, encoder_identity, progress)


@dataclass(frozen=True)
class _Data:
    views: Tensor
    labels: Tensor


def _fit(
    data: _Data,
    counts: IntArray,
    species: tuple[str, ...],
    validation: tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]],
    how: NameFitting,
    encoder_identity: str,
    progress: Callable[[int, int, Mapping[str, float]], None] | None,
) -> TrainedNames:
    head = NameHead(HeadShape(data.views.shape[2], how.hidden, how.embedding, len(species), how.dropout))
    plain = data.views[:, 0]
    head.mean.copy_(plain.mean(dim=0))
    deviation = plain.std(dim=0, correction=0)
    head.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))
    loss = make_loss(how.loss, counts, how.loss_settings)
    rng = np.random.default_rng(how.seed)
    tail = np.flatnonzero(parts_of_tail(counts)[data.labels.numpy()] == "tail")
    steps = how.epochs * -(-len(data.labels) // how.sampling.batch)
    # γ is one number on the scale of a logarithm; at the head's pace it would hardly move before training stops.
    groups = [{"params": list(head.parameters()), "weight_decay": how.weight_decay}]
    if own := [parameter for parameter in loss.parameters() if parameter.requires_grad]:
        groups.append({"params": own, "weight_decay": 0.0, "lr": 10 * how.learning_rate})
    optimiser = torch.optim.AdamW(groups, lr=how.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    course: list[dict[str, float]] = []
    best: tuple[float, int, dict[str, Tensor], NamesModel] | None = None
    for epoch in range(1, how.epochs + 1):
        mean_loss = _epoch(head, loss, data, optimiser, schedule, tail, rng, how)
        with torch.no_grad():
            shift = loss.shifts().detach().numpy().astype(np.float64).copy()
        model = NamesModel(species, counts, head.eval(), shift, loss.scale, -np.inf, encoder_identity)
        recall = evaluate_names(model.cosines(validation[0]).argmax(axis=1), validation[1], counts).macro
        zeta = float(loss.zeta().detach()) if isinstance(loss, DualMargin) else float("nan")
        course.append({"epoch": epoch, "loss": mean_loss, "macro_recall": recall, "zeta": zeta})
        if progress is not None:
            progress(epoch, how.epochs, course[-1])
        if best is None or recall > best[0]:
            best = (recall, epoch, {name: x.clone() for name, x in head.state_dict().items()}, model)
        elif epoch - best[1] >= how.patience:
            break
    if best is None:
        raise ModelError(f"training names: expected an epoch or more, found {how.epochs}")
    head.load_state_dict(best[2])
    chosen = best[3]
    threshold = known_threshold(familiarity(chosen.cosines(validation[0])))
    model = NamesModel(species, counts, head.eval(), chosen.shift, chosen.scale, threshold, encoder_identity)
    return TrainedNames(model, pd.DataFrame(course), best[1])


def _epoch(
    head: NameHead,
    loss: CosineLoss,
    data: _Data,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    tail: IntArray,
    rng: np.random.Generator,
    how: NameFitting,
) -> float:
    """Train for one epoch; return the mean loss of its batches."""
    head.train()
    total, batches = 0.0, how.sampling.batches(len(data.labels), tail, rng)
    view = torch.from_numpy(rng.integers(0, data.views.shape[1], len(data.labels)))
    for batch in batches:
        rows = torch.from_numpy(batch)
        embeddings, labels = head.embed(data.views[rows, view[rows]]), data.labels[rows]
        if how.norm_guided and len(batch) > how.sampling.batch:
            kept = lowest_norms(embeddings, how.sampling.batch)
            embeddings, labels = embeddings[kept], labels[kept]
        value = loss(head.compare(embeddings), labels)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if isinstance(loss, DualMargin):
            loss.keep_in_range()
        total += float(value.detach())
    return total / len(batches)


def _checked_features(features: npt.NDArray[np.floating], which: str) -> npt.NDArray[np.floating]:
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ModelError(
            f"training names: expected finite {which} features (n, d), found shape {features.shape}; leave out photos "
            "without features"
        )
    return features
