"""Conformity scores of names: how badly a name fits a photo, given the posterior probabilities of a classifier.

A name y is in the set of a photo x where s(x, y) is at most a threshold. With posteriors p and training frequencies π:
``softmax`` is 1 - p(y | x); ``pas``, prevalence-adjusted, is -p / π(y), which favours rare names as a classifier
trained on balanced data would; ``wpas`` is -ω(y) p / π(y), with more weight ω on species at risk [Ding, Fermanian,
Salmon].

A species never seen in training has no prevalence, and what the classifier says of it means nothing: its adjusted
score is infinite, so it is in no set with a finite threshold. Calibration photos of such species count with that score,
which keeps the coverage honest: where they are more than α of the calibration set, the threshold is infinite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Kind = Literal["softmax", "pas", "wpas"]
KINDS: tuple[Kind, ...] = ("softmax", "pas", "wpas")
CHUNK_ENTRIES = 4_000_000
"""Probabilities that are turned into scores at a time; 32 MB in double precision."""


@dataclass(frozen=True)
class Score:
    """A conformity score for k classes.

    Attributes:
        kind: which.
        scale: (k,) what a probability is divided by and weighted with, ω / π for the adjusted scores, 0 for a class
            without prevalence; 1 for ``softmax``.
    """

    kind: Kind
    scale: FloatArray

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.scale)

    def of_all(self, probabilities: npt.NDArray[np.floating]) -> FloatArray:
        """Return the score of every class, (n, k), from posteriors (n, k)."""
        wide = probabilities.astype(np.float64)
        if self.kind == "softmax":
            return np.asarray(1.0 - wide, dtype=np.float64)
        return np.asarray(np.where(self.scale > 0, -wide * self.scale, np.inf), dtype=np.float64)

    def of_label(self, probabilities: npt.NDArray[np.floating], labels: npt.ArrayLike) -> FloatArray:
        """Return the score of one class per row, (n,), the same to the bit as in ``of_all``.

        Args:
            probabilities: (n, k) posteriors.
            labels: (n,) class of each row.

        Raises:
            ModelError: the shapes do not fit, a label is no class, or a probability is not one.
        """
        which = checked_labels(labels, len(probabilities), self.classes)
        check_probabilities(probabilities, self.classes)
        wide = probabilities[np.arange(len(which)), which].astype(np.float64)
        if self.kind == "softmax":
            return np.asarray(1.0 - wide, dtype=np.float64)
        return np.asarray(np.where(self.scale[which] > 0, -wide * self.scale[which], np.inf), dtype=np.float64)


def make_score(
    kind: Kind, classes: int, prevalence: npt.ArrayLike | None = None, weights: npt.ArrayLike | None = None
) -> Score:
    """Make a score for k classes.

    Args:
        kind: ``softmax``, ``pas`` or ``wpas``.
        classes: k.
        prevalence: (k,) training frequencies, see ``training_frequencies``; needed by ``pas`` and ``wpas``.
        weights: (k,) positive weights ω, see ``plant_traits.taxa.prediction_sets.risk``; needed by ``wpas``.

    Raises:
        ModelError: something needed is missing, or is not of k finite numbers of the right sign.
    """
    if kind not in KINDS:
        raise ModelError(f"prediction sets: expected a score of {', '.join(KINDS)}, found {kind!r}")
    if kind == "softmax":
        return Score(kind, np.ones(classes))
    pi = _checked(prevalence, classes, kind, "the training frequencies of", least=0.0)
    omega = _checked(weights, classes, kind, "the weights of", least=np.nextafter(0.0, 1.0)) if kind == "wpas" else 1.0
    return Score(kind, np.divide(omega, pi, out=np.zeros(classes), where=pi > 0))


def training_frequencies(labels: npt.ArrayLike, classes: int) -> FloatArray:
    """Return the share of each class among training labels, (k,); 0 for a class that was never seen.

    Raises:
        ModelError: there is no label, or one is no class.
    """
    which = checked_labels(labels, None, classes)
    if not which.size:
        raise ModelError("training frequencies: expected labels, found none; give the labels the model was trained on")
    return np.bincount(which, minlength=classes) / which.size


def chunks(rows: int, classes: int) -> list[slice]:
    """Return slices that cover n rows, each of at most ``CHUNK_ENTRIES`` probabilities, and of at least one row."""
    step = max(1, CHUNK_ENTRIES // max(classes, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def checked_labels(labels: npt.ArrayLike, rows: int | None, classes: int) -> IntArray:
    """Return labels as integers.

    Raises:
        ModelError: they are not (n,) whole numbers from 0 to k - 1.
    """
    found = np.asarray(labels)
    if found.ndim != 1 or (rows is not None and found.size != rows):
        raise ModelError(
            f"prediction sets: expected one label per row{'' if rows is None else f' of {rows}'}, found shape "
            f"{found.shape}"
        )
    if found.size and (not np.issubdtype(found.dtype, np.integer) or found.min() < 0 or found.max() >= classes):
        raise ModelError(
            f"prediction sets: expected labels that are classes 0 to {classes - 1}, found {found.dtype} from "
            f"{found.min()} to {found.max()}; leave out photos of species that the model does not know"
        )
    return found.astype(np.int64)


def check_probabilities(probabilities: npt.NDArray[np.floating], classes: int) -> None:
    """Check the shape of posteriors, and, a chunk at a time, that they are probabilities.

    Raises:
        ModelError: they are not (n, k) numbers from 0 to 1.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise ModelError(
            f"prediction sets: expected posteriors of {classes} classes, found an array of shape {probabilities.shape}"
        )
    for part in chunks(len(probabilities), classes):
        some = probabilities[part]
        if some.size and not (some.min() >= 0 and some.max() <= 1 + 1e-6):  # NaN fails either comparison
            raise ModelError(
                f"prediction sets: expected posteriors from 0 to 1, found {some.min()} to {some.max()}; apply the "
                "softmax to logits first"
            )


def _checked(values: npt.ArrayLike | None, classes: int, kind: str, what: str, least: float) -> FloatArray:
    if values is None:
        raise ModelError(f"score {kind!r}: expected {what} the {classes} classes, found none")
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (classes,) or not np.isfinite(found).all() or (found < least).any() or not found.any():
        raise ModelError(
            f"score {kind!r}: expected {what} the {classes} classes, finite and {'positive' if least else 'at least 0'}"
            f", found shape {found.shape} with {int((~(found >= least)).sum())} others"
        )
    return found
